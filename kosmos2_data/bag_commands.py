"""The commands of a recording: which phrases to locate in each image.

Commands come from a topic (an image then has the last command given before its stamp), from a list of phrases
(the same for every image), from labels (`bag_labels`) or from recorded answers of the node.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kosmos2_core.command_parser import split_command
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.regular_files import read_regular_text
from kosmos2_core.requests import Locate
from kosmos2_io.bag_reader import BagReader

MAX_PHRASE_FILE = 1 << 22  # bytes


@dataclass(frozen=True)
class ParsedCommand:
    """A text with the phrases to locate in it.

    Args:
        index: Number of the command in the recording. The same text, given again, has another number.
        text: The text as it was given.
        grounded: The words, with the phrases to locate, without boxes.
    """

    index: int
    text: str
    grounded: GroundedText

    def marked(self, phrase_index: int) -> str:
        """Return the sentence with only this phrase in brackets."""
        return write_markdown(GroundedText(self.grounded.text, (self.grounded.phrases[phrase_index],)))


def parse_command(text: str, index: int) -> ParsedCommand:
    """Split a command into phrases as the node does.

    Raises:
        InputError: The text names nothing that could be located.
    """
    grounded = Locate(text).grounded()
    phrases = tuple(replace(phrase, boxes=None) for phrase in grounded.phrases)
    return ParsedCommand(index, text, GroundedText(grounded.text, phrases))


def command_of_spans(text: str, spans: Sequence[tuple[int, int]], index: int) -> ParsedCommand:
    """Rebuild the command behind an answer or a label, from its text and the spans of its phrases."""
    grounded = GroundedText(text, tuple(Phrase(*span) for span in spans))
    split_alike = split_command(text) == grounded  # `the mug; the bowl`: the text needs no brackets
    return ParsedCommand(index, text if split_alike else write_markdown(grounded), grounded)


class CommandSource(Protocol):
    """Gives the commands of an image."""

    def commands_of(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[ParsedCommand]:
        """Return the commands of an image, or nothing if the image is not to be used.

        Args:
            camera: Topic of the image.
            frame_id: Frame in the header of the image.
            stamp_ns: Stamp in the header of the image.
        """


@dataclass(frozen=True)
class FixedCommands:
    """The same commands for every image."""

    commands: tuple[ParsedCommand, ...]

    def commands_of(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[ParsedCommand]:
        return self.commands


@dataclass(frozen=True)
class TimedCommands:
    """For each image the last command given up to its stamp; none after an empty command.

    Args:
        since_ns: Log times of the commands, ascending.
        commands: The command given at each of these times; None for an empty one.
    """

    since_ns: tuple[int, ...]
    commands: tuple[ParsedCommand | None, ...]

    def commands_of(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[ParsedCommand]:
        index = bisect_right(self.since_ns, stamp_ns) - 1
        command = self.commands[index] if index >= 0 else None
        return (command,) if command else ()


def fixed_commands(texts: Sequence[str]) -> FixedCommands:
    """Parse texts as commands for every image."""
    return FixedCommands(tuple(parse_command(text, index) for index, text in enumerate(texts)))


def read_phrase_file(file: Path) -> list[str]:
    """Read expressions or commands, one per line; empty lines and lines that begin with # are skipped."""
    try:
        lines = read_regular_text(file, MAX_PHRASE_FILE).splitlines()
    except OSError as error:
        raise InputError(f"--phrases {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"--phrases {file} is not text in UTF-8: write one phrase per line.") from None
    phrases = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not phrases:
        raise InputError(f"--phrases {file} has no phrase: write one phrase per line.")
    return phrases


def read_commands(bag: BagReader, topic: str) -> TimedCommands:
    """Read the commands of a std_msgs/String topic.

    A command in which nothing can be located is skipped, as the node refuses it: the one before stays valid.

    Raises:
        InputError: No command names anything.
    """
    since_ns: list[int] = []
    commands: list[ParsedCommand | None] = []
    for recorded in bag.messages([topic]):
        text = str(recorded.message().data)
        try:
            command = parse_command(text, len(commands)) if text.strip() else None
        except InputError:
            continue
        since_ns.append(recorded.stamp_ns)
        commands.append(command)
    if not any(commands):
        raise InputError(f"no command on {topic} names an object: give --phrase TEXT.")
    return TimedCommands(tuple(since_ns), tuple(commands))
