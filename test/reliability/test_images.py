"""Images from strangers: damaged ones, and ones that would fill the memory.

Each row runs in a process of its own, whose end and whose memory can be judged. Row 7's process is this
file, run as a script.
"""

import io
import json
import struct
import subprocess
import sys
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import load_frame, load_image


def run(*arguments):
    """What a process of its own prints; that it died, or raised, is an error here."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Row 7.


@pytest.mark.row(
    *(7, "compressed images: truncated, bits flipped, another magic number; PNG, JPEG and WebP"),
    "5,000 files, no death, no pixel of an earlier frame",
)
@pytest.mark.parametrize("what", ["files", "frames"])
def test_a_damaged_image_is_refused_or_read_but_never_mixed_with_another(what, count, record_property):
    number = count(5000, 2000)
    read = run(__file__, what, number)
    assert read > 0
    record_property(
        "figure", f"{number:,} {what}, of which {number - read:,} refused; none with such a pixel"
    )


def pictures():
    """The same smooth and noisy picture in every form."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    noise[:24] = np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None]
    return Image.fromarray(noise)


def exif():
    """What a camera writes: held sideways, a comment, its resolution, when. All of it can be damaged."""
    fields = Image.Exif()
    fields.update({0x0112: 6, 0x010E: "a mug on a table", 0x011A: 72.0, 0x0128: 2})
    fields.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    return fields.tobytes()


FORMS = [
    ("PNG", "RGB", {}),
    ("PNG", "P", {"exif": exif()}),
    ("PNG", "RGBA", {}),
    ("PNG", "I;16", {}),
    ("JPEG", "RGB", {"exif": exif()}),
    ("JPEG", "RGB", {"progressive": True, "quality": 95}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("WEBP", "RGB", {"exif": exif()}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {}),
]


def encoded(image, form):
    format, mode, settings = form
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    stream = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(stream, format, **settings)
    return stream.getvalue()


def cut(data, rng):
    return data[: rng.integers(len(data))]


def flip(data, rng):
    """Some bits, often of the headers, where a bit means more."""
    damaged = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
    for place in rng.integers(reach, size=rng.integers(1, 9)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def flip_and_sign(data, rng):
    """The same, and each PNG chunk's checksum made right, so that the damage gets further."""
    damaged = bytearray(flip(data, rng))
    at = 8
    while data[:4] == b"\x89PNG" and at + 12 <= len(damaged):
        end = at + 8 + int.from_bytes(damaged[at : at + 4], "big")
        damaged[end : end + 4] = struct.pack(">I", zlib.crc32(damaged[at + 4 : end]))
        at = end + 4
    return bytes(damaged)


def change_magic(data, rng):
    others = (b"\x89PNG", b"\xff\xd8\xff\xe0", b"RIFF", b"GIF8", b"II*\0", b"%!PS", b"\0\0\0\0", rng.bytes(4))
    return others[rng.integers(len(others))] + data[4:]


DAMAGES = (cut, flip, flip_and_sign, change_magic)


READERS = {"files": load_image, "frames": load_frame}  # files from disk, and what a camera sends


def outcome(read, data):
    """The image, or None where it was refused in a sentence. Nothing else may happen."""
    try:
        image = read(data)
    except InputError:
        return None
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    return image


def check_damaged(reader, number):
    """How many of so many damaged files are read. Each is read twice, once after a black and once after a
    white frame of its form: what differs would be theirs. Of a truncated file nothing may be made up."""
    originals = [encoded(pictures(), form) for form in FORMS]
    frames = [
        [encoded(Image.new("RGB", (64, 48), grey), form) for grey in ("black", "white")] for form in FORMS
    ]
    seen, read = partial(outcome, reader), 0
    for at in range(number):
        rng = np.random.default_rng(at)
        form, damage = at % len(FORMS), DAMAGES[at // len(FORMS) % len(DAMAGES)]
        data = damage(originals[form], rng)
        images = [seen(data) for frame in frames[form] if seen(frame) is not None]
        assert same(*images), f"file {at} shows what was read before it"
        if damage is cut:
            assert images[0] is None or same(images[0], seen(originals[form])), f"file {at} is made up"
        read += images[0] is not None
    return read


def same(one, other):
    return (one is None and other is None) or np.array_equal(one, other)


# Row 8.

# Each file's answer, and by how much the peak grew, in KiB. Peaks are of the process's own memory:
# `ru_maxrss` would begin with that of the process it came from.
REFUSE = """
import json, sys
from pathlib import Path
from kosmos2_core import images
from kosmos2_core.errors import InputError

load = getattr(images, sys.argv[1])

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1])

def refused(data):
    try:
        load(data)
    except InputError as error:
        return str(error)

def measured(data):
    Path("/proc/self/clear_refs").write_text("5")  # peaks begin anew
    before = peak()
    return refused(data), peak() - before

refused(b"")
print(json.dumps([measured(Path(file).read_bytes()) for file in sys.argv[2:]]))
"""


@pytest.mark.row(
    *(8, "decompression bombs: small files that say they are huge images"),
    "109 KB to 900 million pixels: refused from the header alone, at most 5 MiB more memory",
)
@pytest.mark.parametrize("name", ["load_image", "load_frame", "check_frame", "load_grey16"])
def test_a_bomb_is_refused_from_its_header_alone(name, tmp_path, record_property):
    bombs = {"PNG": png_bomb(30_000), "JPEG": jpeg_bomb(), "WebP": webp_bomb()}
    for form, data in bombs.items():
        assert len(data) < 120_000
        (tmp_path / form).write_bytes(data)
    answers = run("-c", REFUSE, name, *(tmp_path / form for form in bombs))
    largest = max(kib for _, kib in answers) / 1024
    record_property("figure", f"{name}: {', '.join(bombs)} refused, {largest:.1f} MiB more at most")
    assert all(sentence and "too large" in sentence for sentence, _ in answers), answers
    assert largest <= 5


def png_bomb(side):
    """As small as it can be: one bit a pixel, all alike."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    line = bytes(side // 8 + 2)
    pixels = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_bomb():
    """A small photo whose header says 65,500 x 65,500."""
    data = bytearray(encoded(pictures(), ("JPEG", "RGB", {})))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def webp_bomb():
    """A small lossless picture whose header says 16,383 x 16,383, the most there is."""
    data = bytearray(encoded(pictures(), ("WEBP", "RGB", {"lossless": True})))
    at = data.index(b"VP8L") + 9  # past the length and a signature; 14 bits each, and two flags
    data[at : at + 4] = struct.pack("<I", 16_382 | 16_382 << 14)
    return bytes(data)


if __name__ == "__main__":
    print(json.dumps(check_damaged(READERS[sys.argv[1]], int(sys.argv[2]))))
