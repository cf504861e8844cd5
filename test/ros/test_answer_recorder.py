"""Live and offline: a bag is played to the node's process, its answers are recorded, and they are those that
the engine gives without ROS."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
pytest.importorskip("mujoco", reason="set up without the extra `sim`")

from kosmos2_core.engine import Engine  # noqa: E402
from kosmos2_core.requests import Locate  # noqa: E402
from kosmos2_io.bag_reader import BagReader  # noqa: E402
from kosmos2_io.images import to_rgb  # noqa: E402
from kosmos2_sim.bag import BagPlan, make_bag  # noqa: E402

PATIENCE_S = 120.0
PLAN = BagPlan(seconds=3, rate_hz=2, width=320, height=240)
ANSWERS = "/grounding/grounding"


def process(*arguments, **streams):
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=os.environ, text=True, **streams)


def end(process):
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return out


@pytest.fixture
def heard():
    """Waits until the answer to an image was heard here too, published to the recorder as well. It is the
    newest image: a busy machine's node passes over others."""
    from kosmos2.msg import GroundedFrame

    rclpy.init()
    node = rclpy.create_node("audience")

    def until(stamp_ns):
        done = rclpy.task.Future()

        def hear(message):
            if stamp(message) == stamp_ns and not done.done():
                done.set_result(None)

        node.create_subscription(GroundedFrame, ANSWERS, hear, 100)

        def wait():
            rclpy.spin_until_future_complete(node, done, timeout_sec=PATIENCE_S)
            assert done.done(), "no answer to the last image"

        return wait

    yield until
    node.destroy_node()
    rclpy.try_shutdown()


def test_the_live_node_s_answers_are_recorded_and_are_those_of_the_engine(tmp_path, root, heard):
    run, out, model = make_bag(tmp_path / "run", PLAN), tmp_path / "answers", root / "models/tabletop-tiny"
    with BagReader([run]) as bag:
        *_, last = bag.messages(["/camera/image"])
    wait = heard(stamp(last.message()))
    sim_time = ("--ros-args", "-p", "use_sim_time:=true")
    recorder = process("-m", "kosmos2_ros.apps.answer_recorder", out, *sim_time, stdout=subprocess.PIPE)
    node = process(
        *("-m", "kosmos2_ros.apps.grounding", *sim_time, "-p", f"model:={model}", "-p", "device:=cpu"),
        *("-r", "image:=/camera/image"),
    )
    play = ("-m", "kosmos2_ros.apps.bag_player", run, "--clock", "--rate", "0.5", "--wait-for")
    player = process(*play, "/camera/image", "/grounding/command")
    try:
        wait()
        assert player.wait(PATIENCE_S) == 0
        said = end(recorder)
    finally:
        for started in (player, node, recorder):
            started.poll() is None and started.send_signal(signal.SIGINT)
    assert node.wait(PATIENCE_S) == 0
    answered = agree(run, out, Engine.load(model, device="cpu"))
    assert f"{answered} on {ANSWERS}, from stamp to arrival p50 " in said


def agree(run, out, engine):
    with BagReader([run]) as bag, BagReader([out]) as answers:
        commands = [
            (recorded.stamp_ns, recorded.message().data) for recorded in bag.messages(["/grounding/command"])
        ]
        images = {recorded.stamp_ns: recorded.message() for recorded in bag.messages(["/camera/image"])}
        live = {stamp(recorded.message()): recorded for recorded in answers.messages([ANSWERS])}
        kinds = {topic.name: topic.type for topic in answers.topics.values()}
    assert kinds.keys() >= {ANSWERS, "/grounding/detections"}
    assert live
    assert live.keys() <= images.keys()
    for stamp_ns, recorded in live.items():
        assert recorded.stamp_ns >= stamp_ns  # arrived after it was taken
        command = [text for since_ns, text in commands if since_ns <= stamp_ns][-1]
        pixels, message = to_rgb(images[stamp_ns]), recorded.message()
        [answer] = engine.look(pixels).run(Locate(command))
        assert (message.text, len(message.phrases)) == (answer.text, len(answer.phrases))
        for found, phrase in zip(answer.phrases, message.phrases, strict=True):
            boxes = [box.pixels(PLAN.width, PLAN.height) for box in found.boxes]
            others = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in phrase.boxes]
            assert np.allclose(boxes, others, atol=0.01)
    return len(live)


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_without_an_answer_there_is_no_bag_and_one_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "there").mkdir()
    there = process("-m", "kosmos2_ros.apps.answer_recorder", tmp_path / "there", stderr=subprocess.PIPE)
    _, said = there.communicate(timeout=PATIENCE_S)
    assert there.returncode == 2
    assert said.startswith("answer_recorder: ")
    assert "there exists: choose a free name" in said
