"""Evidence for presence has the values of plain passes; presence is what the calibration makes of them."""

import dataclasses

import numpy as np
import pytest
import torch

from kosmos2_core.box_scoring import SearchOptions
from kosmos2_core.box_search import finish
from kosmos2_core.calibration import Calibration
from kosmos2_core.command_parser import indefinite
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.errors import ModelError
from kosmos2_core.images import load_image
from kosmos2_core.presence import (
    EVIDENCE_KINDS,
    MAX_VALUE,
    EvidenceOptions,
    PresenceWeights,
    available_evidence,
    existence_question,
    object_log_odds,
)
from kosmos2_core.prompts import Prompt, locate_prompt_ids
from kosmos2_core.requests import Ask, Caption, Locate, Score

WORDING = "Is there {} on the table?"
PHRASES = ["the red mug", "a banana", "the mug next to the banana"]
ALL = EvidenceOptions(EVIDENCE_KINDS, WORDING)
MIXED = PresenceWeights({"object": 0.3, "question": 0.4, "phrase": -0.2}, 0.1, WORDING)


@pytest.fixture(scope="module")
def plain(root):
    return Engine.load(root / "models/tabletop-tiny", device="cpu", quantize="none")


@pytest.fixture(scope="module")
def image(root):
    return load_image(root / "docs/tabletop.jpg")


def with_presence(engine, weights):
    calibration = dataclasses.replace(engine.calibration or Calibration(), presence=weights)
    return Engine(engine.model, engine.tokenizer, calibration)


@torch.inference_mode()
def values_of(engine, view, phrases, options=ALL):
    [ids] = [locate_prompt_ids(engine.tokenizer, Locate("; ".join(phrases)))]
    prompts = [Prompt(view.features, prompt) for prompt in ids]
    found = finish(engine.localizer.evidence(prompts, SearchOptions(max_corners=1), options))
    return [evidence.values for evidence in found]


@torch.inference_mode()
def test_the_values_are_those_of_plain_passes(plain, image):
    view, control = plain.look(image), plain.control
    for phrase, values in zip(PHRASES, values_of(plain, view, PHRASES), strict=True):
        [asked] = view.run(Score(Ask(existence_question(WORDING, phrase)), ("yes", "no")))
        yes, no = (option.log_probability for option in asked.options)
        assert values["question"] == pytest.approx(yes - no, abs=1e-3)

        words = plain.tokenizer.encode(phrase)
        prompts = [
            Prompt(images, [control.grounding, control.phrase, *words]) for images in (view.features, ())
        ]
        seeing, blind = plain._log_probabilities(prompts, [words, words])
        assert values["phrase"] == pytest.approx((seeing - blind) / len(words), abs=1e-3)

        [answer] = view.run(Locate(f"[{phrase}]"))
        assert 1 / (1 + np.exp(-values["object"])) == pytest.approx(answer.phrases[0].presence, abs=1e-5)


def test_presence_is_the_calibrated_combination_and_the_answer_says_of_what(plain, image):
    engine = with_presence(plain, MIXED)
    [answer] = engine.look(image).run(Locate("; ".join(PHRASES), min_presence=0.0))
    expected = map(MIXED.presence, values_of(plain, plain.look(image), PHRASES))
    assert [entity.presence for entity in answer.phrases] == pytest.approx(list(expected), abs=1e-4)
    assert answer.evidence == EVIDENCE_KINDS
    assert answer.to_dict(10, 10)["presence_evidence"] == list(EVIDENCE_KINDS)

    [usual] = plain.look(image).run(Locate(PHRASES[0]))
    assert usual.evidence == ("object",)
    [spoken] = plain.look(image).run(Caption(), decoding=Decoding(max_new_tokens=2, scores=False))
    assert spoken.evidence == ()


def test_the_threshold_and_the_score_follow_the_combination(plain, image):
    """A bias that denies everything leaves no box; one that affirms everything raises the score."""
    scores = {}
    for bias in (-50.0, 50.0):
        view = with_presence(plain, PresenceWeights({"question": 0.1}, bias, WORDING)).look(image)
        [found] = view.run(Locate(PHRASES[0]))[0].phrases
        assert bool(found.boxes) == (bias > 0)
        scores[bias] = view.run(Locate(PHRASES[0], min_presence=0.0))[0].phrases[0].boxes[0].score
    assert scores[-50.0] < 1e-3 < scores[50.0]


def test_phrases_of_a_caption_have_the_presence_of_phrases_that_are_located(plain, image):
    engine = with_presence(plain, MIXED)
    [caption] = engine.look(image).run(Caption(), decoding=Decoding(max_new_tokens=24))
    first = caption.phrases[0]
    before = caption.text[: first.start].strip()
    assert caption.evidence == EVIDENCE_KINDS
    [located] = engine.look(image).run(Locate(f"An image of {before} [{first.phrase}]", min_presence=0.0))
    assert first.presence == pytest.approx(located.phrases[0].presence, abs=1e-4)


def test_so_many_phrases_that_they_come_in_several_packs_are_as_alone(plain, image):
    engine = with_presence(plain, MIXED)
    words = [
        f"the {colour} {shape}" for colour in ("red", "blue", "green") for shape in ("mug", "bowl", "can")
    ]
    words += [
        f"{word} on the {side}" for word in words for side in ("left", "right")
    ]  # 27 phrases, 81 prompts
    view = engine.look(image)
    together = view.run(Locate("; ".join(words), max_corners=1))[0].phrases
    for index in (0, 13, 26):
        [alone] = view.run(Locate(words[index], max_corners=1))[0].phrases
        assert together[index].presence == pytest.approx(alone.presence, abs=1e-5)
        assert together[index].cells == alone.cells


@pytest.mark.parametrize(
    ("phrase", "asked"),
    [
        ("the red mug", "a red mug"),
        ("red mug", "a red mug"),
        ("An apple", "an apple"),
        ("orange cup left of the bowl", "an orange cup left of the bowl"),
        ("my mugs", "mugs"),
        ("the red things on the left", "red things on the left"),
        ("two mugs", "two mugs"),
        ("the two mugs", "two mugs"),
        ("glass", "a glass"),
        ("the", "a the"),
        ("", ""),
    ],
)
def test_a_question_takes_nothing_for_granted(phrase, asked):
    assert indefinite(phrase) == asked
    assert existence_question("Is there {}?", phrase) == f"Is there {asked}?"


def test_brackets_in_a_phrase_are_plain_words_of_the_question(plain, image):
    view = plain.look(image)
    [values] = values_of(plain, view, [r"mug \[x\](1)"])
    assert np.isfinite(values["question"])


def test_a_tokenizer_without_yes_or_no_is_one_sentence(plain, monkeypatch):
    assert available_evidence(plain.tokenizer) == EVIDENCE_KINDS
    monkeypatch.setattr(type(plain.tokenizer), "encode", lambda tokenizer, text: [50, 51])
    assert available_evidence(plain.tokenizer) == ("object", "phrase")
    with pytest.raises(ModelError, match=r"no single token for `yes` or for `no`.* calibrate without it"):
        with_presence(plain, MIXED)
    with_presence(plain, PresenceWeights({"phrase": 1.0}, 0.0))


def test_evidence_that_is_far_off_does_not_decide_alone():
    weights = PresenceWeights({"object": 1.0, "question": 1.0}, 0.0)
    assert weights.presence({"object": 1e9, "question": -MAX_VALUE}) == 0.5
    assert weights.presence({"object": -1e9, "question": -1e9}) == pytest.approx(0, abs=1e-9)


def test_the_log_odds_of_a_certain_model_are_finite(plain):
    control = plain.control
    logits = torch.zeros(1, plain.tokenizer.size)
    logits[0, control.object] = 40.0
    odds = object_log_odds(logits, control).item()
    assert odds == pytest.approx(40 - np.log(plain.tokenizer.size - 1), rel=1e-5)
