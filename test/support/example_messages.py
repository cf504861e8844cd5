"""Messages with every field set to a value of its own, so that a lost or swapped field shows."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from typing import Any

from rosidl_parser import definition as idl


def example(message_type: type, start: int = 1) -> Any:
    return _fill(message_type, itertools.count(start))


def plain(message: Any) -> Any:
    """Dictionaries, lists, numbers and strings, to compare and to print."""
    if hasattr(message, "get_fields_and_field_types"):
        return {name: plain(getattr(message, name)) for name in message.get_fields_and_field_types()}
    if isinstance(message, str | int | float):
        return message
    return message.tolist() if hasattr(message, "tolist") else [plain(item) for item in message]


def _fill(message_type: type, numbers: Iterator[int]) -> Any:
    message = message_type()
    for name, kind in zip(message.get_fields_and_field_types(), message.SLOT_TYPES, strict=True):
        setattr(message, name, _value(kind, numbers))
    return message


def _value(kind: Any, numbers: Iterator[int]) -> Any:
    if isinstance(kind, idl.Array):
        return [_value(kind.value_type, numbers) for _ in range(kind.size)]
    if isinstance(kind, idl.AbstractSequence):
        return [_value(kind.value_type, numbers) for _ in range(2)]
    if isinstance(kind, idl.NamespacedType):
        return _fill(getattr(importlib.import_module(".".join(kind.namespaces)), kind.name), numbers)
    number = next(numbers)
    if isinstance(kind, idl.AbstractString):
        return f"tasse n\u00b0{number} \U0001f916"
    if kind.typename == "boolean":
        return True
    if kind.typename in ("float", "double"):
        return number + 0.25
    return number % 128  # fits every integer type
