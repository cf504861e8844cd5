"""The labels of the photographs fit them, and the verdict is that of the answers."""

from dataclasses import replace

import pytest

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box, iou
from kosmos2_core.errors import InputError
from kosmos2_eval import photos
from kosmos2_eval.photos import PhotoAnswers, criteria, has_word_of, read_labels, report_lines, verdict
from kosmos2_eval.scenes import LocateExample

LABELS = read_labels()
WHOLE = Box(0, 0, 1, 1)


@pytest.mark.extra("photos", "skimage")
@pytest.mark.parametrize("photo", LABELS, ids=lambda photo: photo.name)
def test_a_photo_has_the_size_that_it_was_labelled_at(photo):
    width, height = photo.size
    assert photo.load().shape == (height, width, 3)
    with pytest.raises(InputError, match=r"pixels, not 9 x 9: install the version"):
        replace(photo, size=(9, 9)).load()
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        replace(photo, file="gone.png").load()


@pytest.mark.parametrize("photo", LABELS, ids=lambda photo: photo.name)
def test_the_labels_of_a_photo_make_sense(photo):
    assert photo.licence
    assert len(photo.phrases) >= 2
    assert len(photo.absent) == 5
    assert not set(photo.phrases) & set(photo.absent)
    for boxes in photo.phrases.values():
        assert boxes
        for box in boxes:
            assert 0 <= box.x1 < box.x2 <= 1
            assert 0 <= box.y1 < box.y2 <= 1
            cells = (box.x2 - box.x1) * 32, (box.y2 - box.y1) * 32
            assert min(cells) >= 1.3, "too small for the grid of location tokens"
    assert all(answers for answers in photo.questions.values())
    assert photo.caption


def test_a_package_that_is_missing_is_named():
    with pytest.raises(InputError, match=r"no-such-package is not installed: run `pip install"):
        replace(LABELS[0], package="no_such_package").load()
    with pytest.raises(InputError, match="scikit-image is not installed"):
        raise photos.missing_package("skimage")


@pytest.mark.parametrize(
    ("text", "right"),
    [("Two cats on a mat.", True), ("A Cat", True), ("a category of things", False), ("", False)],
)
def test_an_answer_is_right_if_it_has_a_word_as_a_whole(text, right):
    assert has_word_of(text, ("cat",)) == right


def located(number, words, truth, box):
    best = max((iou(box, right) for right in truth), default=0.0)
    return LocateExample(number, "", f"[{words}]", truth, box, 0.9, 0.9, best)


def answers_of(photo, number, box=None, say=None):
    """Answers built from the labels, but with this box for each phrase and this answer to each question."""
    truths = photo.phrases | dict.fromkeys(photo.absent, ())
    examples = [located(number, words, truth, box or (*truth, WHOLE)[0]) for words, truth in truths.items()]
    said = [say if say is not None else right[0] for right in photo.questions.values()]
    word = photo.caption[0]
    entity = Entity(word, 0, len(word), (box or next(iter(photo.phrases.values()))[0],))
    values = [dict.fromkeys(photos.EVIDENCE_KINDS, 2.0 if example.truth else -1.0) for example in examples]
    return PhotoAnswers(photo, tuple(examples), tuple(values), Answer(word, (entity,)), tuple(said))


def missed(answers):
    return [entry.name for entry in criteria(answers) if not entry.met]


def test_the_labels_themselves_pass():
    answers = [answers_of(photo, number) for number, photo in enumerate(LABELS)]
    assert missed(answers) == []
    assert verdict(criteria(answers)) == "This checkpoint behaves on photographs as Kosmos-2 should."
    assert not any("wrong" in line for line in report_lines(answers))
    assert photos.absence(answers) == {"presence": 0.5, "object": 1.0, "question": 1.0, "phrase": 1.0}


def test_a_box_around_the_whole_image_does_not_pass():
    answers = [answers_of(photo, number, box=WHOLE) for number, photo in enumerate(LABELS)]
    assert "phrases with a right box" in missed(answers)
    right = criteria(answers)[0]
    assert (right.right, right.count) == (10, 39)  # the reason of the threshold counts on it
    assert "phrases with a right box 10 of 39" in verdict(criteria(answers))
    assert any("wrong: [the helmet] IoU" in line for line in report_lines(answers))


@pytest.mark.parametrize("word", ["yes", "no"])
def test_always_the_same_answer_does_not_pass(word):
    answers = [answers_of(photo, number, say=word) for number, photo in enumerate(LABELS)]
    assert missed(answers) == ["right answers to questions"]
    assert criteria(answers)[-1].right == {"yes": 7, "no": 8}[word]


def test_captions_of_other_things_do_not_pass():
    answers = [answers_of(photo, number) for number, photo in enumerate(LABELS)]
    other = [replace(known, caption=Answer("a mug", (Entity("a mug", 0, 5, (WHOLE,)),))) for known in answers]
    assert missed(other) == ["captions that name the subject", "captions with its box"]
    unmarked = [replace(known, caption=replace(known.caption, phrases=())) for known in answers]
    assert missed(unmarked) == ["captions with its box"]
