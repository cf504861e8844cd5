"""Prints docs/interfaces.md: topics, messages, services, the action, parameters.

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

`python tools/interface_docs.py > docs/interfaces.md` writes this page from the interface files and the node's
parameters; a test holds it. How to use them: [node.md](node.md).

## Topics

`~` is the node's name, `/grounding`. `<cam>` is a camera's name in the parameter `cameras`; with the one
empty name it is left out with its slash: `image`, `~/detections`.

| direction | name | type | |
|---|---|---|---|
| in | `<cam>/image` | `sensor_msgs/msg/Image` | with `image_transport` raw |
| in | `<cam>/image/compressed` | `sensor_msgs/msg/CompressedImage` | in its place, with `image_transport` \
compressed |
| in | `<cam>/camera_info` | `sensor_msgs/msg/CameraInfo` | of the image; for 3D |
| in | `<cam>/depth/image` | `sensor_msgs/msg/Image` | 16UC1 in millimetres or 32FC1 in metres; for 3D |
| in | `<cam>/depth/camera_info` | `sensor_msgs/msg/CameraInfo` | of the depth; where one is missing, \
the other counts for both |
| in | `~/command` | `std_msgs/msg/String` | what to locate in every image; also the parameter `command` |
| in | `/tf`, `/tf_static` | `tf2_msgs/msg/TFMessage` | for 3D in another frame than the image's |
| out | `~/<cam>/grounding` | `kosmos2/msg/GroundedFrame` | for every image that was grounded, also when \
nothing was found |
| out | `~/<cam>/detections` | `vision_msgs/msg/Detection2DArray` | the same boxes, in pixels; may be empty |
| out | `~/<cam>/detections_3d` | `vision_msgs/msg/Detection3DArray` | in `target_frame`, with the 2D ids; \
only where there is depth |
| out | `~/<cam>/annotated` | `sensor_msgs/msg/Image` | the image with its boxes, while somebody looks |
| out | `~/<cam>/markers` | `visualization_msgs/msg/MarkerArray` | the 3D boxes, while somebody looks |
| out | `/diagnostics` | `diagnostic_msgs/msg/DiagnosticArray` | twice a second: the model, and each camera |
"""
SERVED = """\
## Services and the action

`~/locate`, `~/describe`, `~/ask`; the action `~/converse`. All answer with `error`, one of these, and
`message`, a sentence.

"""
CONSTANT = re.compile(r"\w+ (\w+)=(\S+)")
PARTS = {"msg": [""], "srv": ["Request", "Response"], "action": ["Goal", "Result", "Feedback"]}
TYPES = {bool: "bool", int: "int", float: "double", str: "string", tuple: "string[]"}
CHANGES = """\

## Parameters

A set of changes is taken as a whole or not at all, with the reason. `configure`: can change only while the
node is unconfigured, since it is read then; `any time`: takes effect with the next image or query.

"""


@dataclass
class Part:
    """A message, or one of the messages of a service or an action."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)  # type, name, comment
    constants: list[tuple[str, str, str]] = field(default_factory=list)  # value, name, comment


def read(file: Path) -> tuple[str, list[Part]]:
    """What stands at the top of an interface file, and its parts."""
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
        elif comment and parts[-1].rows:  # goes on from the line above
            kind, name, before = parts[-1].rows.pop()
            parts[-1].rows.append((kind, name, f"{before} {comment}"))
        elif comment:
            top.append(comment)
    return " ".join(top), parts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def coded(row: Sequence[str]) -> tuple[str, ...]:
    """All but the last cell, the comment, as code; brackets in that are no links."""
    return (*(f"`{cell}`" for cell in row[:-1]), row[-1].replace("[", r"\["))


def interface(file: Path) -> Iterator[str]:
    top, parts = read(file)
    yield f"### {file.stem}\n\n{top}\n"
    for title, part in zip(PARTS[file.suffix[1:]], parts, strict=True):
        name = f"{title}:\n\n" if title else ""
        yield name + table(("type", "name", "meaning"), [coded(row) for row in part.rows])


def interfaces() -> str:
    """Everything but the parameters."""
    _, (_, located) = read(ROOT / "srv/Locate.srv")
    codes = table(("code", "name", "meaning"), [coded(row) for row in located.constants])
    blocks = [TOP, "## Messages\n"]
    blocks += [block for file in sorted(ROOT.glob("msg/*.msg")) for block in interface(file)]
    blocks.append(f"{SERVED}{codes}")
    for file in (*sorted(ROOT.glob("srv/*.srv")), *sorted(ROOT.glob("action/*.action"))):
        blocks += interface(file)
    return "\n".join(blocks)


def parameters() -> str:
    """Needs ROS: the node's options are read from where they are used."""
    from kosmos2_ros.parameters import GroundingParameters

    rows = [parameter(one) for one in fields(GroundingParameters)]
    head = ("name", "type", "default", "may be", "changes", "meaning")
    return CHANGES + table(head, rows)


def parameter(one: Field[Any]) -> tuple[str, ...]:
    low, high = one.metadata["range"]
    range_ = "" if low is None else f"{low:g} to {high:g}"
    allowed = ", ".join(f"`{choice}`" for choice in one.metadata["choices"]) or range_
    when = "configure" if one.metadata["fixed"] else "any time"
    return f"`{one.name}`", TYPES[type(one.default)], shown(one.default), allowed, when, one.metadata["about"]


def shown(default: Any) -> str:
    """As in a file of parameters."""
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
