"""Print docs/interfaces.md: topics, messages, services, the action and the parameters of the node.

    python tools/interface_docs.py > docs/interfaces.md

Descriptions of fields come from the interface files, of parameters from kosmos2_ros/parameters.py. The rest
of the page, the topics among it, is written in tools/interfaces.md.in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "tools/interfaces.md.in"
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


def fill(template: str, **blocks: str) -> str:
    """Replace each marker, such as @CODES@, by the block of its name."""
    for name, block in blocks.items():
        template = template.replace(f"@{name.upper()}@", block.strip())
    return template


def interfaces() -> str:
    """Return the page up to the table of the parameters."""
    _, (_, located) = read(ROOT / "srv/Locate.srv")
    services = (*sorted(ROOT.glob("srv/*.srv")), *sorted(ROOT.glob("action/*.action")))
    return fill(
        TEMPLATE.read_text().partition("@PARAMETERS@")[0],
        messages=sections(sorted(ROOT.glob("msg/*.msg"))),
        codes=table(("code", "name", "meaning"), [coded(row) for row in located.constants]),
        services=sections(services),
    )


def sections(files: Sequence[Path]) -> str:
    """Return a section for each interface file."""
    return "\n".join(block for file in files for block in interface(file))


def parameters() -> str:
    """Return the table of the parameters. This needs ROS, because the node declares them."""
    from kosmos2_ros.parameters import GroundingParameters

    rows = [parameter_row(parameter) for parameter in fields(GroundingParameters)]
    return table(("name", "type", "default", "allowed", "changes", "meaning"), rows)


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
