"""How fast a recording is read: 1,000 raw images of 640x480, from the file to RGB pixels, without a model.

    python test/bench/bag.py

Each kind of bag is read by a process of its own, so that its memory can be told: the peak after 100 images,
and after all. The aim is 200 images a second, and no more memory. On a machine that does other work too, the
seconds of the processor say more than those of the wall.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES, WIDTH, HEIGHT = 1000, 640, 480
EARLY = 100
AIM_HZ = 200
SETTINGS = {
    "mcap": {"compression": "NONE"},
    "mcap, unchunked (fastwrite)": {"use_chunking": False},
    "mcap, zstd": {"compression": "ZSTD"},
    "mcap, lz4": {"compression": "LZ4"},
}


def frames(encoding):
    """A smooth scene that moves, with a camera's noise; some are drawn, and come again."""
    from kosmos2_io.message_types import new
    from kosmos2_io.messages import Messages

    messages, noise = Messages(new), np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(0, 200, WIDTH), np.linspace(0, 40, HEIGHT))
    drawn = []
    for k in range(10):
        smooth = np.stack([across + k, down + 5 * k, across / 2 + down], 2)
        drawn.append((smooth + noise.normal(0, 1.5, smooth.shape)).clip(0, 255).astype(np.uint8))
    for k in range(FRAMES):
        stamp_ns = 10**18 + k * 33_333_333
        yield stamp_ns, messages._image(messages.header(stamp_ns, "camera"), encoding, drawn[k % len(drawn)])


def write(place, name, encoding):
    if name.startswith("mcap"):
        return write_mcap(place / "run.mcap", SETTINGS[name], encoding)
    from kosmos2_io.bag_writer import open_bag

    with open_bag(place / "run", "sqlite3") as bag:
        for stamp_ns, message in frames(encoding):
            bag.write("/image", message, stamp_ns)
    return place / "run"


def write_mcap(path, settings, encoding):
    from mcap.writer import CompressionType, Writer

    from kosmos2_io.message_types import typestore

    kind = "sensor_msgs/msg/Image"
    chosen = settings | (
        {"compression": CompressionType[settings["compression"]]} if "compression" in settings else {}
    )
    with path.open("wb") as stream:
        writer = Writer(stream, **chosen)
        writer.start("ros2")
        text = typestore().generate_msgdef(kind, ros_version=2)[0]
        channel = writer.register_channel(
            "/image", "cdr", writer.register_schema(kind, "ros2msg", text.encode())
        )
        for stamp_ns, message in frames(encoding):
            writer.add_message(channel, stamp_ns, bytes(typestore().serialize_cdr(message, kind)), stamp_ns)
        writer.finish()
    return path


def read(bag):
    """Seconds, of the wall and of the processor; MiB after some and after all."""
    from kosmos2_io.bag_reader import BagReader
    from kosmos2_io.images import to_rgb

    early = 0.0
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    with BagReader([bag]) as reader:
        for number, one in enumerate(reader.messages(["/image"]), 1):
            assert to_rgb(one.message()).shape == (HEIGHT, WIDTH, 3)
            if number == EARLY:
                early = peak_mib()
    assert number == FRAMES
    return time.perf_counter() - start_s, time.process_time() - start_cpu_s, early, peak_mib()


def peak_mib():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1024


def measure(name, encoding):
    with tempfile.TemporaryDirectory(prefix="kosmos2-bench-") as place:
        bag = write(Path(place), name, encoding)
        size = sum(file.stat().st_size for file in (bag.iterdir() if bag.is_dir() else [bag]))
        done = subprocess.run(
            [sys.executable, __file__, str(bag)], capture_output=True, text=True, check=True
        )
    took_s, cpu_s, early, late = json.loads(done.stdout)
    rates = f"{FRAMES / took_s:>5.0f} images/s, {FRAMES / cpu_s:>5.0f} a second of the processor"
    memory = f"{early:.0f} MiB after {EARLY}, {late:.0f} after {FRAMES}"
    print(f"{name:<28} {encoding} {size / 2**20:>5.0f} MiB  {rates}; {memory}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(read(Path(sys.argv[1]))))
    else:
        print(f"aim: {AIM_HZ} images a second, and no more memory after {FRAMES} than after {EARLY}")
        for name in (*SETTINGS, "sqlite3"):
            measure(name, "rgb8")
        measure("mcap", "bgr8")
