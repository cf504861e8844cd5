"""Launch files: every argument is described and used, and what is started is what was asked for."""

import ast
import importlib.util
import os
import re
import shutil
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
                visit(one.event_handler.entities, context)
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
    assert parameters(line) == shipped() | {"autostart": True, "use_sim_time": False}
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
    assert line[line.index("--log-level") + 1] == "debug"


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
@pytest.mark.parametrize(("loop", "more"), [("false", []), ("true", ["--loop"])])
@pytest.mark.parametrize("rosbag2", [True, False])
def test_a_bag_is_played_with_its_clock(started, share, monkeypatch, loop, more, rosbag2):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(share.parents[1]))
    if rosbag2:
        (share.parent / "ros2bag").mkdir()
    processes = started("replay", bag="runs/first", rate="0.5", loop=loop, image="/front/image")
    options = ["runs/first", "--clock", "--rate", "0.5", *more]
    if rosbag2:
        assert processes["ros2"][0][1:] == ["bag", "play", *options]
    else:
        line, _ = processes["bag_player"]
        assert line[1 : line.index("--ros-args")] == [*options, "--wait-for", "/front/image"]
    line, _ = processes["grounding"]
    assert parameters(line)["use_sim_time"] is True
    assert remapped(line)["image"] == "/front/image"
    assert remapped(line)["camera_info"] == "/camera/camera_info"
