"""Conversion between ROS time stamps (seconds and nanoseconds) and whole nanoseconds.

A stamp is anything with the fields `sec` and `nanosec`: builtin_interfaces/Time or Duration, from a running
ROS or from a bag. Inside the project time is always an int of nanoseconds.
"""

from __future__ import annotations

from typing import Any, Final

NS_PER_S: Final = 1_000_000_000


def to_ns(stamp: Any) -> int:
    """Return the nanoseconds of a builtin_interfaces Time or Duration."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def header_ns(message: Any) -> int:
    """Return the stamp in the header of a message, in nanoseconds."""
    return to_ns(message.header.stamp)


def sec_nanosec(time_ns: int) -> tuple[int, int]:
    """Return the fields `sec` and `nanosec` of a time in nanoseconds; `nanosec` is never negative."""
    return divmod(time_ns, NS_PER_S)


def to_s(stamp: Any) -> float:
    """Return the seconds of a builtin_interfaces Time or Duration as a float."""
    return float(stamp.sec) + float(stamp.nanosec) / NS_PER_S


def ns_of_s(seconds: float) -> int:
    """Return seconds as nanoseconds, rounded to the nearest."""
    return round(seconds * NS_PER_S)
