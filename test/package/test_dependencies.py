"""The pinned packages work together in one process, and package.xml declares what is imported."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Imports whose package has another name, or that come with a package that is declared.
DECLARED_AS = {"tf2_ros": "tf2_ros_py", "ament_index_python": "rclpy"}

RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 2'/><geom type='sphere' size='.2' rgba='1 0 0 1'/>"
    "<camera name='eye' pos='0 -1 0' xyaxes='1 0 0 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data, "eye")
    red, green, blue = renderer.render()[32, 32].tolist()
print("red" if red > green + blue else (red, green, blue))
"""


def run(code: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environ, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ros_imports():
    """Return the ROS packages that the nodes and the launch files import."""
    names = set()
    for file in (*ROOT.glob("kosmos2_ros/**/*.py"), *ROOT.glob("launch/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition(".")[0])
    ros = {"rclpy", "launch", "launch_ros", "cv_bridge", "tf2_ros", "ament_index_python"}
    return {name for name in names if name in ros or name.endswith(("_msgs", "_interfaces"))}


def test_every_ros_package_that_is_imported_is_declared():
    tags = ("depend", "exec_depend")
    declared = {tag.text for kind in tags for tag in ET.parse(ROOT / "package.xml").iter(kind)}
    imported = {DECLARED_AS.get(name, name) for name in ros_imports()}
    assert {"rclpy", "launch", "rcl_interfaces", "rosgraph_msgs"} <= imported
    assert imported - declared == set()


@pytest.mark.ros
def test_the_core_s_libraries_load_beside_a_running_node():
    """One process with ROS, torch, OpenCV, NumPy's C interface and the tokenizer, as the node will be."""
    code = """
import rclpy
rclpy.init()
node = rclpy.create_node("all_together")
import cv2, numpy, safetensors.torch, tokenizers, torch, PIL.Image, yaml
from sensor_msgs.msg import Image
image = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(range(12)))
pixels = numpy.frombuffer(image.data, numpy.uint8).reshape(2, 2, 3)
tensor = torch.from_numpy(cv2.resize(pixels, (4, 4), interpolation=cv2.INTER_NEAREST))
print(tuple(tensor.shape), int(tensor[3, 3, 2]))
rclpy.shutdown()
"""
    assert run(code) == "(4, 4, 3) 11"


def test_the_machine_renders_without_a_screen():
    pytest.importorskip("mujoco", reason="set up without the extra `sim`")
    assert run(RENDER, MUJOCO_GL="egl") == "red"
