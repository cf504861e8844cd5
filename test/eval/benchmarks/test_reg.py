"""Referring expression generation: each box is described once, and judged by all that people said of it."""

import pytest
from official_data import mdetr_refcoco, place, write

from kosmos2_core.boxes import box_of_cells
from kosmos2_core.errors import InputError
from kosmos2_core.prompts import IMAGE, prompt_ids
from kosmos2_core.requests import Describe
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart
from kosmos2_eval.benchmarks.captions import REG

CELLS = (300, 600), (134, 201)
BOXES = [box_of_cells(*cells) for cells in CELLS]
PROMPT = "<grounding><phrase> It</phrase><object><patch_index_{:04}><patch_index_{:04}></object> is"


def prompt(number):
    return PROMPT.format(*CELLS[number])


@pytest.fixture
def data(tmp_path, pictures, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # without Java: METEOR starts slowly
    for number, picture in enumerate([*pictures, pictures[0]]):
        place(picture, tmp_path / f"train2014/{number}.jpg")
    rows = [
        ("0.jpg", "a ring", BOXES[0], 7),
        ("0.jpg", "the pink one", BOXES[0], 7),
        ("1.jpg", "a mug", BOXES[1], 9),
    ]
    write(tmp_path / "mdetr_annotations/finetune_refcocog_val.json", mdetr_refcoco(rows))
    training = [(f"{number}.jpg", f"the thing {number}", BOXES[0], number) for number in range(5)]
    write(tmp_path / "mdetr_annotations/finetune_refcocog_train.json", mdetr_refcoco(training))


def test_a_box_is_asked_for_once_and_has_all_its_expressions(data, tmp_path):
    first, second = REG.read(tmp_path, BenchmarkPart("val"))
    assert first.truth == ["a ring", "the pink one"]
    assert second.truth == ["a mug"]
    assert isinstance(first.requests[0], Describe)


@pytest.mark.extra("captions", "pycocoevalcap")
def test_descriptions_are_those_of_the_release(data, evaluate, peer, pictures):
    _, ways, _ = evaluate(REG, "val")
    assert [answer.text for answer in ways["released"]] == [
        peer.says(pictures[index], prompt(index)) for index in (0, 1)
    ]


@pytest.mark.extra("captions", "pycocoevalcap")
def test_true_expressions_get_the_best_score(data, tmp_path):
    questions = REG.read(tmp_path, BenchmarkPart("val"))
    good, bad = (
        {score.name: score.value for score in REG.score(questions, [BenchmarkAnswer(text) for text in texts])}
        for texts in (("the pink one", "a mug"), ("a mug", "the pink one"))
    )
    assert good["CIDEr"] > 300
    assert bad["CIDEr"] == 0


def test_examples_are_other_images_of_training_and_the_same_in_every_run(data, tmp_path):
    choice = BenchmarkPart("val", few_shot=2, seed=3)
    first, second = REG.read(tmp_path, choice)
    assert REG.read(tmp_path, choice) == [first, second]
    assert len(first.images) == len(set(first.images)) == 3
    assert first.images[-1].name == "0.jpg"
    request = first.requests[0]
    assert [text.partition(" is ")[2] for text in request.examples] == [
        f"the thing {file.stem}" for file in first.images[:-1]
    ]
    assert request.examples[0].startswith("[It](")
    assert REG.read(tmp_path, BenchmarkPart("val", few_shot=2, seed=4)) != [first, second]


def test_examples_come_before_the_question_each_with_its_image(data, tiny, tmp_path, pictures):
    """`<s><image>..</image><grounding>.. is the thing 2<image>..`, as the release's example in the paper."""
    question = REG.read(tmp_path, BenchmarkPart("val", few_shot=4))[0]
    control = tiny.tokenizer.control
    ids = prompt_ids(tiny.tokenizer, question.requests[0])
    assert ids.count(IMAGE) == len(question.images) == 5
    assert ids.count(control.grounding) == ids.count(control.object) == 5
    assert ids[0] == IMAGE
    assert ids[-1] == tiny.tokenizer.encode("is")[0]


def test_too_few_examples_are_not_passed_over(data, tmp_path):
    for number in (1, 2, 3, 4):
        (tmp_path / f"train2014/{number}.jpg").unlink()
    with pytest.raises(InputError, match=r"0 examples with an image.*train2014 is not complete"):
        REG.read(tmp_path, BenchmarkPart("val", few_shot=2))
