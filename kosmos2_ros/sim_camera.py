"""The node `sim_camera`: a depth camera over the simulated tabletop, as a robot's driver would publish it.

    ros2 run kosmos2 sim_camera --ros-args -p seed:=7 -p rate_hz:=5.0

A thread of its own renders and publishes; the executor only serves parameters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from kosmos2_core.errors import Kosmos2Error
from kosmos2_ros.process import run
from kosmos2_ros.ros_messages import ROS
from kosmos2_sim.depth_camera import DepthCamera
from kosmos2_sim.layout import check_scene
from kosmos2_sim.shapes import SHAPES

if TYPE_CHECKING:
    from kosmos2_sim.film import Film
    from kosmos2_sim.shot import Shot

NAME = "sim_camera"
TRANSFORMS = QoSProfile(depth=100)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SENSED = {
    "camera_info": CameraInfo,
    "image": Image,
    "image/compressed": CompressedImage,
    "depth/camera_info": CameraInfo,
    "depth/image": Image,
}
JUDGED = 20  # images, after which the rate that is reached is known
SLOW = 0.9  # times the wanted rate


class SimCamera(Node):
    """Started by calling `film`, which returns after `close`."""

    def __init__(self, **node: Any) -> None:
        super().__init__(NAME, **node)
        told = self._told
        name = told("camera", "camera", "its name: the beginning of its topics and frames")
        self.seed = told("seed", 0, "of the scene", 0, 2**31 - 1)
        self.split = told("split", "standard", "train, standard, cluttered, occluded or far")
        self.size = (
            told("width", 640, "of the images, in pixels", 32, 2048),
            told("height", 480, "of the images, in pixels", 32, 2048),
        )
        self.rate_hz = told("rate_hz", 10.0, "images a second, if the machine is fast enough", 0.1, 100.0)
        self.loop_s = told(
            "loop_s",
            5.0,
            "render so much once, then show it there and back at the full rate (25 MB a second at 10 Hz);"
            " 0: go on rendering",
            0.0,
            60.0,
        )
        still = told("still", False, "the camera does not move")
        depth = told("depth", "32FC1", "32FC1 for metres, 16UC1 for millimetres")
        compressed = told("compressed", False, "publish JPEGs too, on image/compressed")
        check_scene(self.seed, self.split, SHAPES, None)
        self.camera = DepthCamera(ROS, name, compressed=compressed, depth=depth, still=still)
        self._sensed = {
            topic: self.create_publisher(kind, f"{name}/{topic}", qos_profile_sensor_data)
            for topic, kind in SENSED.items()
            if compressed or kind is not CompressedImage
        }
        self._moving = self.create_publisher(TFMessage, "/tf", TRANSFORMS)
        self._fixed = self.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._sending = threading.Lock()
        self._ended = threading.Event()

    def _told(
        self, name: str, default: Any, about: str, low: float | None = None, high: float | None = None
    ) -> Any:
        """A parameter's value; it is what it is from the start."""
        described = ParameterDescriptor(description=about, read_only=True)
        if low is not None and isinstance(default, int):
            described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        elif low is not None:
            described.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        return self.declare_parameter(name, default, described).value

    @property
    def frames(self) -> int:
        """How many are shown in a loop; 0: there is none."""
        if self.loop_s == 0:
            return 0
        return 1 if self.camera.still else max(1, round(self.loop_s * self.rate_hz))

    def film(self) -> None:
        """Render and publish, until the node is closed. Slow, and OpenGL holds to one thread."""
        try:
            self._film()
        except Kosmos2Error as error:
            self.get_logger().fatal(str(error))

    def close(self) -> None:
        with self._sending:
            self._ended.set()

    def _film(self) -> None:
        from kosmos2_sim.film import draw_film
        from kosmos2_sim.tabletop import Tabletop  # MuJoCo: a second, in which signals are heard

        with Tabletop(*self.size) as tabletop:
            film = draw_film(tabletop, self.seed, self.split, self.camera.still)
            began_s = due_s = time.monotonic()
            for number, shot in enumerate(shots(film, self.rate_hz, self.frames)):
                self._send(shot, first=number == 0)
                due_s = max(due_s + 1 / self.rate_hz, time.monotonic())
                if self._ended.wait(due_s - time.monotonic()):
                    return
                self._tell(number + 1, time.monotonic() - began_s)

    def _send(self, shot: Shot, first: bool) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        sensed = list(self.camera.frame_messages(shot, stamp_ns))
        with self._sending:
            if self._ended.is_set():
                return
            if first:
                self._fixed.publish(self.camera.static_transforms(shot, stamp_ns))
            for transforms in self.camera.moving_transforms(shot, stamp_ns):
                self._moving.publish(transforms)
            for topic, message in sensed:
                self._sensed[topic].publish(message)

    def _tell(self, sent: int, took_s: float) -> None:
        """How far the film is, and once, that the machine is slow."""
        if sent in (self.frames // 4, self.frames // 2, self.frames):
            self.get_logger().info(f"{sent} of {self.frames} images rendered")
        if sent == (min(JUDGED, self.frames) or JUDGED) and (slow := slowness(sent / took_s, self.rate_hz)):
            loop = (
                f" After {self.frames} of them they come in a loop, as fast as asked." if self.frames else ""
            )
            self.get_logger().warning(slow + loop)


def slowness(reached_hz: float, wanted_hz: float) -> str:
    """A sentence about it; empty: there is none."""
    if reached_hz >= SLOW * wanted_hz:
        return ""
    return f"{reached_hz:.1f} images a second, not {wanted_hz:g}: this machine renders no faster."


def shots(film: Film, rate_hz: float, frames: int) -> Iterator[Shot]:
    """As they are rendered; after so many frames the same ones backwards and forwards, without end."""
    kept = []
    for number in range(frames) if frames else count():
        shot = film.shoot(number / rate_hz)
        if frames:
            kept.append(shot)
        yield shot
    while True:
        yield from reversed(kept)
        yield from kept


def main(args: Sequence[str] | None = None) -> NoReturn:
    run(NAME, SimCamera, SimCamera.film, args)


if __name__ == "__main__":
    main()
