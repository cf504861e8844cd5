"""Bags: what was written is read back, by others too, and nothing half stays behind."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from full_disk import files_up_to
from mcap.reader import make_reader
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_core.errors import DiskError, InputError
from kosmos2_io.answer_messages import AnswerContext, AnswerMessages, Box3D
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.bag_writer import STORAGES, LiveBag, open_bag
from kosmos2_io.message_types import new, typestore
from kosmos2_io.messages import Messages

messages = Messages(new)
answers = AnswerMessages(messages)
HEAD = messages.header(5_000_000_000, "eye")
MUG = Answer("the mug", (Entity("the mug", 0, 7, (Box(0.1, 0.2, 0.5, 0.6, 0.9),), 1.0, ((3, 70),)),))
ASKED = AnswerContext(HEAD, "eye", "7", 5, 4, "some model")
SOLID = Box3D((1, 2, 3), (0.1, 0.2, 0.3), (0.5, 0.5, 0.5, 0.5))
PIXELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
ALL = {
    "/tf_static": messages.transforms(messages.transform(HEAD, "hand", np.eye(4))),
    "/said": messages.string("put [the tässe] into [the bowl]"),
    "/image": messages.image(HEAD, PIXELS),
    "/jpeg": messages.compressed_image(HEAD, PIXELS),
    "/depth": messages.depth_image(HEAD, np.ones((4, 5), np.float32), "32FC1"),
    "/info": messages.camera_info(HEAD, np.eye(3), 5, 4),
    "/grounding": answers.grounded_frame(ASKED, MUG),
    "/detections": answers.detections(ASKED, MUG),
    "/detections_3d": answers.detections_3d(HEAD, "7", MUG, [[SOLID]]),
}


def write(folder, storage="mcap"):
    with open_bag(folder, storage, latched=("/tf_static",), custom_data={"why": "a test"}) as bag:
        for number, (topic, message) in enumerate(ALL.items()):
            bag.write(topic, message, 10**18 + number)
    return folder


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write(tmp_path_factory.mktemp("bags") / "run")


def raw(folder):
    with Reader(folder) as reader:
        return [
            (entry.topic, entry.msgtype, stamp_ns, bytes(data)) for entry, stamp_ns, data in reader.messages()
        ]


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_written_is_read_back(tmp_path, storage):
    found = raw(write(tmp_path / "run", storage))
    assert [(topic, stamp_ns) for topic, _, stamp_ns, _ in found] == [
        (topic, 10**18 + number) for number, topic in enumerate(ALL)
    ]
    for topic, kind, _, data in found:
        again = typestore().serialize_cdr(typestore().deserialize_cdr(data, kind), kind)
        assert bytes(again) == data == bytes(typestore().serialize_cdr(ALL[topic], kind))


@pytest.mark.parametrize("storage", STORAGES)
def test_the_same_messages_make_the_same_bytes(tmp_path, storage):
    first, second = (write(tmp_path / place / "run", storage) for place in ("a", "b"))
    files = sorted(file.name for file in first.iterdir())
    assert files == sorted(["metadata.yaml", {"mcap": "run.mcap", "sqlite3": "run.db3"}[storage]])
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_types_are_those_that_the_interfaces_promise(bag, root):
    promised = json.loads((root / "test/data/interface_hashes.json").read_text())
    with Reader(bag) as reader:
        written = {entry.msgtype: entry.digest for entry in reader.connections}
    ours = promised.keys() & written.keys()
    assert len(ours) == 4
    assert {name: written[name] for name in ours} == {name: promised[name] for name in ours}


def test_the_definitions_in_the_mcap_are_enough_to_read_it(bag, root):
    """By another reader, and with types from the file alone."""
    promised = json.loads((root / "test/data/interface_hashes.json").read_text())
    with (bag / "run.mcap").open("rb") as stream:
        found = [(schema, channel) for schema, channel, _ in make_reader(stream).iter_messages()]
    assert {channel.topic for _, channel in found} == set(ALL)
    store = get_typestore(Stores.EMPTY)
    for schema, channel in found:
        assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
        types = get_types_from_msg(schema.data.decode(), schema.name)
        store.register({name: kind for name, kind in types.items() if name not in store.fielddefs})
        assert store.hash_rihs01(schema.name) == promised.get(
            schema.name, typestore().hash_rihs01(schema.name)
        )


def test_only_what_is_latched_is_kept_for_latecomers(bag):
    with Reader(bag) as reader:
        durability = {
            entry.topic: entry.ext.offered_qos_profiles[0].durability for entry in reader.connections
        }
    assert durability.pop("/tf_static") is QosDurability.TRANSIENT_LOCAL
    assert set(durability.values()) == {QosDurability.VOLATILE}


@pytest.mark.ros
def test_ros_itself_reads_every_message(bag):
    from example_messages import plain
    from rclpy.serialization import deserialize_message
    from wire import load

    def ours(value):
        fields = getattr(value, "__dataclass_fields__", None)
        if fields is not None:
            return {name: ours(getattr(value, name)) for name in fields if name != "__msgtype__"}
        if isinstance(value, np.ndarray):
            return value.tolist()
        return [ours(entry) for entry in value] if isinstance(value, list) else value

    for topic, kind, _, data in raw(bag):
        assert plain(deserialize_message(data, load(kind))) == ours(ALL[topic]), topic


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("end", [KeyboardInterrupt, InputError])
def test_a_bag_that_was_broken_off_leaves_nothing(tmp_path, storage, end):
    def interrupted():
        with open_bag(tmp_path / "run", storage) as bag:
            bag.write("/said", messages.string("hello"), 1)
            raise end

    with pytest.raises(end):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(bag, tmp_path):
    with pytest.raises(InputError, match=r"run exists: choose a free name"), open_bag(bag):
        pass
    assert len(raw(bag)) == len(ALL)


def test_a_name_taken_while_writing_keeps_what_is_there(tmp_path):
    def late():
        with open_bag(tmp_path / "run") as bag:
            bag.write("/said", messages.string("hello"), 1)
            (tmp_path / "run").write_text("mine")

    with pytest.raises(InputError, match=r"run cannot be written \("):
        late()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_gets_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"the bag .*run cannot be written \("),
        open_bag(tmp_path / "file/run"),
    ):
        pass


def test_what_is_serialized_already_is_written_as_it_is_and_notes_are_kept(tmp_path):
    data = bytes(typestore().serialize_cdr(ALL["/said"], "std_msgs/msg/String"))
    with open_bag(tmp_path / "run") as bag:
        bag.write_bytes("/said", "std_msgs/msg/String", data, 7)
        bag.set_custom_data("answers", "1")
    assert raw(tmp_path / "run") == [("/said", "std_msgs/msg/String", 7, data)]
    with Reader(tmp_path / "run") as reader:
        assert reader.storage.metadata.custom == {"answers": "1"}


BIG = [messages.string("word " * 3000 * (number % 9)) for number in range(200)]  # several chunks
CHUNK = 17  # messages of BIG before the one that completes the first chunk
WRITER = """
import os, pickle, signal, sys
from pathlib import Path
from kosmos2_io.bag_writer import LiveBag
folder, storage, moment = sys.argv[1:]
bag = LiveBag(Path(folder), storage)
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
if moment:
    setattr(bag._kept, moment, kill)
for number, data in enumerate(pickle.load(sys.stdin.buffer)):
    bag.write_bytes("/a" if number % 3 else f"/later{number}", "std_msgs/msg/String", data, number)
    if number == 150 and not moment:
        kill()
bag.close()
"""


def write_until_killed(folder, storage, moment=""):
    """Write BIG into a live bag until it is killed: after 150 messages, or where a method is called."""
    data = [bytes(typestore().serialize_cdr(message, "std_msgs/msg/String")) for message in BIG]
    command = [sys.executable, "-c", WRITER, str(folder), storage, moment]
    done = subprocess.run(command, input=pickle.dumps(data), capture_output=True)
    assert (done.returncode, done.stderr) == (-9, b"")


def read(folder):
    with BagReader([folder]) as bag:
        return [recorded.message().data for recorded in bag.messages()]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_live_bag_of_a_killed_process_has_each_message(tmp_path, storage):
    write_until_killed(tmp_path / "run", storage)
    assert read(tmp_path / "run") == [message.data for message in BIG[:151]]


@pytest.mark.parametrize(
    ("moment", "at_least", "with_metadata"),
    [("_begin_tail", CHUNK, False), ("after_close", len(BIG), False), ("after_close", len(BIG), True)],
)
def test_a_live_bag_killed_while_both_files_have_the_same_messages_has_each_once(
    tmp_path, moment, at_least, with_metadata
):
    """When the first file has the chunk, and the second one still has its messages."""
    write_until_killed(tmp_path / "run", "mcap", moment)
    assert len(list(tmp_path.glob("run/*.mcap"))) == 2
    if not with_metadata:  # as if it was killed right before it was written
        (tmp_path / "run/metadata.yaml").unlink(missing_ok=True)
    found = read(tmp_path / "run")
    assert found == [message.data for message in BIG[: len(found)]]
    assert len(found) >= at_least


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("size", [100_000, 1_250_000])  # within the first chunk, and in a later one
def test_a_live_bag_on_a_full_disk_keeps_what_was_written(tmp_path, storage, size):
    bag, rng, written = LiveBag(tmp_path / "run", storage), np.random.default_rng(0), []

    def write_on():
        while True:
            text = rng.bytes(5000).hex()
            bag.write("/said", messages.string(text), len(written))
            written.append(text)

    words = r"run, in which (\d+) messages are kept, cannot be written"
    with pytest.raises(DiskError, match=words) as error, files_up_to(size):
        write_on()
    assert f"in which {len(written)} messages" in str(error.value)
    assert read(tmp_path / "run") == written


@pytest.mark.parametrize("storage", STORAGES)
def test_a_live_bag_whose_end_does_not_fit_keeps_what_was_written(tmp_path, storage):
    bag, texts = LiveBag(tmp_path / "run", storage), [str(number) * 1000 for number in range(30)]
    for number, text in enumerate(texts):
        bag.write("/said", messages.string(text), number)
    with pytest.raises(DiskError, match="in which 30 messages are kept"), files_up_to(1000):
        bag.close()
    assert read(tmp_path / "run") == texts


@pytest.mark.parametrize("storage", STORAGES)
def test_a_live_bag_that_was_closed_is_like_any_other(tmp_path, storage):
    bag = LiveBag(tmp_path / "run", storage)
    for number, (topic, message) in enumerate(ALL.items()):
        bag.write(topic, message, 10**18 + number)
    bag.close()
    written = write(tmp_path / "other" / "run", storage)
    assert sorted(file.name for file in bag.folder.iterdir()) == sorted(
        file.name for file in written.iterdir()
    )
    assert raw(bag.folder) == raw(written)
    with pytest.raises(InputError, match="run exists: choose a free name"):
        LiveBag(tmp_path / "run", storage)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_disk_without_room_for_a_bag_is_left_without_one(tmp_path, storage):
    with pytest.raises(DiskError, match="run cannot be written"), files_up_to(0):
        LiveBag(tmp_path / "run", storage)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_storage_is_named(tmp_path):
    with (
        pytest.raises(InputError, match="no bag storage 'rosbag1'"),
        open_bag(tmp_path / "run", "rosbag1"),
    ):
        pass
