"""`make demo`: a simulated camera and the node in processes of their own, and a robot's program that asks the
node.

It sends three commands, calls each service once and takes one turn of a dialogue; it prints a table of the
answers and saves pictures. With --live it keeps running, to be looked at.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Duration
from kosmos2.action import Converse
from kosmos2.msg import GroundedFrame
from kosmos2.srv import Ask, Describe, Locate
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from kosmos2_core.errors import InputError
from kosmos2_core.files import write_atomically
from kosmos2_io.images import image_file
from kosmos2_io.stamps import header_ns, to_s
from kosmos2_ros.process import Executor

SEED = 18
ABSENT = "the red mug"  # not in this scene
COMMANDS = (
    "pick up [the orange egg]",
    "the purple cone; the blue ring; the orange egg",
    f"find [{ABSENT}]",
)
QUESTION = "what is on the left?"
ANSWER_TIMEOUT_S = 40.0  # of any answer; the first one waits for the model and for the rendered scene
END_TIMEOUT_S = 5.0
# The node has one camera without a name, so its topics are /grounding/annotated and so on.
CAMERA_TOPICS = {
    topic: f"/camera/{topic}" for topic in ("image", "camera_info", "depth/image", "depth/camera_info")
}


class Robot:
    """A robot's program: it sends commands, receives answers and calls services."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("demo")
        self._received: dict[str, dict[int, Any]] = {}  # by topic and stamp
        self._changed = threading.Condition()
        for name, message_type in (
            ("grounding", GroundedFrame),
            ("detections_3d", Detection3DArray),
            ("annotated", Image),
        ):
            self._received[name] = {}
            self.node.create_subscription(message_type, f"/grounding/{name}", self._store_in(name), 10)
        self._commands = self.node.create_publisher(String, "/grounding/command", 10)
        self._clients = {
            service: self.node.create_client(service, f"/grounding/{service.__name__.lower()}")
            for service in (Locate, Describe, Ask)
        }
        self._converse = ActionClient(self.node, Converse, "/grounding/converse")
        self._executor = Executor()
        self._executor.add_node(self.node)
        threading.Thread(target=self._spin, daemon=True).start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):  # the demo has ended
            self._executor.spin()

    def _store_in(self, name: str) -> Callable[[Any], None]:
        def store(message: Any) -> None:
            with self._changed:
                self._received[name][header_ns(message)] = message
                self._changed.notify_all()

        return store

    def command(self, text: str) -> tuple[Any, Any, Any]:
        """Send a command; return its first GroundedFrame, with 3D boxes and picture of the same image."""
        plain_text = text.replace("[", "").replace("]", "")
        self._wait_for(lambda: self._commands.get_subscription_count() or None, "the node")
        self._commands.publish(String(data=text))
        return self._wait_for(lambda: self._complete_answer(plain_text), f"an answer to {text!r}")

    def _complete_answer(self, text: str) -> tuple[Any, Any, Any] | None:
        frames, solids, pictures = self._received.values()
        for stamp, frame in frames.items():
            if frame.text == text and stamp in solids and stamp in pictures:
                return frame, solids[stamp], pictures[stamp]
        return None

    def call(self, service: Any, **fields: Any) -> Any:
        """Call a service and return its response.

        Raises:
            InputError: The response has an error, or there is none.
        """
        client = self._clients[service]
        client.wait_for_service(ANSWER_TIMEOUT_S)
        response = self._result_of(client.call_async(service.Request(**fields)))
        if response.error:
            raise InputError(f"{service.__name__} failed: {response.message}")
        return response

    def converse(self, text: str) -> tuple[Any, list[str]]:
        """Take one turn of a dialogue; return its result, and the answer so far after each token."""
        partial_texts: list[str] = []
        self._converse.wait_for_server(ANSWER_TIMEOUT_S)
        goal = self._converse.send_goal_async(
            Converse.Goal(text=text, ground=True, timeout=Duration(sec=int(ANSWER_TIMEOUT_S))),
            feedback_callback=lambda message: partial_texts.append(message.feedback.text),
        )
        result = self._result_of(self._result_of(goal).get_result_async()).result
        if result.error:
            raise InputError(f"the dialogue failed: {result.message}")
        return result, partial_texts

    def newest_picture(self) -> Any | None:
        """Return the newest annotated image, or None if there is none yet."""
        with self._changed:
            pictures = list(self._received["annotated"].values())
        return pictures[-1] if pictures else None

    def _result_of(self, future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(ANSWER_TIMEOUT_S):
            raise InputError("the node does not answer: see its log in out/demo.")
        return future.result()

    def _wait_for(self, find: Callable[[], Any], what: str) -> Any:
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        with self._changed:
            while (answer := find()) is None:
                if time.monotonic() > deadline_s:
                    raise InputError(
                        f"{what} did not arrive in {ANSWER_TIMEOUT_S:.0f} s: see the logs in out/demo."
                    )
                self._changed.wait(0.1)
        return answer


# The printed table.


def row(asked: str, phrase: str, box: str = "", score: str = "", place: str = "", took: str = "") -> str:
    """Return a line of the table."""
    return f"{asked:<34.34}  {phrase:<21.21}  {box:<17}  {score:>5}  {place:<22}  {took:>7}"


HEADING = row("asked", "phrase", "box (pixels)", "score", "place (m, world)", "took")


def rows(asked: str, frame: Any, solids: Any, took_s: float) -> Iterator[str]:
    """Yield a line for each phrase.

    Args:
        asked: The command or request.
        frame: Its kosmos2/GroundedFrame.
        solids: A Detection3DArray with the same ids, or None.
        took_s: How long the answer took.
    """
    positions = {solid.id: solid.bbox.center.position for solid in solids.detections} if solids else {}
    took = f"{took_s * 1000:.0f} ms"
    for index, phrase in enumerate(frame.phrases):
        box, score, place = "not found", f"{phrase.presence:.2f}", ""
        if phrase.boxes:
            best = phrase.boxes[0]
            box = f"{best.x_min:.0f},{best.y_min:.0f} {best.x_max:.0f},{best.y_max:.0f}"
            score = f"{best.score:.2f}"
            position = positions.get(f"{frame.command_id}/{index}/0")
            place = f"{position.x:.3f}, {position.y:.3f}, {position.z:.3f}" if position else ""
        yield row(asked if index == 0 else "", phrase.phrase, box, score, place, took if index == 0 else "")


def show(robot: Robot, out: Path) -> None:
    """Ask everything once, print the answers and save the pictures."""
    print(HEADING)
    print("-" * len(HEADING))
    for number, text in enumerate(COMMANDS, 1):
        frame, solids, picture = robot.command(text)
        for line in rows(f"command: {text}", frame, solids, to_s(frame.frame_age)):
            print(line, flush=True)
        save(picture, out / f"command-{number}.png")
    region = _locate(robot)
    began_s = time.monotonic()
    described = robot.call(Describe, region=region).frame
    print(row("describe: that box", described.text, took=_since(began_s)))
    began_s = time.monotonic()
    print(row(f"ask: {QUESTION}", robot.call(Ask, question=QUESTION).frame.text, took=_since(began_s)))
    began_s = time.monotonic()
    result, partial_texts = robot.converse(QUESTION)
    print(row(f"converse: {QUESTION}", f"{len(partial_texts)} tokens:", took=_since(began_s)))
    print(f"  {result.frame.markdown}")


def _locate(robot: Robot) -> Any:
    """Call `~/locate` with the first command, print the answer and return its best box."""
    began_s = time.monotonic()
    text = COMMANDS[0]
    response = robot.call(Locate, text=text, want_3d=True)
    for line in rows(f"locate: {text}", response.frame, response.detections_3d, time.monotonic() - began_s):
        print(line)
    return response.frame.phrases[0].boxes[0]


def save(image: Any, file: Path) -> None:
    """Write a raw image message to a PNG file, which a viewer never finds half-written."""
    write_atomically(file, image_file(image).data)


def _since(began_s: float) -> str:
    return f"{(time.monotonic() - began_s) * 1000:.0f} ms"


# The processes.


@contextmanager
def started(
    out: Path, name: str, remappings: dict[str, str] | None = None, **parameters: object
) -> Iterator[None]:
    """Run a program of this package as a process until the block ends; its log goes to a file in `out`."""
    words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    words += [word for old, new in (remappings or {}).items() for word in ("-r", f"{old}:={new}")]
    command = [sys.executable, "-m", f"kosmos2_ros.apps.{name}", "--ros-args", *words]
    with (out / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def live_help(out: Path) -> Iterator[str]:
    """Yield the ways to look at the running demo that this environment has."""
    yield (
        f"The demo runs on ROS domain {os.environ.get('ROS_DOMAIN_ID', '0')} until Ctrl-C."
        " In another terminal, after `source env.sh`:"
    )
    yield f"  {out / 'live.png'}  the newest annotated image, written once per second"
    yield "  Foxglove: open config/foxglove.json (it needs foxglove_bridge)"
    if shutil.which("rviz2"):
        yield "  rviz2 -d config/grounding.rviz"
    if shutil.which("ros2"):
        yield "  ros2 topic echo /grounding/detections"
        yield "  ros2 topic pub --once /grounding/command std_msgs/String 'data: the white cone'"
    else:
        yield "  kosmos2 watch                     detections as they arrive"
        yield '  kosmos2 say "the white cone"      another command'


def live(robot: Robot, out: Path) -> None:
    """Keep running until Ctrl-C."""
    robot.command(COMMANDS[0])
    print("\n".join(live_help(out)), flush=True)
    while True:
        time.sleep(1)
        if (picture := robot.newest_picture()) is not None:
            save(picture, out / "live.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="demo", description="A simulated camera, the node, and its answers."
    )
    parser.add_argument("--live", action="store_true", help="keep running until Ctrl-C")
    parser.add_argument(
        "--model", default="models/tabletop-tiny", help="checkpoint of the node (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        help="folder of pictures and logs (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.live:  # a domain of its own, apart from other ROS processes
        os.environ["ROS_DOMAIN_ID"] = str(random.randrange(1, 102))
    print("starting a simulated camera and the node ...", flush=True)
    try:
        with (
            started(out, "sim_camera", seed=SEED, camera="camera", loop_s=3.0, rate_hz=5.0),
            started(out, "grounding", CAMERA_TOPICS, model=arguments.model, target_frame="world"),
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
    os._exit(code)  # the spinning thread crashes when Python ends before it
