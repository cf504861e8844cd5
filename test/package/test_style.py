"""The naming rules of CONTRIBUTING.md hold in product code.

While old code is being renamed, a package may have as many violations as `ALLOWED_NAMES` and
`ALLOWED_REPEATED_CLASSES` say. These numbers may only become smaller.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    *sorted(file.parent for file in ROOT.glob("kosmos2_*/__init__.py")),
    ROOT / "training/kosmos2_training",
)
BANNED = {"one", "own", "here", "those", "at", "each", "every", "some"}  # a name says what the variable holds
ALLOWED_NAMES = {
    "kosmos2_core": 48,
    "kosmos2_data": 4,
    "kosmos2_io": 30,
}
ALLOWED_REPEATED_CLASSES = 0


def product_files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def banned_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every variable, parameter and attribute that has a banned name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                pass
            case ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                pass
            case _:
                continue
        if name in BANNED:
            yield node.lineno, name


def class_names(source: str) -> list[str]:
    return [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_variables_are_named_after_what_they_hold(package):
    found = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file in product_files(package)
        for line, name in banned_names(file.read_text())
    ]
    assert len(found) <= ALLOWED_NAMES.get(package.name, 0), "\n".join(found)


def test_a_class_name_occurs_once():
    places: dict[str, list[str]] = {}
    for package in PACKAGES:
        for file in product_files(package):
            for name in class_names(file.read_text()):
                places.setdefault(name, []).append(str(file.relative_to(ROOT)))
    repeated = {name: files for name, files in places.items() if len(files) > 1}
    assert len(repeated) <= ALLOWED_REPEATED_CLASSES, repeated


@pytest.mark.parametrize(
    "source",
    [
        "one = 1",
        "for each in range(3): pass",
        "def f(at): pass",
        "x = [own for own in range(3)]",
        "with open('f') as those: pass",
        "self.here = 1",
        "lambda some: some",
        "match 1:\n    case every: pass",
    ],
)
def test_a_banned_name_is_found(source):
    assert Counter(name for _, name in banned_names(source)).total() == 1
