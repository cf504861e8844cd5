"""Records are drawn by weight, all of them come, and the order is known in advance."""

import numpy as np

from kosmos2_training.data_loader import sampling_order


def test_all_records_come_before_one_comes_again():
    _, records = sampling_order(0, 35, [10], [1.0])
    for start in (0, 10, 20):
        assert sorted(records[start : start + 10]) == list(range(10))
    assert list(records[:10]) != list(records[10:20])


def test_sources_are_drawn_by_weight():
    sources, _ = sampling_order(0, 10_000, [100, 50], [3.0, 1.0])
    assert abs((sources == 0).mean() - 0.75) < 0.02


def test_each_source_gives_all_its_records():
    sources, records = sampling_order(5, 1000, [7, 31], [1.0, 1.0])
    for source, size in enumerate((7, 31)):
        of_source = records[sources == source]
        assert sorted(of_source[:size]) == list(range(size))


def test_the_seed_alone_decides():
    first, again, other = (sampling_order(seed, 50, [20], [1.0])[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
