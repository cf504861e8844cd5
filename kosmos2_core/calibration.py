"""The calibration of a checkpoint: `calibration.json` beside its weights, fitted to held-out data.

Without the file, scores and boxes are the model's own and the presence threshold is MIN_PRESENCE.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from kosmos2_core.box_scoring import WIDEST, SearchOptions
from kosmos2_core.errors import ModelError
from kosmos2_core.files import read_json

CALIBRATION_FILE = "calibration.json"
MIN_PRESENCE = 0.5  # the presence threshold of a checkpoint whose calibration sets none


@dataclass(frozen=True)
class Calibration:
    """The numbers that make a checkpoint's scores and its "not found" fit held-out data.

    Args:
        temperature: divides the logits of location tokens before they become probabilities.
        slope: scales the log-odds of a score.
        spread: standard deviation, in cells, of the Gaussian targets that the corners were trained with.
        refine: place a corner at the mean of the probabilities around its cell (`kosmos2_core.box_scoring`).
        min_presence: a phrase whose presence is lower gets no box: it was not found.
    """

    temperature: float = 1.0
    slope: float = 1.0
    spread: float = 0.0
    refine: bool = False
    min_presence: float = MIN_PRESENCE

    def apply_to(self, search: SearchOptions) -> SearchOptions:
        """As this checkpoint's places are to be judged."""
        return replace(search, temperature=self.temperature, spread=self.spread, refine=self.refine)

    def score(self, probability: float) -> float:
        if not 0 < probability < 1:
            return min(max(probability, 0.0), 1.0)
        odds = self.slope * (math.log(probability) - math.log1p(-probability))
        return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def read_calibration(folder: Path) -> Calibration | None:
    """The checkpoint's calibration; None where it has none."""
    file = folder / CALIBRATION_FILE
    try:
        values = read_json(file, "calibrate again, or delete it")
    except FileNotFoundError:
        return None
    fields = values if isinstance(values, dict) else {}
    temperature, slope = (_positive(fields.get(name)) for name in ("temperature", "slope"))
    spread, refine = fields.get("spread", 0), fields.get("refine", False)
    min_presence = fields.get("min_presence", MIN_PRESENCE)
    if not (temperature and slope):
        raise ModelError(f"{file} must hold temperature and slope above 0: calibrate again, or delete it.")
    if not _is_number(spread) or not 0 <= spread <= WIDEST:
        raise ModelError(
            f"{file} must hold spread as a number from 0 to {WIDEST:g}: calibrate again, or delete it."
        )
    if not isinstance(refine, bool):
        raise ModelError(f"{file} must hold refine as true or false: calibrate again, or delete it.")
    if not _is_number(min_presence) or not 0 <= min_presence <= 1:
        raise ModelError(
            f"{file} must hold min_presence as a number from 0 to 1: calibrate again, or delete it."
        )
    return Calibration(temperature, slope, float(spread), refine, float(min_presence))


def write_calibration(folder: Path, calibration: Calibration, about: Mapping[str, Any]) -> Path:
    """Beside the weights, whole or not at all, with what is to be known of its origin."""
    file = folder / CALIBRATION_FILE
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
