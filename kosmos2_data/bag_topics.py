"""Choose the topics of a recording: those that a user named, and others where there is only one choice."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kosmos2_core.errors import InputError
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.messages import DEPTH_ENCODINGS

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STRING = "std_msgs/msg/String"
GROUNDED_FRAME, DETECTIONS = "kosmos2/msg/GroundedFrame", "vision_msgs/msg/Detection2DArray"
DETECTIONS_3D, CAMERA_INFO = "vision_msgs/msg/Detection3DArray", "sensor_msgs/msg/CameraInfo"
# Names of topics that hold labels, as /truth/grounding or /camera/labels.
LABEL_NAME = re.compile(r"(?:^|[/_])(?:truth|ground_?truth|labels?|annotations?|gt)(?:[/_]|$)", re.IGNORECASE)
ALL = "all"
MAX_LISTED = 12  # topics in an error message


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera; None for one that was not recorded."""

    image: str
    info: str | None = None
    depth: str | None = None
    depth_info: str | None = None


@dataclass(frozen=True)
class RequestedTopics:
    """Topics that a user named; an empty or missing name means that `choose_topics` looks for one.

    Args:
        images: Topics of images; `("all",)` for the images of every camera.
        commands: Topic of commands, std_msgs/String.
        labels: Topic of labels, GroundedFrame or Detection2DArray.
        labels_3d: Topic of labels in space, Detection3DArray.
        depth: Topic of depth images, for a single camera.
    """

    images: tuple[str, ...] = ()
    commands: str | None = None
    labels: str | None = None
    labels_3d: str | None = None
    depth: str | None = None


@dataclass(frozen=True)
class RecordingTopics:
    """The chosen topics of a recording; None for a kind that it does not have."""

    cameras: tuple[CameraTopics, ...]
    commands: str | None
    labels: str | None
    labels_3d: str | None

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(camera.image for camera in self.cameras)


def choose_topics(bag: BagReader, requested: RequestedTopics) -> RecordingTopics:
    """Return the topics of images, commands and labels to use.

    Raises:
        InputError: A topic that was named is not in the bag or has another type, or several topics could be
            meant. The sentence lists them and names the command-line option that chooses.
    """
    colour_topics, depth_topics = _image_topics(bag)
    images = _chosen_images(bag, requested, colour_topics)
    if requested.depth and len(images) > 1:
        raise InputError("--depth names the depth of one camera: choose the camera with --image as well.")
    if requested.depth:
        require_topic(bag, requested.depth, (IMAGE, COMPRESSED), "--depth")
    cameras = tuple(
        _camera_topics(bag, image, requested.depth or _depth_topic(image, depth_topics, len(images)))
        for image in images
    )
    return RecordingTopics(cameras, _command_topic(bag, requested.commands), *_label_topics(bag, requested))


def require_topic(bag: BagReader, topic: str, types: Collection[str], option: str) -> str:
    """Return a topic that a user named.

    Raises:
        InputError: The bag does not have it, or its type is none of `types`.
    """
    if topic not in bag.topics:
        raise InputError(
            f"{option} {topic}: the bag has no such topic; it has {join_names(sorted(bag.topics))}."
        )
    if bag.topics[topic].type not in types:
        raise InputError(
            f"{option} {topic} is of type {bag.topics[topic].type}: it has to be {' or '.join(types)}."
        )
    return topic


def topics_of_types(bag: BagReader, *types: str) -> list[str]:
    """Return the topics of these types that have at least one message, in alphabetical order."""
    return sorted(name for name, topic in bag.topics.items() if topic.type in types and topic.count)


def join_names(names: Sequence[str]) -> str:
    """Return names as a part of a sentence, shortened if there are many; "none" if there are none."""
    hidden = len(names) - MAX_LISTED
    more = f" and {hidden} more" if hidden > 0 else ""
    return (", ".join(names[:MAX_LISTED]) or "none") + more


# Cameras.


def _image_topics(bag: BagReader) -> tuple[list[str], list[str]]:
    """Return topics of colour or grey images, and topics of depth images. Their first message decides."""
    topics = topics_of_types(bag, IMAGE, COMPRESSED)
    depth_topics = [topic for topic in topics if _is_depth(bag, topic)]
    raw_topics = {topic for topic in topics if bag.topics[topic].type == IMAGE}
    colour_topics = [
        topic
        for topic in topics
        if topic not in depth_topics
        and not topic.endswith("/annotated")  # published by the node
        and not (bag.topics[topic].type == COMPRESSED and base_topic(topic) in raw_topics)
    ]
    return colour_topics, depth_topics


def _is_depth(bag: BagReader, topic: str) -> bool:
    first = next(bag.messages([topic]), None)
    if first is None:
        return False
    try:
        message = first.message()
    except InputError:  # damaged: counted later, when the images are read
        return "depth" in topic
    encoding = str(message.format if hasattr(message, "format") else message.encoding)
    return "compressedDepth" in encoding or encoding.partition(";")[0].strip() in DEPTH_ENCODINGS


def _chosen_images(bag: BagReader, requested: RequestedTopics, colour_topics: list[str]) -> list[str]:
    if requested.images and requested.images != (ALL,):
        return [
            require_topic(bag, topic, (IMAGE, COMPRESSED), "--image")
            for topic in dict.fromkeys(requested.images)
        ]
    if not colour_topics:
        if not bag.topics:
            raise InputError("the bag has no images: no topic is recorded in it.")
        raise InputError(f"the bag has no images; its topics are {join_names(sorted(bag.topics))}.")
    if len(colour_topics) > 1 and not requested.images:
        raise InputError(
            f"the bag has images on {join_names(colour_topics)}: choose with --image TOPIC, repeated for"
            f" several, or --image {ALL}."
        )
    return colour_topics


def base_topic(topic: str) -> str:
    """Return the topic of an image without the suffix that image_transport adds."""
    return topic.removesuffix("/compressed").removesuffix("/compressedDepth")


def _camera_topics(bag: BagReader, image: str, depth: str | None) -> CameraTopics:
    return CameraTopics(image, _info_topic(bag, image), depth, _info_topic(bag, depth) if depth else None)


def _info_topic(bag: BagReader, image: str) -> str | None:
    name = base_topic(image).rpartition("/")[0] + "/camera_info"
    topic = bag.topics.get(name)
    return name if topic and topic.type == CAMERA_INFO and topic.count else None


def _depth_topic(image: str, depth_topics: Sequence[str], camera_count: int) -> str | None:
    """Return the depth topic of a camera: the longest common prefix wins, then a registered image."""
    if camera_count == 1 and len(depth_topics) == 1:
        return depth_topics[0]
    image_parts = image.split("/")

    def similarity(topic: str) -> tuple[int, bool]:
        pairs = zip(image_parts, topic.split("/"), strict=False)
        common = next((index for index, (a, b) in enumerate(pairs) if a != b), len(image_parts))
        return common, bool(re.search("aligned|registered", topic))

    near = sorted((topic for topic in depth_topics if similarity(topic)[0] > 1), key=similarity, reverse=True)
    if len(near) > 1 and similarity(near[0]) == similarity(near[1]):
        return None
    return near[0] if near else None


# Commands and labels.


def _command_topic(bag: BagReader, requested: str | None) -> str | None:
    if requested:
        return require_topic(bag, requested, (STRING,), "--commands")
    found = [
        topic for topic in topics_of_types(bag, STRING) if topic.rpartition("/")[2] in ("command", "commands")
    ]
    if len(found) > 1:
        raise InputError(f"the bag has commands on {join_names(found)}: choose with --commands TOPIC.")
    return found[0] if found else None


def _label_topics(bag: BagReader, requested: RequestedTopics) -> tuple[str | None, str | None]:
    """Return the topics of labels in 2D and 3D. A GroundedFrame comes first: it also names what is absent."""
    flat, spatial = requested.labels, requested.labels_3d
    if flat:
        require_topic(bag, flat, (GROUNDED_FRAME, DETECTIONS), "--labels")
    else:
        named = _topics_named_labels(bag, GROUNDED_FRAME) or _topics_named_labels(bag, DETECTIONS)
        flat = _single(named, "labels", "--labels")
    if spatial:
        require_topic(bag, spatial, (DETECTIONS_3D,), "--labels-3d")
    else:
        spatial = _single(_topics_named_labels(bag, DETECTIONS_3D), "labels in 3D", "--labels-3d")
    return flat, spatial


def _topics_named_labels(bag: BagReader, message_type: str) -> list[str]:
    return [topic for topic in topics_of_types(bag, message_type) if LABEL_NAME.search(topic)]


def _single(topics: Sequence[str], content: str, option: str) -> str | None:
    if len(topics) > 1:
        raise InputError(f"the bag has {content} on {join_names(topics)}: choose with {option} TOPIC.")
    return topics[0] if topics else None
