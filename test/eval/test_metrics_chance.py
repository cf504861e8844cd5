"""Tests of chance agree with SciPy's, and intervals with what theory says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from kosmos2_eval.metrics import bootstrap_interval, mcnemar, paired_difference


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_is_a_test_of_a_coin(pairs):
    found = mcnemar([before for before, _ in pairs], [after for _, after in pairs])
    assert (found.lost, found.won) == (pairs.count((True, False)), pairs.count((False, True)))
    throws = found.lost + found.won
    expected = binomtest(found.won, throws, 0.5).pvalue if throws else 1.0
    assert found.p == pytest.approx(expected)


def test_thousands_of_changes_are_no_trouble():
    found = mcnemar([True] * 5000 + [False] * 3000, [False] * 5000 + [True] * 3000)
    assert found.p == pytest.approx(binomtest(3000, 8000, 0.5).pvalue, rel=1e-6, abs=1e-300)


def test_an_interval_of_single_values_is_scipy_s():
    values = np.random.default_rng(3).normal(size=200)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=0).confidence_interval
    low, high = bootstrap_interval(values.tolist(), range(200))
    assert low == pytest.approx(expected.low, abs=0.03)
    assert high == pytest.approx(expected.high, abs=0.03)


def test_an_image_asked_four_times_is_not_four_images():
    values = np.random.default_rng(4).normal(size=300)
    low, high = bootstrap_interval(values.tolist(), range(300))
    four = bootstrap_interval(np.repeat(values, 4).tolist(), np.repeat(np.arange(300), 4).tolist())
    assert four[1] - four[0] == pytest.approx(high - low, rel=0.1)


def test_groups_of_any_size_and_name_give_the_same_interval_each_time():
    values, groups = [1.0, 0.0, 1.0, 1.0, 0.0], ["a", "a", "b", "c", "c"]
    assert bootstrap_interval(values, groups) == bootstrap_interval(values, groups)
    assert bootstrap_interval([1.0, 0.0], ["a", "a"]) is None
    assert bootstrap_interval([], []) is None


def test_the_difference_of_pairs_is_surer_than_of_two_means():
    rng = np.random.default_rng(5)
    before = rng.normal(size=400)
    after = before + 0.1 + 0.05 * rng.normal(size=400)
    found = paired_difference(before.tolist(), after.tolist(), range(400))
    assert found.difference == pytest.approx(0.1, abs=0.01)
    assert 0.09 < found.interval[0] < found.difference < found.interval[1] < 0.11
    assert paired_difference([], [], []).difference is None
