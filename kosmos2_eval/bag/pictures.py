"""Which queries a report shows as pictures, and the pictures: read from the recording once more, small."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_eval.bag.queries import Judged, Query
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.encodings import to_rgb
from kosmos2_io.stamps import to_ns

COUNT = 12  # of a row of pictures
SIDE, QUALITY = 480, 80  # px of the longer side; of JPEG


@dataclass(frozen=True)
class Row:
    """Places among the queries."""

    title: str
    about: str
    places: tuple[int, ...]


def rows_of(judged: Sequence[Judged]) -> list[Row]:
    """The surest mistakes, the least overlap, the phrases that were missed, the surest right answers, and
    some from everywhere. Where no truth is known: the surest and the least sure."""
    numbered = list(enumerate(judged))
    unknown = [one for one in numbered if one[1].query.truth is None and one[1].box]
    wrong = [one for one in numbered if one[1].query.truth is not None and not one[1].right and one[1].box]
    right = [one for one in numbered if one[1].right]
    elsewhere = [one for one in wrong if one[1].query.truth]
    missed = [one for one in numbered if one[1].query.truth and not one[1].box]
    step = max(len(judged) // COUNT, 1)
    rows = [
        Row("Surest mistakes", "wrong, with the highest scores", _first(wrong, lambda one: -one.score)),
        Row("Least overlap", "wrong, with the lowest IoU", _first(elsewhere, lambda one: one.iou)),
        Row(
            "Missed",
            "in the image, without a box, with the lowest presence",
            _first(missed, lambda one: one.presence),
        ),
        Row("Surest and right", "right, with the highest scores", _first(right, lambda one: -one.score)),
        Row("Barely right", "right, with the lowest IoU", _first(right, lambda one: one.iou)),
        Row("Surest", "not labelled, with the highest scores", _first(unknown, lambda one: -one.score)),
        Row("Least sure", "not labelled, with the lowest scores", _first(unknown, lambda one: one.score)),
        Row("From everywhere", "evenly over the recording", tuple(range(0, len(judged), step))[:COUNT]),
    ]
    return [row for row in rows if row.places]


def _first(numbered: Iterable[tuple[int, Judged]], by: Callable[[Judged], Any]) -> tuple[int, ...]:
    """One of each standing phrase, as long as there are others: neighbouring images look the same."""
    ordered = sorted(numbered, key=lambda one: by(one[1]))
    first: list[int] = []
    rest: list[int] = []
    seen: set[tuple[Any, ...]] = set()
    for place, one in ordered:
        track = (one.query.camera, one.query.standing, one.query.text, one.query.index)
        (rest if track in seen else first).append(place)
        seen.add(track)
    return tuple((first + rest)[:COUNT])


def pictures(bag: BagReader, queries: Iterable[Query]) -> dict[int, str]:
    """Of each query's image, by its number, as a data URL."""
    images = {query.frame: query for query in queries}
    return {number: _url(bag, images[number]) for number in sorted(images)}


def _url(bag: BagReader, query: Query) -> str:
    for one in bag.messages([query.camera], query.log_ns, query.log_ns):
        try:
            message = one.message()
            if (to_ns(message.header.stamp) or one.stamp_ns) == query.stamp_ns:
                return _jpeg(Image.fromarray(to_rgb(message)))
        except InputError:  # another one, recorded at the same time
            continue
    return ""


def _jpeg(picture: Image.Image) -> str:
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(file.getvalue()).decode("ascii")
