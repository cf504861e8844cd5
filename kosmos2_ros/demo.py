"""`make demo`: a simulated camera and the node, in processes of their own, and a robot that asks them.

Three commands, one query of each service, one turn of a dialogue; a table of what was found, and pictures.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from kosmos2.action import Converse
from kosmos2.msg import GroundedFrame
from kosmos2.srv import Ask, Describe, Locate
from PIL import Image as Picture
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from kosmos2_core.errors import InputError
from kosmos2_io.encodings import to_rgb
from kosmos2_ros.process import Executor

SEED = 18
ABSENT = "the red mug"  # of this scene
COMMANDS = (
    "pick up [the orange egg]",
    "the purple cone; the blue ring; the orange egg",
    f"find [{ABSENT}]",
)
QUESTION = "what is on the left?"
PATIENCE_S = 40.0  # for any one answer; the first needs the model loaded and the scene rendered
END_S = 5.0


class Robot:
    """What a robot's program does: it says commands, listens, and calls services."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("demo")
        self._heard: dict[str, dict[int, Any]] = {"grounding": {}, "detections_3d": {}, "annotated": {}}
        self._news = threading.Condition()
        for name, kind in (
            ("grounding", GroundedFrame),
            ("detections_3d", Detection3DArray),
            ("annotated", Image),
        ):
            self.node.create_subscription(kind, f"/grounding/camera/{name}", self._hearing(name), 10)
        self._commands = self.node.create_publisher(String, "/grounding/command", 10)
        self._services = {
            kind: self.node.create_client(kind, f"/grounding/{kind.__name__.lower()}")
            for kind in (Locate, Describe, Ask)
        }
        self._converse = ActionClient(self.node, Converse, "/grounding/converse")
        self._executor = Executor()
        self._executor.add_node(self.node)
        threading.Thread(target=self._spin, daemon=True).start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):  # the demo is over
            self._executor.spin()

    def _hearing(self, name: str) -> Callable[[Any], None]:
        def hear(message: Any) -> None:
            with self._news:
                self._heard[name][_ns(message)] = message
                self._news.notify_all()

        return hear

    def command(self, text: str) -> tuple[Any, Any, Any]:
        """Say it; the first frame for it, with the 3D boxes and the picture of the same image."""
        plain = text.replace("[", "").replace("]", "")
        self._until(lambda: self._commands.get_subscription_count() or None, "the node")
        self._commands.publish(String(data=text))
        return self._until(lambda: self._complete(plain), f"an answer to {text!r}")

    def _complete(self, text: str) -> tuple[Any, Any, Any] | None:
        frames, solids, pictures = self._heard.values()
        for stamp, frame in frames.items():
            if frame.text == text and stamp in solids and stamp in pictures:
                return frame, solids[stamp], pictures[stamp]
        return None

    def call(self, kind: Any, **fields: Any) -> Any:
        client = self._services[kind]
        client.wait_for_service(PATIENCE_S)
        response = self._answer(client.call_async(kind.Request(**fields)))
        if response.error:
            raise InputError(f"{kind.__name__} was not answered: {response.message}")
        return response

    def converse(self, text: str) -> tuple[Any, list[str]]:
        """The result, and what was said so far with each token."""
        said: list[str] = []
        self._converse.wait_for_server(PATIENCE_S)
        goal = self._converse.send_goal_async(
            Converse.Goal(text=text, ground=True, timeout=Duration(sec=int(PATIENCE_S))),
            feedback_callback=lambda one: said.append(one.feedback.text),
        )
        result = self._answer(self._answer(goal).get_result_async()).result
        if result.error:
            raise InputError(f"the dialogue was not answered: {result.message}")
        return result, said

    def picture(self) -> Any:
        """The newest annotated image, if there is one."""
        with self._news:
            return list(self._heard["annotated"].values())[-1:]

    def _answer(self, future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(PATIENCE_S):
            raise InputError("the node does not answer: out/demo/ has its log.")
        return future.result()

    def _until(self, found: Callable[[], Any], what: str) -> Any:
        deadline_s = time.monotonic() + PATIENCE_S
        with self._news:
            while (answer := found()) is None:
                if time.monotonic() > deadline_s:
                    raise InputError(f"{what} did not come in {PATIENCE_S:.0f} s: out/demo/ has the logs.")
                self._news.wait(0.1)
        return answer


# What it prints.


def row(asked: str, phrase: str, box: str = "", score: str = "", place: str = "", took: str = "") -> str:
    return f"{asked:<34.34}  {phrase:<21.21}  {box:<17}  {score:>5}  {place:<22}  {took:>7}"


HEADING = row("asked", "phrase", "box (pixels)", "score", "place (m, world)", "took")


def rows(asked: str, frame: Any, solids: Any, took_s: float) -> Iterator[str]:
    """solids: Detection3DArray with the same ids."""
    places = {one.id: one.bbox.center.position for one in solids.detections} if solids else {}
    took = f"{took_s * 1000:.0f} ms"
    for index, phrase in enumerate(frame.phrases):
        box, score, place = "not found", f"{phrase.presence:.2f}", ""
        if phrase.boxes:
            best = phrase.boxes[0]
            box = f"{best.x_min:.0f},{best.y_min:.0f} {best.x_max:.0f},{best.y_max:.0f}"
            score = f"{best.score:.2f}"
            at = places.get(f"{frame.command_id}/{index}/0")
            place = f"{at.x:.3f}, {at.y:.3f}, {at.z:.3f}" if at else ""
        yield row(asked if index == 0 else "", phrase.phrase, box, score, place, took if index == 0 else "")


def show(robot: Robot, out: Path) -> None:
    print(HEADING)
    print("-" * len(HEADING))
    for number, text in enumerate(COMMANDS, 1):
        frame, solids, picture = robot.command(text)
        for line in rows(f"command: {text}", frame, solids, _seconds(frame.frame_age)):
            print(line, flush=True)
        save(picture, out / f"command-{number}.png")
    best = _query(robot, out)
    began_s = time.monotonic()
    told = robot.call(Describe, region=best).frame
    print(row("describe: that box", told.text, took=_since(began_s)))
    began_s = time.monotonic()
    print(row(f"ask: {QUESTION}", robot.call(Ask, question=QUESTION).frame.text, took=_since(began_s)))
    began_s = time.monotonic()
    answer, said = robot.converse(QUESTION)
    print(row(f"converse: {QUESTION}", f"{len(said)} pieces:", took=_since(began_s)))
    print(f"  {answer.frame.markdown}")


def _query(robot: Robot, out: Path) -> Any:
    began_s = time.monotonic()
    asked = COMMANDS[0]
    found = robot.call(Locate, text=asked, want_3d=True)
    for line in rows(f"locate: {asked}", found.frame, found.detections_3d, time.monotonic() - began_s):
        print(line)
    return found.frame.phrases[0].boxes[0]


def save(image: Any, file: Path) -> None:
    Picture.fromarray(np.asarray(to_rgb(image))).save(file)


def _seconds(duration: Any) -> float:
    return float(duration.sec + duration.nanosec / 1e9)


def _since(began_s: float) -> str:
    return f"{(time.monotonic() - began_s) * 1000:.0f} ms"


def _ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


# The processes.


@contextmanager
def started(out: Path, name: str, **parameters: object) -> Iterator[None]:
    """A node of this package in a process, which ends with the block. Its log goes to a file."""
    given = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    command = [sys.executable, "-m", f"kosmos2_ros.{name}", "--ros-args", *given]
    with (out / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def live(robot: Robot, out: Path) -> None:
    robot.command(COMMANDS[0])
    print(
        f"It runs, on ROS domain {os.environ.get('ROS_DOMAIN_ID', '0')}, until Ctrl-C. To look at it:\n"
        f"  {out / 'live.png'} is the newest annotated image, once a second, for any image viewer\n"
        "  rviz2 -d config/grounding.rviz, or Foxglove with config/foxglove.json\n"
        "  ros2 topic echo /grounding/camera/detections\n"
        "  ros2 topic pub --once /grounding/command std_msgs/String 'data: the white cone'"
    )
    while True:
        time.sleep(1)
        for picture in robot.picture():
            save(picture, out / "live.png")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", action="store_true", help="keep running")
    parser.add_argument("--model", default="models/tabletop-tiny")
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.live:  # on its own, whatever else runs here
        os.environ["ROS_DOMAIN_ID"] = str(random.randrange(1, 102))
    print("starting a simulated camera and the node ...", flush=True)
    try:
        with (
            started(out, "sim_camera", seed=SEED, camera="camera", loop_s=3.0, rate_hz=5.0),
            started(out, "grounding", model=arguments.model, cameras="[camera]", target_frame="world"),
        ):
            rclpy.init()
            robot = Robot()
            (live if arguments.live else show)(robot, out)
    except KeyboardInterrupt:
        pass
    except InputError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"pictures: {', '.join(map(str, sorted(out.glob('*.png'))))}")
    return 0


if __name__ == "__main__":
    code = main()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the thread that spins outlives Python badly
