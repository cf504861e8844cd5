"""The node's parameters: their meaning, their allowed values, and all of them as one validated set."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

from kosmos2_core.command_parser import split_command
from kosmos2_core.engine import DTYPES, QUANTIZATIONS
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_core.requests import Locate

CAMERA_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)
MAX_CAMERAS = 64
TRANSPORTS = ("raw", "compressed")
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:[0-9]+)?", re.ASCII)
READ_AT_CONFIGURE = "Read when the node is configured; it cannot change until the node is unconfigured again."
# Parameters that every ROS 2 node may have; names with these beginnings are never called unknown.
ROS_PARAMETERS = ("use_sim_time", "qos_overrides", "start_type_description_service")


def _parameter(
    default: Any,
    about: str,
    low: float | None = None,
    high: float | None = None,
    fixed: bool = False,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field that describes a parameter.

    Args:
        default: The default value; it also sets the type.
        about: The description, for `ros2 param describe` and docs/interfaces.md.
        low: The smallest value.
        high: The largest value.
        fixed: The parameter is read when the node is configured and cannot change afterwards.
        choices: The allowed texts.
    """
    return field(
        default=default, metadata={"about": about, "range": (low, high), "fixed": fixed, "choices": choices}
    )


@dataclass(frozen=True)
class GroundingParameters:
    """All parameters of the node `grounding`, validated.

    Raises:
        InputError: A value is not allowed, or two values contradict each other.
    """

    model: str = _parameter(
        "microsoft/kosmos-2-patch14-224",
        "Checkpoint: its folder, its name on the Hugging Face hub, or the address of a server that has it, as"
        " http://box:8000 or http://box:8000?jpeg=95.",
        fixed=True,
    )
    revision: str = _parameter("", "Revision of a checkpoint on the hub; empty: the newest.", fixed=True)
    device: str = _parameter(
        "auto", "Device of the model: auto (the GPU if there is one), cpu, cuda, cuda:1, ...", fixed=True
    )
    dtype: str = _parameter("auto", "Precision of the model.", fixed=True, choices=("auto", *DTYPES))
    quantize: str = _parameter(
        "auto",
        "Weights on a CPU: none (as dtype says), int8, or auto (int8 where it is faster).",
        fixed=True,
        choices=QUANTIZATIONS,
    )
    cameras: tuple[str, ...] = _parameter(
        ("",),
        "Names of the cameras; the topics of each begin with its name. One empty name: a single camera.",
        fixed=True,
    )
    image_transport: str = _parameter("raw", "Transport of the images.", fixed=True, choices=TRANSPORTS)
    autostart: bool = _parameter(
        True, "Configure and activate the node when it starts, without a lifecycle manager.", fixed=True
    )
    command: str = _parameter(
        "", "Text to locate in every image: `put [the red mug] into [the bowl]`; empty: no text."
    )
    max_text_bytes: int = _parameter(
        4096, "Longest text of a command, request or question, in bytes of UTF-8.", 1, 1_000_000
    )
    max_phrases: int = _parameter(32, "Most phrases that one command or request may ask for.", 1, 1000)
    max_boxes: int = _parameter(1, "Most boxes of each phrase, each of another object, best first.", 1, 100)
    min_score: float = _parameter(0.0, "Boxes with a lower score are left out.", 0.0, 1.0)
    min_presence: float = _parameter(
        -1.0,
        "A phrase whose presence is lower gets no box: it was not found. Below 0: the checkpoint's own"
        " threshold, from calibration.json, else 0.5. 0: every phrase gets its best box.",
        -1.0,
        1.0,
    )
    zoom: bool = _parameter(
        False, "Look a second time at a crop around each box: slower, better for small objects."
    )
    max_frame_age_s: float = _parameter(
        5.0, "Oldest image to use and to publish results of, in seconds; 0: any age.", 0.0, 3600.0
    )
    max_rate_hz: float = _parameter(
        0.0, "Most results of each camera per second; 0: as many as the model can compute.", 0.0, 1000.0
    )
    query_queue_size: int = _parameter(
        8, "Most service requests that may wait; further ones are answered BUSY.", 1, 64
    )
    query_timeout_s: float = _parameter(
        10.0,
        "Default timeout of a service call that sets none, in seconds.",
        0.1,
        3600.0,
    )
    hang_timeout_s: float = _parameter(
        10.0,
        "A model that finishes no step (an image, a token, a part of a search) for so many seconds counts as"
        " hung; if its steps are slow, only after three times the longest of the last ones.",
        0.1,
        3600.0,
    )
    max_new_tokens: int = _parameter(128, "Longest generated answer, in tokens.", 1, 1024)
    target_frame: str = _parameter("", "TF frame of the 3D boxes; empty: the image's optical frame.")
    tf_timeout_s: float = _parameter(
        0.1, "Longest wait for a transform at the image's stamp, in seconds.", 0.0, 10.0
    )
    depth_min_m: float = _parameter(0.05, "Smaller depths are ignored, in metres.", 0.0, 100.0)
    depth_max_m: float = _parameter(10.0, "Larger depths are ignored, in metres.", 0.01, 1000.0)
    sync_slop_s: float = _parameter(
        0.05, "Largest difference between the stamps of an image and its depth image, in seconds.", 0.0, 10.0
    )
    annotate: bool = _parameter(
        True, "Publish annotated images and markers while something subscribes to them."
    )

    def __post_init__(self) -> None:
        for parameter in fields(self):
            _check(parameter.name, getattr(self, parameter.name), parameter.metadata)
        self._check_cameras()
        if not DEVICE.fullmatch(self.device):
            raise InputError(f"device is {self.device!r}: choose auto, cpu, cuda or cuda:1.")
        if self.depth_min_m >= self.depth_max_m:
            raise InputError(
                f"depth_min_m is {self.depth_min_m:g} and depth_max_m is {self.depth_max_m:g}:"
                " depth_min_m must be less than depth_max_m."
            )
        self.request()

    def _check_cameras(self) -> None:
        if len(self.cameras) > MAX_CAMERAS:
            raise InputError(f"cameras has {len(self.cameras):,} names: a node has at most {MAX_CAMERAS}.")
        if len(set(self.cameras)) != len(self.cameras) or not self.cameras:
            raise InputError(f"cameras is {list(self.cameras)}: give at least one name, and no name twice.")
        if "" in self.cameras and len(self.cameras) > 1:
            raise InputError("cameras has an empty name: with several cameras each needs a name.")
        for name in self.cameras:
            if name and not CAMERA_NAME.fullmatch(name):
                raise InputError(
                    f"the camera name {name!r} cannot begin a topic name: use letters, digits, _ and /."
                )

    def request(self) -> Locate | None:
        """Return what the command asks of every image, or None without a command."""
        if not self.command.strip():
            return None
        return self.locate(self.command, self.max_boxes, self.min_score, self.zoom)

    def locate(self, text: str, max_boxes: int, min_score: float, zoom: bool) -> Locate:
        """Return a request for the engine.

        Raises:
            InputError: The text is too long, has too many phrases or makes no sense.
        """
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
        """Refuse a received text that is too long, before anything is made of it.

        Args:
            text: The text.
            factor: How many times `max_text_bytes` this text may have.

        Raises:
            InputError: The text is too long.
        """
        most = factor * self.max_text_bytes
        if len(text) > most or len(text.encode("utf-8", "replace")) > most:
            raise InputError(
                f"the text has more than {most:,} bytes (max_text_bytes): shorten it, or raise the parameter."
            )


PARAMETERS = {parameter.name: parameter for parameter in fields(GroundingParameters)}
FIXED = tuple(name for name, parameter in PARAMETERS.items() if parameter.metadata["fixed"])


def defaults() -> dict[str, Any]:
    """Return the default of every parameter, as ROS has it."""
    return {name: _as_ros(parameter.default) for name, parameter in PARAMETERS.items()}


def parameter_overrides(node: Any) -> dict[str, Any]:
    """Return the values that the command line, a launch file or the caller gives for parameters, by name.

    rclpy has them in a private attribute only. The option `automatically_declare_parameters_from_overrides`
    would make them public, but it fails at empty lists and skips the type check of `use_sim_time`. If a
    later rclpy renames the attribute, the node starts and uses the overrides all the same; then it does not
    warn of unknown parameters, and `min_score` must be set to 1.0, not to 1.
    """
    overrides = getattr(node, "_parameter_overrides", {})
    return {name: parameter.value for name, parameter in overrides.items()}


def parameters_of(values: Mapping[str, Any]) -> GroundingParameters:
    """Return the validated set of the values that ROS gives; other parameters are ignored.

    Raises:
        InputError: A value is not allowed.
    """
    known = {name: value for name, value in values.items() if name in PARAMETERS}
    return GroundingParameters(**known | {"cameras": tuple(known.get("cameras", ("",)))})


def declare_parameters(node: Any) -> GroundingParameters:
    """Declare all parameters of a node and return their values; warn of overrides that are not known.

    Raises:
        InputError: A value is not allowed.
    """
    overrides = parameter_overrides(node)
    for sentence in unknown_parameters(overrides):
        node.get_logger().warning(sentence)
    return parameters_of(
        {name: _declare(node, name, default, overrides.get(name)) for name, default in defaults().items()}
    )


def _declare(node: Any, name: str, default: Any, override: Any) -> Any:
    """Declare a parameter and return its value, which is the override if there is one.

    Raises:
        InputError: The override is an empty list, which has no type and no value in ROS.
    """
    converted = with_default_type(name, override)
    if converted is override:
        value = node.declare_parameter(name, default, descriptor(name)).value
    else:
        value = node.declare_parameter(name, converted, descriptor(name), ignore_override=True).value
    if value is None:
        raise InputError(f"{name} is empty: give it a value.")
    return value


def descriptor(name: str) -> ParameterDescriptor:
    """Return the description of a parameter for `ros2 param describe`."""
    parameter = PARAMETERS[name]
    about, default = parameter.metadata, parameter.default
    low, high = about["range"]
    described = ParameterDescriptor(name=name, description=about["about"])
    choices = f"One of {', '.join(about['choices'])}." if about["choices"] else ""
    fixed = READ_AT_CONFIGURE if about["fixed"] else ""
    described.additional_constraints = f"{choices} {fixed}".strip()
    if low is not None and isinstance(default, int):
        described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif low is not None:
        described.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    return described


def with_default_type(name: str, value: Any) -> Any:
    """Return a value with the type of its parameter, if ROS, which reads values as YAML, made another of it.

    An integer for a floating-point parameter becomes a float: `min_score:=1` means 1.0. A list of texts for
    `command` becomes a text in which each is marked: `[the red mug]` is a list in YAML.
    """
    if name == "command" and isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return "; ".join(map(_marked, filter(None, value)))
    parameter = PARAMETERS.get(name)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if parameter and isinstance(parameter.default, float) and is_int else value


def with_default_types(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return parameters that are to be set, with the types that the node declared."""
    return [
        Parameter(parameter.name, value=converted)
        if (converted := with_default_type(parameter.name, parameter.value)) is not parameter.value
        else parameter
        for parameter in parameters
    ]


def _marked(text: str) -> str:
    return write_markdown(GroundedText(text, (Phrase(0, len(text)),)))


def changed_fixed(before: GroundingParameters, after: GroundingParameters) -> list[str]:
    """Return the parameters that differ and cannot change while the node is configured."""
    return [name for name in FIXED if getattr(before, name) != getattr(after, name)]


def fixed_reason(names: Iterable[str], node: str) -> str:
    """Return why these parameters of a configured node cannot change now, and what to do.

    Args:
        names: The parameters.
        node: The node's full name.
    """
    command = f"ros2 lifecycle set {node}"
    return (
        f"{', '.join(names)}: read when the node is configured. First run `{command} deactivate`, then"
        f" `{command} cleanup`; after the change `{command} configure`, then `{command} activate`."
    )


def unknown_parameters(names: Iterable[str]) -> list[str]:
    """Return a sentence about each name that is no parameter of the node, with the nearest that is."""
    sentences = []
    for name in sorted(names):
        if name in PARAMETERS or name.partition(".")[0] in ROS_PARAMETERS:
            continue
        near = difflib.get_close_matches(name, PARAMETERS, n=1)
        advice = f"did you mean {near[0]}?" if near else "docs/interfaces.md lists all parameters."
        sentences.append(f"unknown parameter {name!r} is ignored: {advice}")
    return sentences


def _check(name: str, value: Any, about: Mapping[str, Any]) -> None:
    low, high = about["range"]
    if low is not None and not low <= value <= high:  # refuses NaN too
        raise InputError(f"{name} is {value:g}: it must be from {low:g} to {high:g}.")
    if about["choices"] and value not in about["choices"]:
        raise InputError(f"{name} is {value!r}: it must be one of {', '.join(about['choices'])}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}: it must be a finite number.")


def _as_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
