"""What is true in each image: from a topic, or from a file of grounded Markdown, matched by stamp.

A line of a file is a stamp in seconds, where there are several cameras the image's topic, and what is true:

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
from kosmos2_data.bag_commands import Asked, asked_again
from kosmos2_data.bag_topics import DETECTIONS, GROUNDED
from kosmos2_data.records import normalised
from kosmos2_io.bag_reader import BagReader

NEAR_NS = 1_000_000  # stamps nearer than this are the same: people write milliseconds
Corners = tuple[float, float, float, float]
Point = tuple[float, float, float]
Place = tuple[str, int]  # whose a label is, and its stamp


@dataclass(frozen=True)
class Named:
    """A phrase's words, and where the thing is."""

    words: str
    span: tuple[int, int] | None  # in the label's text
    boxes: tuple[Corners, ...]  # none: it is absent


@dataclass(frozen=True)
class Label:
    """Of one image."""

    text: str
    named: tuple[Named, ...]
    size: tuple[int, int] | None  # of the image that corners are in; None: the real one's
    closed: bool = False  # what it does not name is absent

    def of(self, asked: Asked, index: int, width: int, height: int) -> tuple[Box, ...] | None:
        """What is true of a phrase; None: the label does not say."""
        corners = self._corners(asked, index)
        if corners is None:
            return None
        wide, high = self.size or (width, height)
        boxes = [box for one in corners if (box := _seen(one, wide, high))]
        return tuple(boxes) if boxes or not corners else None  # a box beyond the image says nothing

    def _corners(self, asked: Asked, index: int) -> tuple[Corners, ...] | None:
        phrase = asked.grounded.phrases[index]
        if self.text == asked.grounded.text:  # then words said twice are told apart
            for one in self.named:
                if one.span == (phrase.start, phrase.end):
                    return one.boxes
        words = normalised(asked.grounded.words_of(phrase))
        found = [one.boxes for one in self.named if normalised(one.words) == words]
        if not found:
            return () if self.closed else None
        return tuple(corners for boxes in found for corners in boxes) if self.closed else found[0]


def _seen(corners: Corners, width: int, height: int) -> Box | None:
    try:
        return box_of_pixels(*corners, width, height)
    except InputError:  # nothing of it is in the image
        return None


class Labels:
    """All of a recording. several: there are several cameras, and a label belongs to one."""

    def __init__(self, labels: Mapping[str, Mapping[int, Label]], several: bool) -> None:
        self._several = several
        merged: dict[str, dict[int, Label]] = defaultdict(dict)
        for whose, own in labels.items():
            merged[whose if several else ""].update(own)
        self._labels = {whose: dict(sorted(own.items())) for whose, own in merged.items()}
        self._stamps = {whose: list(own) for whose, own in self._labels.items()}

    def place(self, camera: str, frame_id: str, stamp_ns: int) -> Place | None:
        """Of an image's label; None: it has none."""
        for whose in (camera, frame_id, "") if self._several else ("",):
            stamp = nearest(self._stamps.get(whose, ()), stamp_ns)
            if stamp is not None:
                return whose, stamp
        return None

    def at(self, camera: str, frame_id: str, stamp_ns: int) -> Label | None:
        place = self.place(camera, frame_id, stamp_ns)
        return self._labels[place[0]][place[1]] if place else None

    def of_each(self) -> Mapping[str, Mapping[int, Label]]:
        """By whose they are, in the order of stamps."""
        return self._labels

    @property
    def words(self) -> set[str]:
        """All that is named in any of them."""
        every = (label for own in self._labels.values() for label in own.values())
        return {normalised(one.words) for label in every for one in label.named}


def nearest(stamps_ns: Sequence[int], stamp_ns: int) -> int | None:
    """Of sorted stamps, the one that is the same."""
    place = bisect_left(stamps_ns, stamp_ns)
    near = [one for one in stamps_ns[max(place - 1, 0) : place + 1] if abs(one - stamp_ns) <= NEAR_NS]
    return min(near, key=lambda one: abs(one - stamp_ns), default=None)


# From topics.


def stamp_of(header: Any) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def read_labels(bag: BagReader, topic: str, several: bool) -> Labels:
    labels: dict[str, dict[int, Label]] = defaultdict(dict)
    read = {GROUNDED: _grounded, DETECTIONS: _detected}[bag.topics[topic].type]
    for one in bag.messages([topic]):
        message = one.message()
        labels[message.header.frame_id][stamp_of(message.header)] = read(message)
    return Labels(labels, several)


def _grounded(message: Any) -> Label:
    named = tuple(
        Named(
            one.phrase,
            (int(one.span_start), int(one.span_end)),
            tuple((box.x_min, box.y_min, box.x_max, box.y_max) for box in one.boxes),
        )
        for one in message.phrases
    )
    width, height = int(message.image_width), int(message.image_height)
    return Label(message.text, named, (width, height) if width and height else None)


def _detected(message: Any) -> Label:
    named = []
    for one in message.detections:
        if one.results:
            x, y = one.bbox.center.position.x, one.bbox.center.position.y
            wide, high = one.bbox.size_x / 2, one.bbox.size_y / 2
            corners = (x - wide, y - high, x + wide, y + high)
            named.append(Named(one.results[0].hypothesis.class_id, None, (corners,)))
    return Label("", tuple(named), None, closed=True)


# From a file.


def read_label_file(file: Path, several: bool) -> Labels:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"--labels {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"--labels {file} is no text in UTF-8: write `STAMP grounded Markdown`.") from None
    labels: dict[str, dict[int, Label]] = defaultdict(dict)
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            whose, stamp_ns, label = _line(line.strip())
        except InputError as error:
            raise InputError(f"--labels {file}, line {number}: {error}") from None
        labels[whose][stamp_ns] = label
    if not labels:
        raise InputError(f"--labels {file} has no label: write `STAMP grounded Markdown`, one image a line.")
    return Labels(labels, several)


def _line(line: str) -> tuple[str, int, Label]:
    stamp, rest = [*line.split(maxsplit=1), ""][:2]
    try:
        stamp_ns = int(Decimal(stamp) * 10**9)
    except (InvalidOperation, OverflowError, ValueError):
        raise InputError(f"{stamp[:40]!r} is no stamp in seconds, as 1767225600.100 is.") from None
    whose, rest = [*rest.split(maxsplit=1), ""][:2] if rest.startswith("/") else ("", rest)
    grounded = parse_markdown(rest)
    named = tuple(
        Named(grounded.words_of(one), (one.start, one.end), tuple(box.pixels(1, 1) for box in one.boxes))
        for one in grounded.phrases
        if one.boxes is not None
    )
    if not named:
        raise InputError("it marks nothing with a box, as in [the egg](0.1,0.2,0.3,0.4), or [the egg]().")
    return whose, stamp_ns, Label(grounded.text, named, (1, 1))


# What is asked where nobody commands: what the labels tell of.


@dataclass(frozen=True)
class AsLabelled:
    """Of an image with a sentence, its marked words; of one with names, all names that labels have."""

    labels: Labels
    asked: Mapping[Place, tuple[Asked, ...]]

    def at(self, camera: str, frame_id: str, stamp_ns: int) -> Sequence[Asked]:
        place = self.labels.place(camera, frame_id, stamp_ns)
        return self.asked[place] if place else ()


def as_labelled(labels: Labels) -> AsLabelled:
    of_each = labels.of_each().items()
    return AsLabelled(labels, {(whose, at): one for whose, own in of_each for at, one in _asked(own)})


def _asked(labels: Mapping[int, Label]) -> Iterator[tuple[int, tuple[Asked, ...]]]:
    names = sorted({one.words for label in labels.values() if label.closed for one in label.named})
    every = [asked_again(name, [(0, len(name))], number) for number, name in enumerate(names)]
    standing, said = -1, None
    for stamp_ns, label in labels.items():
        if label.closed:
            yield stamp_ns, tuple(every)
            continue
        spans = tuple(one.span for one in label.named if one.span)
        if (label.text, spans) != said:
            said, standing = (label.text, spans), standing + 1
        yield stamp_ns, (asked_again(label.text, spans, standing),)


# In space.


def read_centres(bag: BagReader, topic: str) -> dict[int, tuple[str, dict[str, Point]]]:
    """By stamp: the frame, and where in it the thing of each phrase is."""
    found: dict[int, tuple[str, dict[str, Point]]] = {}
    for recorded in bag.messages([topic]):
        message = recorded.message()
        stamp_ns, frame = stamp_of(message.header), message.header.frame_id
        own = found.setdefault(stamp_ns, (frame, {}))[1]
        for one in message.detections:
            if one.results:
                place = one.bbox.center.position
                own.setdefault(normalised(one.results[0].hypothesis.class_id), (place.x, place.y, place.z))
    return found
