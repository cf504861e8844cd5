"""The calibration of a checkpoint: `calibration.json` beside its weights, fitted to held-out data.

Without the file, scores and boxes are the model's own and the presence threshold is MIN_PRESENCE.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from kosmos2_core.box_scoring import MAX_SIGMA, SearchOptions
from kosmos2_core.errors import ModelError
from kosmos2_core.files import read_json, write_atomically
from kosmos2_core.presence import EVIDENCE_KINDS, PresenceWeights

CALIBRATION_FILE = "calibration.json"
MAX_WEIGHT = 1e6  # of a kind of evidence for presence
MIN_PRESENCE = 0.5  # the presence threshold of a checkpoint whose calibration sets none


@dataclass(frozen=True)
class Calibration:
    """The numbers that make a checkpoint's scores and its "not found" fit held-out data.

    The field names are the keys of `calibration.json`.

    Args:
        temperature: Divides the logits of location tokens before they become probabilities.
        slope: Scales the log-odds of a score.
        spread: Standard deviation, in cells, of the Gaussian targets that box corners were trained with; 0
            if the targets were single cells.
        refine: Place a corner at the mean of the probabilities around its cell, see
            `kosmos2_core.box_scoring`.
        min_presence: Presence threshold: a phrase with a lower presence was not found and gets no box.
        presence: The combination of evidence that gives the presence; None: it is the probability of
            `<object>`.
    """

    temperature: float = 1.0
    slope: float = 1.0
    spread: float = 0.0
    refine: bool = False
    min_presence: float = MIN_PRESENCE
    presence: PresenceWeights | None = None

    def apply_to(self, search: SearchOptions) -> SearchOptions:
        """Return the search options with this checkpoint's temperature, sigma and refinement."""
        return replace(search, temperature=self.temperature, sigma=self.spread, refine=self.refine)

    def score(self, probability: float) -> float:
        """Return the calibrated score of a box that has this probability."""
        if not 0 < probability < 1:
            return min(max(probability, 0.0), 1.0)
        odds = self.slope * (math.log(probability) - math.log1p(-probability))
        return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def read_calibration(folder: Path) -> Calibration | None:
    """Return the calibration in a checkpoint's folder, or None if it has none.

    Raises:
        ModelError: The file is damaged, or a value in it is of the wrong type or out of range.
    """
    file = folder / CALIBRATION_FILE
    try:
        content = read_json(file, "calibrate again, or delete it")
    except FileNotFoundError:
        return None
    values = content if isinstance(content, dict) else {}
    temperature, slope = (_positive(values.get(key)) for key in ("temperature", "slope"))
    spread, refine = values.get("spread", 0), values.get("refine", False)
    min_presence = values.get("min_presence", MIN_PRESENCE)
    if not (temperature and slope):
        raise _bad_value(file, "temperature and slope", "numbers above 0")
    if not _is_number(spread) or not 0 <= spread <= MAX_SIGMA:
        raise _bad_value(file, "spread", f"a number from 0 to {MAX_SIGMA:g}")
    if not isinstance(refine, bool):
        raise _bad_value(file, "refine", "true or false")
    if not _is_number(min_presence) or not 0 <= min_presence <= 1:
        raise _bad_value(file, "min_presence", "a number from 0 to 1")
    presence = _read_presence(file, values.get("presence"))
    return Calibration(temperature, slope, float(spread), refine, float(min_presence), presence)


def _read_presence(file: Path, content: object) -> PresenceWeights | None:
    if content is None:
        return None
    values = content if isinstance(content, dict) else {}
    weights, bias, question = values.get("weights"), values.get("bias"), values.get("question")
    if not isinstance(weights, dict) or not weights or not set(weights) <= set(EVIDENCE_KINDS):
        raise _bad_value(file, "presence.weights", f"a number for some of {', '.join(EVIDENCE_KINDS)}")
    if not _is_number(bias) or not all(map(_is_number, weights.values())):
        raise _bad_value(file, "presence.weights and presence.bias", "numbers")
    if not all(abs(value) < MAX_WEIGHT for value in (bias, *weights.values())):  # NaN fails too
        raise _bad_value(file, "presence.weights and presence.bias", f"numbers below {MAX_WEIGHT:g}")
    if not isinstance(question, str) or question.count("{}") != 1:
        raise _bad_value(file, "presence.question", "a text with `{}` where the phrase is")
    numbers = {kind: float(weights[kind]) for kind in EVIDENCE_KINDS if kind in weights}
    return PresenceWeights(numbers, float(bias), question)


def write_calibration(folder: Path, calibration: Calibration, about: Mapping[str, Any]) -> Path:
    """Write `calibration.json` beside the weights.

    Args:
        folder: The checkpoint's folder.
        calibration: The fitted numbers.
        about: Further keys that say where the numbers come from, such as the data and the date.

    Returns:
        The file that was written.

    Raises:
        InputError: The folder cannot be written to.
        DiskError: The disk is full.
    """
    file = folder / CALIBRATION_FILE
    values = {key: value for key, value in asdict(calibration).items() if value is not None}
    write_atomically(file, json.dumps({**values, **about}, indent=2) + "\n")
    return file


def _bad_value(file: Path, key: str, expected: str) -> ModelError:
    return ModelError(f"{file} must hold {key} as {expected}: calibrate again, or delete the file.")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object) -> float:
    """Return the value if it is a number above 0, else 0."""
    return float(value) if _is_number(value) and 0 < value < 1e6 else 0.0
