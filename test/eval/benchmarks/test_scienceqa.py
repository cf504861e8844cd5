"""ScienceQA: the prompt with lettered options, and which of them an answer names."""

import pytest
from official_data import place, write

from kosmos2_core.requests import Ask
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart
from kosmos2_eval.benchmarks.visual_questions import SCIENCEQA, chosen_option

PROBLEM = {
    "question": "Which is it?",
    "choices": ["a ring", "a mug"],
    "answer": 1,
    "hint": "Look [here].",
    "image": "image.png",
    "subject": "natural science",
    "grade": "grade2",
    "split": "test",
}


@pytest.fixture
def data(tmp_path, pictures):
    place(pictures[0], tmp_path / "scienceqa/test/5/image.png")
    problems = {
        "5": PROBLEM,
        "6": PROBLEM | {"image": None},
        "7": PROBLEM | {"hint": "", "answer": 0, "subject": "language science"},
        "8": PROBLEM,
    }
    write(tmp_path / "scienceqa/problems.json", problems)
    write(tmp_path / "scienceqa/pid_splits.json", {"test": ["5", "6", "7"], "val": ["8"]})


def test_questions_with_an_image_are_asked_with_their_options(data, tmp_path):
    first, second = SCIENCEQA.read(tmp_path, BenchmarkPart("test"))
    assert first.requests == (
        Ask(
            "Hint: Look \\[here\\].\nWhich is it?\nA. a ring\nB. a mug\n\n"
            "Answer with the option’s letter from the given choices directly. ",
            ground=True,
        ),
    )
    assert second.requests[0].question.startswith("Which is it?")
    assert first.images == (tmp_path / "scienceqa/test/5/image.png",)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("B", 1),
        ("(B) a mug", 1),
        ("B.", 1),
        ("The answer is B", 1),
        ("A or B", None),
        ("A mug is on the table", None),  # an article
        ("A", 0),
        ("it is a mug", 1),
        ("a ring and a mug", None),
        ("b", None),
        ("", None),
        ("C", None),
        ("nothing of the kind, though one might have thought of a mug", None),
    ],
)
def test_which_option_an_answer_names(said, expected):
    assert chosen_option(said, ["a ring", "a mug"]) == expected


def test_figures_of_all_and_of_each_subject(data, tmp_path):
    questions = SCIENCEQA.read(tmp_path, BenchmarkPart("test"))
    figures = SCIENCEQA.score(questions, [BenchmarkAnswer("B"), BenchmarkAnswer("it is a mug")])
    assert {score.name: score.value for score in figures} == {
        "accuracy": 50,
        "natural science": 100,
        "language science": 0,
    }


def test_the_prompt_is_the_peer_s(data, evaluate, peer, tmp_path, pictures):
    place(pictures[0], tmp_path / "scienceqa/test/7/image.png")
    questions, ways, _ = evaluate(SCIENCEQA, "test")
    for question, answer in zip(questions, ways["released"], strict=True):
        text = question.requests[0].question.replace("\\", "")
        assert answer.text == peer.says(pictures[0], f"<grounding> Question: {text} Answer:")
