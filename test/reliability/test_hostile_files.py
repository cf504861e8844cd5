"""Row 23 too: files that make a reader wait for ever, or that are small and cost minutes or gigabytes.

Each is given to the real command in a process of its own, with a limit on its processor time.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from reliability.test_bags import HEADER, LIMIT_MIB, MAGIC, message, record, text

ROOT = Path(__file__).resolve().parents[2]
ROW = (23, "damaged bags: truncated, bits flipped, lying sizes, wrong magic; bombs",
       "500 files: a readable rest or exit 2, each loss one line, memory <= 512 MiB")  # fmt: skip
LIMIT_S = 5  # of processor time, the start of the command included
PATIENCE_S = 200  # a command that waits for ever does not use any
# The peak is of the process's own memory: `ru_maxrss` would begin with that of the process it came from.
COMMAND = """
import sys
from pathlib import Path
from kosmos2_cli.main import main

status = main(sys.argv[2:])
Path(sys.argv[1]).write_text(Path("/proc/self/status").read_text())
sys.exit(status)
"""
IMAGE = b"sensor_msgs/msg/Image"
SEPARATOR = b"=" * 80 + b"\n"


def run(tmp_path, *arguments, limit_s=LIMIT_S):
    """Run a command under the limit; return what it said, and its peak memory in MiB."""
    peak = tmp_path / "peak"
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, peak, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s)),
    )
    assert ended.returncode == 2, (ended.returncode, ended.stderr[-2000:])
    assert ended.stderr.startswith("kosmos2: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr, int(peak.read_text().split("VmHWM:")[1].split()[0]) / 1024


# Definitions of messages.


def bag_with_definition(definition, language=b"ros2msg"):
    """A bag with one message on a topic of images, whose type is defined like this."""
    assert len(definition) <= 1 << 20, "longer ones were refused before"
    schema = struct.pack("<H", 1) + text(IMAGE) + text(language) + text(definition)
    channel = struct.pack("<HH", 1, 1) + text(b"/image") + text(b"cdr") + text(b"")
    return MAGIC + record(1, text(b"ros2") + text(b"")) + record(3, schema) + record(4, channel) + message(1)


def types(count, line):
    """Definitions of the types X0, X1, ..., each with the line that `line(number)` gives."""
    return b"".join(SEPARATOR + b"MSG: p/X%d\n%s\n" % (number, line(number)) for number in range(count))


def lines(line, count):
    return b"".join(line % (number, number) for number in range(count))


DEFINITIONS = {
    "20,000 fields": lines(b"int32 f%d # %d\n", 20_000),
    "20,000 constants": lines(b"int32 F%d=%d\n", 20_000),
    "20,000 defaults": lines(b"string f%d '%d'\n", 20_000),
    "10,000 types": b"int8 x\n" + types(10_000, lambda number: b"int8 x"),
    "500,000 comments": b"#\n" * 500_000,
    "3,000 types in each other": b"p/X0 x\n" + types(3_000, lambda number: b"p/X%d x" % (number + 1)),
    "arrays in arrays": b"p/X0[60000] x\n" + types(20, lambda number: b"p/X%d[60000] x" % (number + 1)),
    "an array of texts": b"string[65536] x\n",
    "a type in itself": b"sensor_msgs/Image x\n",
    "400,000 brackets": b"int8" + b"[" * 400_000 + b" x\n",
}
IDL = {
    "20,000 fields in IDL": b"module sensor_msgs { module msg { struct Image { %s}; }; };"
    % lines(b"long f%d; // %d\n", 20_000),
    "5,000 modules in each other": b"module a { " * 5_000 + b"};" * 5_000,
    "sequences in sequences": b"module sensor_msgs { module msg { struct Image { "
    + b"sequence<" * 3_000 + b"long" + b">" * 3_000 + b" x; }; }; };",
    "3,000 brackets": b"module a { const long x = " + b"(" * 3_000 + b"1" + b")" * 3_000 + b"; };",
}  # fmt: skip
LISTED = b"rosbag2_bagfile_information:\n  relative_file_paths:\n"
ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (number + 1, number + 1, b",".join([b"*%c" % number] * 9))
    for number in range(97, 121)
)
METADATA = {
    "4 MB of names": LISTED + b"  - a.mcap\n" * 380_000,
    "4 MB of missing files": LISTED + b"".join(b"  - %d.mcap\n" % number for number in range(260_000)),
    "4 MB of brackets": b"[" * 4_000_000,
    "aliases": ALIASES + b"rosbag2_bagfile_information: {relative_file_paths: [*y]}\n",
    "100,000 merges": b"a: &a {x: 1}\n" + b"<<: *a\n" * 100_000,
}
SMALL = "20,000 fields", "arrays in arrays", "aliases"


def hostile_bags(count):
    bags = {name: {"a.mcap": bag_with_definition(definition)} for name, definition in DEFINITIONS.items()}
    bags |= {name: {"a.mcap": bag_with_definition(idl, b"ros2idl")} for name, idl in IDL.items()}
    bags |= {name: {"a.mcap": HEADER + message(1), "metadata.yaml": data} for name, data in METADATA.items()}
    return count(bags, {name: bags[name] for name in SMALL})


@pytest.mark.row(*ROW)
def test_definitions_and_metadata_cannot_make_the_command_busy(tmp_path, count, record_property):
    peaks_mib = []
    for number, files in enumerate(hostile_bags(count).values()):
        bag = tmp_path / str(number)
        bag.mkdir()
        for name, data in files.items():
            (bag / name).write_bytes(data)
        _, mib = run(tmp_path, "data", "from-bag", bag, tmp_path / "data")
        peaks_mib.append(mib)
        shutil.rmtree(bag)
    record_property(
        "figure",
        f"{len(peaks_mib)} hostile definitions and lists refused, each within {LIMIT_S} s of processor time,"
        f" {max(peaks_mib):.0f} MiB at most",
    )
    assert max(peaks_mib) <= LIMIT_MIB


# Named pipes and folders in the place of files.


def put_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def put_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.fixture(params=[put_pipe, put_folder], ids=["pipe", "folder"])
def put(request):
    return request.param


@pytest.fixture
def bag(tmp_path):
    folder = tmp_path / "bag"
    folder.mkdir()
    (folder / "a.mcap").write_bytes(HEADER + message(1, b"\0\1\0\0\4\0\0\0abc\0"))
    return folder


def test_a_pipe_instead_of_a_bag_is_refused(tmp_path):
    put_pipe(tmp_path / "a.mcap")
    said, _ = run(tmp_path, "data", "from-bag", tmp_path / "a.mcap", tmp_path / "data")
    assert "a.mcap cannot be read: It is a pipe or a device" in said


def test_what_is_no_file_in_a_bag_is_refused(tmp_path, bag, put):
    put(bag / "a.mcap")
    said, _ = run(tmp_path, "data", "from-bag", bag, tmp_path / "data")
    assert "a.mcap cannot be read" in said


def test_metadata_that_is_no_file_is_not_read(tmp_path, bag, put):
    put(bag / "metadata.yaml")
    said, _ = run(tmp_path, "data", "from-bag", bag, tmp_path / "data")
    assert "the bag has no images; its topics are /said" in said


@pytest.mark.parametrize("name", ["--labels", "--phrases"])
def test_a_pipe_instead_of_a_list_is_refused(tmp_path, name):
    from kosmos2_sim.bag import BagPlan, make_bag

    bag = make_bag(tmp_path / "run", BagPlan(seconds=1, rate_hz=2, width=96, height=72))
    put_pipe(tmp_path / "list.txt")
    said, _ = run(
        tmp_path, "eval", "bag", bag, name, tmp_path / "list.txt", "--model", "models/tabletop-tiny",
        "--out", tmp_path / "report", limit_s=60,
    )  # fmt: skip
    assert name in said


@pytest.mark.parametrize("name", ["mug.png", "mug.mp4"])
def test_an_image_that_is_no_file_is_refused(tmp_path, name, put):
    put(tmp_path / name)
    if put is put_folder and name == "mug.mp4":
        pytest.skip("a folder is read as a folder of images")
    (tmp_path / "images").mkdir()
    source = tmp_path / name
    if put is put_folder:
        source = source.rename(tmp_path / "images" / name).parent
        (source / "b.png").symlink_to(source / name)  # of several images each bad one is a line
    said = subprocess.run(
        [sys.executable, "-m", "kosmos2_cli", "locate", "the mug", source, "--model", "models/tabletop-tiny"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert said.returncode == 2
    assert f"{name} cannot be opened: " in said.stderr
    assert all(line.startswith("kosmos2: ") for line in said.stderr.splitlines())


def test_records_and_images_of_records_that_are_no_files_are_refused(tmp_path, put):
    put(tmp_path / "records.jsonl")
    said, _ = run(tmp_path, "data", "check", tmp_path / "records.jsonl")
    assert "records.jsonl cannot be opened" in said or "records.jsonl/records.jsonl" in said


def test_an_image_of_a_record_that_is_a_pipe_is_told(tmp_path):
    put_pipe(tmp_path / "image.png")
    item = {"task": "locate", "text": "[the mug](0.1,0.1,0.2,0.2)"}
    line = {"image": "image.png", "items": [item]}
    (tmp_path / "records.jsonl").write_text(json.dumps(line) + "\n")
    told = subprocess.run(
        [sys.executable, "-m", "kosmos2_cli", "data", "check", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert told.returncode == 2
    assert "image.png cannot be opened: It is a pipe or a device" in told.stdout


@pytest.mark.parametrize("name", ["config.json", "calibration.json", "tokenizer.json", "model.safetensors"])
def test_a_file_of_a_checkpoint_that_is_a_pipe_is_refused(tmp_path, name):
    shutil.copytree(ROOT / "models/tabletop-tiny", tmp_path / "model")
    put_pipe(tmp_path / "model" / name)
    said, _ = run(
        tmp_path, "locate", "the mug", "docs/tabletop.jpg", "--model", tmp_path / "model", limit_s=60
    )
    assert f"{name} cannot be read" in said
    assert "It is a pipe or a device" in said


def test_parameters_that_are_no_file_are_refused(tmp_path, put):
    pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
    put(tmp_path / "robot.yaml")
    said, _ = run(tmp_path, "node", "--params-file", tmp_path / "robot.yaml")
    assert "robot.yaml is not a file" in said


@pytest.mark.parametrize(
    "stamp", ["1e999990", "1e99999999999999999999", "-1e999999", "nan", "inf", "9" * 5000, "1e-999999"]
)
def test_a_stamp_of_no_sense_in_a_label_file_is_one_sentence(tmp_path, stamp):
    from kosmos2_sim.bag import BagPlan, make_bag

    bag = make_bag(tmp_path / "run", BagPlan(seconds=1, rate_hz=2, width=96, height=72))
    (tmp_path / "labels.txt").write_text(f"{stamp} [the mug](0.1,0.1,0.2,0.2)\n")
    run(tmp_path, "data", "from-bag", bag, tmp_path / "data", "--labels", tmp_path / "labels.txt", limit_s=20)
