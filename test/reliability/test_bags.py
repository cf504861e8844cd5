"""Row 23: bags that a crash, a full disk or a bad cable left, and bags from strangers.

Each test runs the command line on all of them in one process of its own, this file run as a script, whose end
and whose memory can be judged.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

ROW = (23, "damaged bags: truncated, bits flipped, lying sizes, wrong magic; bombs",
       "500 files: a readable rest or exit 2, each loss one line, memory <= 512 MiB")  # fmt: skip
LIMIT_MIB = 512


def run(what, number, folder):
    """What a process of its own prints; that it died, or raised, is an error here."""
    support = str(Path(__file__).parents[1] / "support")
    done = subprocess.run(
        [sys.executable, __file__, what, str(number), str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([support, *sys.path]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.row(*ROW)
def test_a_damaged_bag_is_read_as_far_as_it_goes_or_refused_in_a_sentence(tmp_path, count, record_property):
    number = count(500, 40)
    found = run("damaged", number, tmp_path)
    assert found["wrong"] == []
    assert found["refused"] + found["whole"] + found["rest"] == number
    assert found["rest"] > number / 10
    record_property(
        "figure",
        f"{number} files: {found['refused']} refused, of {found['rest']} a rest was read and the loss said,"
        f" {found['whole']} read whole; {found['mib']:.0f} MiB at most",
    )
    assert found["mib"] <= LIMIT_MIB


@pytest.mark.row(*ROW)
def test_a_bomb_does_not_go_off(tmp_path, record_property):
    found = run("bombs", 0, tmp_path)
    assert found["wrong"] == []
    record_property("figure", f"{found['refused']} bombs refused, {found['mib']:.0f} MiB at most")
    assert found["refused"] == len(BOMBS)
    assert found["mib"] <= LIMIT_MIB


# What is damaged.


def originals(folder):
    """The same recording in every form, as files by name, each form a folder."""
    from recordings import MCAP, SQLITE, CompressionMode, CompressionType, write_mcap, write_rosbag2

    said = recorded_run(folder)
    small = {"chunk_size": 60_000}
    made = {
        "mcap": write_mcap(folder / "a.mcap", said, compression=CompressionType.NONE, **small),
        "zstd": write_mcap(folder / "b.mcap", said, **small),
        "lz4": write_mcap(folder / "c.mcap", said, compression=CompressionType.LZ4, **small),
        "fastwrite": write_mcap(folder / "d.mcap", said, use_chunking=False),
        "ours": write_rosbag2(folder / "e", said, MCAP, CompressionMode.STORAGE),
        "messages": write_rosbag2(folder / "f", said, MCAP, CompressionMode.MESSAGE),
        "file": write_rosbag2(folder / "g", said, MCAP, CompressionMode.FILE),
        "sqlite3": write_rosbag2(folder / "h", said, SQLITE),
        "sqlite3 messages": write_rosbag2(folder / "i", said, SQLITE, CompressionMode.MESSAGE),
    }
    return [
        {file.name: file.read_bytes() for file in (sorted(bag.iterdir()) if bag.is_dir() else [bag])}
        for bag in made.values()
    ]


def recorded_run(folder):
    """What `kosmos2 sim bag` writes."""
    from recordings import Said

    from kosmos2_io.bag_reader import BagReader
    from kosmos2_sim.bag import BagPlan, make_bag

    with BagReader([make_bag(folder / "run", BagPlan(seconds=3, rate_hz=4, width=96, height=72))]) as bag:
        return [Said(one.topic, one.stamp_ns, one.message()) for one in bag.messages()]


def cut(data, rng):
    return data[: rng.integers(len(data))]


def flip(data, rng):
    """Some bits, often of the beginning or the end, where a bit means more."""
    damaged = bytearray(data)
    first, last = [(0, len(data)), (0, 300), (max(len(data) - 3000, 0), len(data))][rng.integers(3)]
    for place in rng.integers(first, min(last, len(data)), size=rng.integers(1, 9)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def lie(data, rng):
    """Some numbers become huge, or any."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        form, values = [("<Q", (1 << 62, 1 << 33, 1 << 27)), ("<I", (1 << 31, 1 << 25, 0))][rng.integers(2)]
        at = rng.integers(len(data) - 8)
        struct.pack_into(form, damaged, at, values[rng.integers(3)])
    return bytes(damaged)


def change_magic(data, rng):
    others = (b"\x89MCAP0\r\n", b"SQLite format 3\0", b"#ROSBAG V2.0\n", b"\x28\xb5\x2f\xfd", rng.bytes(8))
    other = others[rng.integers(len(others))]
    return other + data[len(other) :]


def empty(data, rng):
    return b""


DAMAGES = (cut, flip, cut, flip, lie, flip, cut, lie, flip, cut, change_magic, empty)


def damage(files, rng, how):
    """One of a bag's files is damaged, sometimes the one that lists them."""
    storage = [name for name in files if name != "metadata.yaml"]
    name = "metadata.yaml" if len(files) > 1 and rng.random() < 0.15 else storage[0]
    if name == "metadata.yaml" and rng.random() < 0.5:
        return files | {name: files[name].replace(storage[0].encode(), b"../../" + storage[0].encode())}
    return files | {name: how(files[name], rng)}


def check_damaged(number, folder):
    bags = originals(folder)
    whole = convert(write(folder / "good", bags[0]), folder / "data")
    assert whole[0] == 0, whole
    found = {"refused": 0, "rest": 0, "whole": 0, "wrong": []}
    for at in range(number):
        rng = np.random.default_rng(at)
        how = DAMAGES[at // len(bags) % len(DAMAGES)]
        files = damage(bags[at % len(bags)], rng, how)
        code, said, records, made = convert(write(folder / "bag", files), folder / "data")
        why = judge(code, said, records, made, whole[2], how is cut and len(files) == 1)
        if why:
            found["wrong"].append(f"{at}: {how.__name__} {sorted(files)}: {why}: {said}")
        kind = "refused" if code else "rest" if len(records) < len(whole[2]) else "whole"
        found[kind] += 1
    return found


def judge(code, said, records, made, whole, is_cut):
    """What is wrong with an answer; empty: nothing."""
    lines = said.splitlines()
    if code not in (0, 2):
        return f"exit code {code}"
    if not all(line.startswith("kosmos2: ") for line in lines) or (code and len(lines) != 1):
        return "not in a sentence each"
    if code and made:
        return "something is left behind"
    if not code and len(records) < len(whole) and not lines and not made["left_out"]:
        return f"{len(whole) - len(records)} records are lost without a word"
    if is_cut and not set(records) <= set(whole):
        return "something is made up"
    return ""


def convert(bag, data):
    """The command, on a bag: its exit code, what it said, the records, and what it counted."""
    import shutil

    from kosmos2_cli.main import main

    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(["data", "from-bag", str(bag), str(data), "--json"])
    records = (data / "records.jsonl").read_text().splitlines() if data.exists() else []
    made = json.loads(out.getvalue()) if out.getvalue() else None
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(bag)
    return code, error.getvalue(), records, made


def write(folder, files):
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


# Bombs: small, and huge when opened.


def record(opcode, body):
    return struct.pack("<BQ", opcode, len(body)) + body


def text(value):
    return struct.pack("<I", len(value)) + value


MAGIC = b"\x89MCAP0\r\n"
HEADER = MAGIC + record(1, text(b"ros2") + text(b"")) + record(
    3, struct.pack("<H", 1) + text(b"std_msgs/msg/String") + text(b"ros2msg") + text(b"string data\n")
) + record(4, struct.pack("<HH", 1, 1) + text(b"/said") + text(b"cdr") + text(b""))  # fmt: skip


def message(stamp_ns, data=b""):
    return record(5, struct.pack("<HIQQ", 1, 0, stamp_ns, stamp_ns) + data)


def chunk(body, size=None, start_ns=1, end_ns=1 << 40, packed=None):
    packed = zstandard.compress(body) if packed is None else packed
    head = struct.pack("<QQQI", start_ns, end_ns, len(body) if size is None else size, 0)
    return record(6, head + text(b"zstd") + struct.pack("<Q", len(packed)) + packed)


def definitions(number):
    """A hundred, each of a MiB."""
    text_ = text(b"p/msg/X") + text(b"ros2msg") + text(b"#" * (1 << 20))
    return b"".join(record(3, struct.pack("<H", 100 * number + k + 2) + text_) for k in range(100))


def zeros(size):
    """So many, packed."""
    stream = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(stream, closefd=False) as writer:
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
    return stream.getvalue()


BOMBS = {
    "a chunk that says too little": lambda: {"a.mcap": HEADER + chunk(b"", 1000, packed=zeros(1 << 28))},
    "a chunk that says all": lambda: {"a.mcap": HEADER + chunk(b"", 1 << 28, packed=zeros(1 << 28))},
    "a chunk of nothing": lambda: {"a.mcap": HEADER + chunk(b"", 1 << 27, packed=zeros(1 << 27))},
    "a frame that says it is huge": lambda: {
        "a.mcap": HEADER + chunk(b"", 1 << 40, packed=b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 40))
    },
    "a file in zstd": lambda: {"a.mcap.zstd": zstandard.compress(HEADER) + zeros(1 << 28)},
    "messages in zstd": lambda: {"a.mcap": HEADER + message(1, zeros(1 << 28)) * 20},
    "a record that says it is huge": lambda: {"a.mcap": HEADER + struct.pack("<BQ", 4, 1 << 62) + bytes(99)},
    "definitions that unpack to gigabytes": lambda: {
        "a.mcap": HEADER + b"".join(chunk(definitions(number)) for number in range(8))
    },
    "a million broken records": lambda: {"a.mcap": HEADER + record(4, b"") * 1_000_000},
    "metadata of metadata": lambda: {
        "a.mcap": HEADER,
        "metadata.yaml": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (k + 1, k + 1, b",".join([b"*%c" % k] * 9)) for k in range(97, 120)),
    },
    "metadata in metadata": lambda: {"a.mcap": HEADER, "metadata.yaml": b"[" * 1_000_000},
}


def check_bombs(folder):
    from kosmos2_io import bag_reader

    bag_reader.MAX_COPY_BYTES = 1 << 27  # to spare this disk
    found = {"refused": 0, "wrong": []}
    for name, bomb in BOMBS.items():
        code, said, _, _ = convert(write(folder / "bag", bomb()), folder / "data")
        if (code, said.count("\n")) != (2, 1):
            found["wrong"].append(f"{name}: {code}: {said}")
        found["refused"] += code == 2
    return found


def peak_mib():
    """Of the process's own memory."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    name, number, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    answer = check_damaged(number, place) if name == "damaged" else check_bombs(place)
    print(json.dumps(answer | {"mib": peak_mib()}))
