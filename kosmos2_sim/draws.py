"""Random choices, and the order in which drawn values come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from numpy.random import Generator

T = TypeVar("T")


def choose(options: Sequence[T], rng: Generator) -> T:
    """Draw one of the options, all with the same probability."""
    return options[int(rng.integers(len(options)))]


def shuffled(options: Sequence[T], rng: Generator) -> list[T]:
    """Return the options in random order."""
    return [options[index] for index in rng.permutation(len(options))]


def alternated(first: Iterable[T], second: Iterable[T], rng: Generator) -> Iterator[T]:
    """Yield one value from each side by turns, either one first, until one side is exhausted."""
    for pair in zip(first, second, strict=False):
        yield from shuffled(pair, rng)


def distinct(values: Iterable[T]) -> Iterator[T]:
    """Yield the values without repetitions."""
    known: set[T] = set()
    for value in values:
        if value not in known:
            known.add(value)
            yield value
