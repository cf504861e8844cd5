"""Pixels are what the camera meant, however it sent them."""

import io

import numpy as np
import pytest
from frames import KINDS, compressed, image
from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import load_image
from kosmos2_io.images import ENCODINGS, check_image, to_rgb

WIDTH, HEIGHT = 16, 12
SLOPE = np.arange(HEIGHT)[:, None, None] * (3, 7, 2) + np.arange(WIDTH)[:, None] * (5, 1, 4) + (20, 10, 90)
CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "8UC3": (2, 1, 0)}
CHANNELS |= {"rgba8": (0, 1, 2, 3), "bgra8": (2, 1, 0, 3), "8UC4": (2, 1, 0, 3)}
CHANNELS_16 = {"rgb16": (0, 1, 2), "bgr16": (2, 1, 0), "rgba16": (0, 1, 2, 3), "bgra16": (2, 1, 0, 3)}


def sent(encoding):
    """Rows of bytes of a frame, and the pixels it means, computed without OpenCV."""
    rng = np.random.default_rng(0)
    if encoding in CHANNELS:
        rgba = rng.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
        return rgba[..., CHANNELS[encoding]].reshape(HEIGHT, -1), rgba[..., :3]
    if encoding in CHANNELS_16:
        rgba = rng.integers(0, 65536, (HEIGHT, WIDTH, 4), np.uint16)
        rows = rgba[..., CHANNELS_16[encoding]].astype("<u2").reshape(HEIGHT, -1).view(np.uint8)
        return rows, (rgba[..., :3] + 128.0) // 257
    if encoding in ("mono8", "8UC1"):
        grey = rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
        return grey, np.dstack([grey] * 3)
    if encoding == "mono16":
        grey = rng.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
        return grey.astype("<u2").view(np.uint8), np.dstack([(grey + 128.0) // 257] * 3)
    if encoding.startswith("bayer"):
        return mosaic(encoding), SLOPE
    y = rng.integers(16, 236, (HEIGHT, WIDTH))
    high = 2 if encoding.startswith("nv") else 1  # how many rows share a colour
    u, v = rng.integers(16, 241, (2, HEIGHT // high, WIDTH // 2))
    return yuv(encoding, y, u, v), rgb_of(y, u.repeat(high, 0).repeat(2, 1), v.repeat(high, 0).repeat(2, 1))


def mosaic(encoding):
    """Each pixel's one colour of a slope, which is what lies between its neighbours too."""
    colours, bits = encoding[6:10], int(encoding[10:])
    places = np.array([["rgb".index(colours[2 * i + j]) for j in (0, 1)] for i in (0, 1)])
    picks = np.tile(places, (HEIGHT // 2, WIDTH // 2))
    grey = np.take_along_axis(SLOPE, picks[..., None], 2)[..., 0]
    return grey.astype(np.uint8) if bits == 8 else (grey * 257).astype("<u2").view(np.uint8)


def yuv(encoding, y, u, v):
    if encoding.startswith("nv"):
        pairs = np.dstack([u, v] if encoding == "nv12" else [v, u]).reshape(len(u), -1)
        return np.vstack([y, pairs]).astype(np.uint8)
    even, odd = y[:, ::2], y[:, 1::2]
    four = [u, even, v, odd] if encoding in ("yuv422", "uyvy") else [even, u, odd, v]
    return np.dstack(four).reshape(HEIGHT, -1).astype(np.uint8)


def rgb_of(y, u, v):
    """BT.601, from studio range."""
    y, u, v = 1.164383 * (y - 16), u - 128, v - 128
    rgb = np.dstack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u])
    return np.clip(np.rint(rgb), 0, 255)


def assert_means(pixels, encoding, expected):
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    tolerance = 0
    if encoding.startswith("bayer"):  # at the border there is nothing to lie between
        pixels, expected, tolerance = pixels[1:-1, 1:-1], expected[1:-1, 1:-1], 1
    elif encoding.startswith(("yu", "uy", "nv")):
        tolerance = 1
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 1, 10])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_means_its_pixels(encoding, padding, kind):
    rows, expected = sent(encoding)
    rows = np.pad(rows, [(0, 0), (0, padding)], constant_values=170)
    message = image(kind, rows, encoding, WIDTH, HEIGHT)
    check_image(message)
    assert_means(to_rgb(message), encoding, expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_order_of_bytes_matters_to_16_bits_alone(encoding):
    rows, expected = sent(encoding)
    if encoding.endswith("16"):
        rows = rows.view("<u2").byteswap().view(np.uint8)
    assert_means(to_rgb(image("bag", rows, encoding, WIDTH, HEIGHT, is_bigendian=1)), encoding, expected)


def test_the_ends_of_16_bits_are_the_ends_of_8():
    ends = np.array([[0, 65535]], "<u2").view(np.uint8)
    assert to_rgb(image("bag", ends, "mono16", 2, 1)).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("encoding", CHANNELS_16)
@pytest.mark.parametrize("is_bigendian", [0, 1])
def test_colours_of_16_bits_need_no_cv_bridge(encoding, is_bigendian):
    orange = np.array([[[65535, 32768, 0, 65535]]], ">u2" if is_bigendian else "<u2")
    rows = orange[..., CHANNELS_16[encoding]].copy().view(np.uint8).reshape(1, -1)
    message = image("bag", rows, encoding, 1, 1, is_bigendian=is_bigendian)
    assert to_rgb(message).tolist() == [[[255, 128, 0]]]


@pytest.mark.parametrize("kind", KINDS)
def test_rgb8_is_not_copied_and_cannot_be_written_to(kind):
    rows, expected = sent("rgb8")
    message = image(kind, rows, "rgb8", WIDTH, HEIGHT)
    pixels = to_rgb(message)
    assert np.shares_memory(pixels, np.frombuffer(message.data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 0
    del message
    assert np.array_equal(pixels, expected)


def test_a_frame_s_bytes_may_begin_anywhere():
    rows, expected = sent("mono16")
    message = image("bag", rows, "mono16", WIDTH, HEIGHT)
    message.data = np.frombuffer(b"x" + rows.tobytes(), np.uint8)[1:]
    assert_means(to_rgb(message), "mono16", expected)


# Compressed.

PICTURE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6


def encoded(format, image=PICTURE, **settings):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("rgb8; png compressed bgr8", encoded("PNG")),
        ("png", encoded("PNG")),
        ("webp", encoded("WEBP", lossless=True)),
        ("", encoded("PNG")),
        ("rgb8; jpeg compressed bgr8", encoded("PNG")),  # it is what it begins with
    ],
)
def test_a_compressed_image_is_its_picture(kind, format, data):
    message = compressed(kind, format, data)
    check_image(message)
    assert np.array_equal(to_rgb(message), PICTURE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": SIDEWAYS}])
def test_a_jpeg_is_the_same_as_from_a_file_but_never_turned(kind, settings):
    data = encoded("JPEG", **settings)
    message = compressed(kind, "rgb8; jpeg compressed bgr8", data)
    check_image(message)
    as_file = load_image(data)
    upright = np.rot90(as_file) if "exif" in settings else as_file
    assert np.array_equal(to_rgb(message), upright)


def test_grey_and_cmyk_jpegs():
    grey = encoded("JPEG", PICTURE[..., 0])
    assert np.array_equal(to_rgb(compressed("bag", "mono8; jpeg compressed mono8", grey)), load_image(grey))
    stream = io.BytesIO()
    Image.fromarray(PICTURE).convert("CMYK").save(stream, "JPEG")
    cmyk = stream.getvalue()
    assert np.array_equal(to_rgb(compressed("bag", "jpeg", cmyk)), load_image(cmyk))


def test_a_grey_png_of_16_bits_is_scaled_to_8():
    deep = encoded("PNG", np.full((4, 4), 200 * 257, np.uint16))
    assert (to_rgb(compressed("bag", "mono16; png compressed mono16", deep)) == 200).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_header_alone_passes_the_check_but_is_no_picture(format):
    """The check is for a callback: it reads the header and decodes nothing."""
    whole = encoded(format)
    cut = compressed("bag", format.lower(), whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        to_rgb(cut)
    if format != "WEBP":  # whose header says how long it is
        check_image(cut)


# What cannot be used.


@pytest.mark.parametrize(
    ("encoding", "fields", "words"),
    [
        ("rgb8", {"step": 47}, "step is 47, but 16 pixels take 48 bytes"),
        ("rgb8", {"data": b"123"}, "3 bytes of data, but 16x12 with step 48 are 576"),
        ("rgb8", {"data": bytes(577)}, "577 bytes"),
        ("rgb8", {"width": 0}, "0x12"),
        ("rgb8", {"height": -1}, "16x-1"),
        ("rgb8", {"width": 2**32 - 1, "height": 2**32 - 1}, "too large"),
        ("rgb9", {}, "'rgb9' is not known: known are rgb8"),
        ("", {}, "'' is not known"),
        ("16UC1", {}, "is depth (16UC1)"),
        ("32FC1", {}, "is depth (32FC1)"),
        ("yuv422", {"width": 15}, "multiple of 2"),
        ("nv12", {"height": 11}, "multiple of 2"),
        ("bayer_rggb8", {"height": 2}, "at least 3x3"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(encoding, fields, words):
    message = image("bag", np.zeros((HEIGHT, WIDTH * 3), np.uint8), encoding, WIDTH, HEIGHT, **fields)
    for use in (check_image, to_rgb):
        with pytest.raises(InputError) as error:
            use(message)
        assert words in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("format", "data", "words"),
    [
        ("jpeg", b"", "not an image"),
        ("h264", b"\0\0\0\1\x67", "PNG, JPEG and WebP are read"),
        ("16UC1; compressedDepth png", bytes(12) + encoded("PNG"), "is depth (compressedDepth)"),
        ("16UC1; png compressed", encoded("PNG"), "is depth (16UC1)"),
    ],
)
def test_a_compressed_image_that_cannot_be_used_is_said_in_a_sentence(format, data, words):
    for use in (check_image, to_rgb):
        with pytest.raises(InputError) as error:
            use(compressed("bag", format, data))
        assert words in str(error.value)


# Encodings of others.

RED = np.tile(np.array([0, 0, 65535], "<u2").view(np.uint8), (HEIGHT, WIDTH))


def all_red(message):
    return np.full((message.height, message.width, 3), (255, 0, 0), np.uint8)


def test_the_fallback_is_asked_for_what_is_not_known_alone():
    message = image("bag", RED, "16UC3", WIDTH, HEIGHT)
    check_image(message, all_red)
    assert (to_rgb(message, all_red) == (255, 0, 0)).all()
    rows, expected = sent("rgb8")
    assert np.array_equal(to_rgb(image("bag", rows, "rgb8", WIDTH, HEIGHT), all_red), expected)


def test_sizes_are_right_before_the_fallback_is_asked():
    for fields in ({"width": 2**32 - 1}, {"height": HEIGHT + 1}, {"step": 0}, {"data": b""}):
        wrong = image("bag", RED, "16UC3", WIDTH, HEIGHT, **fields)
        for use in (check_image, to_rgb):
            with pytest.raises(InputError):
                use(wrong, lambda message: pytest.fail("asked"))
    with pytest.raises(InputError, match="depth"):
        to_rgb(image("bag", RED, "32FC1", WIDTH, HEIGHT), all_red)


def test_a_fallback_without_pixels_is_no_answer():
    with pytest.raises(InputError, match="could not be read"):
        to_rgb(image("bag", RED, "16UC3", WIDTH, HEIGHT), lambda message: np.zeros((1, 1), np.uint8))
