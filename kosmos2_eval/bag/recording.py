"""A recording to evaluate: its images, the commands and labels that apply to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kosmos2_core.errors import InputError
from kosmos2_data.bag_commands import (
    CommandSource,
    FixedCommands,
    TimedCommands,
    fixed_commands,
    read_commands,
    read_phrase_file,
)
from kosmos2_data.bag_frames import FrameSpan, ImageSelection
from kosmos2_data.bag_labels import (
    Labels,
    Point,
    commands_of_labels,
    read_centres,
    read_label_file,
    read_labels,
)
from kosmos2_data.bag_topics import RecordingTopics, RequestedTopics, choose_topics
from kosmos2_data.records import normalised
from kosmos2_eval.bag.placement import CameraModels, read_camera_models
from kosmos2_eval.bag.predictors import read_recorded_answers
from kosmos2_io.bag_reader import BagReader

# 3D labels by stamp: the frame of their coordinates, and the centre of the object of each phrase.
Centres = Mapping[int, tuple[str, Mapping[str, Point]]]
MAX_NAMES = 5  # named in an error message


@dataclass(frozen=True)
class BagOptions:
    """Options of an evaluation: what to ask about which images of a bag, and what is true.

    Args:
        requested_topics: topics that the user named.
        phrases: phrases or commands for every image, instead of the recorded commands.
        phrase_file: a file with one of them per line.
        label_file: a file of labels, instead of a topic.
        as_labelled: ask for what the labels name, instead of the recorded commands.
        selection: which images to use.

    Raises:
        InputError: the options contradict each other or are out of range.
    """

    requested_topics: RequestedTopics = field(default_factory=RequestedTopics)
    phrases: tuple[str, ...] = ()
    phrase_file: Path | None = None
    label_file: Path | None = None
    as_labelled: bool = False
    selection: ImageSelection = field(default_factory=ImageSelection)

    def __post_init__(self) -> None:
        if sum((bool(self.phrases), self.phrase_file is not None, self.as_labelled)) > 1:
            raise InputError(
                "--phrase, --phrases and --as-labelled exclude each other: give one of these options."
            )


@dataclass(frozen=True, eq=False)
class Recording:
    """An open bag with everything that the evaluation needs of it.

    Args:
        bag: the open bag.
        topics: its topics.
        span: the part of the recording to evaluate.
        commands: the commands that apply to each image.
        labels: the true boxes; None without labels.
        centres: the true 3D positions.
        camera_models: camera models by the topic of their CameraInfo.
    """

    bag: BagReader
    topics: RecordingTopics
    span: FrameSpan
    commands: CommandSource
    labels: Labels | None
    centres: Centres
    camera_models: CameraModels

    @property
    def targets(self) -> dict[int, str]:
        """The frame of the 3D labels, by stamp."""
        return {stamp_ns: frame for stamp_ns, (frame, _) in self.centres.items()}

    @property
    def image_count(self) -> int:
        """Number of all images on the chosen topics."""
        return sum(self.bag.topics[topic].count for topic in self.topics.images)


def open_recording(
    bag: BagReader, options: BagOptions, answers: BagReader | None = None, answers_topic: str | None = None
) -> Recording:
    """Find the topics, commands and labels of a bag.

    Args:
        bag: the recording.
        options: what to evaluate.
        answers: a recording of the node's answers; these then also say which commands apply.
        answers_topic: topic of the answers.

    Raises:
        InputError: something is missing in the bag or ambiguous, or options do not fit it.
    """
    topics = choose_topics(bag, options.requested_topics)
    several = len(topics.cameras) > 1
    labels: Labels | None
    if options.label_file:
        topics = replace(topics, labels=None)
        labels = read_label_file(options.label_file, several)
    else:
        labels = read_labels(bag, topics.labels, several) if topics.labels else None
    recorded = read_recorded_answers(answers, topics, answers_topic) if answers else None
    commands = recorded or _command_source(bag, topics, options, labels)
    if labels:
        _check_names(commands, labels)
    centres = read_centres(bag, topics.labels_3d) if topics.labels_3d else {}
    span = options.selection.span_of(bag)
    return Recording(bag, topics, span, commands, labels, centres, read_camera_models(bag, topics))


def _command_source(
    bag: BagReader, topics: RecordingTopics, options: BagOptions, labels: Labels | None
) -> CommandSource:
    if options.phrases or options.phrase_file:
        return fixed_commands(
            read_phrase_file(options.phrase_file) if options.phrase_file else options.phrases
        )
    if options.as_labelled and labels is None:
        raise InputError("--as-labelled needs labels: give them with --labels TOPIC or --labels FILE.")
    if topics.commands and not options.as_labelled:
        return read_commands(bag, topics.commands)
    if labels:
        return commands_of_labels(labels)
    raise InputError(
        "there is nothing to look for: the bag has no command topic and no labels. Give --phrase TEXT."
    )


def _check_names(source: CommandSource, labels: Labels) -> None:
    """Refuse labels that name none of the phrases: every answer would count as wrong or not labelled."""
    if isinstance(source, TimedCommands):
        commands = [command for command in source.commands if command]
    elif isinstance(source, FixedCommands):
        commands = list(source.commands)
    else:
        return
    phrases = {
        normalised(command.grounded.words_of(phrase))
        for command in commands
        for phrase in command.grounded.phrases
    }
    if labels.names and not phrases & labels.names:
        raise InputError(
            f"no label names a phrase that is asked for ({_names(phrases)}); the labels name"
            f" {_names(labels.names)}. Ask for these with --as-labelled, or label the phrases."
        )


def _names(names: set[str]) -> str:
    return "; ".join(sorted(names)[:MAX_NAMES])
