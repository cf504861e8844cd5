"""The player, as other nodes hear it: a process of its own that sends what was recorded."""

import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from recordings import MCAP, Said, messages, recorded, write_mcap, write_rosbag2  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from kosmos2_ros.apps.bag_player import BagPlayer, PlayOptions, main  # noqa: E402

PATIENCE_S = 60.0
KINDS = {"/image": Image, "/said": String, "/tf": TFMessage, "/clock": Clock}
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SAID = recorded(12)
PIXELS = np.zeros((24, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def audience(ros):
    """Hears some topics until it is enough: the bytes of all messages, in the order in which they came."""
    node = rclpy.create_node("audience")
    heard = []

    def listen(topics, enough, qos=1000):
        done = rclpy.task.Future()

        def hear(topic, message):
            heard.append((topic, message))
            if not done.done() and enough(heard):
                done.set_result(None)

        for topic in topics:
            heard_on = partial(hear, topic)
            node.create_subscription(KINDS[topic], topic, heard_on, qos, raw=True)

        def until():
            rclpy.spin_until_future_complete(node, done, timeout_sec=PATIENCE_S)
            assert done.done(), [topic for topic, _ in heard]
            return heard

        return until

    yield listen
    node.destroy_node()


def play(*arguments):
    command = [sys.executable, "-m", "kosmos2_ros.apps.bag_player", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True)


def of(heard, topic):
    return [data for name, data in heard if name == topic]


def times_ns(heard):
    clocks = [deserialize_message(data, Clock).clock for data in of(heard, "/clock")]
    return [clock.sec * 10**9 + clock.nanosec for clock in clocks]


def test_all_that_was_recorded_is_sent_as_it_was_and_then_it_ends(tmp_path, audience):
    bag = write_mcap(tmp_path / "run.mcap", SAID)
    until = audience(["/image", "/said", "/clock"], lambda heard: len(of(heard, "/said")) == 12)
    with play(bag, "--clock", "--rate", "4", "--wait-for", "/said", "/image") as process:
        heard = until()
        assert process.wait(PATIENCE_S) == 0
        assert "messages played" in process.stderr.read()
    for topic in ("/image", "/said"):
        sent = [message.data for message in SAID if message.topic == topic]
        pairs = list(zip(of(heard, topic), sent, strict=True))
        assert all(came.startswith(data) and len(came) < len(data) + 4 for came, data in pairs)
    times = times_ns(heard)
    assert times == sorted(times)
    assert SAID[0].stamp_ns <= times[0] < times[-1] <= SAID[-1].stamp_ns


def test_what_is_latched_reaches_who_comes_late_and_what_was_said_before_the_part(tmp_path, audience):
    """Both of two messages, and it loops until it is told to end."""
    start_ns = SAID[0].stamp_ns
    fixed = [Said("/tf", start_ns + k, SAID[2].message) for k in range(2)]
    bag = write_rosbag2(
        tmp_path / "run", [*fixed, *(message for message in SAID if message.topic != "/tf")], MCAP
    )
    first = audience(["/said"], lambda heard: len(of(heard, "/said")) > 12)
    with play(bag, "--rate", "10", "--loop", "--from", "0.5") as process:
        said = [deserialize_message(data, String).data for data in of(first(), "/said")]
        assert "number 4" not in said
        assert len(set(said)) < len(said)
        late = audience(["/tf"], lambda heard: len(of(heard, "/tf")) >= 2, LATCHED)
        late()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_a_robot_s_other_version_of_a_message_is_not_played_as_what_it_is_not(tmp_path, audience):
    bag = write_mcap(tmp_path / "run.mcap", SAID[:5])
    strange = write_strange(tmp_path / "strange.mcap")
    until = audience(["/said"], lambda heard: len(of(heard, "/said")) == 2)
    with play(bag, strange, "--wait-for", "/said") as process:
        until()
        assert process.wait(PATIENCE_S) == 0
        said = process.stderr.read()
    assert "/other is not played: the robot has another version of std_msgs/msg/Header." in said
    assert "/own is not played: this ROS does not know a_robot_msgs/msg/Own." in said


def write_strange(path):
    """Of a type that is here another, and of one that is not here."""
    from mcap.writer import Writer

    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        for topic, kind in (("/other", "std_msgs/msg/Header"), ("/own", "a_robot_msgs/msg/Own")):
            schema = writer.register_schema(kind, "ros2msg", b"string data\n")
            channel = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channel, SAID[0].stamp_ns, Said("", 0, messages.string("hello")).data, 0)
        writer.finish()
    return path


def test_topics_can_be_left_out(tmp_path, audience):
    bag = write_mcap(tmp_path / "run.mcap", SAID)
    images = sum(message.topic == "/image" for message in SAID)
    until = audience(["/image", "/said"], lambda heard: len(of(heard, "/image")) == images)
    left_out = ("--exclude-topics", "/said", "/not_in_it")
    with play(bag, "--rate", "4", *left_out, "--wait-for", "/image") as process:
        heard = until()
        assert process.wait(PATIENCE_S) == 0
        process.stderr.read()
    assert of(heard, "/said") == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["{bag}", "--exclude-topics", "/image", "/said", "/tf"],
            "bag_player: --exclude-topics leaves no topic of the bag to play.",
        ),
        (["/nowhere"], "bag_player: /nowhere does not exist: name a bag's folder"),
        (["{bag}", "--topics", "/no"], "bag_player: the bag has no topic /no; it has /image, /said, /tf."),
    ],
)
def test_what_cannot_be_played_is_a_sentence(tmp_path, arguments, sentence):
    bag = write_mcap(tmp_path / "run.mcap", SAID)
    with play(*(argument.format(bag=bag) for argument in arguments)) as process:
        assert process.wait(PATIENCE_S) == 2
        said = process.stderr.read()
    assert said.startswith(sentence)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rate", "0"], "bag_player: --rate 0: it must be above 0 and at most 1000"),
        (["--clock", "-1"], "bag_player: --clock -1: it must be from 1 to 1000, in Hz; --help"),
        (
            ["--from", "nan"],
            "bag_player: --from nan: it must be 0 or more, in seconds from the bag's start; --help",
        ),
        (["--rte", "1"], "bag_player: unrecognized arguments: --rte 1; --help shows the options."),
        (["--ros-args", "-r", "x"], "bag_player: ROS cannot use the arguments `run --ros-args -r x --ros"),
    ],
)
def test_bad_usage_is_a_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as end:
        main(["run", *arguments, "--ros-args", "-r", "/a:=/b"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_it_waits_for_who_listens_to_the_compressed_image(tmp_path, ros):
    compressed = Said(
        "/eye/image/compressed", 1, messages.compressed_image(messages.header(1, "eye"), PIXELS)
    )
    bag = write_mcap(tmp_path / "run.mcap", [compressed])
    player = BagPlayer(PlayOptions((bag,), wait_for=("/eye/image",)))
    try:
        assert list(player._subscribed) == ["/eye/image/compressed"]
    finally:
        player.bag.close()
        player.destroy_node()


def test_it_waits_while_it_is_paused(tmp_path, ros):
    """In this process: the parameter lets it go on."""
    bag = write_mcap(tmp_path / "run.mcap", SAID[:2])
    player = BagPlayer(PlayOptions((bag,), paused=True, rate=1000))
    try:
        player.time.start(0)
        assert player.time.now_ns() == 0
        player.set_parameters([rclpy.parameter.Parameter("paused", value=False)])
        assert player.time.wait_until(1)
    finally:
        player.bag.close()
        player.destroy_node()
