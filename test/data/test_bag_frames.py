"""Images in order, each with the depth and the transforms of its own stamp, however late they come."""

import numpy as np
import pytest
from eval_bags import HEIGHT, STEP, WIDTH, image, messages, stamp
from recordings import Said

from kosmos2_data.bag_frames import FrameSpan, read_frames
from kosmos2_data.bag_topics import CameraTopics, RecordingTopics
from kosmos2_io.bag_reader import BagReader

CAMERAS = (CameraTopics("/image", "/info", "/depth", "/info"),)
TOPICS = RecordingTopics(CAMERAS, None, None, None)


def depth(number, metres, late=0.0):
    head = messages.header(stamp(number), "eye")
    pixels = np.full((HEIGHT, WIDTH), metres, np.float32)
    return Said("/depth", stamp(number + late), messages.depth_image(head, pixels, "32FC1"))


def transform(number, x, late=0.0):
    pose = np.eye(4)
    pose[0, 3] = x
    place = messages.transform(messages.header(stamp(number), "world"), "eye", pose)
    return Said("/tf", stamp(number + late), messages.transforms(place))


def read(bag, targets=None, topics=TOPICS, **span):
    with BagReader([bag]) as reader:
        whole = {"start_ns": reader.start_ns, "end_ns": reader.end_ns} | span
        return list(read_frames(reader, topics, FrameSpan(**whole), targets))


def numbers(found):
    return [(frame.stamp_ns - stamp(0)) // STEP for frame in found]


def test_every_nth_image_of_each_camera_in_a_span(bag_of):
    said = [image(topic, number) for number in range(10) for topic in ("/left", "/right")]
    both = RecordingTopics((CameraTopics("/left"), CameraTopics("/right")), None, None, None)
    found = read(bag_of(said), topics=both, every_nth=3, start_ns=stamp(2), end_ns=stamp(8))
    assert numbers(found) == [2, 2, 5, 5, 8, 8]
    assert [frame.camera.image for frame in found[:2]] == ["/left", "/right"]


def test_depth_and_transforms_of_the_stamp_though_they_come_late(bag_of):
    said = [image("/image", number) for number in range(12)]
    said += [depth(number, 1 + number, late=2.5) for number in range(12)]
    said += [transform(number, number, late=3) for number in range(0, 13, 2)]
    found = read(bag_of(said), {stamp(number): "world" for number in range(12)})
    assert numbers(found) == list(range(12))
    for number, frame in enumerate(found):
        assert frame.depth.depth.data.view(np.float32)[0] == 1 + number
        assert frame.depth.target_from_camera[0, 3] == pytest.approx(number)  # between two, interpolated
        assert np.array_equal(frame.depth.camera_from_depth, np.eye(4))


def test_what_does_not_come_is_said(bag_of):
    said = [image("/image", number) for number in range(4)]
    said += [depth(0, 1), depth(2, 1), transform(0, 0), transform(1, 0)]
    found = read(bag_of(said), {stamp(number): "world" for number in (0, 1, 2)})
    assert found[0].depth is not None
    assert [frame.unplaced for frame in found] == [
        "",
        "no depth within 50 ms of the image's stamp",
        "no transform at the image's stamp",
        "",  # the truth does not say where anything is: nothing is wanted
    ]
    assert found[3].depth is None


def test_an_image_without_a_stamp_has_the_time_of_its_recording(bag_of):
    said = image("/image", 1)
    said.message.header.stamp.sec = said.message.header.stamp.nanosec = 0
    [frame] = read(bag_of([said]))
    assert frame.stamp_ns == stamp(1)
