"""Make grounded data from a recording: one record per labelled image.

The result is a folder with images/ and records.jsonl. A label that is a sentence becomes one item. A label of
names only, as a detector gives, becomes one item per name. Such a label is complete: other names that the
recording has are absent from the image, and some of them become items as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from kosmos2_core.errors import InputError
from kosmos2_core.files import new_folder, write_errors
from kosmos2_core.grounded_text import GroundedText, Phrase
from kosmos2_data.bag_commands import ParsedCommand, TimedCommands, read_commands
from kosmos2_data.bag_frames import FrameSpan, ImageSelection, RecordedFrame, read_frames
from kosmos2_data.bag_labels import (
    Label,
    LabelKey,
    LabelledCommands,
    Labels,
    commands_of_labels,
    read_label_file,
    read_labels,
)
from kosmos2_data.bag_topics import (
    DETECTIONS,
    GROUNDED_FRAME,
    RecordingTopics,
    RequestedTopics,
    choose_topics,
    join_names,
    topics_of_types,
)
from kosmos2_data.record_source import RECORDS_FILE
from kosmos2_data.records import Item, Record, normalised, record_of, to_json
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.images import ImageFile, image_file
from kosmos2_io.stamps import NS_PER_S, sec_nanosec

IMAGES = "images"  # the folder of the images


@dataclass(frozen=True)
class LabelledImages:
    """The labelled images of a recording that become records.

    Args:
        topics: Topics that the user named; the others are chosen by `choose_topics`.
        label_file: A file of labels. It replaces the topic of labels.
        selection: The span of time, and every Nth image.
    """

    topics: RequestedTopics = field(default_factory=RequestedTopics)
    label_file: Path | None = None
    selection: ImageSelection = field(default_factory=ImageSelection)


@dataclass
class BagDataSummary:
    """Summary of a conversion: what was used, what was left out, and why.

    Args:
        topics: Topics of images.
        labels: The topic or the file of the labels.
        seconds: Length of the span of the recording that was read.
        images: Number of images on these topics.
        records: Number of records written.
        phrases: Number of phrases in them.
        absent: Number of these phrases that are absent from their image.
        left_out: Number of images that were left out, by reason.
        labels_left_out: Number of labels whose stamp no image has.
    """

    topics: tuple[str, ...]
    labels: str
    seconds: float
    images: int = 0
    records: int = 0
    phrases: int = 0
    absent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    labels_left_out: int = 0

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "left_out": dict(self.left_out)}


def make_data(
    folder: Path, bag: BagReader, request: LabelledImages, jpeg: int | None, on_image: Callable[[], Any]
) -> BagDataSummary:
    """Write the labelled images of a recording as grounded data.

    Args:
        folder: The new folder. It gets its name only when it is complete.
        bag: The recording.
        request: The images and labels to use.
        jpeg: JPEG quality for raw images; None: store them without loss, as PNG.
        on_image: Called after each image, for a progress bar.

    Raises:
        InputError: There are no labels, no image can be used, or the folder exists or cannot be written.
    """
    recording = _open_recording(bag, request)
    seconds = (recording.span.end_ns - recording.span.start_ns) / NS_PER_S
    label_name = str(request.label_file or recording.topics.labels)
    summary = BagDataSummary(recording.topics.images, label_name, seconds)
    with write_errors(folder), new_folder(folder) as unfinished:
        _write_records(unfinished, recording, request.selection, jpeg, on_image, summary)
    return summary


@dataclass(frozen=True, eq=False)
class _LabelledRecording:
    bag: BagReader
    topics: RecordingTopics
    span: FrameSpan
    labels: Labels
    commands: LabelledCommands


def _open_recording(bag: BagReader, request: LabelledImages) -> _LabelledRecording:
    topics = choose_topics(bag, request.topics)
    several_cameras = len(topics.cameras) > 1
    if request.label_file:
        labels = read_label_file(request.label_file, several_cameras)
    elif topics.labels:
        labels = read_labels(bag, topics.labels, several_cameras)
    else:
        possible = topics_of_types(bag, GROUNDED_FRAME, DETECTIONS)
        raise InputError(
            "no topic of the bag is named as labels: give --labels FILE, or a topic of kosmos2/GroundedFrame"
            f" or vision_msgs/Detection2DArray; the bag has {join_names(possible)}."
        )
    span = request.selection.span_of(bag)
    return _LabelledRecording(bag, topics, span, labels, commands_of_labels(labels))


def _write_records(
    folder: Path,
    recording: _LabelledRecording,
    selection: ImageSelection,
    jpeg: int | None,
    on_image: Callable[[], Any],
    summary: BagDataSummary,
) -> None:
    (folder / IMAGES).mkdir(parents=True)
    with (folder / RECORDS_FILE).open("w", encoding="utf-8") as lines:
        writer = _RecordWriter(recording, folder, lines, jpeg, summary)
        for frame in read_frames(recording.bag, recording.topics, recording.span):
            summary.images += 1
            reason = writer.add(frame)
            if reason:
                summary.left_out[reason] += 1
            on_image()
    if not summary.records:
        raise InputError(_nothing_used(summary))
    if selection == ImageSelection():  # otherwise the images of other labels were not read
        summary.labels_left_out = writer.unused_labels


def _nothing_used(summary: BagDataSummary) -> str:
    reasons = "; ".join(f"{count}: {reason}" for reason, count in summary.left_out.most_common(3))
    return f"none of the {summary.images} images on {join_names(summary.topics)} can be used ({reasons})."


class _RecordWriter:
    """Writes images and records into a folder and counts them.

    Args:
        recording: The recording and its labels.
        folder: The folder to write images into.
        lines: The open file of records.
        jpeg: JPEG quality for raw images; None: PNG.
        summary: The counts to add to.
    """

    def __init__(
        self,
        recording: _LabelledRecording,
        folder: Path,
        lines: IO[str],
        jpeg: int | None,
        summary: BagDataSummary,
    ) -> None:
        self._recording, self._folder, self._lines = recording, folder, lines
        self._jpeg, self._summary = jpeg, summary
        self._sentences = _sentences_of_names(recording)
        self._file_names: set[str] = set()
        self._used_labels: set[LabelKey] = set()

    def add(self, frame: RecordedFrame) -> str:
        """Write the record of an image; return why it was left out, or an empty text if it was written."""
        label = self._label_of(frame)
        if frame.damage:
            return frame.damage
        if label is None:
            return "no label has its stamp"
        try:
            image = image_file(frame.recorded.message(), self._jpeg)
        except InputError as error:
            return str(error)
        items = self._items(frame, label, image)
        if not items:
            return "its label marks nothing that is in the image"
        name = f"{IMAGES}/{self._file_name(frame)}.{image.ending}"
        if name in self._file_names:
            return "an earlier image of the same camera has the same stamp"
        line = to_json(Record(name, tuple(items)))
        try:
            record_of(line)
        except InputError as error:
            return str(error)
        self._file_names.add(name)
        (self._folder / name).write_bytes(image.data)
        self._lines.write(f"{line}\n")
        self._count(items)
        return ""

    @property
    def unused_labels(self) -> int:
        """Number of labels whose stamp no image had."""
        return sum(map(len, self._recording.labels.by_camera().values())) - len(self._used_labels)

    def _label_of(self, frame: RecordedFrame) -> Label | None:
        labels = self._recording.labels
        key = labels.key_of(frame.camera.image, frame.frame_id, frame.stamp_ns)
        if key is None:
            return None
        self._used_labels.add(key)
        return labels.label_of(frame.camera.image, frame.frame_id, frame.stamp_ns)

    def _file_name(self, frame: RecordedFrame) -> str:
        sec, nanosec = sec_nanosec(frame.stamp_ns)
        stamp = f"{sec}.{nanosec:09}"
        if len(self._recording.topics.cameras) == 1:
            return stamp
        return f"{re.sub('[^A-Za-z0-9]+', '_', frame.camera.image).strip('_')}-{stamp}"

    def _items(self, frame: RecordedFrame, label: Label, image: ImageFile) -> list[Item]:
        image_key = frame.camera.image, frame.frame_id, frame.stamp_ns
        commands = self._recording.commands.commands_of(*image_key)
        items = [item for item in (_item(label, command, image) for command in commands) if item]
        if not label.complete:
            return items
        given = self._sentences.commands_of(*image_key) if self._sentences else ()
        sentences = [item for item in (_item(label, command, image) for command in given) if item]
        present = [item for item in items if not item.kind]
        absent = [item for item in items if item.kind]
        return [*sentences, *present, *_take_turns(absent, max(1, len(present)), self._summary.records)]

    def _count(self, items: Sequence[Item]) -> None:
        self._summary.records += 1
        boxes = [phrase.boxes for item in items for phrase in item.text.phrases]
        self._summary.phrases += len(boxes)
        self._summary.absent += boxes.count(())


def _sentences_of_names(recording: _LabelledRecording) -> TimedCommands | None:
    """Return the recorded commands in which every phrase is a name that the labels know; None without any."""
    if recording.topics.commands is None:
        return None
    known = recording.labels.names
    recorded = read_commands(recording.bag, recording.topics.commands)

    def all_known(command: ParsedCommand) -> bool:
        return {normalised(command.grounded.words_of(phrase)) for phrase in command.grounded.phrases} <= known

    usable = [command if command and all_known(command) else None for command in recorded.commands]
    return TimedCommands(recorded.since_ns, tuple(usable))


def _item(label: Label, command: ParsedCommand, image: ImageFile) -> Item | None:
    """Return a command with the boxes that the label gives, or None if the label tells of none of it."""
    phrases = [
        Phrase(phrase.start, phrase.end, boxes)
        for index, phrase in enumerate(command.grounded.phrases)
        if (boxes := label.boxes_of(command, index, image.width, image.height)) is not None
    ]
    if not phrases:
        return None
    kind = "" if any(phrase.boxes for phrase in phrases) else "absent"
    return Item("locate", GroundedText(command.grounded.text, tuple(phrases)), kind=kind)


def _take_turns(items: Sequence[Item], count: int, turn: int) -> list[Item]:
    """Return some of the items, others in each turn: a model trained mostly on absent ones finds nothing."""
    count = min(count, len(items))
    return [items[(turn * count + offset) % len(items)] for offset in range(count)]
