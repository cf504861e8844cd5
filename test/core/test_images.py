"""Images in every form, and none that harms."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer import image_processor
from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_core.images import check_frame, load_frame, load_image, preprocess

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
PICTURE[:24] = np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None]


def encoded(format="PNG", image=None, **settings):
    stream = io.BytesIO()
    (image or Image.fromarray(PICTURE)).save(stream, format, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(48, 64), (224, 224), (480, 640), (37, 301), (1, 1)])
@pytest.mark.parametrize("size", [224, 56])
def test_pixels_are_the_peer_s(shape, size):
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    theirs = image_processor(size)(Image.fromarray(image), return_tensors="pt").pixel_values[0]
    np.testing.assert_allclose(preprocess(image, size), theirs, atol=1e-5, rtol=0)


def test_bytes_files_arrays_and_pil_are_the_same_image(tmp_path):
    (tmp_path / "image.png").write_bytes(encoded())
    for source in (
        encoded(),
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        PICTURE,
        Image.fromarray(PICTURE),
    ):
        assert np.array_equal(load_image(source), PICTURE)


def test_webp_and_jpeg():
    assert np.array_equal(load_image(encoded("WEBP", lossless=True)), PICTURE)
    assert load_image(encoded("JPEG", quality=95)).shape == PICTURE.shape


def test_a_photo_held_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    assert np.array_equal(load_image(encoded(exif=exif)), np.rot90(PICTURE, -1))


def test_a_camera_s_frame_is_not_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ("PNG", "JPEG"):
        data = encoded(format, exif=exif)
        assert np.array_equal(load_frame(data), np.rot90(load_image(data)))


def test_a_jpeg_without_its_end_is_no_frame():
    whole = encoded("JPEG")
    check_frame(whole[:-2])  # the header is right
    assert np.array_equal(load_frame(whole + bytes(9)), load_image(whole))
    for cut in (100, 1000):
        with pytest.raises(InputError, match="damaged"):
            load_frame(whole[:-cut])


def test_grey_transparency_and_16_bits():
    grey = PICTURE[:, :, 0]
    assert np.array_equal(load_image(grey), np.repeat(grey[:, :, None], 3, 2))
    with_alpha = np.dstack([PICTURE, np.full(grey.shape, 7, np.uint8)])
    assert np.array_equal(load_image(with_alpha), PICTURE)
    assert np.array_equal(load_image(encoded(image=Image.fromarray(with_alpha))), PICTURE)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(load_image(deep), load_image(grey))
    assert np.array_equal(load_image(encoded(image=Image.fromarray(deep))), load_image(grey))
    palette = Image.fromarray(PICTURE).convert("P")
    assert np.array_equal(load_image(encoded(image=palette)), np.array(palette.convert("RGB")))


def test_an_array_is_not_changed_by_its_use():
    before = PICTURE.copy()
    preprocess(load_image(PICTURE), 56)
    assert np.array_equal(PICTURE, before)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "not an image"),
        (b"not an image at all", "not an image"),
        (encoded("GIF"), "not an image"),
        (encoded("TIFF"), "not an image"),
        ("nowhere/mug.png", "nowhere/mug.png cannot be opened"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 2), np.uint8), "(4, 4, 2)"),
        (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3)"),
        (np.zeros(4, np.uint8), "(4,)"),
        (np.broadcast_to(np.uint8(0), (6000, 6000, 3)), "too large"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(source, words):
    with pytest.raises(InputError) as error:
        load_image(source)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


ORIGINALS = [encoded("PNG"), encoded("JPEG"), encoded("WEBP")]


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_or_read_and_nothing_else(data):
    """Cut off, bits flipped, another beginning."""
    original = bytearray(data.draw(st.sampled_from(ORIGINALS)))
    kind = data.draw(st.sampled_from(["cut", "flip", "magic"]))
    if kind == "cut":
        del original[data.draw(st.integers(0, len(original) - 1)) :]
    elif kind == "flip":
        for _ in range(data.draw(st.integers(1, 8))):
            original[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        original[:4] = data.draw(st.binary(min_size=4, max_size=4))
    try:
        image = load_image(bytes(original))
    except InputError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
