"""Set-up on each kind of machine, what it says when something is missing, and env.sh."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE_PYTHON = sys._base_executable
SHELLS = [
    "bash",
    pytest.param("zsh", marks=pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")),
]


def load_set_up():
    sys.path.insert(0, str(ROOT / "tools"))  # it imports the modules beside it
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "tools/set_up.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["set_up"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


set_up = load_set_up()


def plain_environ(**more: str) -> dict[str, str]:
    """The variables of a shell that has entered no environment."""
    kept = ("HOME", "LANG", "PIP_", "UV_", "SSL_", "REQUESTS_", "XDG_")
    environ = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    path = [part for part in os.environ["PATH"].split(":") if not Path(part).is_relative_to(ROOT)]
    return environ | {"PATH": ":".join([str(Path(BASE_PYTHON).parent), *path])} | more


def run_set_up(root: Path = ROOT, **environ: str) -> subprocess.CompletedProcess:
    command = [BASE_PYTHON, str(root / "tools/set_up.py")]
    return subprocess.run(command, env=plain_environ(**environ), capture_output=True, text=True, check=False)


def in_shell(shell: str, code: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess:
    command = [shell, "-c", code]
    return subprocess.run(
        command, cwd=cwd, env=plain_environ(**environ), capture_output=True, text=True, check=False
    )


def sentence(done: subprocess.CompletedProcess) -> str:
    """Standard error of bad input: exit 2 and one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def ros_prefix(tmp_path):
    """A folder that looks like an installed ROS 2 to whoever looks for rclpy."""
    package = tmp_path / "ros/share/rclpy/package.xml"
    package.parent.mkdir(parents=True)
    package.touch()
    return str(tmp_path / "ros")


# Which ROS.


def test_a_shell_without_ros_gets_jazzy_from_pypi():
    assert set_up.choose_ros({}, {}) == ("jazzy", "pypi")


def test_kilted_and_none_are_a_word_away():
    assert set_up.choose_ros({"ROS": "kilted"}, {}) == ("kilted", "pypi")
    assert set_up.choose_ros({"ROS": "none"}, {}) == ("none", "nowhere")


def test_what_was_chosen_once_is_kept():
    assert set_up.choose_ros({}, {"ros": "kilted", "origin": "pypi"}) == ("kilted", "pypi")
    assert set_up.choose_ros({}, {"ros": "none", "origin": "nowhere"}) == ("none", "nowhere")
    assert set_up.choose_extras({}, {"extras": "ros,dev"}) == ("ros", "dev")


@pytest.mark.parametrize("distro", ["jazzy", "kilted", "lyrical"])
def test_a_sourced_ros_is_used(ros_prefix, distro):
    environ = {"AMENT_PREFIX_PATH": f"/nowhere:{ros_prefix}", "ROS_DISTRO": distro}
    assert set_up.choose_ros(environ, {}) == (distro, ros_prefix)


def test_our_own_environment_is_no_sourced_ros():
    environ = {"AMENT_PREFIX_PATH": f"{ROOT}/install/kosmos2:{ROOT}/.venv", "ROS_DISTRO": "jazzy"}
    assert set_up.choose_ros(environ, {}) == ("jazzy", "pypi")


@pytest.mark.parametrize(
    ("environ", "state", "words"),
    [
        ({"ROS": "noetic"}, {}, ["ROS=noetic", "ROS=jazzy"]),
        ({"ROS": "lyrical"}, {}, ["Lyrical", "not on PyPI", "source it"]),
        ({"KOSMOS2_ROOT": "/elsewhere/kosmos2"}, {}, ["/elsewhere/kosmos2", "new shell"]),
        (
            {"ROS": "kilted", "ROS_DISTRO": "jazzy", "sourced": "yes"},
            {},
            ["kilted", "jazzy", "shell without it"],
        ),
        ({"ROS_DISTRO": "humble", "sourced": "yes"}, {}, ["humble", "Jazzy, Kilted or Lyrical"]),
        ({}, {"ros": "jazzy", "origin": "/opt/ros/jazzy"}, ["source /opt/ros/jazzy/setup.bash", "ROS=jazzy"]),
    ],
)
def test_what_cannot_be_is_said_with_the_way_out(ros_prefix, environ, state, words):
    if environ.pop("sourced", None):
        environ["AMENT_PREFIX_PATH"] = ros_prefix
    with pytest.raises(set_up.Stop) as stop:
        set_up.choose_ros(environ, state)
    assert [word for word in words if word not in str(stop.value)] == []


def test_an_unknown_extra_is_named():
    with pytest.raises(set_up.Stop, match="trian"):
        set_up.choose_extras({"EXTRAS": "ros,trian"}, {})


def test_all_extras_have_one_name():
    assert set_up.choose_extras({"EXTRAS": "all"}, {"extras": "ros"}) == set_up.EXTRAS
    assert set(set_up.choose_extras({}, {})) < set(set_up.EXTRAS)


def test_a_file_is_replaced_and_not_written_into(tmp_path):
    """uv's packages are hard links into its cache, which other environments use too."""
    (tmp_path / "cached").write_text("as published")
    (tmp_path / "installed").hardlink_to(tmp_path / "cached")
    set_up.replace_text(tmp_path / "installed", "corrected")
    assert (tmp_path / "installed").read_text() == "corrected"
    assert (tmp_path / "cached").read_text() == "as published"


def test_an_environment_made_by_somebody_else_is_left_alone(tmp_path):
    clone = copy_of_the_tree(tmp_path)
    (clone / ".venv").mkdir()
    (clone / ".venv/precious").touch()
    assert "not made by this set-up" in sentence(run_set_up(clone, ROS="none"))
    assert (clone / ".venv/precious").exists()


def test_a_path_with_a_space_is_refused_before_colcon_fails_in_it(tmp_path):
    clone = copy_of_the_tree(tmp_path / "with space")
    assert "move the clone from" in sentence(run_set_up(clone))
    assert not (clone / ".venv").exists()


# Running it.


def copy_of_the_tree(folder: Path) -> Path:
    clone = folder / "clone"
    folder.mkdir(exist_ok=True)
    ignore = shutil.ignore_patterns(".*", "build", "install", "log", "out", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, clone, ignore=ignore)
    return clone


def test_nothing_changed_nothing_done():
    before = (ROOT / ".venv/kosmos2.state").stat().st_mtime_ns
    done = run_set_up()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set-up: up to date (")
    assert done.stdout.count("\n") == 1
    assert (ROOT / ".venv/kosmos2.state").stat().st_mtime_ns == before


def path_without(folder: Path, *hidden: str) -> str:
    """A PATH on which everything can be found as now, but for some programs."""
    folder.mkdir()
    for directory in plain_environ()["PATH"].split(":"):
        for program in Path(directory).glob("*"):
            if program.name not in hidden and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return str(folder)


@pytest.mark.ros
@pytest.mark.parametrize(("tool", "package"), [("cmake", "cmake"), ("g++", "g++")])
def test_a_missing_system_package_is_named_with_the_line_that_installs_it(tmp_path, tool, package):
    done = run_set_up(PATH=path_without(tmp_path / "bin", tool, "apt-get"))
    assert f"`sudo apt-get install -y {package}`" in sentence(done)


@pytest.mark.ros
def test_all_that_is_missing_is_named_at_once(tmp_path):
    done = run_set_up(PATH=path_without(tmp_path / "bin", "cmake", "g++", "apt-get"))
    assert "`sudo apt-get install -y cmake g++`" in sentence(done)


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_installed_ros_is_used_with_its_own_numpy_and_opencv(robot_ros, tmp_path):
    """The project's environment plays the installed ROS 2: real rclpy, real generators, sourced as such."""
    clone = copy_of_the_tree(tmp_path)
    prefix, site = Path(sys.prefix), next(Path(sys.prefix).glob("lib/python3.*/site-packages"))
    borrowed = [robot_ros.messages / name for name in ("vision_msgs", "tf2_msgs")]
    wheel_libraries = [str(prefix / "lib"), *map(str, site.glob("ros_*.libs"))]
    prefixes = ":".join(map(str, [*borrowed, prefix]))
    sourced = {
        "ROS_DISTRO": os.environ["ROS_DISTRO"],
        "AMENT_PREFIX_PATH": prefixes,
        "CMAKE_PREFIX_PATH": prefixes,
        "LD_LIBRARY_PATH": ":".join([*(f"{path}/lib" for path in borrowed), *wheel_libraries]),
        "PYTHONPATH": ":".join(
            [*(f"{path}/lib/{site.parent.name}/site-packages" for path in borrowed), str(site)]
        ),
        "PATH": f"{plain_environ()['PATH']}:{prefix}/bin",  # colcon
    }
    done = run_set_up(clone, **sourced, EXTRAS="ros")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ROS 2 {os.environ['ROS_DISTRO'].capitalize()} in {prefix}" in done.stdout
    assert sorted(path.name for path in (clone / "install").glob("*/")) == ["kosmos2"]  # vision_msgs is there
    own = {path.name for path in (clone / ".venv").glob("lib/python3.*/site-packages/*")}
    assert not {"numpy", "cv2", "rclpy"} & own
    code = "import cv2, numpy, rclpy, kosmos2.msg, vision_msgs.msg; print(numpy.__file__, kosmos2.__file__)"
    entered = in_shell(
        "bash", f"source {clone}/env.sh && python -c '{code}' && kosmos2 --version", tmp_path, **sourced
    )
    assert entered.returncode == 0, entered.stderr
    numpy_file, kosmos2_file, version = entered.stdout.split(maxsplit=2)
    assert Path(numpy_file).is_relative_to(prefix)
    assert Path(kosmos2_file).is_relative_to(clone / "install")
    assert version.startswith("kosmos2 ")

    again = run_set_up(clone, **sourced)
    assert again.stdout.startswith("set-up: up to date"), again.stdout
    forgotten = run_set_up(clone)
    assert "not sourced in this shell" in sentence(forgotten)


# env.sh and what it enters.


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("options", ["", "set -eu; "])
def test_env_sh_enters_the_environment_from_anywhere(shell, options, tmp_path):
    code = (
        f"{options}source {ROOT}/env.sh; source {ROOT}/env.sh; "
        'echo "$(command -v python) $(command -v kosmos2) ${ROS_AUTOMATIC_DISCOVERY_RANGE-} $-"'
    )
    done = in_shell(shell, code, tmp_path)
    assert done.returncode == 0, done.stderr
    python, kosmos2, *_ = done.stdout.split()
    assert (python, kosmos2) == (f"{ROOT}/.venv/bin/python", f"{ROOT}/.venv/bin/kosmos2")
    assert ("u" in done.stdout.split()[-1]) == bool(options)
    assert done.stderr == ""


def test_env_sh_lets_the_tab_key_complete_the_command(tmp_path):
    """Only in interactive shells, in which somebody can press it."""
    code = f"source {ROOT}/env.sh; complete -p kosmos2"
    assert "_python_argcomplete kosmos2" in in_shell("bash", f"bash --norc -ic '{code}'", tmp_path).stdout
    assert "_python_argcomplete" not in in_shell("bash", code, tmp_path).stdout


@pytest.mark.ros
@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_finds_the_messages_and_keeps_traffic_here(shell, tmp_path):
    code = (
        f"source {ROOT}/env.sh; python -c 'from kosmos2.msg import Box; print(Box.__name__)';"
        "echo $ROS_AUTOMATIC_DISCOVERY_RANGE $ROS_DISTRO"
    )
    done = in_shell(shell, code, tmp_path)
    assert done.stdout.split() == ["Box", "LOCALHOST", os.environ["ROS_DISTRO"]], done.stderr


def test_env_sh_lets_a_wider_discovery_range_be(tmp_path):
    code = f"source {ROOT}/env.sh; echo $ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert in_shell("bash", code, tmp_path, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET").stdout == "SUBNET\n"


@pytest.mark.ros
@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_gives_fast_dds_the_profile_by_the_name_this_one_reads(shell, tmp_path):
    code = f"source {ROOT}/env.sh; source {ROOT}/env.sh; env | grep _DEFAULT_PROFILES_FILE"
    name = "FASTRTPS" if os.environ["ROS_DISTRO"] == "jazzy" else "FASTDDS"
    said = in_shell(shell, code, tmp_path).stdout
    assert said == f"{name}_DEFAULT_PROFILES_FILE={ROOT}/config/fastdds.xml\n"


@pytest.mark.parametrize("name", ["FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"])
def test_env_sh_lets_the_user_s_own_profile_be(name, tmp_path):
    code = f"source {ROOT}/env.sh; env | grep _DEFAULT_PROFILES_FILE"
    assert in_shell("bash", code, tmp_path, **{name: "/mine.xml"}).stdout == f"{name}=/mine.xml\n"


@pytest.mark.ros
@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_keeps_an_overlay_s_libraries_before_those_of_the_wheels(shell, tmp_path):
    """The wheels' own start-up puts the folders into a set, so their order changed with each start."""
    first = f"{tmp_path}/overlay/lib"
    code = (
        f"source {ROOT}/env.sh; export LD_LIBRARY_PATH={first}:$LD_LIBRARY_PATH; echo $LD_LIBRARY_PATH;"
        "for seed in 1 2 3 4 5 6 7 8; do PYTHONHASHSEED=$seed python -c"
        " 'import os, rclpy; print(os.environ[\"LD_LIBRARY_PATH\"])'; done"
    )
    done = in_shell(shell, code, tmp_path)
    paths = done.stdout.split()
    assert len(paths) == 9, done.stderr
    assert set(paths) == {paths[0]}
    folders = paths[0].split(":")
    order = [first, f"{ROOT}/install/kosmos2/lib", f"{ROOT}/.venv/lib"]
    assert [folder for folder in folders if folder in order] == order
    assert len(folders) == len(set(folders))


@pytest.mark.ros
@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_adds_the_libraries_that_a_shell_has_not_yet(shell, tmp_path):
    code = f"source {ROOT}/env.sh; python -c 'import rclpy'; echo $LD_LIBRARY_PATH"
    done = in_shell(shell, code, tmp_path, LD_LIBRARY_PATH=f"{ROOT}/.venv/lib")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"{ROOT}/.venv/lib" in done.stdout.strip().split(":")
    assert not done.stdout.strip().endswith(":")


@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_says_what_to_do_when_set_up_has_not_run(shell, tmp_path):
    shutil.copy(ROOT / "env.sh", tmp_path)
    done = in_shell(shell, "source ./env.sh; echo status $?", tmp_path)
    assert done.stdout == "status 1\n"
    assert f"run `make setup` in {tmp_path} first" in done.stderr
    assert done.stderr.count("\n") == 1


def test_env_sh_says_when_the_clone_was_moved(tmp_path):
    shutil.copy(ROOT / "env.sh", tmp_path)
    (tmp_path / ".venv").mkdir()
    shutil.copy(ROOT / ".venv/kosmos2.state", tmp_path / ".venv")
    done = in_shell("bash", "source ./env.sh", tmp_path)
    assert done.returncode == 1
    assert "was moved" in done.stderr


@pytest.mark.parametrize("command", ["bash env.sh", "sh env.sh", "sh -c '. ./env.sh'"])
def test_env_sh_says_how_it_is_used(command):
    done = in_shell("bash", command, ROOT)
    assert "source env.sh" in sentence(done)


@pytest.mark.ros
def test_an_edit_takes_effect_without_a_rebuild(tmp_path):
    """Seen at once by the environment, by the overlay alone, and by .venv alone."""
    new = ROOT / "kosmos2_io" / f"probe_{os.getpid()}.py"
    code = f"cd {tmp_path}; python -c 'from kosmos2_io.{new.stem} import VALUE; print(VALUE)'"
    ways = [
        f"source {ROOT}/env.sh; {code}",
        f"source {ROOT}/install/setup.bash; {code.replace('python', BASE_PYTHON)}",
        code.replace("python", f"{ROOT}/.venv/bin/python"),
    ]
    try:
        for value in ("first", "second"):  # of two lengths: Python tells files apart by second and size
            new.write_text(f"VALUE = {value!r}\n")
            for way in ways:
                done = in_shell("bash", way, tmp_path)
                assert done.stdout == f"{value}\n", done.stderr
    finally:
        new.unlink()
    for way in ways:
        assert "No module named" in in_shell("bash", way, tmp_path).stderr


def test_the_environment_has_one_copy_of_each_package():
    """The installed packages are the tree's own files."""
    code = "import kosmos2_core, kosmos2_training as t; print(kosmos2_core.__file__, t.__file__)"
    done = in_shell("bash", f"source {ROOT}/env.sh; cd /; python -c '{code}'", ROOT)
    found = [Path(line).resolve() for line in done.stdout.split()]
    assert found == [ROOT / "kosmos2_core/__init__.py", ROOT / "training/kosmos2_training/__init__.py"]
