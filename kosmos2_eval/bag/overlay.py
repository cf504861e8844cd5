"""Boxes to be shown over the recording's images in Foxglove: an MCAP of foxglove.ImageAnnotations.

For each image topic one topic of the truth and one of each model, so that each can be switched on and off. An
annotation is recorded when its image was, and carries the image's stamp. JSON, as Foxglove's schemas are
published (https://docs.foxglove.dev/docs/sdk/schemas); no ROS is needed to look at it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_eval.bag.queries import PX_DIGITS, Judged, Query, rounded

SCHEMA = "foxglove.ImageAnnotations"
TRUE, RIGHT, WRONG, UNKNOWN = "#22c55e", "#38bdf8", "#f43f5e", "#fbbf24"
LINE_LOOP = 2  # of foxglove.PointsAnnotationType
LINE, LETTERS = 1 / 160, 1 / 30  # of the image's height
SHADE = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.6}
CLEAR = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.0}


def write_overlay(file: Path, models: Mapping[str, Sequence[Judged]]) -> None:
    try:
        from mcap.writer import Writer
    except ImportError:
        raise InputError("the overlay needs mcap: `pip install 'kosmos2[eval]'`.") from None
    with file.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="", library="kosmos2")
        schema = writer.register_schema(SCHEMA, "jsonschema", json.dumps(schema_of_annotations()).encode())
        channels: dict[str, int] = {}
        for topic, query, annotations in _messages(models):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", schema)
            data = json.dumps(annotations).encode()
            writer.add_message(channels[topic], query.log_ns, data, publish_time=query.stamp_ns)
        writer.finish()  # type: ignore[no-untyped-call]


def _messages(models: Mapping[str, Sequence[Judged]]) -> Iterable[tuple[str, Query, dict[str, Any]]]:
    """In the order of time, of every image that was evaluated, also where nothing is shown."""
    images = [_by_image(judged) for judged in models.values()]
    for own in zip(*images, strict=True):
        query = own[0][0].query
        if any(one.query.truth is not None for one in own[0]):
            boxes = [(box, one.query.phrase, TRUE) for one in own[0] for box in one.query.truth or ()]
            yield f"/overlay{query.camera}/truth", query, annotations_of(query, boxes)
        for name, judged in zip(models, own, strict=True):
            found = [
                (one.box, f"{one.query.phrase} {one.score:.2f}", colour_of(one)) for one in judged if one.box
            ]
            yield f"/overlay{query.camera}/{_word(name)}", query, annotations_of(query, found)


def _by_image(judged: Sequence[Judged]) -> list[list[Judged]]:
    return [list(own) for _, own in groupby(judged, lambda one: one.query.frame)]


def colour_of(one: Judged) -> str:
    return UNKNOWN if one.query.truth is None else RIGHT if one.right else WRONG


def _word(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def annotations_of(query: Query, boxes: Sequence[tuple[Box, str, str]]) -> dict[str, Any]:
    """Boxes in an image, with words and a colour each."""
    return {
        "circles": [],
        "points": [_outline(query, box, colour) for box, _, colour in boxes],
        "texts": [_text(query, *one) for one in boxes],
    }


def _outline(query: Query, box: Box, colour: str) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = box.pixels(query.width, query.height)
    corners = ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))
    return {
        "timestamp": _time(query.stamp_ns),
        "type": LINE_LOOP,
        "points": [_point(*corner) for corner in corners],
        "outline_color": _colour(colour),
        "outline_colors": [],
        "fill_color": CLEAR,
        "thickness": max(2.0, rounded(query.height * LINE, PX_DIGITS)),
        "metadata": [],
    }


def _text(query: Query, box: Box, words: str, colour: str) -> dict[str, Any]:
    """Above the box, or within it where there is no room."""
    x_min, y_min, _, _ = box.pixels(query.width, query.height)
    size = max(12.0, rounded(query.height * LETTERS, PX_DIGITS))
    return {
        "timestamp": _time(query.stamp_ns),
        "position": _point(x_min, y_min if y_min > size else y_min + size),
        "text": words,
        "font_size": size,
        "text_color": _colour(colour),
        "background_color": SHADE,
        "metadata": [],
    }


def _time(stamp_ns: int) -> dict[str, int]:
    sec, nsec = divmod(stamp_ns, 10**9)
    return {"sec": sec, "nsec": nsec}


def _point(x: float, y: float) -> dict[str, float]:
    return {"x": rounded(x, PX_DIGITS), "y": rounded(y, PX_DIGITS)}


def _colour(code: str) -> dict[str, float]:
    red, green, blue = (rounded(int(code[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return {"r": red, "g": green, "b": blue, "a": 1.0}


# The schema, as published: Foxglove knows it by name, other readers by what it says.


def schema_of_annotations() -> dict[str, Any]:
    return _object(
        SCHEMA,
        circles=_list(_circle()),
        points=_list(_points()),
        texts=_list(_label()),
    )


def _circle() -> dict[str, Any]:
    return _object(
        "foxglove.CircleAnnotation",
        timestamp=_TIME,
        position=_POINT,
        diameter=_NUMBER,
        thickness=_NUMBER,
        fill_color=_COLOUR,
        outline_color=_COLOUR,
        metadata=_list(_PAIR),
    )


def _points() -> dict[str, Any]:
    names = ("UNKNOWN", "POINTS", "LINE_LOOP", "LINE_STRIP", "LINE_LIST")
    kinds = [{"title": name, "const": number} for number, name in enumerate(names)]
    return _object(
        "foxglove.PointsAnnotation",
        timestamp=_TIME,
        type={"title": "foxglove.PointsAnnotationType", "oneOf": kinds},
        points=_list(_POINT),
        outline_color=_COLOUR,
        outline_colors=_list(_COLOUR),
        fill_color=_COLOUR,
        thickness=_NUMBER,
        metadata=_list(_PAIR),
    )


def _label() -> dict[str, Any]:
    return _object(
        "foxglove.TextAnnotation",
        timestamp=_TIME,
        position=_POINT,
        text=_STRING,
        font_size=_NUMBER,
        text_color=_COLOUR,
        background_color=_COLOUR,
        metadata=_list(_PAIR),
    )


def _object(title: str, **fields: Any) -> dict[str, Any]:
    return {"title": title, "type": "object", "properties": fields, "required": list(fields)}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_NUMBER, _STRING = {"type": "number"}, {"type": "string"}
_NANOSECONDS = {"type": "integer", "minimum": 0, "maximum": 999999999}
_TIME = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer", "minimum": 0}, "nsec": _NANOSECONDS},
}
_POINT = _object("foxglove.Point2", x=_NUMBER, y=_NUMBER)
_COLOUR = _object("foxglove.Color", r=_NUMBER, g=_NUMBER, b=_NUMBER, a=_NUMBER)
_PAIR = _object("foxglove.KeyValuePair", key=_STRING, value=_STRING)
