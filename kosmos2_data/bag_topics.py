"""Which topics of a recording to evaluate: those that were named, and where one choice is sensible, that."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kosmos2_core.errors import InputError
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.messages import DEPTH_ENCODINGS

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STRING = "std_msgs/msg/String"
GROUNDED, DETECTIONS = "kosmos2/msg/GroundedFrame", "vision_msgs/msg/Detection2DArray"
DETECTIONS_3D, CAMERA_INFO = "vision_msgs/msg/Detection3DArray", "sensor_msgs/msg/CameraInfo"
TRUE = re.compile(r"(?:^|[/_])(?:truth|ground_?truth|labels?|annotations?|gt)(?:[/_]|$)", re.IGNORECASE)
ALL = "all"


@dataclass(frozen=True)
class Camera:
    image: str
    info: str | None = None
    depth: str | None = None
    depth_info: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What a user named; None and empty: to be found."""

    images: tuple[str, ...] = ()  # `all`: every camera's
    commands: str | None = None
    labels: str | None = None
    labels_3d: str | None = None
    depth: str | None = None


@dataclass(frozen=True)
class Topics:
    cameras: tuple[Camera, ...]
    commands: str | None  # None: there are none
    labels: str | None
    labels_3d: str | None

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(one.image for one in self.cameras)


def choose(bag: BagReader, wanted: Wanted) -> Topics:
    """InputError: a topic that was named is not there, or what is there leaves several choices."""
    pictures, depths = _pictures(bag)
    images = _images(bag, wanted, pictures)
    if wanted.depth and len(images) > 1:
        raise InputError("--depth is of one camera: choose it with --image, or leave --depth out.")
    if wanted.depth:
        named(bag, wanted.depth, (IMAGE, COMPRESSED), "--depth")
    cameras = tuple(_camera(bag, one, wanted.depth or _depth_of(one, depths, len(images))) for one in images)
    return Topics(cameras, _commands(bag, wanted.commands), *_labels(bag, wanted))


def named(bag: BagReader, topic: str, types: Collection[str], option: str) -> str:
    """A topic that a user named: it is there, and of such a type."""
    if topic not in bag.topics:
        raise InputError(f"{option} {topic}: the bag has no such topic; it has {listed(sorted(bag.topics))}.")
    if bag.topics[topic].type not in types:
        raise InputError(
            f"{option} {topic} is of type {bag.topics[topic].type}: it has to be {' or '.join(types)}."
        )
    return topic


def of_types(bag: BagReader, *types: str) -> list[str]:
    """Topics of such a type that have a message."""
    return sorted(name for name, one in bag.topics.items() if one.type in types and one.count)


def listed(names: Sequence[str]) -> str:
    shown = names[:12]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + more


# Cameras.


def _pictures(bag: BagReader) -> tuple[list[str], list[str]]:
    """Image topics of colour or grey, and those of depth, told apart by their first message."""
    topics = of_types(bag, IMAGE, COMPRESSED)
    depths = [topic for topic in topics if _is_depth(bag, topic)]
    bases = {topic for topic in topics if bag.topics[topic].type == IMAGE}
    pictures = [
        topic
        for topic in topics
        if topic not in depths
        and not topic.endswith("/annotated")  # of the node
        and not (bag.topics[topic].type == COMPRESSED and base_of(topic) in bases)  # it is there raw
    ]
    return pictures, depths


def _is_depth(bag: BagReader, topic: str) -> bool:
    first = next(bag.messages([topic]), None)
    if first is None:
        return False
    try:
        message = first.message()
    except InputError:  # damaged: the evaluation counts it
        return "depth" in topic
    said = str(message.format if hasattr(message, "format") else message.encoding)
    return "compressedDepth" in said or said.partition(";")[0].strip() in DEPTH_ENCODINGS


def _images(bag: BagReader, wanted: Wanted, pictures: list[str]) -> list[str]:
    if wanted.images and wanted.images != (ALL,):
        return [named(bag, one, (IMAGE, COMPRESSED), "--image") for one in dict.fromkeys(wanted.images)]
    if not pictures:
        raise InputError(f"the bag has no images; its topics are {listed(sorted(bag.topics))}.")
    if len(pictures) > 1 and not wanted.images:
        raise InputError(
            f"the bag has images on {listed(pictures)}: choose with --image TOPIC, again for another, or"
            f" --image {ALL}."
        )
    return pictures


def base_of(topic: str) -> str:
    """An image's topic without what a transport adds."""
    return topic.removesuffix("/compressed").removesuffix("/compressedDepth")


def _camera(bag: BagReader, image: str, depth: str | None) -> Camera:
    return Camera(image, _info_of(bag, image), depth, _info_of(bag, depth) if depth else None)


def _info_of(bag: BagReader, image: str) -> str | None:
    topic = base_of(image).rpartition("/")[0] + "/camera_info"
    known = bag.topics.get(topic)
    return topic if known and known.type == CAMERA_INFO and known.count else None


def _depth_of(image: str, depths: Sequence[str], cameras: int) -> str | None:
    """The depth of this camera: the topic that begins most like it, registered to the image if one is."""
    if cameras == 1 and len(depths) == 1:
        return depths[0]
    parts = image.split("/")

    def alike(topic: str) -> tuple[int, bool]:
        own = topic.split("/")
        begin = next((at for at, (a, b) in enumerate(zip(parts, own, strict=False)) if a != b), len(parts))
        return begin, bool(re.search("aligned|registered", topic))

    near = sorted((topic for topic in depths if alike(topic)[0] > 1), key=alike, reverse=True)
    if len(near) > 1 and alike(near[0]) == alike(near[1]):
        return None
    return near[0] if near else None


# What is asked, and what is true.


def _commands(bag: BagReader, wanted: str | None) -> str | None:
    if wanted:
        return named(bag, wanted, (STRING,), "--commands")
    found = [topic for topic in of_types(bag, STRING) if topic.rpartition("/")[2] in ("command", "commands")]
    if len(found) > 1:
        raise InputError(f"the bag has commands on {listed(found)}: choose with --commands TOPIC.")
    return found[0] if found else None


def _labels(bag: BagReader, wanted: Wanted) -> tuple[str | None, str | None]:
    """Of topics that call themselves true. A GroundedFrame also says what is absent: it comes first."""
    flat, solid = wanted.labels, wanted.labels_3d
    if flat:
        named(bag, flat, (GROUNDED, DETECTIONS), "--labels")
    else:
        flat = _only(_true(bag, GROUNDED) or _true(bag, DETECTIONS), "labels", "--labels")
    if solid:
        named(bag, solid, (DETECTIONS_3D,), "--labels-3d")
    else:
        solid = _only(_true(bag, DETECTIONS_3D), "labels in space", "--labels-3d")
    return flat, solid


def _true(bag: BagReader, kind: str) -> list[str]:
    return [topic for topic in of_types(bag, kind) if TRUE.search(topic)]


def _only(found: Sequence[str], what: str, option: str) -> str | None:
    if len(found) > 1:
        raise InputError(f"the bag has {what} on {listed(found)}: choose with {option} TOPIC.")
    return found[0] if found else None
