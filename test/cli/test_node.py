"""`kosmos2 node`: what is said on the command line reaches ROS as it was written."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from kosmos2_cli.node import quoted


@pytest.mark.parametrize("command", ["[the red mug]", "put [it]: there", 'the "best" mug', "grün", "", "1"])
def test_a_command_is_text_however_yaml_would_read_it(command):
    name, _, value = quoted(f"command:={command}").partition(":=")
    assert (name, yaml.safe_load(value)) == ("command", command)


def test_other_parameters_are_as_they_are():
    assert quoted("cameras:=[left, right]") == "cameras:=[left, right]"
    assert quoted("command") == "command"


@pytest.mark.ros
@pytest.mark.parametrize("wrong", ["max_boxes:=0", "command:= ; "])
def test_a_parameter_that_makes_no_sense_is_a_sentence(wrong):
    """In a process of its own: rclpy begins once in each."""
    command = [sys.executable, "-m", "kosmos2_cli", "node", "-p", wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("grounding: ")
    assert done.stderr.count("\n") == 1
