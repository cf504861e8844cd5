"""The pinned packages work together, in one process."""

import os
import subprocess
import sys

import pytest

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
