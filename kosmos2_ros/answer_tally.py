"""How long answers took to arrive, and by the node's own books what became of each image meanwhile."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kosmos2_ros.books import Outcome

COUNTED = ("received", *map(str, Outcome), "in_flight")
Books = Mapping[str, int]
NOTHING: Books = dict.fromkeys(COUNTED, 0)


class Tally:
    """node: its name; of other nodes' diagnostics nothing is taken."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._ages_ns: dict[str, array[int]] = defaultdict(lambda: array("q"))  # by topic
        self._books: dict[str, tuple[Books, Books]] = {}  # by camera: what does not count, and the last
        self._reported = False

    def answer(self, topic: str, age_ns: int) -> None:
        self._ages_ns[topic].append(age_ns)

    def books(self, statuses: Iterable[Any]) -> None:
        """Of a report of the node's health. What it counted before the first does not count here."""
        own = [one for one in statuses if one.name.strip("/").startswith(f"{self._node}: ")]
        for status in own:
            values = {one.key: one.value for one in status.values}
            if "received" not in values:
                continue
            now = {name: int(values[name]) for name in COUNTED}
            before, last = self._books.get(status.hardware_id, (self._before(now), NOTHING))
            if now["received"] < last["received"]:  # the node was started anew
                before = NOTHING
            self._books[status.hardware_id] = before, now
        self._reported = self._reported or bool(own)

    def _before(self, now: Books) -> Books:
        """Images in flight will be counted. A camera that was not there in an earlier report began since."""
        return NOTHING if self._reported else {**now, "received": now["received"] - now["in_flight"]}

    def since(self) -> dict[str, Books]:
        """Of each camera, what was counted while it was listened to; what is in flight, now."""
        return {
            camera: {name: last[name] - before[name] for name in COUNTED} | {"in_flight": last["in_flight"]}
            for camera, (before, last) in self._books.items()
        }

    def notes(self) -> dict[str, str]:
        """For the bag's metadata."""
        ages = {f"{topic} latency_ms": _spread(those) for topic, those in self._ages_ns.items()}
        books = {f"{camera} books": _written(those) for camera, those in self.since().items()}
        return ages | books

    def lines(self) -> Iterator[str]:
        for topic, ages_ns in self._ages_ns.items():
            yield f"{len(ages_ns):>7,} on {topic}, from stamp to arrival {_spread(ages_ns)} ms"
        for camera, books in self.since().items():
            yield f"{books['received']:>7,} images of {camera}: {_written(books)}"


def _spread(ages_ns: array[int]) -> str:
    p50, p95, most = np.percentile(np.array(ages_ns) / 1e6, (50, 95, 100))
    return f"p50 {p50:.1f}, p95 {p95:.1f}, max {most:.1f}"


def _written(books: Books) -> str:
    return ", ".join(f"{books[name]:,} {name}" for name in COUNTED[1:])
