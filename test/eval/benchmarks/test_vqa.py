"""VQAv2: the release's answers, judged by ten people's; test-dev's go to the server."""

import json

import pytest
from official_data import place, vqa_answers, write

from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart
from kosmos2_eval.benchmarks.visual_questions import VQAV2

QUESTIONS = (
    "How many things are on the table?",
    "What is left of the [bowl](it)?",
    "What colour is the mug?",
)


def questions_of(number):
    return [
        {"question_id": 7000 + place, "image_id": number, "question": text}
        for place, text in enumerate(QUESTIONS)
    ]


@pytest.fixture
def said(tmp_path, pictures, peer):
    """What the peer says is true of the first by two people, of the second by none, of the third by all."""
    place(pictures[0], tmp_path / "val2014/COCO_val2014_000000000042.jpg")
    said = [peer.says(pictures[0], f"Question: {text} Answer:") for text in QUESTIONS]
    answers = ([said[0]] * 2 + ["seven"] * 8, ["no"] * 10, [said[2]] * 10)
    kinds = ("number", "other", "other")
    annotations = [
        {
            "question_id": 7000 + index,
            "image_id": 42,
            "answer_type": kinds[index],
            "answers": vqa_answers(answers[index]),
        }
        for index in range(3)
    ]
    write(tmp_path / "vqa/v2_OpenEnded_mscoco_val2014_questions.json", {"questions": questions_of(42)})
    write(tmp_path / "vqa/v2_mscoco_val2014_annotations.json", {"annotations": annotations})
    return said


def test_answers_are_the_release_s_and_judged_by_people(said, evaluate):
    _, ways, figures = evaluate(VQAV2, "val")
    assert [answer.text for answer in ways["released"]] == said
    scores = figures["released"]
    assert scores["accuracy"].value == pytest.approx(100 * (0.6 + 0 + 1) / 3)
    assert scores["number"].value == pytest.approx(60)
    assert scores["other"].value == pytest.approx(50)
    assert scores["other"].count == 2


def test_answers_of_test_dev_are_written_for_the_server(tmp_path):
    write(tmp_path / "vqa/v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": questions_of(3)})
    (tmp_path / "test2015").mkdir()
    questions = VQAV2.read(tmp_path, BenchmarkPart("test-dev"))
    assert questions[0].images[0] == tmp_path / "test2015/COCO_test2015_000000000003.jpg"
    answers = [BenchmarkAnswer(" two "), BenchmarkAnswer("the ring"), BenchmarkAnswer("")]
    assert [score.value for score in VQAV2.score(questions, answers)] == [None]
    assert json.loads(VQAV2.submission(questions, answers)) == [
        {"question_id": 7000, "answer": "two"},
        {"question_id": 7001, "answer": "the ring"},
        {"question_id": 7002, "answer": ""},
    ]
    assert VQAV2.published(BenchmarkPart("test-dev")) == {"accuracy": 45.6}
