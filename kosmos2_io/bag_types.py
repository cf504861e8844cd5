"""Messages decoded with the definitions that a bag brings: those of the robot, whatever its versions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from kosmos2_core.errors import InputError
from kosmos2_io.bag_file import Definition
from kosmos2_io.message_types import typestore

from rosbags.interfaces import Nodetype  # isort: skip
from rosbags.serde import SerdeError  # isort: skip
from rosbags.typesys import (  # isort: skip
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore  # isort: skip

# Code is made of a definition's names and sizes: of a stranger's only what ROS could have written.
NAME: Final = re.compile(r"[a-z][a-z0-9_]*/(msg|srv|action)/[A-Za-z][A-Za-z0-9_]*")
MAX_TEXT: Final = 1 << 20  # letters
MAX_ARRAY: Final = 1 << 16  # of an array of a fixed size
UNREADABLE = (
    *(SerdeError, TypesysError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(SyntaxError, RecursionError, MemoryError),
)


def decode(data: bytes, kind: str, encoding: str, definition: Definition | None) -> Any:
    """A message. kind: its type, as sensor_msgs/msg/Image."""
    if encoding != "cdr":
        raise InputError(f"messages in the encoding {encoding[:20]!r} are not read: ROS 2 writes cdr.")
    store = _store(kind, definition) if definition else None
    if store is None and kind not in typestore().fielddefs:
        raise InputError(
            f"the type {kind[:80]!r} is not known, and the bag has no definition of it that can be read: bags"
            " have them since ROS 2 Iron."
        )
    try:
        return (store or typestore()).deserialize_cdr(memoryview(data), kind)
    except UNREADABLE as error:
        raise InputError(f"a {kind} cannot be decoded ({type(error).__name__}): it is damaged.") from None


@lru_cache(maxsize=256)
def _store(kind: str, definition: Definition) -> Typestore | None:
    """None: the definition cannot be read."""
    if not NAME.fullmatch(kind) or len(definition.text) > MAX_TEXT:
        return None
    read = get_types_from_idl if definition.language == "ros2idl" else None
    try:
        types = read(definition.text) if read else get_types_from_msg(definition.text, kind)
        if not all(map(NAME.fullmatch, types)) or not all(map(_small, types.values())):
            return None
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        store.get_msgdef(kind)
    except UNREADABLE:
        return None
    for form in store.types.values():
        form.__getattr__ = _no_field  # type: ignore[attr-defined]  # called where there is none of the name
    return store


class NoFieldError(InputError, AttributeError):
    """A robot's version of a message may lack what another has: whoever needs it gets a sentence."""


def _no_field(message: Any, name: str) -> Any:
    raise NoFieldError(f"a {message.__msgtype__} has no field {name[:40]}, by the definition in the bag.")


def _small(fields: Any) -> bool:
    return all(form != Nodetype.ARRAY or of[1] <= MAX_ARRAY for _, (form, of) in fields[1])
