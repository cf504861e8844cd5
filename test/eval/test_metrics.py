"""Figures agree with an independent implementation, and with what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from kosmos2_eval.metrics import (
    auroc,
    brier,
    calibration_error,
    mean,
    negative_log_likelihood,
    reliability,
    standard_error,
    wilson_interval,
)

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]) | st.floats(0, 1), min_size=1, max_size=40)


@settings(max_examples=40)
@given(SCORES, SCORES)
def test_auroc_is_scikit_learn_s_ties_and_all(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, positive + negative))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=40))
def test_brier_and_likelihood_are_scikit_learn_s(pairs):
    scores, right = zip(*pairs, strict=True)
    assert brier(scores, right) == pytest.approx(brier_score_loss(right, scores, pos_label=True))
    assert negative_log_likelihood(scores, right) == pytest.approx(log_loss(right, scores, labels=[0, 1]))


def test_a_certain_score_that_is_wrong_is_bad_but_not_endless():
    assert 10 < negative_log_likelihood([1.0, 0.0], [False, True]) < 20
    assert negative_log_likelihood([1.0, 0.0], [True, False]) == pytest.approx(0, abs=1e-5)


@given(SCORES, st.integers(1, 20))
def test_bins_hold_all_scores_in_order_and_about_as_many_each(scores, bins):
    found = reliability(scores, [score > 0.5 for score in scores], bins)
    counts = [entry.count for entry in found]
    assert sum(counts) == len(scores)
    assert max(counts) - min(counts) <= 1
    assert len(found) == min(bins, len(scores))
    assert [entry.score for entry in found] == sorted(entry.score for entry in found)


def test_the_calibration_error_is_the_distance_of_scores_from_what_is_right():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20_000)
    honest = rng.uniform(0, 1, 20_000) < scores
    assert calibration_error(reliability(scores, honest)) < 0.02
    assert calibration_error(reliability([0.9] * 100, [True] * 60 + [False] * 40)) > 0.29
    assert calibration_error(reliability([0.8, 0.8, 0.8, 0.2], [True] * 4, bins=1)) == pytest.approx(0.35)


def test_what_has_nothing_to_be_told_from_is_none():
    assert auroc([], [0.5]) is auroc([0.5], []) is None
    assert brier([], []) is negative_log_likelihood([], []) is mean([]) is None
    assert calibration_error(reliability([], [])) is None
    assert standard_error([1.0, 0.0], [7, 7]) is None


def test_the_standard_error_counts_images_where_their_phrases_go_together():
    rng = np.random.default_rng(1)
    alone = rng.normal(size=400)
    usual = alone.std(ddof=1) / 20
    assert standard_error(alone, range(400)) == pytest.approx(usual, rel=0.01)
    four_times = np.repeat(alone, 4)  # no more is known than before
    assert standard_error(four_times, np.repeat(np.arange(400), 4)) == pytest.approx(usual, rel=0.01)


def test_the_interval_of_a_fraction_is_scipy_s():
    for right, count in ((0, 5), (3, 10), (50, 50), (17, 40)):
        expected = binomtest(right, count).proportion_ci(method="wilson")
        assert wilson_interval(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)
