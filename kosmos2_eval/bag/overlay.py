"""Boxes over the recording's images in Foxglove: an MCAP file of foxglove.ImageAnnotations.

Every image topic has one topic of the truth and one per model, so that they can be shown separately. An
annotation has the log time and the stamp of its image. Messages are JSON, as Foxglove's schemas are published
(https://docs.foxglove.dev/docs/sdk/schemas), so that no ROS is needed to show them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_core.files import replacing
from kosmos2_eval.bag.queries import PX_DIGITS, PhraseQuery, QueryResult
from kosmos2_eval.result_files import rounded
from kosmos2_io.stamps import sec_nanosec

SCHEMA = "foxglove.ImageAnnotations"
TRUE_COLOUR, RIGHT_COLOUR, WRONG_COLOUR, UNKNOWN_COLOUR = "#22c55e", "#38bdf8", "#f43f5e", "#fbbf24"
LINE_LOOP = 2  # of foxglove.PointsAnnotationType
LINE_WIDTH, FONT_SIZE = 1 / 160, 1 / 30  # relative to the image's height
TEXT_BACKGROUND = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.6}
TRANSPARENT = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.0}

LabelledBox = tuple[Box, str, str]  # a box, its text and its colour


def write_overlay(file: Path, models: Mapping[str, Sequence[QueryResult]]) -> None:
    """Write the overlay of some models' results, by the name of the model."""
    from mcap.writer import Writer

    with replacing(file) as unfinished, unfinished.open("wb") as stream:
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


def _messages(
    models: Mapping[str, Sequence[QueryResult]],
) -> Iterable[tuple[str, PhraseQuery, dict[str, Any]]]:
    """Yield topic, query and annotations of every evaluated image in order of time, even without boxes."""
    images = [_by_image(results) for results in models.values()]
    for by_model in zip(*images, strict=True):
        query = by_model[0][0].query
        if any(result.query.truth is not None for result in by_model[0]):
            true_boxes = [
                (box, result.query.phrase, TRUE_COLOUR)
                for result in by_model[0]
                for box in result.query.truth or ()
            ]
            yield f"/overlay{query.camera}/truth", query, annotations_of(query, true_boxes)
        for name, results in zip(models, by_model, strict=True):
            boxes = [
                (result.box, f"{result.query.phrase} {result.score:.2f}", colour_of(result))
                for result in results
                if result.box
            ]
            yield f"/overlay{query.camera}/{_topic_part(name)}", query, annotations_of(query, boxes)


def _by_image(results: Sequence[QueryResult]) -> list[list[QueryResult]]:
    return [list(of_image) for _, of_image in groupby(results, lambda result: result.query.frame)]


def colour_of(result: QueryResult) -> str:
    """Return the colour of a predicted box: right, wrong or not labelled."""
    if result.query.truth is None:
        return UNKNOWN_COLOUR
    return RIGHT_COLOUR if result.right else WRONG_COLOUR


def _topic_part(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def annotations_of(query: PhraseQuery, boxes: Sequence[LabelledBox]) -> dict[str, Any]:
    """Return a foxglove.ImageAnnotations with boxes and their texts."""
    return {
        "circles": [],
        "points": [_outline(query, box, colour) for box, _, colour in boxes],
        "texts": [_text(query, *labelled) for labelled in boxes],
    }


def _outline(query: PhraseQuery, box: Box, colour: str) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = box.pixels(query.width, query.height)
    corners = ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))
    return {
        "timestamp": _time(query.stamp_ns),
        "type": LINE_LOOP,
        "points": [_point(*corner) for corner in corners],
        "outline_color": _colour(colour),
        "outline_colors": [],
        "fill_color": TRANSPARENT,
        "thickness": max(2.0, rounded(query.height * LINE_WIDTH, PX_DIGITS)),
        "metadata": [],
    }


def _text(query: PhraseQuery, box: Box, text: str, colour: str) -> dict[str, Any]:
    """Return a text above its box, or inside it where there is no room above."""
    x_min, y_min, _, _ = box.pixels(query.width, query.height)
    size = max(12.0, rounded(query.height * FONT_SIZE, PX_DIGITS))
    return {
        "timestamp": _time(query.stamp_ns),
        "position": _point(x_min, y_min if y_min > size else y_min + size),
        "text": text,
        "font_size": size,
        "text_color": _colour(colour),
        "background_color": TEXT_BACKGROUND,
        "metadata": [],
    }


def _time(stamp_ns: int) -> dict[str, int]:
    sec, nsec = sec_nanosec(stamp_ns)
    return {"sec": sec, "nsec": nsec}


def _point(x: float, y: float) -> dict[str, float]:
    return {"x": rounded(x, PX_DIGITS), "y": rounded(y, PX_DIGITS)}


def _colour(code: str) -> dict[str, float]:
    red, green, blue = (rounded(int(code[start : start + 2], 16) / 255) for start in (1, 3, 5))
    return {"r": red, "g": green, "b": blue, "a": 1.0}


# The schema, as published. Foxglove knows it by its name; other readers need its content.


def schema_of_annotations() -> dict[str, Any]:
    """Return the JSON schema of foxglove.ImageAnnotations."""
    return _object(
        SCHEMA,
        circles=_list(_circle()),
        points=_list(_points()),
        texts=_list(_text_annotation()),
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


def _text_annotation() -> dict[str, Any]:
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
