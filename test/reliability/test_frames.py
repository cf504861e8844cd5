"""Frames from cameras whose drivers send anything: wrong sizes, cut data, encodings that there are not."""

import struct

import numpy as np
import pytest
from frames import KINDS, compressed, image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kosmos2_core.errors import InputError
from kosmos2_io import images
from kosmos2_io.depth import to_depth_m
from kosmos2_io.images import ENCODINGS, to_rgb

from .scoreboard import TIER

MOST = 2**32 - 1
WIDTH, HEIGHT = 6, 4
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def frame(kind, encoding="rgb8", **fields):
    """A good rgb8 frame, but for what is said."""
    return image(kind, PIXELS.reshape(HEIGHT, -1), encoding, WIDTH, HEIGHT, **fields)


def refused(read, message):
    """The sentence it is refused in. Nothing else may be raised."""
    try:
        read(message)
    except InputError as error:
        return str(error)
    return None


# Row 4.

WRONG = [
    *({"step": step} for step in (0, 1, WIDTH, 3 * WIDTH - 1, 3 * WIDTH + 1, 4096, 2**31, MOST)),
    *({"width": width} for width in (0, WIDTH + 1, 2**16, 2**31, MOST)),
    *({"height": height} for height in (0, 1, HEIGHT - 1, HEIGHT + 1, 2**16, 2**31, MOST)),
    {"width": MOST, "height": MOST},
    {"width": MOST, "height": MOST, "step": MOST},
    {"width": 0, "height": 0, "step": 0, "data": b""},
    {"width": 2**16, "height": 2**16, "step": 0, "data": b""},  # the product of 32 bits is 0
    {"width": 1431655766, "step": 2, "height": 36},  # and so a row's bytes are 2
    {"width": 5745, "height": 5745, "step": 3 * 5745},  # a little too large
    *({"width": -1, **more} for more in ({}, {"height": -1}, {"height": -1, "step": -3})),
    *({"data": bytes(size)} for size in (0, 1, 3 * WIDTH * HEIGHT - 1, 3 * WIDTH * HEIGHT + 1, 100_000)),
    *({"encoding": name} for name in ("", "\0", "rgb8\0", "RGB8", " rgb8", "rgb", "x" * 100_000, "\ud800")),
    *({"encoding": name} for name in ("64FC3", "8SC3", "jpeg", "16UC1", "32FC1", "../rgb8", "{0}", "%s")),
    *({"encoding": name} for name in ("rgba8", "bgra8", "8UC4", "nv12", "nv21")),
    *({"encoding": "yuv422", "width": width} for width in (5, 7)),
    {"encoding": "nv12", "width": 12, "height": 5, "step": 12, "data": bytes(90)},
    *({"encoding": f"bayer_{name}8", "width": 2, "height": 36, "step": 2} for name in ("rggb", "grbg")),
]
RIGHT = [{}, {"is_bigendian": 1}, {"is_bigendian": 255}]

FAR = np.array([[1, 0, np.nan], [np.inf, -np.inf, -2]], "<f4").view(np.uint8)
WRONG_DEPTH = [
    *({"step": step} for step in (0, 11, 13, MOST)),
    *({"width": width} for width in (0, 4, MOST)),
    *({"height": height} for height in (0, 3, MOST)),
    *({"encoding": name} for name in ("", "32FC1\0", "32FC3", "64FC1", "16UC2", "rgb8", "mono8")),
    *({"data": bytes(size)} for size in (0, 23, 25)),
]


@pytest.mark.row(
    *(4, "malformed images: wrong steps, sizes, encodings and lengths, NaN and infinite depth"),
    ">= 40 cases, all rejected with a reason or right; the next good frame is answered",
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_image_is_refused_in_a_sentence(kind, record_property):
    for fields in WRONG:
        message = frame(kind, **{"encoding": "rgb8"} | fields)
        sentences = [refused(read, message) for read in (images.check_image, to_rgb)]
        assert sentences[0] == sentences[1] is not None, fields
        assert sound(sentences[0]), fields
        assert np.array_equal(to_rgb(frame(kind)), PIXELS)
    for fields in RIGHT:
        assert np.array_equal(to_rgb(frame(kind, **fields)), PIXELS), fields
    for fields in WRONG_DEPTH:
        message = image(kind, FAR, "32FC1", 3, 2)
        for name, value in fields.items():
            setattr(message, name, array_of(kind, value) if name == "data" else value)
        sentence = refused(to_depth_m, message)
        assert sentence is not None, fields
        assert sound(sentence), fields
    metres = to_depth_m(image(kind, FAR, "32FC1", 3, 2))
    assert np.array_equal(metres, [[1, np.nan, np.nan], [np.nan] * 3], equal_nan=True)
    number = len(WRONG) + len(WRONG_DEPTH)
    record_property("figure", f"{number} cases of a message of {kind}, each one clear sentence")
    assert number >= 40


def array_of(kind, data):
    return data if kind == "rclpy" else np.frombuffer(data, np.uint8)


def sound(sentence):
    return sentence.endswith(".") and sentence.isprintable() and len(sentence) < 500


# Row 5.

NAMES = st.sampled_from([*ENCODINGS, "16UC1", "32FC1", "64FC1", "rgb16"]) | st.text(max_size=12)
SIZES = st.integers(0, 9) | st.sampled_from([2**16, 2**31, MOST]) | st.integers(-2, MOST)
PER_PIXEL = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4, "32FC1": 4}
FORMATS = st.sampled_from(["jpeg", "rgb8; png compressed bgr8", "16UC1; compressedDepth png", "32FC1"])
NOISE = np.random.default_rng(0).bytes(4000)


@st.composite
def good_images(draw):
    """Fields that fit each other."""
    encoding = draw(st.sampled_from([*ENCODINGS, "16UC1", "32FC1"]))
    width, height = draw(st.integers(2, 6)) * 2, draw(st.integers(2, 6)) * 2
    wide = 2 if "16" in encoding or encoding.startswith(("yu", "uy")) else PER_PIXEL.get(encoding, 1)
    step = width * wide + draw(st.sampled_from([0, 0, 1, 6]))
    size = step * height * (3 if encoding.startswith("nv") else 2) // 2
    start = draw(st.integers(0, 1000))
    return {
        "encoding": encoding,
        "width": width,
        "height": height,
        "step": step,
        "is_bigendian": draw(st.integers(0, 1)),
        "data": NOISE[start : start + size],
    }


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "encoding": NAMES,
        "width": SIZES,
        "height": SIZES,
        "step": SIZES,
        "is_bigendian": st.integers(0, 255),
        "data": st.binary(max_size=200),
    },
)


@st.composite
def any_files(draw):
    """A file that begins as one of a kind, or as what comes before compressed depth."""
    magic = draw(st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "]))
    scale = draw(st.none() | st.tuples(st.floats(width=32), st.floats(width=32)))
    prefix = struct.pack("<iff", 0, *scale) if scale else b""
    return prefix + magic + draw(st.binary(max_size=60))


@pytest.mark.row(
    *(5, "image conversion: messages with any fields"),
    "20,000 examples; only the declared error, or (H, W, 3) uint8",
)
def test_any_message_is_refused_in_a_sentence_or_is_pixels(record_property):
    answered = {to_rgb: 0, to_depth_m: 0}
    number = 20_000 if TIER else 1000

    @settings(max_examples=number, suppress_health_check=list(HealthCheck), database=None)
    @given(good_images(), CHANGES | st.just({}), FORMATS | st.text(max_size=8), any_files(), st.booleans())
    def converted(good, changes, format, file, packed):
        fields = good | changes
        if packed:
            message = compressed("bag", format, file)
        else:
            names = ("encoding", "width", "height")
            empty = np.zeros((1, 1), np.uint8)
            message = image("bag", empty, *map(fields.pop, names), **fields)
        for read in answered:
            if (sentence := refused(read, message)) is not None:
                assert sound(sentence)
                continue
            pixels = read(message)
            assert packed or pixels.shape[:2] == (message.height, message.width)
            assert (pixels.dtype, pixels.ndim) == ((np.uint8, 3) if read is to_rgb else (np.float32, 2))
            answered[read] += 1

    converted()
    assert min(answered.values()) > number // 100, answered
    figure = (
        f"{answered[to_rgb]:,} were pictures, {answered[to_depth_m]:,} depth, the rest one clear sentence"
    )
    record_property("figure", f"{number:,} examples: {figure}")
