"""A recording, and what is to be evaluated of it: which images, what is asked of them, what is true."""

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
from kosmos2_eval.bag.answerers import Node, read_answers
from kosmos2_eval.bag.space import Models, read_models
from kosmos2_io.bag_reader import BagReader

# By stamp: the frame that the truth in space is in, and where in it the thing of each phrase is.
Centres = Mapping[int, tuple[str, Mapping[str, Point]]]


@dataclass(frozen=True)
class Question:
    """What a user wants to be evaluated."""

    wanted: RequestedTopics = field(default_factory=RequestedTopics)
    phrases: tuple[str, ...] = ()
    phrase_file: Path | None = None
    label_file: Path | None = None
    as_labelled: bool = False  # ask what the labels name, whatever was commanded
    from_s: float = 0.0  # from the recording's start
    to_s: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        ImageSelection(self.from_s, self.to_s, self.every)
        if sum((bool(self.phrases), self.phrase_file is not None, self.as_labelled)) > 1:
            raise InputError("--phrase, --phrases and --as-labelled each say what is asked: give one.")


@dataclass(frozen=True, eq=False)
class Recording:
    bag: BagReader
    topics: RecordingTopics
    part: FrameSpan
    asking: CommandSource
    labels: Labels | None
    centres: Centres
    models: Models  # of cameras

    @property
    def targets(self) -> dict[int, str]:
        """By stamp, the frame in which the truth in space is."""
        return {stamp_ns: frame for stamp_ns, (frame, _) in self.centres.items()}

    @property
    def images(self) -> int:
        """How many there are on its topics."""
        return sum(self.bag.topics[topic].count for topic in self.topics.images)


def open_recording(
    bag: BagReader, question: Question, answers: BagReader | None = None, topic: str | None = None
) -> Recording:
    """answers: of the node, recorded on that topic; then they say what was asked."""
    topics = choose_topics(bag, question.wanted)
    several = len(topics.cameras) > 1
    if question.label_file:
        topics = replace(topics, labels=None)
        labels: Labels | None = read_label_file(question.label_file, several)
    else:
        labels = read_labels(bag, topics.labels, several) if topics.labels else None
    asking = _asking(bag, topics, question, labels, read_answers(answers, topics, topic) if answers else None)
    if labels:
        _check_names(asking, labels)
    centres = read_centres(bag, topics.labels_3d) if topics.labels_3d else {}
    part = ImageSelection(question.from_s, question.to_s, question.every).span_of(bag)
    return Recording(bag, topics, part, asking, labels, centres, read_models(bag, topics))


def _asking(
    bag: BagReader, topics: RecordingTopics, question: Question, labels: Labels | None, node: Node | None
) -> CommandSource:
    if node:
        return node
    if question.phrases or question.phrase_file:
        return fixed_commands(
            read_phrase_file(question.phrase_file) if question.phrase_file else question.phrases
        )
    if question.as_labelled and labels is None:
        raise InputError("--as-labelled asks what labels name: give them with --labels TOPIC or FILE.")
    if topics.commands and not question.as_labelled:
        return read_commands(bag, topics.commands)
    if labels:
        return commands_of_labels(labels)
    raise InputError(
        "nothing says what to look for, the bag has no command topic and no labels: give --phrase TEXT."
    )


def _check_names(asking: CommandSource, labels: Labels) -> None:
    """Labels that name nothing that is asked would make every answer wrong."""
    if isinstance(asking, TimedCommands):
        every = [one for one in asking.commands if one]
    elif isinstance(asking, FixedCommands):
        every = list(asking.commands)
    else:
        return
    asked = {normalised(one.grounded.words_of(phrase)) for one in every for phrase in one.grounded.phrases}
    if labels.names and not asked & labels.names:
        some = "; ".join(sorted(labels.names)[:5])
        raise InputError(
            f"no label names what is asked ({'; '.join(sorted(asked)[:5])}): labels name {some}. Ask for"
            " those with --as-labelled, or label the phrases that are asked."
        )
