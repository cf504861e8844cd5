"""The node's parameters: what each means, what it may be, and all of them as one checked set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from kosmos2_core.command_parser import split_command
from kosmos2_core.engine import DTYPES
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate

CAMERA_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)
TRANSPORTS = ("raw", "compressed")
WHILE_UNCONFIGURED = "read when the node is configured"


def _told(
    default: Any,
    about: str,
    low: float | None = None,
    high: float | None = None,
    fixed: bool = False,
    choices: tuple[str, ...] = (),
) -> Any:
    """A parameter. fixed: it is read when the node is configured, and cannot change after."""
    return field(
        default=default, metadata={"about": about, "range": (low, high), "fixed": fixed, "choices": choices}
    )


@dataclass(frozen=True)
class Options:
    model: str = _told(
        "microsoft/kosmos-2-patch14-224", "a checkpoint: its folder, or its name on the hub", fixed=True
    )
    revision: str = _told("", "of a checkpoint on the hub; empty: the newest", fixed=True)
    device: str = _told("auto", "auto (the GPU where there is one), cpu, cuda, cuda:1, ...", fixed=True)
    dtype: str = _told("auto", "the precision to compute in", fixed=True, choices=("auto", *DTYPES))
    cameras: tuple[str, ...] = _told(
        ("",),
        "names of the cameras, the beginnings of their topics; one empty name: a single camera",
        fixed=True,
    )
    image_transport: str = _told("raw", "how images come", fixed=True, choices=TRANSPORTS)
    autostart: bool = _told(True, "configure and activate at the start, without a launch file", fixed=True)
    command: str = _told(
        "", "what to locate in every frame: `put [the red mug] into [the bowl]`; empty: nothing"
    )
    max_text_bytes: int = _told(
        4096, "Longest text of a command, request or question, in bytes of UTF-8.", 1, 1_000_000
    )
    max_phrases: int = _told(32, "Most phrases that one command or request may ask for.", 1, 1000)
    max_boxes: int = _told(1, "Most boxes of each phrase, each of another object, best first.", 1, 100)
    min_score: float = _told(0.0, "boxes below this probability are left out", 0.0, 1.0)
    min_presence: float = _told(
        -1.0,
        "A phrase whose presence is lower gets no box: it was not found. Below 0: the checkpoint's own"
        " threshold, from calibration.json, else 0.5. 0: every phrase gets its best box.",
        -1.0,
        1.0,
    )
    zoom: bool = _told(False, "look a second time, closer: slower, better for small things")
    max_frame_age_s: float = _told(5.0, "older frames are not used; 0: any are", 0.0, 3600.0)
    max_rate_hz: float = _told(
        0.0, "results of each camera a second; 0: as many as the model can", 0.0, 1000.0
    )
    query_queue_size: int = _told(8, "service calls that may wait; more are answered BUSY", 1, 64)
    query_timeout_s: float = _told(
        10.0, "of a service call that says none; after it, a model counts as hung", 0.1, 3600.0
    )
    max_new_tokens: int = _told(128, "words of an answer, in tokens", 1, 1024)
    target_frame: str = _told("", "the frame of 3D boxes; empty: the image's optical frame")
    tf_timeout_s: float = _told(0.1, "to wait for a transform at the image's stamp", 0.0, 10.0)
    depth_min_m: float = _told(0.05, "nearer depths are not believed", 0.0, 100.0)
    depth_max_m: float = _told(10.0, "farther depths are not believed", 0.01, 1000.0)
    sync_slop_s: float = _told(0.05, "the stamps of image and depth may differ by this", 0.0, 10.0)
    annotate: bool = _told(True, "publish annotated images and markers, while somebody looks")

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.metadata)
        if len(set(self.cameras)) != len(self.cameras) or not self.cameras:
            raise InputError(f"cameras are {list(self.cameras)}: give each a name of its own, at least one.")
        if "" in self.cameras and len(self.cameras) > 1:
            raise InputError("cameras has an empty name: with several cameras each needs a name.")
        for name in self.cameras:
            if name and not CAMERA_NAME.fullmatch(name):
                raise InputError(
                    f"the camera name {name!r} is no beginning of a topic: letters, digits, _ and /."
                )
        if self.depth_min_m >= self.depth_max_m:
            raise InputError(
                f"depth_min_m is {self.depth_min_m:g}, depth_max_m {self.depth_max_m:g}: say less and more."
            )
        self.request()

    def request(self) -> Locate | None:
        """What the command asks of every frame."""
        if not self.command.strip():
            return None
        return self.locate(self.command, self.max_boxes, self.min_score, self.zoom)

    def locate(self, text: str, max_boxes: int, min_score: float, zoom: bool) -> Locate:
        """A request that keeps the limits on text. InputError: what is wrong with it."""
        self.check_text(text)
        request = Locate(
            text,
            max_boxes,
            min_score,
            zoom=zoom,
            splitter=split_command,
            min_presence=self.min_presence if self.min_presence >= 0 else None,
        )
        count = len(request.grounded().phrases)
        if count > self.max_phrases:
            raise InputError(
                f"the text has {count} phrases, more than max_phrases ({self.max_phrases}): ask for fewer at"
                " once, or raise the parameter."
            )
        return request

    def check_text(self, text: str, factor: int = 1) -> None:
        """InputError: a text from outside is longer than allowed, before anything is made of it.

        Args:
            factor: how many times `max_text_bytes` this text may have.
        """
        most = factor * self.max_text_bytes
        if len(text) > most or len(text.encode("utf-8", "replace")) > most:
            raise InputError(
                f"the text has more than {most:,} bytes (max_text_bytes): shorten it, or raise the parameter."
            )


FIXED = frozenset(one.name for one in fields(Options) if one.metadata["fixed"])


def defaults() -> dict[str, Any]:
    return {one.name: _as_ros(one.default) for one in fields(Options)}


def options_of(values: Mapping[str, Any]) -> Options:
    """Parameters' values, as ROS gives them. InputError: what is wrong with them."""
    known = {one.name for one in fields(Options)}
    own = {
        name: tuple(value) if name == "cameras" else value for name, value in values.items() if name in known
    }
    return Options(**own)


def descriptor(name: str) -> ParameterDescriptor:
    about = next(one.metadata for one in fields(Options) if one.name == name)
    low, high = about["range"]
    default = next(one.default for one in fields(Options) if one.name == name)
    described = ParameterDescriptor(name=name, description=about["about"])
    if about["choices"]:
        described.additional_constraints = f"one of {', '.join(about['choices'])}"
    elif about["fixed"]:
        described.additional_constraints = WHILE_UNCONFIGURED
    if low is not None and isinstance(default, int):
        described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif low is not None:
        described.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    return described


def _check(name: str, value: Any, about: Mapping[str, Any]) -> None:
    low, high = about["range"]
    if low is not None and not low <= value <= high:  # NaN fails too
        raise InputError(f"{name} is {value:g}: it is from {low:g} to {high:g}.")
    if about["choices"] and value not in about["choices"]:
        raise InputError(f"{name} is {value!r}: it is one of {', '.join(about['choices'])}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}: give a number.")


def _as_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
