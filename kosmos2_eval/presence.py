"""How well a model knows what is in an image: its false alarms and its misses, by kind of phrase.

A false alarm is an absent phrase that was found, a miss a present phrase that was not. Whether the box of a
present phrase is the right one does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kosmos2_eval.metrics import auroc, mean, standard_error

ERRORS = ("false_alarms", "misses")


@dataclass(frozen=True)
class PresenceAnswer:
    """Whether a phrase was found, and whether it should have been.

    Args:
        image: number of the image; phrases of one image may go wrong together.
        kind: the kind of phrase.
        present: whether what it names is in the image.
        found: whether it got a box.
        presence: the model's probability that it is in the image.
    """

    image: int
    kind: str
    present: bool
    found: bool
    presence: float


def presence_figures(answers: Sequence[PresenceAnswer]) -> dict[str, Any]:
    """Return the rates of false alarms and misses, of each kind and of all, and the worst kinds of each."""
    kinds = {
        kind: _rates([answer for answer in answers if answer.kind == kind])
        for kind in sorted({answer.kind for answer in answers})
    }
    return {
        "images": len({answer.image for answer in answers}),
        "kinds": kinds,
        "all": _rates(answers),
        "worst": {error: _worst(kinds, error) for error in ERRORS},
    }


def _rates(answers: Sequence[PresenceAnswer]) -> dict[str, Any]:
    """Rates, their standard errors and the AUROC; None where there is no phrase to tell them from."""
    absent = [answer for answer in answers if not answer.present]
    present = [answer for answer in answers if answer.present]
    alarms = [float(answer.found) for answer in absent]
    misses = [float(not answer.found) for answer in present]
    return {
        "absent": len(absent),
        "false_alarms": mean(alarms),
        "false_alarms_error": standard_error(alarms, [answer.image for answer in absent]),
        "present": len(present),
        "misses": mean(misses),
        "misses_error": standard_error(misses, [answer.image for answer in present]),
        "auroc": auroc([answer.presence for answer in present], [answer.presence for answer in absent]),
    }


def _worst(kinds: dict[str, dict[str, Any]], error: str) -> list[str]:
    """The kinds with the highest rate of this error; none if no phrase has it."""
    rates = {kind: figures[error] for kind, figures in kinds.items() if figures[error]}
    return [kind for kind, rate in rates.items() if rate == max(rates.values())]
