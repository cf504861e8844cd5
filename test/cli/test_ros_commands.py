"""`kosmos2 node`, `kosmos2 watch` and `kosmos2 say`: arguments, results and reasons of a real node."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest
import yaml

from kosmos2_cli.main import main
from kosmos2_cli.ros_commands import quote_command

if find_spec("rclpy"):
    from serving import model, robot, ros, serve  # noqa: F401

PATIENCE_S = 60.0


@pytest.mark.parametrize("command", ["[the red mug]", "put [it]: there", 'the "best" mug', "grün", "", "1"])
def test_a_command_is_text_however_yaml_would_read_it(command):
    name, _, value = quote_command(f"command:={command}").partition(":=")
    assert (name, yaml.safe_load(value)) == ("command", command)


def test_other_parameters_are_as_they_are():
    assert quote_command("cameras:=[left, right]") == "cameras:=[left, right]"
    assert quote_command("command") == "command"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["node", "-p", "max_boxes=3"], "-p max_boxes=3 is not of the form NAME:=VALUE"),
        (["node", "-p", ":=3"], "-p :=3 is not of the form NAME:=VALUE"),
        (["node", "-r", "image:="], "-r image:= is not of the form NAME:=VALUE"),
        (["node", "--params-file", "nowhere.yaml"], "--params-file nowhere.yaml is not a file"),
        (["node", "--log-level", "loud"], "--log-level loud is not a level: choose one of debug,"),
        (["node", "--log-level", "rcl:=loud"], "--log-level rcl:=loud is not a level"),
        (["say", "pick it up"], "names nothing to locate"),
        (["say", "..."], "names nothing to locate"),
        (["say", "the mug", "--timeout", "0"], "--timeout is 0: it must be more than 0 seconds"),
        (["watch", "--timeout", "nan"], "--timeout is nan: it must be more than 0 seconds"),
    ],
)
def test_wrong_arguments_are_one_sentence_before_ros_is_imported(arguments, words, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kosmos2_ros", None)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["node"], ["watch"], ["say", "the mug"]])
def test_without_ros_a_sentence_says_what_is_needed(arguments):
    """In a process of its own, in which rclpy cannot be imported."""
    code = (
        "import sys\nsys.modules['rclpy'] = sys.modules['kosmos2.msg'] = None\n"
        f"from kosmos2_cli.main import main\nsys.exit(main({arguments!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this command needs ROS 2" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.ros
@pytest.mark.parametrize(
    "wrong",
    [["-p", "max_boxes:=0"], ["-p", "command:= ; "], ["-p", "cameras:=[left"], ["-r", "__node:=a/b"]],
    ids=" ".join,
)
def test_a_node_that_cannot_be_made_is_one_sentence(wrong):
    """In a process of its own: rclpy begins once in each."""
    command = [sys.executable, "-m", "kosmos2_cli", "node", *wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("grounding: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def streaming(robot):
    """A camera that sends an image every 50 ms."""
    ended = threading.Event()

    def stream():
        while not ended.wait(0.05):
            robot.show()

    thread = threading.Thread(target=stream, daemon=True)
    thread.start()
    yield robot
    ended.set()
    thread.join(PATIENCE_S)


@pytest.mark.ros
def test_say_prints_the_command_id_of_the_first_result(serve, streaming, capsys):
    node = serve()
    assert main(["say", "the [red] mug", "--timeout", str(PATIENCE_S)]) == 0
    command_id = capsys.readouterr().out.strip()
    frame = streaming.wait("grounding", lambda frame: frame.text == "the red mug")
    assert frame.command_id == command_id
    assert node.get_parameter("command").value == "the [red] mug"
    assert main(["say", "the [red] mug", "--timeout", str(PATIENCE_S)]) == 0
    assert capsys.readouterr().out.strip() == command_id  # repeating a command changes nothing


@pytest.mark.ros
def test_say_tells_why_the_node_refuses_a_command(serve, capsys):
    serve(max_phrases=1)
    assert main(["say", "the mug; the bowl", "--timeout", str(PATIENCE_S)]) == 2
    error = capsys.readouterr().err
    assert "/grounding refuses the command: " in error
    assert "more than max_phrases (1)" in error


@pytest.mark.ros
def test_say_tells_why_there_is_no_result(serve, capsys):
    serve()
    assert main(["say", "the mug", "--timeout", "2"]) == 2
    error = capsys.readouterr().err
    assert "/grounding took the command, but gave no result within 2 s" in error
    assert "no publisher on /image" in error


@pytest.mark.ros
def test_say_tells_that_the_node_is_not_active(serve, capsys):
    serve(active=False)
    assert main(["say", "the mug", "--timeout", "2"]) == 2
    assert "unconfigured" in capsys.readouterr().err


@pytest.mark.ros
def test_say_and_watch_tell_that_no_node_is_there(ros, capsys):
    assert main(["say", "the mug", "--node", "/elsewhere", "--timeout", "1"]) == 2
    assert "no node listens on /elsewhere/command" in capsys.readouterr().err
    assert main(["watch", "--once", "--node", "elsewhere", "--timeout", "1"]) == 2
    assert "no result of /elsewhere for 1 s" in capsys.readouterr().err


@pytest.mark.ros
def test_watch_prints_a_result_for_a_program(serve, streaming, capsys):
    serve(command="the red mug")
    assert main(["watch", "--once", "--json", "--timeout", str(PATIENCE_S)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["topic"] == "/grounding/grounding"
    assert (result["text"], result["width"], result["height"]) == ("the red mug", 64, 48)
    [phrase] = result["phrases"]
    assert phrase["phrase"] == "the red mug"
    assert phrase["boxes"] == [{"box_px": [16.0, 24.0, 48.0, 48.0], "score": pytest.approx(0.9)}]
    assert result["frame_age_s"] >= 0


@pytest.mark.ros
def test_watch_shows_every_camera_and_what_was_not_found(serve, robot, model, capsys):
    model.boxes = ()
    serve(command="the red mug", cameras=["left"])
    left = type(robot)("left")
    ended = threading.Event()

    def stream():
        while not ended.wait(0.1):
            left.show()

    thread = threading.Thread(target=stream, daemon=True)
    thread.start()
    try:
        assert main(["watch", "--once", "--timeout", str(PATIENCE_S)]) == 0
    finally:
        ended.set()
        thread.join()
        left.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("/grounding/left/grounding  ")
    assert first.endswith(": the red mug")
    assert second == "  the red mug  not found (presence 0.90)"


@pytest.mark.ros
def test_a_terminal_shows_the_newest_results_in_place(monkeypatch):
    from kosmos2.msg import Box, GroundedFrame, GroundedPhrase

    from kosmos2_ros.apps.results import NodeResult
    from kosmos2_ros.apps.watch import LiveTable

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    phrases = [GroundedPhrase(phrase=name, boxes=[Box(x_max=9.0, y_max=9.0)]) for name in ("a mug", "a bowl")]
    table = LiveTable()
    table.show(
        NodeResult("/grounding/left/grounding", GroundedFrame(text="a mug and a bowl", phrases=phrases))
    )
    table.show(NodeResult("/grounding/left/grounding", GroundedFrame(text="a mug", phrases=phrases[:1])))
    first, second = sys.stdout.getvalue().split("\x1b[3A")
    assert first.count("\n") == second.count("\n") == 3  # the line that is left over is cleared
    assert "a bowl" in first
    assert "a bowl" not in second
