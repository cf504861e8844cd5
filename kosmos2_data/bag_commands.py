"""What is asked of each image: the command that stands at its stamp, or the same phrases of all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kosmos2_core.command_parser import split_command
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.requests import Locate
from kosmos2_io.bag_reader import BagReader


@dataclass(frozen=True)
class Asked:
    standing: int  # which command it is; the same words given again are another
    text: str  # as it was given
    grounded: GroundedText  # its words, and what to look for in them, without boxes

    def marked(self, index: int) -> str:
        """The sentence with this phrase marked."""
        return write_markdown(GroundedText(self.grounded.text, (self.grounded.phrases[index],)))


def asked_of(text: str, standing: int) -> Asked:
    """As the node takes a command. InputError: it names nothing to locate."""
    grounded = Locate(text).grounded()
    bare = tuple(replace(phrase, boxes=None) for phrase in grounded.phrases)
    return Asked(standing, text, GroundedText(grounded.text, bare))


def asked_again(text: str, spans: Sequence[tuple[int, int]], standing: int) -> Asked:
    """What was asked, of what was answered or is labelled: a text, and which of its words."""
    grounded = GroundedText(text, tuple(Phrase(*span) for span in spans))
    as_given = split_command(text) == grounded  # `the mug; the bowl`: each stands alone
    return Asked(standing, text if as_given else write_markdown(grounded), grounded)


class Asking(Protocol):
    def at(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[Asked]:
        """What is asked of an image of this camera; nothing: it is not evaluated."""


@dataclass(frozen=True)
class Fixed:
    """The same of every image."""

    asked: tuple[Asked, ...]

    def at(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[Asked]:
        return self.asked


@dataclass(frozen=True)
class Commands:
    """Of an image, the last command given until its stamp, and none after an empty one."""

    since_ns: tuple[int, ...]
    asked: tuple[Asked | None, ...]

    def at(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[Asked]:
        place = bisect_right(self.since_ns, stamp_ns) - 1
        one = self.asked[place] if place >= 0 else None
        return (one,) if one else ()


def fixed(texts: Sequence[str]) -> Fixed:
    return Fixed(tuple(asked_of(text, number) for number, text in enumerate(texts)))


def read_phrases(file: Path) -> list[str]:
    """Expressions or commands, one a line; empty lines and those after a # are none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"--phrases {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"--phrases {file} is no text in UTF-8: write one phrase a line.") from None
    phrases = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not phrases:
        raise InputError(f"--phrases {file} has no phrase: write one a line.")
    return phrases


def read_commands(bag: BagReader, topic: str) -> Commands:
    """What a node would refuse, as it names nothing, leaves the earlier command standing."""
    since_ns: list[int] = []
    asked: list[Asked | None] = []
    for one in bag.messages([topic]):
        text = str(one.message().data)
        try:
            given = asked_of(text, len(asked)) if text.strip() else None
        except InputError:
            continue
        since_ns.append(one.stamp_ns)
        asked.append(given)
    if not any(asked):
        raise InputError(f"{topic} has no command that names a thing: give --phrase TEXT.")
    return Commands(tuple(since_ns), tuple(asked))
