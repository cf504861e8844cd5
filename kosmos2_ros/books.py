"""Where every frame of a camera went. The books always balance:

received = processed + replaced + rejected + expired + failed + in_flight
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    PROCESSED = "processed"  # its answer was published
    REPLACED = "replaced"  # a newer one came before the model was free
    REJECTED = "rejected"  # no image that can be used
    EXPIRED = "expired"  # too old, or the command was withdrawn
    FAILED = "failed"  # the model or the publishing raised an error


@dataclass(frozen=True)
class Snapshot:
    received: int
    outcomes: dict[Outcome, int]
    in_flight: int  # waiting, or with the model
    reasons: dict[str, int]  # of what was rejected, expired and failed: `rejected: the image is empty`

    @property
    def residual(self) -> int:
        """0, or the books are wrong."""
        return self.received - sum(self.outcomes.values()) - self.in_flight


@dataclass
class Books:
    _received: int = 0
    _in_flight: int = 0
    _outcomes: Counter[Outcome] = field(default_factory=Counter)
    _reasons: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self) -> None:
        with self._lock:
            self._received += 1
            self._in_flight += 1

    def settle(self, outcome: Outcome, reason: str = "") -> None:
        """One of those in flight is done with."""
        with self._lock:
            self._in_flight -= 1
            self._outcomes[outcome] += 1
            if reason:
                self._reasons[self._known(f"{outcome}: {reason}")] += 1

    def _known(self, reason: str) -> str:
        """Reasons can quote what a stranger sent: beyond some, they are counted together."""
        return reason if reason in self._reasons or len(self._reasons) < MAX_REASONS else OTHER

    def snapshot(self) -> Snapshot:
        with self._lock:
            outcomes = {one: self._outcomes[one] for one in Outcome}
            return Snapshot(self._received, outcomes, self._in_flight, dict(self._reasons))


MAX_REASONS = 32
OTHER = "other reasons"
