"""Calibration finds known corrections, and fits no more than the data supports."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kosmos2_core.box_scoring import Evidence
from kosmos2_core.boxes import Box
from kosmos2_core.calibration import MIN_PRESENCE, Calibration
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase
from kosmos2_core.presence import EvidenceOptions, PresenceWeights
from kosmos2_data.records import Item
from kosmos2_eval.scenes import LocateExample, locate_metrics
from kosmos2_training.calibrate import (
    PhraseEvidence,
    brier_with,
    examples_at,
    fit,
    fit_presence,
    fit_slope,
    halves,
    lowest,
    presence_threshold,
    refining_gain,
)

HERE = Box(0.1, 0.1, 0.4, 0.4)


def case(score, right, image=0, iou=None):
    return LocateExample(
        image, "", "[it]", (HERE,), HERE, score, 1.0, (0.8 if right else 0.2) if iou is None else iou
    )


def honest(count, slope=1.0, seed=0):
    """Cases whose scores would be honest, were their log-odds scaled by this slope."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, count)
    right = rng.uniform(size=count) < 1 / (1 + np.exp(-slope * odds))
    return [
        case(1 / (1 + math.exp(-o)), bool(r), image)
        for image, (o, r) in enumerate(zip(odds, right, strict=True))
    ]


@pytest.mark.parametrize("slope", [0.4, 1.0, 2.5])
def test_the_slope_that_made_the_scores_dishonest_is_found(slope):
    assert fit_slope(honest(6000, slope)) == pytest.approx(slope, rel=0.07)


def test_scores_cannot_be_fitted_if_all_answers_are_right_or_all_wrong():
    for right, word in ((False, "none"), (True, "all")):
        with pytest.raises(InputError, match=f"{word} are right"):
            fit_slope([case(0.5, right)] * 10)


def test_lowest_finds_the_least_of_a_curve_and_stays_inside():
    assert lowest(lambda x: math.log(x / 0.7) ** 2, 0.1, 3) == pytest.approx(0.7, rel=0.02)
    assert lowest(lambda x: x, 0.1, 3) == pytest.approx(0.1)
    assert lowest(lambda x: -x, 0.1, 3) == pytest.approx(3)


def bell(x, y, spread):
    centres = (torch.arange(32) + 0.5) / 32
    off = (centres - y)[:, None] ** 2 + (centres - x)[None, :] ** 2
    return (-off * 32**2 / (2 * spread**2)).flatten()


def evidence_of(rng, image, spread, claimed=0.8):
    """A phrase of which the model is as far off as `spread` cells, while it claims to be `claimed` off."""
    x, y = rng.uniform(0.1, 0.5, 2)
    truth = Box(x, y, x + 0.3, y + 0.3)
    corners = np.array(truth.pixels(1, 1)) + rng.normal(0, spread, 4) / 32
    first = bell(*corners[:2], claimed)
    tried = first.topk(16).indices
    phrase = Phrase(0, 3, (truth,))
    second = bell(*corners[2:], claimed).repeat(len(tried), 1)
    return PhraseEvidence(
        image, Item("locate", GroundedText("mug", (phrase,))), phrase, Evidence(1.0, first, tried, second)
    )


def test_a_model_that_is_too_sure_of_places_becomes_honest():
    rng = np.random.default_rng(2)
    to_fit, to_report = halves([evidence_of(rng, image, spread=1.8) for image in range(200)])
    fitted = fit(lambda calibration: examples_at(to_fit, 32, calibration), false_alarms=0.03)
    before = locate_metrics(examples_at(to_report, 32, Calibration()))
    after = locate_metrics(examples_at(to_report, 32, fitted.calibration))
    assert after["nll"] < before["nll"] - 0.05
    assert after["brier"] < before["brier"]


def test_halves_share_no_image():
    rng = np.random.default_rng(2)
    phrases = [evidence_of(rng, image, spread=1) for image in (0, 0, 1, 2, 2, 3)]
    even, odd = ([known.image for known in half] for half in halves(phrases))
    assert (even, odd) == ([0, 0, 2, 2], [1, 3])


@pytest.mark.parametrize("tells", [True, False])
def test_refining_is_on_only_if_it_raises_the_mean_iou(tells):
    rng = np.random.default_rng(3)
    claimed = 0.8 if tells else 0.02  # all shares in one cell: a model that was trained without soft targets
    phrases = [evidence_of(rng, image, 0.05, claimed) for image in range(30)]
    plain, refined = (examples_at(phrases, 32, Calibration(refine=refine)) for refine in (False, True))
    gain, error = refining_gain(plain, refined)
    assert (gain > error) == tells
    if tells:
        assert locate_metrics(refined)["mean_iou"] > 0.97 > locate_metrics(plain)["mean_iou"]


def test_the_model_s_own_scores_are_the_surprise_at_slope_one():
    cases = honest(50)
    assert brier_with(cases, 1.0) == pytest.approx(locate_metrics(cases)["brier"], abs=1e-4)


def presences(absent, present):
    cases = [LocateExample(0, "", "[it]", (), None, 0.0, presence, 0.0) for presence in absent]
    return cases + [LocateExample(0, "", "[it]", (HERE,), HERE, 0.9, presence, 0.8) for presence in present]


def test_the_presence_threshold_keeps_the_stated_rate_of_false_alarms():
    rng = np.random.default_rng(0)
    cases = presences(rng.beta(1, 8, 1000), rng.beta(8, 1, 1000))
    last = 1.0
    for rate in (0.0, 0.01, 0.05, 0.3):
        threshold = presence_threshold(cases, rate)
        alarms = sum(case.presence >= threshold for case in cases if not case.truth)
        assert alarms == rate * 1000, "as many as may pass, and no more"
        assert threshold < last
        last = threshold


def test_the_presence_threshold_lies_between_presences_that_occur():
    assert presence_threshold(presences([0.1, 0.2], [0.6, 0.9]), 0.0) == pytest.approx(0.4)
    assert presence_threshold(presences([0.1, 0.9], [0.2, 0.3]), 0.0) == pytest.approx(0.95)
    assert presence_threshold(presences([0.3, 0.3, 0.3], []), 0.5) > 0.3, "equal ones pass together or not"


def test_without_absent_phrases_the_presence_threshold_stays():
    assert presence_threshold(presences([], [0.1, 0.9]), 0.05) == MIN_PRESENCE


def phrases_with(values, present):
    """Phrases with this evidence for presence, of which the first ones are in the image."""
    nothing = torch.empty(0)
    return [
        PhraseEvidence(
            number,
            Item("locate", GroundedText("mug", (phrase,))),
            phrase,
            Evidence(0.5, nothing, nothing, nothing, known),
        )
        for number, known in enumerate(values)
        for phrase in [Phrase(0, 3, (HERE,) if number < present else ())]
    ]


BOTH = EvidenceOptions(("question", "phrase"), "Is there {} there?")


def test_the_weights_that_made_the_evidence_telling_are_found():
    """Two kinds of evidence of different scales, normal around two means each: the weights are known."""
    rng = np.random.default_rng(5)
    present, absent = 3000, 1500
    question = np.concatenate([rng.normal(1.5, 1, present), rng.normal(0, 1, absent)])
    words = np.concatenate([rng.normal(0.3, 0.1, present), rng.normal(0.25, 0.1, absent)])
    values = [dict(zip(BOTH.kinds, pair, strict=True)) for pair in zip(question, words, strict=True)]
    fitted = fit_presence(phrases_with(values, present), BOTH)
    assert fitted.options == BOTH
    assert fitted.weights["question"] == pytest.approx(1.5, rel=0.1)  # difference of means / variance
    assert fitted.weights["phrase"] == pytest.approx(5, rel=0.2)
    bias = -(1.5**2 - 0) / 2 - (0.3**2 - 0.25**2) / (2 * 0.1**2) + math.log(present / absent)
    assert fitted.bias == pytest.approx(bias, abs=0.25)
    mean = np.mean([fitted.presence(known) for known in values])
    assert mean == pytest.approx(present / (present + absent), abs=0.002)


def test_evidence_that_tells_everything_gets_finite_weights():
    values = [{"question": 9.0, "phrase": 0.0}] * 40 + [{"question": -9.0, "phrase": 0.0}] * 40
    fitted = fit_presence(phrases_with(values, 40), BOTH)
    assert 0.1 < fitted.weights["question"] < 5
    assert fitted.presence(values[0]) > 0.95
    assert fitted.presence(values[-1]) < 0.05


def test_evidence_cannot_be_fitted_without_absent_or_present_phrases():
    values = [{"question": 1.0, "phrase": 0.0}] * 5
    with pytest.raises(InputError, match=r"no phrase is absent, so .* absent ones marked `\(\)`"):
        fit_presence(phrases_with(values, 5), BOTH)
    with pytest.raises(InputError, match="no phrase is present"):
        fit_presence(phrases_with(values, 0), BOTH)


def test_presence_of_examples_is_that_of_the_fitted_evidence():
    rng = np.random.default_rng(2)
    known = evidence_of(rng, 0, spread=1)
    known = replace(known, evidence=replace(known.evidence, values={"question": 0.0, "phrase": 1.0}))
    weights = PresenceWeights({"question": 1.0, "phrase": 1.0}, -1.0)
    [plain] = examples_at([known], 32, Calibration())
    [combined] = examples_at([known], 32, Calibration(presence=weights))
    assert (plain.presence, combined.presence) == (1.0, 0.5)
    assert combined.score == pytest.approx(plain.score / 2, rel=1e-4)
