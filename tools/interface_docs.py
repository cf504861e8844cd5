"""Print docs/interfaces.md: topics, messages, services, the action and the parameters of the node.

    python tools/interface_docs.py > docs/interfaces.md

Descriptions of fields come from the interface files, of parameters from kosmos2_ros/parameters.py; topics
are described in this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOP = """\
# Topics, services, parameters

This page lists everything that the node `grounding` reads and writes. How to use it: [node.md](node.md). The
page is generated from the interface files and the node's parameters by
`python tools/interface_docs.py > docs/interfaces.md`.

## Topics

`~` stands for the node's name, `/grounding`. `<cam>` stands for a camera name of the parameter `cameras`. By
default there is one camera without a name; then `<cam>/` is left out: `image`, `~/detections`.
"""
# Direction, name (as Markdown), type, meaning.
TOPICS = (
    ("in", "`<cam>/image`", "sensor_msgs/msg/Image", "images, if `image_transport` is raw"),
    (
        "in",
        "`<cam>/image/compressed`",
        "sensor_msgs/msg/CompressedImage",
        "images, if `image_transport` is compressed",
    ),
    ("in", "`<cam>/camera_info`", "sensor_msgs/msg/CameraInfo", "calibration of the image; needed for 3D"),
    (
        "in",
        "`<cam>/depth/image`",
        "sensor_msgs/msg/Image",
        "depth, 16UC1 in millimetres or 32FC1 in metres; needed for 3D",
    ),
    (
        "in",
        "`<cam>/depth/camera_info`",
        "sensor_msgs/msg/CameraInfo",
        "calibration of the depth. If one of the two is missing, the other is used for both",
    ),
    (
        "in",
        "`~/command`",
        "std_msgs/msg/String",
        "the command: what to locate in every image; also the parameter `command`",
    ),
    (
        "in",
        "`/tf`, `/tf_static`",
        "tf2_msgs/msg/TFMessage",
        "transforms; needed for 3D in another frame than the image's",
    ),
    (
        "out",
        "`~/<cam>/grounding`",
        "kosmos2/msg/GroundedFrame",
        "the result of every processed image, also if nothing was found",
    ),
    (
        "out",
        "`~/<cam>/detections`",
        "vision_msgs/msg/Detection2DArray",
        "the same boxes in pixels; may be empty",
    ),
    (
        "out",
        "`~/<cam>/detections_3d`",
        "vision_msgs/msg/Detection3DArray",
        "boxes in `target_frame` with the ids of the 2D boxes; only if there is depth",
    ),
    (
        "out",
        "`~/<cam>/annotated`",
        "sensor_msgs/msg/Image",
        "the image with its boxes; only while subscribed",
    ),
    (
        "out",
        "`~/<cam>/markers`",
        "visualization_msgs/msg/MarkerArray",
        "the 3D boxes; only while subscribed",
    ),
    (
        "out",
        "`/diagnostics`",
        "diagnostic_msgs/msg/DiagnosticArray",
        "state of the model and of each camera, twice a second",
    ),
)
SERVICES = """\
## Services and the action

The services are `~/locate`, `~/describe` and `~/ask`; the action is `~/converse`. Every response has a code
`error`, one of these, and a sentence `message`:

"""
PARAMETERS = """\

## Parameters

If several parameters are set at once, either all are accepted or none, with the reason. Parameters marked
`configure` can change only while the node is unconfigured. Parameters marked `any time` take effect with the
next image or request.

"""
CONSTANT = re.compile(r"\w+ (\w+)=(\S+)")
PARTS = {"msg": [""], "srv": ["Request", "Response"], "action": ["Goal", "Result", "Feedback"]}
TYPES = {bool: "bool", int: "int", float: "double", str: "string", tuple: "string[]"}


@dataclass
class Part:
    """A message, or one of the messages of a service or an action."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)  # type, name, comment
    constants: list[tuple[str, str, str]] = field(default_factory=list)  # value, name, comment


def read(file: Path) -> tuple[str, list[Part]]:
    """Return the comment at the top of an interface file, and its parts."""
    top: list[str] = []
    parts = [Part()]
    for line in file.read_text().splitlines():
        code, _, comment = (text.strip() for text in line.partition("#"))
        if code == "---":
            parts.append(Part())
        elif constant := CONSTANT.fullmatch(code):
            parts[-1].constants.append((constant[2], constant[1], comment))
        elif code:
            kind, name = code.split()
            parts[-1].rows.append((kind, name, comment))
        elif comment and parts[-1].rows:  # continues the line above
            kind, name, before = parts[-1].rows.pop()
            parts[-1].rows.append((kind, name, f"{before} {comment}"))
        elif comment:
            top.append(comment)
    return " ".join(top), parts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def coded(row: Sequence[str]) -> tuple[str, ...]:
    """Format a row as Markdown: code, except for the comment at the end, where brackets are escaped."""
    return (*(f"`{cell}`" for cell in row[:-1]), row[-1].replace("[", r"\["))


def interface(file: Path) -> Iterator[str]:
    top, parts = read(file)
    yield f"### {file.stem}\n\n{top}\n"
    for title, part in zip(PARTS[file.suffix[1:]], parts, strict=True):
        name = f"{title}:\n\n" if title else ""
        yield name + table(("type", "name", "meaning"), [coded(row) for row in part.rows])


def interfaces() -> str:
    """Return the page up to the parameters."""
    _, (_, located) = read(ROOT / "srv/Locate.srv")
    codes = table(("code", "name", "meaning"), [coded(row) for row in located.constants])
    topics = [(way, name, f"`{kind}`", meaning) for way, name, kind, meaning in TOPICS]
    blocks = [TOP, table(("direction", "name", "type", "meaning"), topics), "## Messages\n"]
    blocks += [block for file in sorted(ROOT.glob("msg/*.msg")) for block in interface(file)]
    blocks.append(f"{SERVICES}{codes}")
    for file in (*sorted(ROOT.glob("srv/*.srv")), *sorted(ROOT.glob("action/*.action"))):
        blocks += interface(file)
    return "\n".join(blocks)


def parameters() -> str:
    """Return the table of the parameters. This needs ROS, because the node declares them."""
    from kosmos2_ros.parameters import GroundingParameters

    rows = [parameter_row(parameter) for parameter in fields(GroundingParameters)]
    head = ("name", "type", "default", "allowed", "changes", "meaning")
    return PARAMETERS + table(head, rows)


def parameter_row(parameter: Field[Any]) -> tuple[str, ...]:
    low, high = parameter.metadata["range"]
    range_ = "" if low is None else f"{low:g} to {high:g}"
    allowed = ", ".join(f"`{choice}`" for choice in parameter.metadata["choices"]) or range_
    when = "configure" if parameter.metadata["fixed"] else "any time"
    return (
        f"`{parameter.name}`",
        TYPES[type(parameter.default)],
        shown(parameter.default),
        allowed,
        when,
        parameter.metadata["about"],
    )


def shown(default: Any) -> str:
    """Return a default value as a file of parameters writes it."""
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case tuple():
            return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
        case str():
            return f"`{default}`" if default else '`""`'
    return f"`{default}`"


if __name__ == "__main__":
    print(interfaces() + parameters(), end="")
