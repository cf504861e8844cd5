"""OCRBench: right is what has the true text in it."""

import pytest
from official_data import place, write

from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart
from kosmos2_eval.benchmarks.visual_questions import OCRBENCH, contains_truth

ENTRIES = [
    ("IIIT5K", "what is written?", "CENTRE", "Regular Text Recognition"),
    ("docVQA", "what is the total?", ["$5", "five dollars"], "Doc-oriented VQA"),
    ("HME100k", "the formula?", ["x ^ 2"], "Handwritten Mathematical Expression Recognition"),
    ("svt", "what is written?", "under", "Regular Text Recognition"),
]


@pytest.fixture
def data(tmp_path, pictures):
    place(pictures[0], tmp_path / "OCRBench/OCRBench_Images/a/1.png")
    entries = [
        {
            "dataset_name": name,
            "id": 1,
            "image_path": "a/1.png",
            "question": question,
            "answers": answers,
            "type": kind,
        }
        for name, question, answers, kind in ENTRIES
    ]
    write(tmp_path / "OCRBench/OCRBench.json", entries)


def test_the_score_is_of_a_thousand(data, tmp_path):
    questions = OCRBENCH.read(tmp_path, BenchmarkPart("all"))
    assert len({question.id for question in questions}) == 4  # their own ids are not unique
    said = [
        BenchmarkAnswer("it says Centre."),
        BenchmarkAnswer("FIVE\ndollars"),
        BenchmarkAnswer("x^2"),
        BenchmarkAnswer("Question: under? Answer: no"),
    ]
    figures = {score.name: score.value for score in OCRBENCH.score(questions, said)}
    assert figures["score"] == 750
    assert figures["accuracy"] == 75
    assert figures["Regular Text Recognition"] == 50


@pytest.mark.parametrize(
    ("said", "name", "right"),
    [
        ("X ^2", "HME100k", False),
        ("y = x^ 2", "HME100k", True),
        ("x ^2", "svt", False),
        ("X ^ 2", "svt", True),
    ],
)
def test_in_formulas_case_counts_and_spaces_do_not(said, name, right):
    assert contains_truth(said, name, ["x ^ 2"]) == right


def test_answers_are_the_peer_s(data, evaluate, peer, pictures):
    _, ways, _ = evaluate(OCRBENCH, "all")
    for (_, question, _, _), answer in zip(ENTRIES, ways["released"], strict=True):
        assert answer.text == peer.says(pictures[0], f"<grounding> Question: {question} Answer:")
