"""Bags: whatever wrote them, all of it is read, in order of time, with the robot's own message versions."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from recordings import (
    FORMS,
    MCAP,
    SQLITE,
    START_NS,
    Said,
    in_order,
    messages,
    recorded,
    write_foxy,
    write_mcap,
    write_rosbag2,
)
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from kosmos2_core.errors import InputError
from kosmos2_io import bag_mcap, bag_reader
from kosmos2_io.bag_reader import BagReader, MessageError
from kosmos2_io.images import to_rgb
from kosmos2_sim.bag import BagPlan, make_bag

SAID = recorded()
STEP_NS = 100_000_000


def read(*bags, **choice):
    with BagReader(bags) as bag:
        return [(entry.topic, entry.stamp_ns, entry.data) for entry in bag.messages(**choice)]


def plain(said):
    return [(entry.topic, entry.stamp_ns, entry.data) for entry in said]


ALL = plain(in_order(SAID))


def write_one(path, kind, text, data):
    """Write an MCAP file with one message on /said, and the definition of its type as it is given."""
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema(kind, "ros2msg", text.encode())
        writer.add_message(writer.register_channel("/said", "cdr", schema), 1, data, 1)
        writer.finish()
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_bag_is_read_whole_and_by_time(tmp_path, form):
    bag = FORMS[form](tmp_path, SAID)
    assert read(bag) == ALL
    with BagReader([bag]) as reader:
        assert reader.missing == []
        assert (reader.start_ns, reader.end_ns) == (ALL[0][1], ALL[-1][1])
        found = {entry.name: (entry.type, entry.count) for entry in reader.topics.values()}
        assert found == {
            "/image": ("sensor_msgs/msg/Image", 40),
            "/said": ("std_msgs/msg/String", 40),
            "/tf": ("tf2_msgs/msg/TFMessage", 14),
        }
        [first, *_] = reader.messages(["/image"])
        assert np.array_equal(to_rgb(first.message()), to_rgb(SAID[0].message))


@pytest.mark.parametrize("form", FORMS)
def test_topics_and_a_stretch_of_time_are_chosen(tmp_path, form):
    bag = FORMS[form](tmp_path, SAID)
    start_ns, end_ns = START_NS + 10 * STEP_NS, START_NS + 20 * STEP_NS
    wanted = [entry for entry in ALL if entry[0] != "/image" and start_ns <= entry[1] <= end_ns]
    assert read(bag, topics=["/said", "/tf"], start_ns=start_ns, end_ns=end_ns) == wanted
    assert read(bag, topics=["/nothing"]) == []


def test_it_reads_what_rosbags_and_mcap_read(tmp_path):
    bag = make_bag(tmp_path / "run", BagPlan(seconds=1, rate_hz=5, width=64, height=48))
    with Reader(bag) as peer:
        theirs = [(entry.topic, stamp_ns, bytes(data)) for entry, stamp_ns, data in peer.messages()]
    assert sorted(read(bag)) == sorted(theirs)
    with (bag / "run.mcap").open("rb") as stream:
        in_mcap = [
            (entry.topic, said.log_time, said.data) for _, entry, said in make_reader(stream).iter_messages()
        ]
    assert read(bag) == in_mcap


def test_split_files_and_several_bags_are_one_recording(tmp_path):
    """Cut at a time inside the recording, and one topic in a bag of its own."""
    seen = [entry for entry in SAID if entry.topic != "/tf"]
    first, second = seen[:50], seen[50:]
    folder = write_rosbag2(tmp_path / "run", first, MCAP)
    write_mcap(folder / "run_1.mcap", second)
    metadata = folder / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- run.mcap", "- run.mcap\n  - run_1.mcap", 1))
    other = write_rosbag2(tmp_path / "other", [entry for entry in SAID if entry.topic == "/tf"], SQLITE)
    assert sorted(read(folder, other)) == sorted(ALL)
    assert [stamp_ns for _, stamp_ns, _ in read(folder, other)] == [stamp_ns for _, stamp_ns, _ in ALL]
    assert read(folder, folder / "run.mcap") == read(folder)  # not twice


@pytest.mark.parametrize(
    "change", ["", "not: a bag", "- [", "rosbag2_bagfile_information: {relative_file_paths: 7}"]
)
def test_metadata_is_not_needed(tmp_path, change):
    folder = write_rosbag2(tmp_path / "run", SAID, MCAP)
    (folder / "metadata.yaml").write_text(change)
    assert read(folder) == ALL
    with BagReader([folder]) as bag:
        assert ["metadata.yaml cannot be read" in said for said in bag.missing] == [True]
    (folder / "metadata.yaml").unlink()
    assert read(folder) == ALL


@pytest.mark.parametrize(
    "listed",
    [
        "  relative_file_paths:\n    - run.mcap",
        "  relative_file_paths:\n  - \"run.mcap\"\n  - 'run.mcap'",
        "  relative_file_paths: [run.mcap]",
        "  relative_file_paths: ['run.mcap', \"run.mcap\"]",
    ],
)
def test_the_list_of_files_may_be_written_in_any_style(tmp_path, listed):
    folder = write_rosbag2(tmp_path / "run", SAID, MCAP)
    write_mcap(folder / "copy.mcap", SAID)
    (folder / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  version: 9\n{listed}\n  x: 1\n")
    assert read(folder) == ALL
    with BagReader([folder]) as bag:
        assert [said.split(": ")[0].rpartition("/")[2] for said in bag.missing] == ["copy.mcap is not read"]


def test_files_outside_of_the_folder_are_not_read(tmp_path):
    write_mcap(tmp_path / "secret.mcap", SAID)
    folder = write_rosbag2(tmp_path / "run", SAID[:3], MCAP)
    metadata = folder / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("run.mcap", "../secret.mcap"))
    assert sorted(read(folder)) == sorted(plain(SAID[:3]))


@pytest.mark.parametrize("name", ["run_10", "run_9"])
def test_what_is_of_the_same_time_comes_in_the_order_of_the_files(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    for number in (9, 10):
        write_mcap(folder / f"run_{number}.mcap", [Said("/said", START_NS, messages.string(f"run_{number}"))])
    with BagReader([folder]) as bag:
        assert [entry.message().data for entry in bag.messages()] == ["run_9", "run_10"]


def test_a_robot_s_own_version_of_a_message_is_understood(tmp_path):
    """It has a field more than the type of that name here."""
    store = get_typestore(Stores.EMPTY)
    text = "string data\nfloat64 certainty\n"
    store.register(get_types_from_msg(text, "std_msgs/msg/String"))
    message = store.types["std_msgs/msg/String"](data="the mug", certainty=0.5)
    data = bytes(store.serialize_cdr(message, "std_msgs/msg/String"))
    path = write_one(tmp_path / "run.mcap", "std_msgs/msg/String", text, data)
    with BagReader(
        [path, write_foxy(tmp_path / "old.db3", [Said("/said", 2, messages.string("a bowl"))])]
    ) as bag:
        ours, plain = (entry.message() for entry in bag.messages())
    assert (ours.data, ours.certainty, plain.data) == ("the mug", 0.5, "a bowl")
    assert not hasattr(plain, "certainty")
    with pytest.raises(InputError, match="a std_msgs/msg/String has no field sound, according to the def"):
        print(ours.sound)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("uint8[999999999] data", "a/msg/B"),
        ("B data", "a/msg/B"),
        ("string data", "a/msg/B:\n  pass\nprint('oh')\nclass C"),
        ("\0" * 99, "a/msg/B"),
        ("c/D data", "a/msg/B"),
    ],
)
def test_a_definition_that_nobody_should_use_is_not_used(tmp_path, text, kind, capsys):
    path = write_one(tmp_path / "run.mcap", kind, text, b"\0\1\0\0" + bytes(99))
    with BagReader([path]) as bag:
        [entry] = bag.messages()
        with pytest.raises(
            InputError,
            match=r"/said, at 0.000 s: the type .* is not known, and its definition in the bag cannot",
        ):
            entry.message()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "test_msgs/msg/Empty",
            "is not known, and the bag has no definition of it: record with ROS 2",
        ),
        ("example_interfaces/srv/AddTwoInts_Event", "belongs to a service or an action, and the bag has no"),
        ("example_interfaces/action/Fibonacci_FeedbackMessage", "belongs to a service or an action, and the"),
    ],
)
def test_a_type_without_a_definition_is_a_clear_reason(tmp_path, kind, sentence):
    bag = write_one(tmp_path / "run.mcap", kind, "", b"\0\1\0\0\0")
    with BagReader([bag]) as reader:
        [recorded] = reader.messages()
        with pytest.raises(MessageError) as error:
            recorded.message()
    assert (error.value.topic, error.value.stamp_ns) == ("/said", 1)
    assert error.value.reason.startswith(f"the type '{kind}' {sentence}")


def test_a_damaged_message_is_a_sentence(tmp_path):
    bag = write_mcap(tmp_path / "run.mcap", SAID[:1])
    with BagReader([bag]) as reader:
        [entry] = reader.messages()
    with pytest.raises(
        InputError, match=r"/image, at 1000000000.000 s: a sensor_msgs/msg/Image cannot be decoded"
    ):
        replace(entry, data=entry.data[:99]).message()


# What is damaged.


@pytest.mark.parametrize("form", ["mcap", "mcap zstd", "mcap lz4", "mcap fastwrite", "mcap without index"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_of_a_file_that_is_cut_off_the_beginning_is_read(tmp_path, form, part):
    bag = FORMS[form](tmp_path, SAID)
    whole = bag.read_bytes()
    bag.write_bytes(whole[: int(len(whole) * part)])
    found = read(bag)
    assert found == [entry for entry in ALL if entry in found]
    assert set(found) <= set(ALL)
    assert len(found) >= part * len(ALL) - 12  # a message more is in the index
    with BagReader([bag]) as reader:
        if len(found) < len(ALL):
            [said] = reader.missing
            assert f"{len(found)} messages before that are read" in said


@pytest.mark.parametrize("form", ["mcap", "mcap zstd", "mcap fastwrite", "mcap without index"])
@pytest.mark.parametrize("opened", [False, True])
def test_a_file_that_shrinks_while_it_is_read_keeps_what_is_whole(tmp_path, monkeypatch, form, opened):
    """After its size was read, or after it was opened; a live bag's second file shrinks with each chunk."""
    bag = FORMS[form](tmp_path, SAID)
    whole = bag.read_bytes()
    open_chunks = bag_mcap.McapChunks
    monkeypatch.setattr(bag_mcap, "CACHE_BYTES", 0)
    for size in range(len(bag_mcap.MAGIC), len(whole), len(whole) // 30):
        bag.write_bytes(whole)
        if not opened:
            monkeypatch.setattr(bag_mcap, "McapChunks", partial(shrunk_when_opened, open_chunks, size))
        try:
            with BagReader([bag]) as reader:
                os.truncate(bag, size)
                found, missing = plain(reader.messages()), reader.missing
        except InputError as error:
            found, missing = [], [str(error)]
        assert found == [entry for entry in ALL if entry in found]
        assert len(found) >= size / len(whole) * len(ALL) - 12
        assert missing or len(found) == len(ALL)


def shrunk_when_opened(open_chunks, size, path):
    chunks = open_chunks(path)
    os.truncate(path, size)
    return chunks


@pytest.mark.parametrize("form", ["rosbag2 sqlite3", "foxy"])
def test_of_a_database_that_is_cut_off_something_is_read(tmp_path, form):
    bag = FORMS[form](tmp_path, SAID)
    file = next(bag.glob("*.db3")) if bag.is_dir() else bag
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    with BagReader([bag]) as reader:
        found = [(entry.topic, entry.stamp_ns, entry.data) for entry in reader.messages()]
        assert reader.missing
    assert set(found) <= set(ALL)
    assert len(found) > len(ALL) / 3


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4])
def test_a_chunk_that_is_damaged_is_said_and_the_others_are_read(tmp_path, compression):
    bag = write_mcap(tmp_path / "run.mcap", SAID, compression=compression, chunk_size=4000)
    whole = bytearray(bag.read_bytes())
    whole[len(whole) // 2] ^= 0x10
    bag.write_bytes(whole)
    with BagReader([bag]) as reader:
        found = [(entry.topic, entry.stamp_ns, entry.data) for entry in reader.messages()]
        [said] = reader.missing
    assert "run.mcap: the record at byte" in said
    assert "checksum" in said or "damaged" in said
    assert found == [entry for entry in ALL if entry in found]
    assert len(ALL) - 8 <= len(found) < len(ALL)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "run.mcap is not a bag: it is empty"),
        (b"hello, world", "run.mcap is not a bag: it begins neither as an MCAP file nor"),
        (b"#ROSBAG V2.0\n", "is a bag of ROS 1: convert it with `rosbags-convert --src run.mcap"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "is a Git LFS pointer .* `git lfs pull`",
        ),
        (b"\x89MCAP0\r\n", "run.mcap is cut off or damaged at byte 8: the 0 messages"),
        (b"SQLite format 3\0", "run.mcap is damaged, or no bag: it has no tables"),
    ],
)
def test_what_is_no_bag_is_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "run.mcap"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        BagReader([path])


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="run does not exist: name a bag's folder"):
        BagReader([tmp_path / "run"])
    with pytest.raises(InputError, match=r"is not a bag: there is no .mcap and no .db3 file in it"):
        BagReader([tmp_path])
    folder = write_rosbag2(tmp_path / "run", SAID, MCAP)
    (folder / "run.mcap").rename(folder / "other.mcap")
    assert sorted(read(folder)) == sorted(ALL)  # renamed by hand
    shutil.copy(folder / "other.mcap", folder / "run.mcap")
    with BagReader([folder]) as bag:
        assert "other.mcap is not read: metadata.yaml does not list" in bag.missing[0]


def test_what_a_crash_left_in_the_journal_is_read(tmp_path):
    """A recorder that wrote ahead and was killed: the rows are beside the database."""
    path = tmp_path / "here.db3"
    write_foxy(path, SAID[:2])
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(
        "INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, ?)", (START_NS, SAID[0].data)
    )
    database.commit()
    for file in tmp_path.glob("here.db3*"):
        shutil.copy(file, file.with_name(file.name.replace("here", "run")))
    database.close()
    assert len(read(tmp_path / "run.db3")) == 3


def test_chunks_that_overlap_without_end_are_refused_before_they_fill_the_memory(tmp_path, monkeypatch):
    late_first = [Said("/said", 100 - k, messages.string("")) for k in range(100)]
    said = [late_first[0], *late_first * 2]
    bag = write_mcap(tmp_path / "run.mcap", said, chunk_size=2000)
    assert read(bag) == plain(in_order(said))
    monkeypatch.setattr(bag_reader, "MAX_OPEN_BYTES", 1000)
    with pytest.raises(InputError, match=r"overlap so much in time .* sort it with `mcap sort`"):
        read(bag)


@pytest.mark.parametrize("kept", [0, 1 << 25])
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40), st.integers(50, 2000)
)
def test_any_order_of_times_in_any_chunks_comes_out_sorted(tmp_path_factory, kept, stamped, chunk_size):
    """Also where a chunk that is needed again was not kept."""
    said = [Said(f"/t{topic}", stamp, messages.string(str(k))) for k, (stamp, topic) in enumerate(stamped)]
    path = write_mcap(tmp_path_factory.mktemp("bag") / "run.mcap", said, chunk_size=chunk_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bag_mcap, "CACHE_BYTES", kept)
        assert read(path) == plain(in_order(said))
