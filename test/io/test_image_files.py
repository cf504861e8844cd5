"""Images of a bag as files: whoever opens them sees what the camera sent."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kosmos2_core.images import load_image
from kosmos2_io.images import image_file, to_rgb
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages

messages = Messages(new)
HEAD = messages.header(1, "eye")
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def compressed(form, **settings):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, form, **settings)
    data = np.frombuffer(stream.getvalue(), np.uint8)
    return new("sensor_msgs/msg/CompressedImage", header=HEAD, format=form.lower(), data=data)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_a_raw_image_is_stored_without_loss(encoding):
    pixels = cv2.cvtColor(PIXELS, cv2.COLOR_RGB2GRAY) if encoding == "mono8" else PIXELS
    message = messages._image(HEAD, encoding, pixels)
    file = image_file(message)
    assert (file.ending, file.width, file.height) == ("png", 64, 48)
    assert np.array_equal(load_image(file.data), to_rgb(message))


def test_as_jpeg_it_is_smaller_and_near():
    file = image_file(messages.image(HEAD, np.full((48, 64, 3), 90, np.uint8)), jpeg=90)
    assert file.ending == "jpg"
    assert np.abs(load_image(file.data).astype(int) - 90).max() <= 2


@pytest.mark.parametrize(("form", "ending"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_a_compressed_image_is_stored_as_it_came(form, ending):
    message = compressed(form)
    file = image_file(message, jpeg=10)
    assert (file.ending, file.data) == (ending, bytes(message.data))


def test_one_that_photo_viewers_would_turn_is_stored_as_the_camera_sees(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    message = compressed("JPEG", exif=exif.tobytes())
    file = image_file(message)
    assert (file.width, file.height) == (64, 48)
    assert np.array_equal(load_image(file.data), to_rgb(message))
