"""The form of answers between server and client: JSON and back, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box

TOO_LONG = "too_long"  # code of the error that a prompt has more tokens than the model has positions
TOKEN_VARIABLE = "KOSMOS2_TOKEN"  # holds the bearer token, of the server and of clients


def is_server(name: str) -> bool:
    """Return whether the name of a model is the address of a server."""
    return name.lower().startswith(("http://", "https://"))


def answer_of(value: dict[str, Any]) -> Answer:
    """Return the answer that `Answer.to_dict` made this of.

    Raises:
        KeyError, TypeError, ValueError, InputError: The value is no such answer.
    """
    return Answer(
        value["text"],
        tuple(map(_entity_of, value["phrases"])),
        (),
        value["dropped"],
        value["finished"],
        value["calibrated"],
        tuple(value["presence_evidence"]),
    )


def _entity_of(value: dict[str, Any]) -> Entity:
    boxes = tuple(_box_of(box["box_unit"], box["score"]) for box in value["boxes"])
    cells = tuple((int(first), int(second)) for first, second in (box["cells"] for box in value["boxes"]))
    return Entity(value["phrase"], value["start"], value["end"], boxes, value["presence"], cells)


def _box_of(edges: Sequence[float], score: float | None) -> Box:
    x1, y1, x2, y2 = edges
    return Box(x1, y1, x2, y2, score)
