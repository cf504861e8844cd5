"""The node `sim_camera`: a depth camera above the simulated tabletop, with the topics of a camera driver.

    ros2 run kosmos2 sim_camera --ros-args -p seed:=7 -p rate_hz:=5.0

One thread renders and publishes; the executor only serves parameters.
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
from kosmos2_ros.messages import ROS
from kosmos2_ros.process import run
from kosmos2_sim.depth_camera import DepthCamera
from kosmos2_sim.layout import check_scene
from kosmos2_sim.shapes import SHAPES

if TYPE_CHECKING:
    from kosmos2_sim.film import Film
    from kosmos2_sim.shot import Shot

NAME = "sim_camera"
TF_QOS = QoSProfile(depth=100)
TF_STATIC_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPIC_TYPES = {
    "camera_info": CameraInfo,
    "image": Image,
    "image/compressed": CompressedImage,
    "depth/camera_info": CameraInfo,
    "depth/image": Image,
}
RATE_CHECK_IMAGES = 20  # images until the rate that this machine reaches is known
SLOW_RATIO = 0.9  # of the wanted rate: below this the log says so


class SimCamera(Node):
    """Publishes when `film` is called, until `close`.

    Args:
        node_options: Passed on to rclpy's node.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__(NAME, **node_options)
        parameter = self._parameter
        name = parameter("camera", "camera", "Name of the camera; its topics and frames begin with it.")
        self.seed = parameter("seed", 0, "Seed of the scene.", 0, 2**31 - 1)
        self.split = parameter(
            "split", "standard", "Kind of scene: train, standard, cluttered, occluded or far."
        )
        self.size = (
            parameter("width", 640, "Width of the images, in pixels.", 32, 2048),
            parameter("height", 480, "Height of the images, in pixels.", 32, 2048),
        )
        self.rate_hz = parameter(
            "rate_hz", 10.0, "Images per second, if the machine is fast enough.", 0.1, 100.0
        )
        self.loop_s = parameter(
            "loop_s",
            5.0,
            "Length of a film that is rendered once and then shown forwards and backwards at the full rate, "
            "in seconds; 25 MB of memory per second at 10 Hz. 0: render every image.",
            0.0,
            60.0,
        )
        still = parameter("still", False, "True: the camera does not move.")
        depth = parameter("depth", "32FC1", "Encoding of the depth: 32FC1 (metres) or 16UC1 (millimetres).")
        compressed = parameter("compressed", False, "True: publish JPEGs too, on image/compressed.")
        check_scene(self.seed, self.split, SHAPES, None)
        self.camera = DepthCamera(ROS, name, compressed=compressed, depth=depth, still=still)
        self._sensor_publishers = {
            topic: self.create_publisher(kind, f"{name}/{topic}", qos_profile_sensor_data)
            for topic, kind in TOPIC_TYPES.items()
            if compressed or kind is not CompressedImage
        }
        self._tf = self.create_publisher(TFMessage, "/tf", TF_QOS)
        self._tf_static = self.create_publisher(TFMessage, "/tf_static", TF_STATIC_QOS)
        self._send_lock = threading.Lock()
        self._ended = threading.Event()

    def _parameter(
        self, name: str, default: Any, about: str, low: float | None = None, high: float | None = None
    ) -> Any:
        """Declare a read-only parameter and return its value."""
        described = ParameterDescriptor(description=about, read_only=True)
        if low is not None and isinstance(default, int):
            described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        elif low is not None:
            described.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        return self.declare_parameter(name, default, described).value

    @property
    def frames(self) -> int:
        """The number of images in the loop; 0: there is no loop."""
        if self.loop_s == 0:
            return 0
        return 1 if self.camera.still else max(1, round(self.loop_s * self.rate_hz))

    def film(self) -> None:
        """Render and publish until the node is closed, in the calling thread: OpenGL needs a single one."""
        try:
            self._film()
        except Kosmos2Error as error:
            self.get_logger().fatal(str(error))

    def close(self) -> None:
        """Stop publishing."""
        with self._send_lock:
            self._ended.set()

    def _film(self) -> None:
        from kosmos2_sim.film import draw_film
        from kosmos2_sim.tabletop import Tabletop  # loads MuJoCo for a second, during which signals work

        with Tabletop(*self.size) as tabletop:
            film = draw_film(tabletop, self.seed, self.split, self.camera.still)
            began_s = due_s = time.monotonic()
            for number, shot in enumerate(shots(film, self.rate_hz, self.frames)):
                self._send(shot, first=number == 0)
                due_s = max(due_s + 1 / self.rate_hz, time.monotonic())
                if self._ended.wait(due_s - time.monotonic()):
                    return
                self._log_progress(number + 1, time.monotonic() - began_s)

    def _send(self, shot: Shot, first: bool) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        sensed = list(self.camera.frame_messages(shot, stamp_ns))
        with self._send_lock:
            if self._ended.is_set():
                return
            if first:
                self._tf_static.publish(self.camera.static_transforms(shot, stamp_ns))
            for transforms in self.camera.moving_transforms(shot, stamp_ns):
                self._tf.publish(transforms)
            for topic, message in sensed:
                self._sensor_publishers[topic].publish(message)

    def _log_progress(self, sent: int, took_s: float) -> None:
        """Log how much of the film is rendered and, once, that the machine is slow."""
        if sent in (self.frames // 4, self.frames // 2, self.frames):
            self.get_logger().info(f"{sent} of {self.frames} images rendered")
        if sent == (min(RATE_CHECK_IMAGES, self.frames) or RATE_CHECK_IMAGES) and (
            slow := slowness(sent / took_s, self.rate_hz)
        ):
            loop = f" After {self.frames} images the loop is shown at the full rate." if self.frames else ""
            self.get_logger().warning(slow + loop)


def slowness(reached_hz: float, wanted_hz: float) -> str:
    """Return a sentence if the rate is clearly below the wanted one, else an empty text."""
    if reached_hz >= SLOW_RATIO * wanted_hz:
        return ""
    return f"{reached_hz:.1f} images per second, not {wanted_hz:g}: this machine renders no faster."


def shots(film: Film, rate_hz: float, frames: int) -> Iterator[Shot]:
    """Yield shots as they are rendered.

    Args:
        film: What to render.
        rate_hz: Images per second of the film.
        frames: After this many the same shots are repeated backwards and forwards without end; 0: never.
    """
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
    """Publish until SIGINT or SIGTERM."""
    run(NAME, SimCamera, SimCamera.film, args)


if __name__ == "__main__":
    main()
