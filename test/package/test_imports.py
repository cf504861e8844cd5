"""Who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

EVERYTHING = {
    *("kosmos2_cli", "kosmos2_core", "kosmos2_data", "kosmos2_eval", "kosmos2_io", "kosmos2_ros"),
    *("kosmos2_serve", "kosmos2_sim", "kosmos2_training"),
}
# The modules of the server's package that need none of the server's dependencies: the client.
CLIENT = ("kosmos2_serve.client", "kosmos2_serve.wire")
MAY_IMPORT = {
    "kosmos2_cli": EVERYTHING,
    "kosmos2_ros": {"kosmos2_io", "kosmos2_sim", "kosmos2_core"},
    "kosmos2_serve": {"kosmos2_data", "kosmos2_io", "kosmos2_core"},
    "kosmos2_training": {"kosmos2_data", "kosmos2_eval", "kosmos2_io", "kosmos2_sim", "kosmos2_core"},
    "kosmos2_eval": {"kosmos2_data", "kosmos2_io", "kosmos2_core"},
    "kosmos2_sim": {"kosmos2_data", "kosmos2_io", "kosmos2_core"},
    "kosmos2_data": {"kosmos2_io", "kosmos2_core"},
    "kosmos2_io": {"kosmos2_core"},
    "kosmos2_core": set(),
}
SERVER = ("prometheus_client", "pydantic", "starlette", "uvicorn")  # what only the server needs
# What only a machine with ROS has: the client library, generated messages, its Python packages.
ROS = (
    "rclpy",
    "launch",
    "launch_ros",
    "rosidl",
    "ament",
    "tf2_ros",
    "cv_bridge",
    "message_filters",
    "kosmos2",
)


def folder_of(root: Path, package: str) -> Path:
    return root / "training" / package if package == "kosmos2_training" else root / package


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of the module of every import in a file, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""


def is_ros(name: str) -> bool:
    return name in ROS or name.startswith(("rosidl_", "ament_")) or name.endswith(("_msgs", "_interfaces"))


def violations(root: Path) -> list[str]:
    found = []
    for package, allowed in MAY_IMPORT.items():
        for file in sorted(folder_of(root, package).rglob("*.py")):
            for line, module in imported(file):
                name = module.partition(".")[0]
                where = f"{file.relative_to(root)}:{line} imports {name}"
                if package == "kosmos2_ros" and module in CLIENT:
                    continue
                if name in EVERYTHING - allowed - {package}:
                    found.append(where)
                file_module = ".".join(
                    (package, *file.relative_to(folder_of(root, package)).with_suffix("").parts)
                )
                if file_module in CLIENT and ((name == package and module not in CLIENT) or name in SERVER):
                    found.append(where)
                if is_ros(name) and package != "kosmos2_ros":
                    found.append(where)
                if name == "transformers" and package in (
                    "kosmos2_core",
                    "kosmos2_data",
                    "kosmos2_io",
                    "kosmos2_ros",
                ):
                    found.append(where)
    return found


def test_every_import_follows_the_rules(root):
    assert violations(root) == []


def test_every_package_has_a_rule(root):
    present = {file.parent.name for file in root.glob("kosmos2_*/__init__.py")}
    present |= {file.parent.name for file in root.glob("training/*/__init__.py")}
    assert present == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("kosmos2_core", "import kosmos2_io.images"),
        ("kosmos2_core", "import transformers"),
        ("kosmos2_io", "from rclpy.node import Node"),
        ("kosmos2_eval", "def f():\n    from sensor_msgs.msg import Image"),
        ("kosmos2_sim", "from kosmos2.msg import Box"),
        ("kosmos2_ros", "from kosmos2_eval import metrics"),
        ("kosmos2_data", "from kosmos2_eval.metrics import mean"),
        ("kosmos2_training", "import kosmos2_ros"),
        ("kosmos2_ros", "from kosmos2_serve.app import create_app"),
        ("kosmos2_serve", "from kosmos2_ros.work import PendingQuery"),
    ],
)
def test_a_forbidden_import_is_named(tmp_path, package, line):
    folder = folder_of(tmp_path, package)
    folder.mkdir(parents=True)
    (folder / "module.py").write_text(line)
    [violation] = violations(tmp_path)
    assert f"{package}/module.py" in violation


@pytest.mark.parametrize("line", ["import pydantic", "from kosmos2_serve.app import create_app"])
def test_the_client_needs_nothing_of_the_server(tmp_path, line):
    folder = folder_of(tmp_path, "kosmos2_serve")
    folder.mkdir()
    (folder / "client.py").write_text(line)
    [violation] = violations(tmp_path)
    assert "kosmos2_serve/client.py" in violation
