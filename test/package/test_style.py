"""The rules of CONTRIBUTING.md for names and docstrings hold in product code."""

from __future__ import annotations

import ast
import re
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
# First words that leave the subject to the reader.
RIDDLE = re.compile(r"(Of|What|Whether|That which|Each|Where|Who|How) ")


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
    assert found == []


def test_a_class_name_occurs_once():
    places: dict[str, list[str]] = {}
    for package in PACKAGES:
        for file in product_files(package):
            for name in class_names(file.read_text()):
                places.setdefault(name, []).append(str(file.relative_to(ROOT)))
    repeated = {name: files for name, files in places.items() if len(files) > 1}
    assert repeated == {}


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(source: str) -> Iterator[tuple[Documented, str]]:
    """Yield everything that has a docstring, with the docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
            yield node, docstring


def parameters_of(node: Documented) -> set[str]:
    """Return the parameters of a function, or the constructor parameters and fields of a class."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            arguments = node.args
            optional = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
            all_arguments = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *optional)
            return {argument.arg for argument in all_arguments}
        case ast.ClassDef():
            fields = {item.target.id for item in node.body if is_field(item)}
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            return fields.union(*(parameters_of(method) for method in methods if method.name == "__init__"))
    return set()


def is_field(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)


def described_parameters(docstring: str) -> list[str]:
    """Return the names in the `Args:` section of a docstring."""
    section = re.search(r"^Args:\n((?: +.*\n?|\n)+)", docstring, re.MULTILINE)
    return re.findall(r"^    ([^\s:][^:\n]*):", section[1], re.MULTILINE) if section else []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_described_parameters_exist(package):
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno} {name}"
        for file in product_files(package)
        for node, docstring in documented(file.read_text())
        for name in described_parameters(docstring)
        if name.lstrip("*") not in parameters_of(node)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_docstrings_begin_with_a_noun_or_an_imperative(package):
    found = [
        f"{file.relative_to(ROOT)}: {docstring.splitlines()[0]}"
        for file in product_files(package)
        for _, docstring in documented(file.read_text())
        if RIDDLE.match(docstring)
    ]
    assert found == []


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
