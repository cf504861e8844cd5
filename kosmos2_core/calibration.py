"""What makes a checkpoint's answers fit held-out data: calibration.json beside the weights.

The temperature divides the logits of location tokens before they become probabilities; the slope then
scales the log-odds of a score. spread and refine are for models that were trained with a bell of shares
around each corner (`kosmos2_core.judging`): how wide it is, in cells, and whether what neighbouring location
tokens share says a corner more finely than the likeliest of them. Where the file is missing, scores and
boxes are the model's own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from kosmos2_core.errors import ModelError
from kosmos2_core.json_file import read_json
from kosmos2_core.judging import WIDEST, Search

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    temperature: float = 1.0
    slope: float = 1.0
    spread: float = 0.0
    refine: bool = False

    def searching(self, search: Search) -> Search:
        """As this checkpoint's places are to be judged."""
        return replace(search, temperature=self.temperature, spread=self.spread, refine=self.refine)

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
    spread, refine = fields.get("spread", 0), fields.get("refine", False)
    if not (temperature and slope):
        raise ModelError(f"{file} must hold temperature and slope above 0: calibrate again, or delete it.")
    if not _is_number(spread) or not 0 <= spread <= WIDEST:
        raise ModelError(
            f"{file} must hold spread as a number from 0 to {WIDEST:g}: calibrate again, or delete it."
        )
    if not isinstance(refine, bool):
        raise ModelError(f"{file} must hold refine as true or false: calibrate again, or delete it.")
    return Calibration(temperature, slope, float(spread), refine)


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


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object) -> float:
    """0 for what is no number above 0."""
    return float(value) if _is_number(value) and 0 < value < 1e6 else 0.0
