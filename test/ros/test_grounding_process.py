"""The program of the node, in a process of its own: usage, and parameters that it cannot start with."""

import os
import subprocess
import sys
import threading

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from kosmos2_ros.apps import grounding  # noqa: E402
from kosmos2_ros.process import Executor  # noqa: E402

PATIENCE_S = 200
# Prints the exit status of a command and its peak of memory. A child of pytest would begin with pytest's own.
PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
MUCH_KIB = 2**20  # an import of torch takes a third of this
PROGRAMS = {"ros2 run": ("kosmos2_ros.apps.grounding", "--ros-args"), "kosmos2 node": ("kosmos2_cli", "node")}


def run(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def test_help_is_printed_and_no_node_is_started():
    done = run("kosmos2_ros.apps.grounding", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: grounding")
    assert "--ros-args" in done.stdout


def test_an_argument_that_is_none_is_refused_in_a_sentence():
    done = run("kosmos2_ros.apps.grounding", "--comand", "the mug")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "grounding: unrecognized arguments: --comand the mug; --help shows the options.\n"


@pytest.mark.parametrize(
    ("program", "text", "reason"),
    [
        ("ros2 run", "/**:\n  ros__parameters:\n    command: [unclosed\n", "near line 3"),
        ("kosmos2 node", "/**:\n  ros__parameters:\n    command: [unclosed\n", "near line 3"),
        ("ros2 run", "max_boxes: 3\n", "before ros__parameters at line 1"),
        ("ros2 run", "/**:\n  ros__parameters:\n    device: meta\n", "device is 'meta': choose auto, cpu,"),
    ],
    ids=["not YAML", "not YAML, kosmos2 node", "not of ROS", "device"],
)
def test_a_file_of_wrong_parameters_is_a_sentence(tmp_path, program, text, reason):
    file = tmp_path / "robot.yaml"
    file.write_text(text)
    done = run(*PROGRAMS[program], "--params-file", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert done.stderr.startswith("grounding: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("size", "said_of_it"),
    [
        (2_000_000, "the parameter file "),
        (40_000, "the text has more than 4,096 bytes (max_text_bytes)"),
    ],
)
def test_a_huge_command_is_a_sentence_and_takes_little_memory(tmp_path, size, said_of_it):
    file = tmp_path / "robot.yaml"
    text = "[a]; " * size
    file.write_text(f'/**:\n  ros__parameters:\n    command: "{text}"\n')
    command = [sys.executable, "-m", *PROGRAMS["ros2 run"], "--params-file", str(file)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command], capture_output=True, text=True, timeout=PATIENCE_S
    )
    status, peak_kib = map(int, done.stdout.split())
    assert status == 2
    assert done.stderr.startswith(f"grounding: {said_of_it}")
    assert done.stderr.count("\n") == 1
    assert peak_kib < MUCH_KIB


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_pipe_as_parameter_file_is_a_sentence(tmp_path, program):
    os.mkfifo(tmp_path / "pipe")
    done = run(*PROGRAMS[program], "--params-file", tmp_path / "pipe")
    assert done.returncode == 2
    assert "pipe" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_second_node_of_a_name_warns(ros, capfd, monkeypatch):
    monkeypatch.setattr(grounding, "NAMESAKE_PERIOD_S", 0.01)
    nodes, executor = [], Executor()
    thread = threading.Thread(target=executor.spin, daemon=True)
    try:
        for expected in (0, 1):
            nodes.append(rclpy.create_node("twin", namespace="/pair"))
            executor.add_node(nodes[-1])
            if not thread.is_alive():
                thread.start()
            look(nodes[-1])
            log = capfd.readouterr().err
            assert log.count("another node is named /pair/twin") == expected
        assert "`-r __node:=NAME`" in log
    finally:
        executor.shutdown()
        thread.join(PATIENCE_S)
        for node in nodes:
            node.destroy_node()


def look(node):
    """Wait until the node has looked for others of its name."""
    ended, destroy = threading.Event(), node.destroy_timer

    def destroyed(timer):
        destroy(timer)
        ended.set()

    node.destroy_timer = destroyed
    grounding.NamesakeWarning(node)
    assert ended.wait(PATIENCE_S)
