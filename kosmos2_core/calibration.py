"""What makes a checkpoint's answers fit held-out data: calibration.json beside the weights.

The temperature divides the logits of location tokens before they become probabilities; the slope then
scales the log-odds of a score. refine: what neighbouring location tokens share says a corner more finely
than the likeliest of them, which holds for models that were trained so. Where the file is missing, scores
and boxes are the model's own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kosmos2_core.errors import ModelError
from kosmos2_core.json_file import read_json

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    temperature: float = 1.0
    slope: float = 1.0
    refine: bool = False

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
    fields = values if isinstance(values, dict) else {}
    temperature, slope = (_positive(fields.get(name)) for name in ("temperature", "slope"))
    refine = fields.get("refine", False)
    if not (temperature and slope):
        raise ModelError(f"{file} must hold temperature and slope above 0: calibrate again, or delete it.")
    if not isinstance(refine, bool):
        raise ModelError(f"{file} must hold refine as true or false: calibrate again, or delete it.")
    return Calibration(temperature, slope, refine)


def write_calibration(folder: Path, calibration: Calibration, about: Mapping[str, Any]) -> Path:
    """Beside the weights, whole or not at all, with what is to be known of its origin."""
    file = folder / FILE
    new = file.with_suffix(".new")
    try:
        with new.open("w", encoding="utf-8") as stream:
            json.dump({**asdict(calibration), **about}, stream, indent=2)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    except OSError as error:
        raise ModelError(
            f"{file} cannot be written ({error.strerror}): copy the checkpoint to a folder of your own."
        ) from None
    return file


def _positive(value: object) -> float:
    """0 for what is no number above 0."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
    return float(value) if good else 0.0  # type: ignore[arg-type]
