"""Launch files: every argument is described and used, and what is started is what was asked for."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
# Not `launch`: the folder of this name would do.
HAS_LAUNCH = importlib.util.find_spec("launch_ros") is not None
needs_launch = pytest.mark.skipif(not HAS_LAUNCH, reason="launch_ros is not installed: it is not on PyPI")


def named(path):
    return path.name


def calls(file, name):
    tree = ast.parse(file.read_text())
    return [one for one in ast.walk(tree) if isinstance(one, ast.Call) and ast.unparse(one.func) == name]


@pytest.mark.parametrize("file", FILES, ids=named)
def test_every_argument_says_what_it_is(file):
    declared = calls(file, "DeclareLaunchArgument")
    assert declared
    for one in declared:
        [description] = [keyword.value for keyword in one.keywords if keyword.arg == "description"]
        assert ast.literal_eval(description)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_every_argument_is_used(file):
    """Its name is said a second time: where it is read, or in a table of those that are."""
    source = ast.parse(file.read_text())
    said = Counter(one.value for one in ast.walk(source) if isinstance(one, ast.Constant))
    names = [ast.literal_eval(one.args[0]) for one in calls(file, "DeclareLaunchArgument") if is_text(one)]
    assert names
    assert [name for name in names if said[name] < 2] == []


def is_text(call):
    return isinstance(call.args[0], ast.Constant)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_launch_files_only_start_things(file):
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert imported <= {"launch", "launch_ros", "os"}
    assert not re.search(r"\b(eval|exec|PythonExpression|subprocess|pip)\b", file.read_text())


# What really would be started.


@pytest.fixture
def share(tmp_path, monkeypatch):
    """An overlay that has the files as an installed package would."""
    share = tmp_path / "share/kosmos2"
    for folder in ("launch", "config"):
        shutil.copytree(ROOT / folder, share / folder)
    marker = tmp_path / "share/ament_index/resource_index/packages/kosmos2"
    marker.parent.mkdir(parents=True)
    marker.touch()
    for executable in ("grounding", "sim_camera", "bag_player"):
        program = tmp_path / "lib/kosmos2" / executable
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    return share


@pytest.fixture
def started(share, monkeypatch):
    """Of each process a launch file would start: its command line, by the executable's name."""
    from launch import LaunchContext, LaunchDescription
    from launch.actions import ExecuteLocal, IncludeLaunchDescription, RegisterEventHandler
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.actions import LifecycleNode, Node

    found = {}

    def stopped(action, context):
        """In place of a process."""
        action.prepare(context)
        line = action.process_description.final_cmd
        found[Path(line[0]).name] = (line, dict(action.process_description.final_env or context.environment))

    monkeypatch.setattr(ExecuteLocal, "execute", stopped)
    monkeypatch.setattr(LifecycleNode, "execute", Node.execute)  # without a node of its own

    def visit(entities, context):
        for one in entities or ():
            if isinstance(one, RegisterEventHandler):
                visit(getattr(one.event_handler, "entities", ()), context)
            elif isinstance(one, LaunchDescription):
                visit(one.entities, context)
            elif one.condition is None or one.condition.evaluate(context):
                visit(one.execute(context), context)

    def start(name, /, **arguments):
        context = LaunchContext()
        source = PythonLaunchDescriptionSource(str(share / "launch" / f"{name}.launch.py"))
        visit([IncludeLaunchDescription(source, launch_arguments=arguments.items())], context)
        return found

    return start


def parameters(line):
    """As the node reads them: the last one counts."""
    read = {}
    for flag, value in pairwise(line):
        if flag == "--params-file":
            for node in yaml.safe_load(Path(value).read_text()).values():
                read |= node["ros__parameters"]
    return read


def remapped(line):
    pairs = [value.split(":=") for flag, value in pairwise(line) if flag == "-r"]
    return dict(pairs)


@needs_launch
def test_without_arguments_the_node_has_its_defaults_and_starts_itself(started, share):
    line, environ = started("grounding")["grounding"]
    assert parameters(line) == shipped()
    assert shipped()["autostart"] is True
    assert remapped(line) == {"__node": "grounding", "__ns": "/"}
    name = "FASTRTPS" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS"
    assert environ[f"{name}_DEFAULT_PROFILES_FILE"] == str(share / "config/fastdds.xml")


def shipped():
    [node] = yaml.safe_load((ROOT / "config/grounding.yaml").read_text()).values()
    return node["ros__parameters"]


@needs_launch
def test_arguments_become_parameters_and_topics_whatever_they_look_like(started):
    line, _ = started(
        "grounding",
        command="[the red mug]: true",
        model="7",
        cameras="[left, right]",
        image="/eye/color",
        depth="/eye/depth",
        transport="compressed",
        namespace="/robot",
        name="eyes",
        log_level="debug",
    )["grounding"]
    read = parameters(line)
    assert (read["command"], read["model"]) == ("[the red mug]: true", "7")
    assert (read["cameras"], read["image_transport"]) == (["left", "right"], "compressed")
    assert remapped(line) == {
        "__node": "eyes",
        "__ns": "/robot",
        "image": "/eye/color",
        "image/compressed": "/eye/color/compressed",
        "depth/image": "/eye/depth",
    }
    assert line[line.index("--log-level") + 1] == "robot.eyes:=debug"


@needs_launch
def test_a_file_of_the_user_stands_unless_an_argument_says_otherwise(started, tmp_path):
    file = tmp_path / "robot.yaml"
    mine = {"autostart": False, "use_sim_time": True}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": mine}}))
    line, _ = started("grounding", params_file=str(file))["grounding"]
    assert parameters(line) == mine
    line, _ = started("grounding", params_file=str(file), autostart="true")["grounding"]
    assert parameters(line) == {"autostart": True, "use_sim_time": True}
    line, _ = started("grounding", params_file="", use_sim_time="false")["grounding"]
    assert parameters(line) == {"use_sim_time": False}


@needs_launch
@pytest.mark.parametrize("name", ["sim", "replay"])
def test_arguments_of_the_included_file_are_shown(share, name):
    """Return the arguments of a launch file as `ros2 launch --show-args` finds them."""
    assert arguments_of(share, "grounding") < arguments_of(share, name)


def arguments_of(share, name):
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(share / "launch" / f"{name}.launch.py"))
    description = source.try_get_launch_description_without_context()
    return {argument.name for argument in description.get_launch_arguments()}


@needs_launch
def test_a_profile_of_the_user_stays(started, monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/mine.xml")
    _, environ = started("grounding")["grounding"]
    assert environ["FASTDDS_DEFAULT_PROFILES_FILE"] == "/mine.xml"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in environ


@needs_launch
def test_the_node_hears_the_simulated_camera_which_has_the_profile_too(started):
    processes = started("sim", seed="7", still="true", rate_hz="5", namespace="/robot")
    line, environ = processes["sim_camera"]
    assert parameters(line) == {
        "seed": 7,
        "split": "standard",
        "width": 640,
        "height": 480,
        "rate_hz": 5.0,
        "loop_s": 5.0,
        "still": True,
    }
    assert any(name.endswith("_DEFAULT_PROFILES_FILE") for name in environ)
    line, _ = processes["grounding"]
    assert remapped(line)["image"] == "camera/image"
    assert remapped(line)["depth/camera_info"] == "camera/depth/camera_info"
    assert parameters(line)["target_frame"] == "world"
    assert parameters(line)["model"].endswith("share/kosmos2/models/tabletop-tiny")


@needs_launch
@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        ({"loop": "false"}, []),
        ({"loop": "true"}, ["--loop"]),
        ({"command": "the mug"}, ["--exclude-topics", "/grounding/command"]),
        (
            {"command": "the mug", "namespace": "robot", "name": "eyes"},
            ["--exclude-topics", "/robot/eyes/command"],
        ),
    ],
    ids=str,
)
def test_a_bag_is_played_with_its_clock(started, arguments, more):
    processes = started("replay", bag="runs/first", rate="0.5", image="/front/image", **arguments)
    line, _ = processes["bag_player"]
    options = ["runs/first", "--clock", "--rate", "0.5", *more, "--wait-for", "/front/image"]
    assert line[1 : line.index("--ros-args")] == options
    line, _ = processes["grounding"]
    assert parameters(line)["use_sim_time"] is True
    assert remapped(line)["image"] == "/front/image"
    assert remapped(line)["camera_info"] == "/camera/camera_info"


# What really starts, and what it says.

LAUNCH = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
service = LaunchService(noninteractive=True)
pairs = [argument.split(":=", 1) for argument in arguments]
service.include_launch_description(
    IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=pairs)
)
sys.exit(service.run())
"""
PATIENCE_S = 200


@pytest.fixture
def launched(share):
    """Launch a file until everything has ended; its exit status and what was printed."""

    def launch(name, program, *arguments):
        executable = share.parents[1] / "lib/kosmos2/grounding"
        executable.write_text(f"#!/bin/sh\n{program}\n")
        file = str(share / "launch" / f"{name}.launch.py")
        done = subprocess.run(
            [sys.executable, "-c", LAUNCH, file, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.returncode, done.stdout

    return launch


@needs_launch
@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("params_file:=/nope.yaml", "params_file:=/nope.yaml is not a file: give the path of a YAML file"),
        ("log_level:=verbose", 'Argument "log_level" provided value "verbose" is not valid. Valid options'),
    ],
)
def test_a_wrong_argument_starts_nothing(launched, argument, sentence):
    status, said = launched("grounding", "echo started", argument)
    assert status == 1
    assert sentence in said
    assert "Traceback" not in said
    assert "started" not in said


@needs_launch
def test_a_node_that_cannot_start_is_not_started_for_ever(launched):
    _, said = launched("grounding", "echo begun; exit 2", "respawn:=true")
    assert said.count("] begun") == 5
    assert "died 5 times in a row within 60 s of its start, so it is not started again" in said


@needs_launch
@pytest.mark.ros
def test_misspelt_parameters_of_a_file_are_named_with_the_nearest(launched, tmp_path):
    file = tmp_path / "robot.yaml"
    wrong = {"max_boxs": 2, "min_scor": 0.5, "max_boxes": 0}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": wrong}}))
    node = f'exec {sys.executable} -m kosmos2_ros.apps.grounding "$@"'
    _, said = launched("grounding", node, f"params_file:={file}")
    assert "unknown parameter 'max_boxs' is ignored: did you mean max_boxes?" in said
    assert "unknown parameter 'min_scor' is ignored: did you mean min_score?" in said
    assert "Traceback" not in said
