"""package.xml, setup.py, CMakeLists.txt, constraints and docs say the same."""

import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]
ROSDEP_NAMES = {"python3-numpy": "numpy", "python3-opencv": "opencv-python", "python3-pil": "pillow"}
ROSDEP_NAMES |= {"python3-yaml": "pyyaml"}
ONLY_WITH_ROS = {"cv_bridge", "launch", "launch_ros", "tf2_ros_py"}  # not on PyPI
COME_WITH_THEM = {"action_msgs", "builtin_interfaces", "std_msgs", "rosidl_default_runtime"}
COME_WITH_THEM |= {"rcl_interfaces", "rosgraph_msgs"}
OURS_WHERE_MISSING = {"vision_msgs", "tf2_msgs"}  # interfaces/


@pytest.fixture(scope="module")
def pip_metadata():
    """What setup.py tells setuptools."""
    with pytest.MonkeyPatch.context() as patch:
        told = {}
        patch.setattr(setuptools, "setup", told.update)
        patch.chdir(ROOT)
        runpy.run_path("setup.py", run_name="__main__")
    return told


@pytest.fixture(scope="module")
def ros_metadata():
    catkin_pkg = pytest.importorskip("catkin_pkg.package")
    warnings = []
    package = catkin_pkg.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    package.validate(warnings=warnings)
    assert warnings == []
    return package


@pytest.fixture(scope="module")
def requirements(pip_metadata):
    return {
        name_of(line)
        for lines in (pip_metadata["install_requires"], *pip_metadata["extras_require"].values())
        for line in lines
    }


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")


def test_package_xml_and_setup_py_agree(pip_metadata, ros_metadata):
    assert pip_metadata["name"] == ros_metadata.name
    assert pip_metadata["version"] == ros_metadata.version
    assert pip_metadata["description"] == ros_metadata.description
    assert [pip_metadata["license"]] == ros_metadata.licenses
    [maintainer] = ros_metadata.maintainers
    assert (pip_metadata["maintainer"], pip_metadata["maintainer_email"]) == (
        maintainer.name,
        maintainer.email,
    )


def test_what_the_robot_installs_is_what_pip_installs(pip_metadata, ros_metadata):
    needed = {depend.name for depend in ros_metadata.exec_depends + ros_metadata.build_depends}
    pip = {name_of(line) for line in pip_metadata["install_requires"]}
    ros = {name_of(line) for line in pip_metadata["extras_require"]["ros"]}
    unmatched = [
        name
        for name in sorted(needed - ONLY_WITH_ROS - OURS_WHERE_MISSING)
        if ROSDEP_NAMES.get(name) not in pip
        and f"ros-{name.replace('_', '-')}" not in ros
        and name not in COME_WITH_THEM
    ]
    assert unmatched == []


def test_cmake_finds_what_package_xml_declares(ros_metadata):
    text = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(r"set\(interface_packages([^)]*)\)", text)[1].split()
    assert found == sorted(depend.name for depend in ros_metadata.build_depends)


def test_pip_and_colcon_install_every_package(pip_metadata):
    folders = {
        file.parent.name
        for file in (*ROOT.glob("kosmos2_*/__init__.py"), *ROOT.glob("training/*/__init__.py"))
    }
    within = {f"{file.parts[-3]}.{file.parts[-2]}" for file in ROOT.glob("kosmos2_*/*/__init__.py")}
    assert set(pip_metadata["packages"]) == (folders | within) - {"kosmos2_ros", "kosmos2_ros.apps"}
    assert set(re.findall(r"\bkosmos2_\w+", (ROOT / "CMakeLists.txt").read_text())) >= folders


@pytest.mark.parametrize("distribution", ["jazzy", "kilted"])
def test_every_requirement_is_pinned(pip_metadata, requirements, distribution):
    pins = "".join((ROOT / f"constraints/{name}.txt").read_text() for name in ("common", distribution))
    pinned = {name_of(line) for line in pins.splitlines() if "==" in line}
    other = {"jazzy": "kilted", "kilted": "jazzy"}[distribution]
    elsewhere = {name_of(line) for line in pip_metadata["extras_require"][other]}
    assert requirements - elsewhere - pinned == set()


def test_every_dependency_is_explained(requirements, ros_metadata):
    explained = (ROOT / "docs/dependencies.md").read_text()
    names = requirements | {depend.name for depend in ros_metadata.exec_depends}
    assert [name for name in sorted(names) if f"`{name}`" not in explained] == []


def test_setup_py_leaves_no_folder_behind(tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "--version"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_pip_installs_the_parts_that_need_no_ros_and_nothing_stale(tmp_path):
    """The wheel `pip install .` makes, also beside what an earlier build left behind."""
    stale = ROOT / "build/lib/kosmos2_core/stale.py"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.touch()
    try:
        wheel = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
        ]
        subprocess.run([*wheel, str(ROOT)], check=True, capture_output=True)
    finally:
        stale.unlink()
    [file] = tmp_path.glob("kosmos2-*.whl")
    names = zipfile.ZipFile(file).namelist()
    assert {name.partition("/")[0] for name in names if not name.startswith("kosmos2-")} == {
        *("kosmos2_cli", "kosmos2_core", "kosmos2_data", "kosmos2_eval", "kosmos2_io", "kosmos2_sim"),
        *("kosmos2_serve", "kosmos2_training"),
    }
    assert {"kosmos2_core/py.typed", "kosmos2_serve/page/index.html"} <= set(names)
    assert {"kosmos2_serve/api_page/index.html", "kosmos2_serve/example_scenes/scenes.json"} <= set(names)
    assert not any("stale" in name for name in names)
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    assert "kosmos2 = kosmos2_cli.main:main" in zipfile.ZipFile(file).read(entry_points).decode()
