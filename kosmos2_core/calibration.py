"""What makes a checkpoint's scores honest: two numbers fitted on held-out data, in calibration.json beside
the weights.

The temperature divides the logits of location tokens before they become probabilities; the slope then
scales the log-odds of a score. Where the file is missing, scores are the model's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from kosmos2_core.errors import ModelError
from kosmos2_core.json_file import read_json

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    temperature: float = 1.0
    slope: float = 1.0

    def score(self, probability: float) -> float:
        if not 0 < probability < 1:
            return min(max(probability, 0.0), 1.0)
        odds = self.slope * (math.log(probability) - math.log1p(-probability))
        return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def read_calibration(folder: Path) -> Calibration | None:
    """The checkpoint's calibration; None where it has none."""
    file = folder / FILE
    try:
        values = read_json(file, "calibrate again, or delete it")
    except FileNotFoundError:
        return None
    names = [one.name for one in fields(Calibration)]
    numbers = [_positive(values.get(name)) for name in names] if isinstance(values, dict) else [0.0]
    if not all(numbers):
        raise ModelError(f"{file} must hold {' and '.join(names)} above 0: calibrate again, or delete it.")
    return Calibration(*numbers)


def _positive(value: object) -> float:
    """0 for what is no number above 0."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
    return float(value) if good else 0.0  # type: ignore[arg-type]
