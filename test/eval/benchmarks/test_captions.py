"""CIDEr and METEOR: those of pycocoevalcap, and what is left of them without Java."""

import shutil

import pytest

from kosmos2_eval.benchmarks.captions import caption_scores, java_words, plain_words

TRUTHS = [
    ["A man's dog (brown) isn't running.", "A dog sits; it rests."],
    ["Two men play 3.5-inch guitars!", "two men, one guitar", "Musicians at 10:30 p.m."],
    ['The T-shirt says "Hello World"', "a café in the U.S."],
]
SAID = ["a brown dog isn't running", "two men play guitar", "a woman"]
pytestmark = pytest.mark.extra("captions", "pycocoevalcap")
java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java")


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@java
def test_words_and_cider_are_those_of_pycocoevalcap():
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    split = PTBTokenizer().tokenize
    references = split({number: [{"caption": text} for text in texts] for number, texts in enumerate(TRUTHS)})
    candidates = split({number: [{"caption": text}] for number, text in enumerate(SAID)})
    assert java_words(dict(enumerate(TRUTHS))) == references
    [cider] = caption_scores(TRUTHS, SAID, ("CIDEr",))
    assert cider.value == pytest.approx(100 * Cider().compute_score(references, candidates)[0])
    assert (cider.count, cider.remark) == (3, "")
    assert 0 < cider.error < cider.value


@java
def test_meteor_is_there_also_where_nothing_was_said():
    """METEOR starts slowly, so it is asked once."""
    truths = [["the red mug on the left"], ["a bowl"], ["a can"]]
    [meteor] = caption_scores(truths, ["the red mug on the left", "a plate", ""], ("METEOR",))
    assert 30 < meteor.value < 100
    assert (meteor.count, meteor.remark) == (3, "")


@java
def test_words_split_without_java_are_the_same():
    texts = dict(enumerate(TRUTHS))
    assert plain_words(texts) == java_words(texts)


def test_without_java_cider_is_there_and_meteor_says_what_is_missing(no_java):
    meteor, cider = caption_scores(TRUTHS, SAID, ("METEOR", "CIDEr"))
    assert meteor.value is None
    assert meteor.remark.startswith("METEOR needs Java (`apt install")
    assert cider.value > 0
    assert "needs Java" in cider.remark


def test_cider_by_hand(no_java):
    """Two images of one word each, said exactly: of n-grams only words exist, which match fully: a quarter of
    the ten that four lengths come to."""
    [cider] = caption_scores([["mugs"], ["bowls"]], ["mugs", "bowls"], ("CIDEr",))
    assert cider.value == pytest.approx(100 * 10 / 4)
    assert cider.error == pytest.approx(0)


@pytest.mark.parametrize("said", ["", " \n ", "..."])
def test_an_empty_answer_is_worth_nothing(said):
    [cider] = caption_scores([["a mug"], ["a bowl"]], ["a mug", said], ("CIDEr",))
    [half] = caption_scores([["a mug"], ["a bowl"]], ["a mug", "a can"], ("CIDEr",))
    assert cider.value == pytest.approx(half.value, rel=0.2)
    assert cider.value > 0


def test_where_java_ends_early_cider_is_there_still(monkeypatch, tmp_path):
    """A Java that splits words as they are, and cannot start METEOR."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\ncase $1 in -cp) exec /bin/cat ;; esac\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    meteor, cider = caption_scores([["a mug"], ["a bowl"]], ["a mug", "a can"], ("METEOR", "CIDEr"))
    assert meteor.value is None
    assert meteor.remark.startswith("METEOR could not be computed: Java failed")
    assert cider.value > 0


def test_nothing_said_is_no_figure():
    assert [score.value for score in caption_scores([], [], ("CIDEr",))] == [None]
