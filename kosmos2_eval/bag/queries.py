"""Queries: one phrase asked of one image, with its truth and a model's prediction; the table queries.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from kosmos2_core.boxes import Box, suppress
from kosmos2_core.errors import InputError
from kosmos2_core.files import csv_text, read_csv, write_atomically
from kosmos2_eval.detection import Matches, RankedBoxes, match, size_of
from kosmos2_eval.metrics import RIGHT
from kosmos2_eval.result_files import rounded
from kosmos2_io.stamps import sec_nanosec

Point = tuple[float, float, float]  # m
PX_DIGITS = 2  # after the point, of pixel coordinates
COLUMNS = (
    *("model", "frame", "camera", "stamp", "standing", "text", "index", "phrase", "kind", "size", "truth"),
    *("true_boxes_px", "found_box_px", "score", "presence", "iou", "right", "centre_error_m"),
)


@dataclass(frozen=True)
class PhraseQuery:
    """One phrase asked of one image.

    Args:
        frame: number of the image among the selected images, from 0.
        camera: topic of the image.
        stamp_ns: stamp in the header of the image.
        log_ns: time at which the image was recorded.
        width: of the image, in pixels.
        height: of the image, in pixels.
        command_index: number of the current command; the same words given again are another command.
        text: the whole command with this phrase marked, as grounded Markdown.
        index: number of the phrase in the command.
        phrase: the words of the phrase.
        kind: how the phrase identifies its object, see `phrases.kind_of`.
        truth: true boxes; empty if the phrase is absent, None if the labels do not say.
        true_centre_m: true position of the object, in the frame of the 3D labels.
    """

    frame: int
    camera: str
    stamp_ns: int
    log_ns: int
    width: int
    height: int
    command_index: int
    text: str
    index: int
    phrase: str
    kind: str
    truth: tuple[Box, ...] | None
    true_centre_m: Point | None = None

    @property
    def size(self) -> str:
        """COCO's size class of the largest true box; empty without one."""
        areas = sorted(self.truth or (), key=lambda box: box.area)
        return size_of(areas[-1], self.width * self.height) if areas else ""

    @property
    def track(self) -> tuple[str, int, str, int]:
        """The key of all queries of one phrase while its command is current."""
        return self.camera, self.command_index, self.text, self.index


@dataclass(frozen=True)
class Prediction:
    """The answer of a model to a query.

    Args:
        boxes: with scores, the highest first.
        presence: the probability that the phrase is in the image; None if it is not known.
        centre_m: 3D position of the first box, in the frame of the 3D labels.
        unplaced: the reason why the first box has no 3D position although the object has a true one.
    """

    boxes: tuple[Box, ...]
    presence: float | None
    centre_m: Point | None = None
    unplaced: str = ""


@dataclass(frozen=True)
class QueryResult:
    """A query with a model's prediction, and how they compare."""

    query: PhraseQuery
    prediction: Prediction

    @property
    def box(self) -> Box | None:
        """The box with the highest score."""
        return self.prediction.boxes[0] if self.prediction.boxes else None

    @property
    def score(self) -> float:
        """Score of `box`, or 0 without one."""
        return (self.box.score or 0.0) if self.box else 0.0

    @property
    def presence(self) -> float:
        """Presence of the phrase, or 0 if it is not known."""
        return self.prediction.presence or 0.0

    @cached_property
    def iou(self) -> float:
        """IoU of `box` with the best true box; 0 without either."""
        return self.ranked.best_overlap()

    @property
    def right(self) -> bool:
        """True if `box` has an IoU of at least 0.5 with a true box."""
        return self.iou >= RIGHT

    @property
    def verdict(self) -> str:
        """The outcome in words.

        `right`, `wrong` or `missed` (no box) for a present phrase; `rejected` (no box) or `false alarm` for
        an absent one; `not labelled` if the truth is not known.
        """
        if self.query.truth is None:
            return "not labelled"
        if not self.query.truth:
            return "false alarm" if self.box else "rejected"
        if not self.box:
            return "missed"
        return "right" if self.right else "wrong"

    @property
    def centre_error_m(self) -> float | None:
        """Distance of the 3D position from the true one; None if either is not known."""
        if self.prediction.centre_m is None or self.query.true_centre_m is None:
            return None
        return math.dist(self.prediction.centre_m, self.query.true_centre_m)

    @cached_property
    def ranked(self) -> RankedBoxes:
        """The predicted and the true boxes."""
        area = self.query.width * self.query.height
        return RankedBoxes(self.query.truth or (), self.prediction.boxes, area)

    @cached_property
    def ranked_distinct(self) -> RankedBoxes:
        """The same without boxes that overlap one with a higher score at IoU 0.5.

        Such boxes are another guess at the same object; average precision would count them as false alarms.
        """
        return replace(self.ranked, boxes=tuple(suppress(self.prediction.boxes, RIGHT)))

    @cached_property
    def matches(self) -> Matches:
        """The distinct boxes matched with the true ones."""
        return match(self.ranked_distinct)


# JSON for the log of an unfinished evaluation: exact, to the last digit.


def query_to_json(query: PhraseQuery) -> dict[str, Any]:
    """Return a query as JSON values."""
    return asdict(query) | {"truth": None if query.truth is None else [_numbers(box) for box in query.truth]}


def query_from_json(fields: Mapping[str, Any]) -> PhraseQuery:
    """Return the query that `query_to_json` wrote."""
    truth, centre = fields["truth"], fields["true_centre_m"]
    boxes = None if truth is None else tuple(Box(*numbers) for numbers in truth)
    return PhraseQuery(**{**fields, "truth": boxes, "true_centre_m": centre and tuple(centre)})


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON values."""
    return asdict(prediction) | {"boxes": [_numbers(box) for box in prediction.boxes]}


def prediction_from_json(fields: Mapping[str, Any]) -> Prediction:
    """Return the prediction that `prediction_to_json` wrote."""
    boxes, centre = tuple(Box(*numbers) for numbers in fields["boxes"]), fields["centre_m"]
    return Prediction(**{**fields, "boxes": boxes, "centre_m": centre and tuple(centre)})


def _numbers(box: Box) -> list[float | None]:
    return [box.x1, box.y1, box.x2, box.y2, box.score]


# queries.csv, for people and for `kosmos2 eval diff`.


def write_queries(file: Path, models: Mapping[str, Iterable[QueryResult]]) -> None:
    """Write one line per query and model."""
    rows = (csv_row(name, result) for name, results in models.items() for result in results)
    write_atomically(file, csv_text(COLUMNS, rows))


def csv_row(model: str, result: QueryResult) -> dict[str, Any]:
    """Return a line of queries.csv, by column."""
    query, presence = result.query, result.prediction.presence
    known = query.truth is not None
    return {
        "model": model,
        "frame": query.frame,
        "camera": query.camera,
        "stamp": stamp_text(query.stamp_ns),
        "standing": query.command_index,
        "text": " ".join(query.text.split()),  # on one line
        "index": query.index,
        "phrase": " ".join(query.phrase.split()),
        "kind": query.kind,
        "size": query.size,
        "truth": ("present" if query.truth else "absent") if known else "",
        "true_boxes_px": ";".join(_pixels(box, query) for box in query.truth or ()),
        "found_box_px": _pixels(result.box, query) if result.box else "",
        "score": rounded(result.score),
        "presence": "" if presence is None else rounded(presence),
        "iou": rounded(result.iou) if known else "",
        "right": int(result.right) if query.truth else "",
        "centre_error_m": "" if result.centre_error_m is None else rounded(result.centre_error_m),
    }


def stamp_text(stamp_ns: int) -> str:
    """Return a stamp in seconds, with all nine digits."""
    seconds, nanoseconds = sec_nanosec(stamp_ns)
    return f"{seconds}.{nanoseconds:09}"


def _pixels(box: Box, query: PhraseQuery) -> str:
    return " ".join(f"{rounded(value, PX_DIGITS):g}" for value in box.pixels(query.width, query.height))


@dataclass(frozen=True)
class QueryRow:
    """The columns of queries.csv by which two evaluations are compared.

    `iou` is None if the phrase is absent or the truth is not known.
    """

    model: str
    camera: str
    stamp: str
    text: str
    index: int
    phrase: str
    kind: str
    iou: float | None
    score: float

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The key of the same query in another evaluation."""
        return self.camera, self.stamp, self.text, self.index

    @classmethod
    def from_csv(cls, line: Mapping[str, str]) -> Self:
        """Return the row of a line of queries.csv, by column."""
        present = line["truth"] == "present"
        return cls(
            line["model"],
            line["camera"],
            line["stamp"],
            line["text"],
            int(line["index"]),
            line["phrase"],
            line["kind"],
            float(line["iou"]) if present else None,
            float(line["score"]),
        )


def read_queries(file: Path) -> list[QueryRow]:
    """Read queries.csv.

    Raises:
        InputError: the file cannot be read, or is another table.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [QueryRow.from_csv(line) for line in read_csv(stream)]
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, csv.Error):
        raise InputError(
            f"{file} is not a table of queries as `kosmos2 eval bag` writes it: evaluate again."
        ) from None
