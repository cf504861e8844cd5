"""The commands of docs/commands.md do what the page says, with the included model."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from kosmos2_cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/commands.md").read_text()
SHELL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in SHELL_BLOCKS
    for line in block.splitlines()
    if line.startswith("kosmos2 ")
]
NEEDS_ROS = {"node", "say", "watch"}  # tested in test_ros_commands.py


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the model and the image, as a user's clone has them."""
    for name in ("docs", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOSMOS2_MODEL", "models/tabletop-tiny")
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is left of the brown mug?\n"))
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [words for words in COMMANDS if words[0] not in NEEDS_ROS], ids=shlex.join
)
def test_a_command_of_the_page_works(clone, arguments, capsys):
    for earlier in COMMANDS:
        made = earlier[earlier.index("--out") + 1] if "--out" in earlier else None
        if made in arguments and earlier != arguments:  # it makes what this command uses
            assert main(earlier) == 0
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip()
    if "--save" in arguments:
        assert Image.open(arguments[arguments.index("--save") + 1]).size == (768, 512)


def test_the_first_command_prints_what_the_page_shows(clone, capsys):
    shown = PAGE.partition("```\n\n```\n")[2].partition("```")[0]
    assert main(COMMANDS[0]) == 0
    printed = capsys.readouterr().out
    words, figures = re.compile(r"[^\d ]+"), re.compile(r"\d+\.?\d*")
    assert words.findall(printed) == words.findall(shown)
    for ours, theirs in zip(figures.findall(printed), figures.findall(shown), strict=True):
        # The last digits depend on the processor.
        assert float(ours) == pytest.approx(float(theirs), abs=0.02 if "." in theirs else 1)


def test_every_command_has_a_row_on_the_page():
    from kosmos2_cli.main import COMMANDS as ALL

    assert [name for name in ALL if f"`kosmos2 {name}" not in PAGE.partition("## All commands")[2]] == []
