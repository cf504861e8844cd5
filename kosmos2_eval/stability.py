"""How steadily a box follows what it is around, from one image to the next.

A step is two neighbouring images in which the same phrase was asked. What the true box does is taken off,
so that a camera that moves costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kosmos2_core.boxes import Box, iou


@dataclass(frozen=True)
class Step:
    found: tuple[Box, Box]
    truth: tuple[Box, Box] | None = None  # where it is known, and one box each

    @property
    def jumps(self) -> bool:
        """To something that it did not touch."""
        return iou(*self.found) == 0

    @property
    def switches(self) -> bool:
        """It jumps while the truth stays where it was, or moves on a little."""
        return self.truth is not None and self.jumps and iou(*self.truth) > 0


def jitter(step: Step) -> float:
    """How far the box's sides move against the true ones, in shares of its size, on average of the four."""
    moved = [_moves(*step.found, around=(step.truth or step.found)[0])]
    if step.truth:
        moved.append(_moves(*step.truth, around=step.truth[0]))
    left = moved[0] - moved[1] if step.truth else moved[0]
    return float(np.abs(left).mean())


def _moves(before: Box, after: Box, around: Box) -> Any:
    width, height = around.x2 - around.x1, around.y2 - around.y1
    moves = (after.x1 - before.x1, after.y1 - before.y1, after.x2 - before.x2, after.y2 - before.y2)
    return np.array(moves) / (width, height, width, height)


def stability(steps: Sequence[Step]) -> dict[str, Any]:
    """Where the truth is known its motion is taken off; other steps tell of motion as it is."""
    known = [one for one in steps if one.truth]
    return {
        "steps": len(steps),
        "jumps": sum(one.jumps for one in steps),
        "motion": _middle([jitter(Step(one.found)) for one in steps]),
        "steps_with_truth": len(known),
        "identity_switches": sum(one.switches for one in known) if known else None,
        "jitter": _middle([jitter(one) for one in known]),
        "jitter_p95": float(np.quantile([jitter(one) for one in known], 0.95)) if known else None,
    }


def _middle(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
