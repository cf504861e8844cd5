from __future__ import annotations

from types import SimpleNamespace

import pytest

from kosmos2_io.stamps import header_ns, ns_of_s, sec_nanosec, to_ns, to_s


@pytest.mark.parametrize("time_ns", [0, 1, 999_999_999, 1_767_225_600_000_000_001, -1])
def test_a_stamp_comes_back_as_it_was(time_ns: int) -> None:
    sec, nanosec = sec_nanosec(time_ns)
    assert 0 <= nanosec < 10**9
    assert to_ns(SimpleNamespace(sec=sec, nanosec=nanosec)) == time_ns


def test_a_header_and_seconds() -> None:
    stamp = SimpleNamespace(sec=2, nanosec=500_000_000)
    assert header_ns(SimpleNamespace(header=SimpleNamespace(stamp=stamp))) == 2_500_000_000
    assert to_s(stamp) == 2.5
    assert ns_of_s(2.5) == 2_500_000_000
