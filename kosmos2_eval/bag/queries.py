"""One phrase asked of one image: what is true, and what a model found. Lines of queries.csv."""

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
from kosmos2_eval.detection import Matches, Ranked, best_overlap, match, size_of
from kosmos2_eval.metrics import RIGHT

Point = tuple[float, float, float]
DIGITS, PX_DIGITS = 6, 2
COLUMNS = (
    *("model", "frame", "camera", "stamp", "standing", "text", "index", "phrase", "kind", "size", "truth"),
    *("true_boxes_px", "found_box_px", "score", "presence", "iou", "right", "centre_error_m"),
)


@dataclass(frozen=True)
class Query:
    frame: int  # the image's number among those that were evaluated, from 0
    camera: str  # the image's topic
    stamp_ns: int
    log_ns: int  # when the image was recorded
    width: int
    height: int
    standing: int  # the number of the command that stands
    text: str  # all that is asked, with this phrase marked
    index: int  # the phrase's number in it
    phrase: str
    kind: str
    truth: tuple[Box, ...] | None  # empty: absent; None: not known
    true_centre_m: Point | None = None  # in the frame that the truth in space has

    @property
    def size(self) -> str:
        """Of the true thing in the image, as COCO has it."""
        areas = sorted(self.truth or (), key=lambda box: box.area)
        return size_of(areas[-1], self.width * self.height) if areas else ""


@dataclass(frozen=True)
class Found:
    boxes: tuple[Box, ...]  # the surest first, with scores
    presence: float | None
    centre_m: Point | None = None  # of the first box, in the frame of the truth
    unplaced: str = ""  # why it is not known where the box is, though it is where the thing is


@dataclass(frozen=True)
class Judged:
    """What a model found, held to the truth."""

    query: Query
    found: Found

    @property
    def box(self) -> Box | None:
        return self.found.boxes[0] if self.found.boxes else None

    @property
    def score(self) -> float:
        return (self.box.score or 0.0) if self.box else 0.0

    @property
    def presence(self) -> float:
        return self.found.presence or 0.0

    @cached_property
    def iou(self) -> float:
        """Of the surest box; 0 where nothing was found, or is there."""
        return best_overlap(self.ranked)

    @property
    def right(self) -> bool:
        return self.iou >= RIGHT

    @property
    def centre_error_m(self) -> float | None:
        if self.found.centre_m is None or self.query.true_centre_m is None:
            return None
        return math.dist(self.found.centre_m, self.query.true_centre_m)

    @cached_property
    def ranked(self) -> Ranked:
        return Ranked(self.query.truth or (), self.found.boxes, self.query.width * self.query.height)

    @cached_property
    def ranked_apart(self) -> Ranked:
        """Without boxes that meet a surer one at 0.5: they claim the same thing, and would be alarms."""
        return replace(self.ranked, boxes=tuple(suppress(self.found.boxes, RIGHT)))

    @cached_property
    def matches(self) -> Matches:
        return match(self.ranked_apart)


# As JSON, for the journal: exact, to the last digit.


def query_json(query: Query) -> dict[str, Any]:
    return asdict(query) | {"truth": None if query.truth is None else [_numbers(box) for box in query.truth]}


def query_of(fields: Mapping[str, Any]) -> Query:
    truth, centre = fields["truth"], fields["true_centre_m"]
    boxes = None if truth is None else tuple(Box(*numbers) for numbers in truth)
    return Query(**{**fields, "truth": boxes, "true_centre_m": centre and tuple(centre)})


def found_json(found: Found) -> dict[str, Any]:
    return asdict(found) | {"boxes": [_numbers(box) for box in found.boxes]}


def found_of(fields: Mapping[str, Any]) -> Found:
    boxes, centre = tuple(Box(*numbers) for numbers in fields["boxes"]), fields["centre_m"]
    return Found(**{**fields, "boxes": boxes, "centre_m": centre and tuple(centre)})


def _numbers(box: Box) -> list[float | None]:
    return [box.x1, box.y1, box.x2, box.y2, box.score]


# As a table, for people and `kosmos2 eval diff`.


def write_queries(file: Path, models: Mapping[str, Iterable[Judged]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(row_of(name, one) for name, judged in models.items() for one in judged)


def row_of(model: str, one: Judged) -> dict[str, Any]:
    query = one.query
    known = query.truth is not None
    return {
        "model": model,
        "frame": query.frame,
        "camera": query.camera,
        "stamp": stamp_text(query.stamp_ns),
        "standing": query.standing,
        "text": " ".join(query.text.split()),  # on one line
        "index": query.index,
        "phrase": " ".join(query.phrase.split()),
        "kind": query.kind,
        "size": query.size,
        "truth": ("present" if query.truth else "absent") if known else "",
        "true_boxes_px": ";".join(_pixels(box, query) for box in query.truth or ()),
        "found_box_px": _pixels(one.box, query) if one.box else "",
        "score": rounded(one.score),
        "presence": "" if one.found.presence is None else rounded(one.found.presence),
        "iou": rounded(one.iou) if known else "",
        "right": int(one.right) if query.truth else "",
        "centre_error_m": "" if one.centre_error_m is None else rounded(one.centre_error_m),
    }


def stamp_text(stamp_ns: int) -> str:
    sec, nanosec = divmod(stamp_ns, 10**9)
    return f"{sec}.{nanosec:09}"


def rounded(value: float, digits: int = DIGITS) -> float:
    return round(value, digits) + 0.0  # no -0


def _pixels(box: Box, query: Query) -> str:
    return " ".join(f"{rounded(value, PX_DIGITS):g}" for value in box.pixels(query.width, query.height))


@dataclass(frozen=True)
class Row:
    """A line of queries.csv, as far as two evaluations are compared by it."""

    model: str
    camera: str
    stamp: str
    text: str
    index: int
    phrase: str
    kind: str
    iou: float | None  # None: the truth is not known, or it is absent
    score: float

    @property
    def asked(self) -> tuple[str, str, str, int]:
        """The same question in another evaluation."""
        return self.camera, self.stamp, self.text, self.index

    @classmethod
    def of(cls, line: Mapping[str, str]) -> Self:
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


def read_queries(file: Path) -> list[Row]:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [Row.of(line) for line in csv.DictReader(stream)]
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, csv.Error):
        raise InputError(f"{file} is no table of queries: `kosmos2 eval bag` writes one.") from None
