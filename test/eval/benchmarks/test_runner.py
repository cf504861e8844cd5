"""The loop: each image once, each question once, and a bad image costs its own questions alone."""

from pathlib import Path

import pytest
from official_data import place

from kosmos2_core.engine import Engine
from kosmos2_core.requests import Ask, Caption, Complete, Locate, Score
from kosmos2_eval.benchmarks.answers import AnswerStore
from kosmos2_eval.benchmarks.benchmark import Question, released_decoding
from kosmos2_eval.benchmarks.runner import Shard, answer_all, ask, missing_images, question_batches

ABOUT = {"benchmark": "test"}


def question(name, *images, request=Caption(ground=False), **fields):  # noqa: B008
    return Question(name, images, (request,), None, **fields)


@pytest.fixture
def answer(tiny, tmp_path):
    """Ask what is open, with the small model; all answers there are then."""

    def run(questions, shard=Shard(), size=3, load=lambda: tiny):  # noqa: B008
        answer_all(questions, AnswerStore.read(tmp_path, ABOUT), shard, load, released_decoding(8), size)
        return AnswerStore.read(tmp_path, ABOUT)

    return run


def test_batches_keep_an_image_s_questions_together():
    a, b = Path("a"), Path("b")
    questions = [question(str(number), image) for number, image in enumerate((a, a, a, b, b))]
    assert [[entry.id for entry in batch] for batch in question_batches(questions, 2)] == [
        ["0", "1", "2"],
        ["3", "4"],
    ]
    assert [len(batch) for batch in question_batches(questions, 4)] == [5]


def test_each_image_is_looked_at_once(answer, pictures, monkeypatch):
    looked = []
    look_at = Engine.look_many
    monkeypatch.setattr(Engine, "look_many", lambda self, views: looked.extend(views) or look_at(self, views))
    first, second = pictures[:2]
    questions = [question("1", first), question("2", second), question("3", first, ours=Locate("the mug"))]
    said = answer(questions, size=2).answers
    assert [file for [file] in looked] == [first, second]
    assert set(said["1"]) == {"released"}
    assert set(said["3"]) == {"released", "ours"}


def test_only_what_is_open_is_asked_and_without_any_no_model_is_loaded(answer, pictures):
    questions = [question(str(number), pictures[number]) for number in range(3)]
    answer(questions[:2])
    before = answer(questions).answers
    assert list(before) == ["0", "1", "2"]

    def load():
        raise AssertionError("nothing is open")

    assert answer(questions, load=load).answers == before


def test_several_prompts_of_one_question_are_one_answer_s_options(answer):
    scores = (Score(Ask("what?"), ("a mug",)), Score(Ask("where?"), ("there", "here")))
    [said] = answer([Question("1", (), scores, None)]).answers.values()
    assert len(said["released"].options) == 3


def test_a_damaged_image_is_named_and_the_others_are_answered(answer, pictures, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    answers = answer(
        [question("1", pictures[0]), question("2", tmp_path / "bad.png"), question("3", pictures[1])]
    )
    assert list(answers.answers) == ["1", "3"]
    assert "bad.png is not an image" in answers.failed["2"]
    place(pictures[2], tmp_path / "bad.png")
    assert "2" in answer([question("2", tmp_path / "bad.png")]).answers


def test_a_prompt_that_is_too_long_costs_only_its_own_question(answer, pictures):
    long = Ask("why? " * 3000)
    answers = answer([question("1", pictures[0], request=long), question("2", pictures[0])])
    assert list(answers.answers) == ["2"]
    assert "shorten the text" in answers.failed["1"]


def test_shards_share_all_questions_and_never_one_image(answer, pictures):
    questions = [question(str(number), pictures[number % 3]) for number in range(9)]
    parts = [Shard(rank, 2).select(questions) for rank in (0, 1)]
    assert sorted(entry.id for part in parts for entry in part) == [entry.id for entry in questions]
    assert not {entry.images for entry in parts[0]} & {entry.images for entry in parts[1]}
    assert [entry.id for entry in parts[0]] == ["0", "3", "6", "2", "5", "8"]


def test_texts_without_images_are_shared_too():
    questions = [Question(str(number), (), (), None) for number in range(5)]
    assert [[entry.id for entry in Shard(rank, 2).select(questions)] for rank in (0, 1)] == [
        ["0", "2", "4"],
        ["1", "3"],
    ]


def test_missing_images_are_named_once(pictures, tmp_path):
    gone = tmp_path / "gone.jpg"
    assert missing_images([question("1", gone, pictures[0]), question("2", gone)]) == [gone]


def test_an_image_in_several_questions_is_looked_at_once(tiny, pictures, monkeypatch):
    """As examples are: each question has its own prompt of several images."""
    first, second = pictures[:2]
    request = Complete("[It](0.1,0.1,0.4,0.4) is", ("[It](0.5,0.5,0.9,0.9) is a mug",), ground=True)
    questions = [question("1", first, second, request=request), question("2", second, first, request=request)]
    apart = [ask(tiny, [single], released_decoding(8))[0] for single in questions]
    looked = []
    look_at = Engine.look_many
    monkeypatch.setattr(Engine, "look_many", lambda self, views: looked.extend(views) or look_at(self, views))
    assert ask(tiny, questions, released_decoding(8)) == apart
    assert [file for [file] in looked] == [first, second]
