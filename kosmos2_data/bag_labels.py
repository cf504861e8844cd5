"""Labels of a recording: what is in each image, from a topic or from a file, matched by stamp.

A line of a label file has a stamp in seconds, the topic of the image if there are several cameras, and
grounded Markdown:

    1767225600.100 put [the egg](0.12,0.30,0.25,0.51) into [the bowl]()
    1767225600.100 /wrist/image [the egg](0.40,0.41,0.52,0.60)
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_core.regular_files import read_regular_text
from kosmos2_data.bag_commands import ParsedCommand, command_of_spans
from kosmos2_data.bag_topics import DETECTIONS, GROUNDED_FRAME
from kosmos2_data.records import normalised
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.stamps import NS_PER_S, header_ns

MAX_LABEL_FILE = 1 << 26  # bytes
LATEST_S = ((1 << 63) - 1) // NS_PER_S
SAME_STAMP_NS = 1_000_000  # a label belongs to an image this near: people write stamps in milliseconds
Corners = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max
Point = tuple[float, float, float]  # metres
LabelKey = tuple[str, int]  # the camera of a label ("" with a single camera), and its stamp


@dataclass(frozen=True)
class LabelledPhrase:
    """The words of a phrase, and where the object is.

    Args:
        words: The phrase.
        span: Its first and last offset in the text of the label; None for a detection, which has no text.
        boxes: Its boxes; empty if it is absent from the image.
    """

    words: str
    span: tuple[int, int] | None
    boxes: tuple[Corners, ...]


@dataclass(frozen=True)
class Label:
    """The label of one image.

    Args:
        text: Its sentence; empty for detections.
        phrases: The labelled phrases.
        size: Width and height of the image that the boxes are given in; None: the size of the real image.
        complete: Every object is named: a phrase that no label names is absent from the image.
    """

    text: str
    phrases: tuple[LabelledPhrase, ...]
    size: tuple[int, int] | None
    complete: bool = False

    def boxes_of(
        self, command: ParsedCommand, phrase_index: int, width: int, height: int
    ) -> tuple[Box, ...] | None:
        """Return the true boxes of a phrase of a command, or None if the label does not tell.

        Args:
            command: The command.
            phrase_index: Which of its phrases.
            width: Width of the image in pixels.
            height: Height of the image in pixels.

        Returns:
            The boxes, cut at the edges of the image; empty if the object is absent.
        """
        corners = self._corners_of(command, phrase_index)
        if corners is None:
            return None
        label_width, label_height = self.size or (width, height)
        boxes = [box for box in (_visible(box, label_width, label_height) for box in corners) if box]
        return tuple(boxes) if boxes or not corners else None  # a box outside the image tells nothing

    def _corners_of(self, command: ParsedCommand, phrase_index: int) -> tuple[Corners, ...] | None:
        phrase = command.grounded.phrases[phrase_index]
        if self.text == command.grounded.text:  # the span tells equal phrases of a sentence apart
            for labelled in self.phrases:
                if labelled.span == (phrase.start, phrase.end):
                    return labelled.boxes
        words = normalised(command.grounded.words_of(phrase))
        found = [labelled.boxes for labelled in self.phrases if normalised(labelled.words) == words]
        if not found:
            return () if self.complete else None
        return tuple(corners for boxes in found for corners in boxes) if self.complete else found[0]


def _visible(corners: Corners, width: int, height: int) -> Box | None:
    try:
        return box_of_pixels(*corners, width, height)
    except InputError:  # no part of it is in the image
        return None


class Labels:
    """All labels of a recording.

    Args:
        labels: By camera (the topic of its images or their frame_id; "" if unknown) and by stamp.
        several_cameras: Match the camera too. With a single camera all labels belong to it.
    """

    def __init__(self, labels: Mapping[str, Mapping[int, Label]], several_cameras: bool) -> None:
        self._several_cameras = several_cameras
        merged: dict[str, dict[int, Label]] = defaultdict(dict)
        for camera, of_camera in labels.items():
            merged[camera if several_cameras else ""].update(of_camera)
        self._labels = {camera: dict(sorted(of_camera.items())) for camera, of_camera in merged.items()}
        self._stamps_ns = {camera: list(of_camera) for camera, of_camera in self._labels.items()}

    def key_of(self, camera: str, frame_id: str, stamp_ns: int) -> LabelKey | None:
        """Return the key of the label of an image, or None if the image has no label."""
        for name in (camera, frame_id, "") if self._several_cameras else ("",):
            stamp = nearest_stamp(self._stamps_ns.get(name, ()), stamp_ns)
            if stamp is not None:
                return name, stamp
        return None

    def label_of(self, camera: str, frame_id: str, stamp_ns: int) -> Label | None:
        """Return the label of an image, or None if it has none."""
        key = self.key_of(camera, frame_id, stamp_ns)
        return self._labels[key[0]][key[1]] if key else None

    def by_camera(self) -> Mapping[str, Mapping[int, Label]]:
        """Return the labels by camera and by stamp, in the order of stamps."""
        return self._labels

    @property
    def names(self) -> set[str]:
        """The normalised words of every phrase that any label names."""
        labels = (label for of_camera in self._labels.values() for label in of_camera.values())
        return {normalised(phrase.words) for label in labels for phrase in label.phrases}


def nearest_stamp(stamps_ns: Sequence[int], stamp_ns: int) -> int | None:
    """Return the nearest of sorted stamps, or None if none is within SAME_STAMP_NS."""
    index = bisect_left(stamps_ns, stamp_ns)
    neighbours = stamps_ns[max(index - 1, 0) : index + 1]
    near = [stamp for stamp in neighbours if abs(stamp - stamp_ns) <= SAME_STAMP_NS]
    return min(near, key=lambda stamp: abs(stamp - stamp_ns), default=None)


# From a topic.


def read_labels(bag: BagReader, topic: str, several_cameras: bool) -> Labels:
    """Read labels from a topic of GroundedFrame or Detection2DArray."""
    labels: dict[str, dict[int, Label]] = defaultdict(dict)
    convert = {GROUNDED_FRAME: _label_of_frame, DETECTIONS: _label_of_detections}[bag.topics[topic].type]
    for recorded in bag.messages([topic]):
        message = recorded.message()
        labels[message.header.frame_id][header_ns(message)] = convert(message)
    return Labels(labels, several_cameras)


def _label_of_frame(message: Any) -> Label:
    phrases = tuple(
        LabelledPhrase(
            phrase.phrase,
            (int(phrase.span_start), int(phrase.span_end)),
            tuple((box.x_min, box.y_min, box.x_max, box.y_max) for box in phrase.boxes),
        )
        for phrase in message.phrases
    )
    width, height = int(message.image_width), int(message.image_height)
    return Label(message.text, phrases, (width, height) if width and height else None)


def _label_of_detections(message: Any) -> Label:
    phrases = []
    for detection in message.detections:
        if detection.results:
            x, y = detection.bbox.center.position.x, detection.bbox.center.position.y
            half_width, half_height = detection.bbox.size_x / 2, detection.bbox.size_y / 2
            corners = (x - half_width, y - half_height, x + half_width, y + half_height)
            phrases.append(LabelledPhrase(detection.results[0].hypothesis.class_id, None, (corners,)))
    return Label("", tuple(phrases), None, complete=True)


# From a file.


def read_label_file(file: Path, several_cameras: bool) -> Labels:
    """Read labels from a file of lines `STAMP [TOPIC] grounded Markdown`.

    Raises:
        InputError: The file cannot be read, has no label, or a line is wrong; the sentence names the line.
    """
    try:
        lines = read_regular_text(file, MAX_LABEL_FILE).splitlines()
    except OSError as error:
        raise InputError(f"--labels {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(
            f"--labels {file} is not text in UTF-8: write `STAMP grounded Markdown` on each line."
        ) from None
    labels: dict[str, dict[int, Label]] = defaultdict(dict)
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            camera, stamp_ns, label = _parse_line(line.strip())
        except InputError as error:
            raise InputError(f"--labels {file}, line {number}: {error}") from None
        labels[camera][stamp_ns] = label
    if not labels:
        raise InputError(f"--labels {file} has no label: write lines of `STAMP grounded Markdown`.")
    return Labels(labels, several_cameras)


def _parse_line(line: str) -> tuple[str, int, Label]:
    stamp, rest = [*line.split(maxsplit=1), ""][:2]
    try:
        seconds = Decimal(stamp)
        if not 0 <= seconds <= LATEST_S:  # 1e999999 would take minutes as an integer
            raise ValueError
    except (InvalidOperation, ValueError):
        raise InputError(f"{stamp[:40]!r} is not a stamp in seconds, such as 1767225600.100.") from None
    stamp_ns = int(seconds * NS_PER_S)
    camera, rest = [*rest.split(maxsplit=1), ""][:2] if rest.startswith("/") else ("", rest)
    grounded = parse_markdown(rest)
    phrases = [
        LabelledPhrase(
            words=grounded.words_of(phrase),
            span=(phrase.start, phrase.end),
            boxes=tuple(box.pixels(1, 1) for box in phrase.boxes),
        )
        for phrase in grounded.phrases
        if phrase.boxes is not None
    ]
    if not phrases:
        raise InputError(
            "no phrase has a box: write [the egg](0.1,0.2,0.3,0.4), or [the egg]() if it is absent."
        )
    return camera, stamp_ns, Label(grounded.text, tuple(phrases), (1, 1))


# Commands for a recording that has labels only.


@dataclass(frozen=True)
class LabelledCommands:
    """The commands that labels imply: a labelled sentence itself, or each name that any detection has.

    Args:
        labels: The labels of the recording.
        commands: The commands of each label.
    """

    labels: Labels
    commands: Mapping[LabelKey, tuple[ParsedCommand, ...]]

    def commands_of(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[ParsedCommand]:
        key = self.labels.key_of(camera, frame_id, stamp_ns)
        return self.commands[key] if key else ()


def commands_of_labels(labels: Labels) -> LabelledCommands:
    """Derive commands from labels, so that every labelled phrase is asked for."""
    commands = {
        (camera, stamp_ns): of_label
        for camera, of_camera in labels.by_camera().items()
        for stamp_ns, of_label in _commands_by_stamp(of_camera)
    }
    return LabelledCommands(labels, commands)


def _commands_by_stamp(labels: Mapping[int, Label]) -> Iterator[tuple[int, tuple[ParsedCommand, ...]]]:
    names = sorted({phrase.words for label in labels.values() if label.complete for phrase in label.phrases})
    name_commands = tuple(command_of_spans(name, [(0, len(name))], index) for index, name in enumerate(names))
    command_index, previous = -1, None
    for stamp_ns, label in labels.items():
        if label.complete:
            yield stamp_ns, name_commands
            continue
        spans = tuple(phrase.span for phrase in label.phrases if phrase.span)
        if (label.text, spans) != previous:
            previous, command_index = (label.text, spans), command_index + 1
        yield stamp_ns, (command_of_spans(label.text, spans, command_index),)


# Labels in 3D.


def read_centres(bag: BagReader, topic: str) -> dict[int, tuple[str, dict[str, Point]]]:
    """Read the true positions of objects from a topic of Detection3DArray.

    Returns:
        By stamp: the frame of the positions, and the position of each phrase (normalised) in it.
    """
    found: dict[int, tuple[str, dict[str, Point]]] = {}
    for recorded in bag.messages([topic]):
        message = recorded.message()
        centres = found.setdefault(header_ns(message), (message.header.frame_id, {}))[1]
        for detection in message.detections:
            if detection.results:
                position = detection.bbox.center.position
                name = normalised(detection.results[0].hypothesis.class_id)
                centres.setdefault(name, (position.x, position.y, position.z))
    return found
