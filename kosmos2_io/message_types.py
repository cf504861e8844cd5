"""ROS message types without ROS: make messages, serialize them, and decode recorded ones.

`new("std_msgs/msg/String", data="...")` makes a message. `typestore()` knows the types of ROS 2 Jazzy and
those that this repository defines; it writes the bytes that ROS sends. `decode` reads a recorded message with
the definition in its bag, so that a robot's own version of a type is understood.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from kosmos2_core.errors import InputError
from kosmos2_core.packages import missing_package

try:
    from rosbags.interfaces import Nodetype
    from rosbags.serde import SerdeError
    from rosbags.typesys import (
        Stores,
        TypesysError,
        get_types_from_idl,
        get_types_from_msg,
        get_typestore,
    )
    from rosbags.typesys.store import Typestore
except ModuleNotFoundError as error:  # in a process without the edge of the command line, too
    raise missing_package(error.name or "rosbags") from None

DEFINED_HERE = ("kosmos2", "vision_msgs")  # rosbags knows Jazzy's own packages, tf2_msgs among them

# rosbags generates code from the names and sizes in a definition, so a definition from a bag is used only if
# ROS could have written it.
TYPE_NAME: Final = re.compile(r"[a-z][a-z0-9_]*/(msg|srv|action)/[A-Za-z][A-Za-z0-9_]*")
SERVICE_OR_ACTION: Final = re.compile(r"[^/]*/(srv|action)/")
MAX_DEFINITION: Final = 1 << 20  # characters
# Parsing a definition and generating code for it takes 0.4 ms for each word and run of signs. The largest
# definition of ROS 2 Jazzy's messages has 449 of them, without comments.
MAX_WORDS: Final = 6000
WORD: Final = re.compile(r"\w+|[^\w\s]+")
LINE_COMMENT: Final = re.compile(r"^[ \t]*(?:#|//).*\n?|^[ \t]*\n", re.MULTILINE)
COMMENT: Final = re.compile(r"(?:#|//).*")
MAX_ARRAY: Final = 1 << 16  # numbers in an array of a fixed size
MAX_UNROLLED: Final = 1 << 12  # texts and messages in all arrays of a fixed size: each becomes lines of code
UNREADABLE = (
    *(SerdeError, TypesysError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(SyntaxError, RecursionError, MemoryError),
)


@dataclass(frozen=True, slots=True)
class MessageDefinition:
    """The definition of a message type with all types that it is made of.

    Args:
        language: ros2msg or ros2idl.
        text: The definition.
    """

    language: str
    text: str


class NoFieldError(InputError, AttributeError):
    """A message has no field of this name, because the robot's version of its type is another one."""


def new(name: str, /, **fields: Any) -> Any:
    """Make a message of a type such as `std_msgs/msg/String`. All its fields have to be given."""
    return typestore().types[name](**fields)


@cache
def typestore() -> Typestore:
    """Return the known message types: those of ROS 2 Jazzy, kosmos2 and vision_msgs.

    Raises:
        InputError: The message definitions of kosmos2 or vision_msgs are not found.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for package in DEFINED_HERE:
        for file in _definition_files(package):
            types.update(get_types_from_msg(file.read_text("utf-8"), f"{package}/msg/{file.stem}"))
    store.register(types)
    return store


def _definition_files(package: str) -> list[Path]:
    """Return the .msg files of a package: of this clone, or where colcon or pip installed them."""
    clone = Path(__file__).resolve().parents[1]
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [
        clone / "msg" if package == "kosmos2" else clone / "interfaces" / package / "msg",
        *(Path(prefix, "share", package, "msg") for prefix in prefixes),
    ]
    for folder in folders:
        if files := sorted(folder.glob("*.msg")):
            return files
    raise InputError(
        f"the message definitions of {package} are not found: source the ROS workspace that has them, or run"
        " from a clone of this repository."
    )


def decode(data: bytes, message_type: str, encoding: str, definition: MessageDefinition | None) -> Any:
    """Decode a recorded message.

    Args:
        data: The bytes of the message.
        message_type: Its type, such as sensor_msgs/msg/Image.
        encoding: The encoding of the bytes; ROS 2 writes cdr.
        definition: The definition in the bag; None: the known type of this name is used.

    Raises:
        InputError: The type is not known, or the message is damaged.
    """
    if encoding != "cdr":
        raise InputError(f"messages in the encoding {encoding[:20]!r} are not read: ROS 2 writes cdr.")
    store = _store_of(message_type, definition) if definition else None
    if store is None and message_type not in typestore().fielddefs:
        raise InputError(_unknown_type(message_type[:80], definition is not None))
    try:
        return (store or typestore()).deserialize_cdr(memoryview(data), message_type)
    except UNREADABLE as error:
        raise InputError(
            f"a {message_type} cannot be decoded ({type(error).__name__}): it is damaged."
        ) from None


def _unknown_type(message_type: str, has_definition: bool) -> str:
    if SERVICE_OR_ACTION.match(message_type):
        return (
            f"the type {message_type!r} belongs to a service or an action, and the bag has no definition of"
            " it that can be read: only messages of topics are read."
        )
    if has_definition:
        return f"the type {message_type!r} is not known, and its definition in the bag cannot be read."
    return (
        f"the type {message_type!r} is not known, and the bag has no definition of it: record with ROS 2 Iron"
        " or newer, where the package that defines the type is installed."
    )


@lru_cache(maxsize=32)
def _store_of(message_type: str, definition: MessageDefinition) -> Typestore | None:
    """Return a store with the types of a definition, or None if the definition cannot be used."""
    if not TYPE_NAME.fullmatch(message_type) or len(definition.text) > MAX_DEFINITION:
        return None
    from_idl = definition.language == "ros2idl"
    text = LINE_COMMENT.sub("", definition.text)  # the parser is slow at comments
    if sum(1 for _ in WORD.finditer(COMMENT.sub("", text))) > MAX_WORDS:
        return None
    try:
        types = get_types_from_idl(text) if from_idl else get_types_from_msg(text, message_type)
        if not all(map(TYPE_NAME.fullmatch, types)) or not _arrays_are_small(types):
            return None
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        store.get_msgdef(message_type)
    except UNREADABLE:
        return None
    for message_class in store.types.values():
        message_class.__getattr__ = _no_field  # type: ignore[attr-defined]  # called for unknown names only
    return store


def _no_field(message: Any, name: str) -> Any:
    raise NoFieldError(
        f"a {message.__msgtype__} has no field {name[:40]}, according to the definition in the bag."
    )


def _arrays_are_small(types: Mapping[str, Any]) -> bool:
    arrays = [
        details
        for _, fields in types.values()
        for _, (node_type, details) in fields
        if node_type == Nodetype.ARRAY
    ]
    unrolled = sum(size for element, size in arrays if not _is_number(element))
    return unrolled <= MAX_UNROLLED and all(size <= MAX_ARRAY for _, size in arrays)


def _is_number(element: Any) -> bool:
    node_type, details = element
    return bool(node_type == Nodetype.BASE and details[0] != "string")
