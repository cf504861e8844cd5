"""Topics are found where one choice is sensible; otherwise a sentence lists them."""

import numpy as np
import pytest
from eval_bags import command, image, messages
from recordings import Said

from kosmos2_core.errors import InputError
from kosmos2_data.bag_topics import CameraTopics, RequestedTopics, choose_topics
from kosmos2_io.bag_reader import BagReader


def chosen(bag, **wanted):
    with BagReader([bag]) as reader:
        return choose_topics(reader, RequestedTopics(**wanted))


def depth(topic, encoding="16UC1"):
    head = messages.header(10**18, "eye")
    return Said(topic, 10**18, messages.depth_image(head, np.ones((4, 6), np.float32), encoding))


def info(topic):
    head = messages.header(10**18, "eye")
    return Said(topic, 10**18, messages.camera_info(head, np.eye(3), 6, 4))


def compressed(topic):
    head = messages.header(10**18, "eye")
    return Said(topic, 10**18, messages.compressed_image(head, np.zeros((4, 6, 3), np.uint8)))


def test_a_simulated_bag_needs_no_word(sim_bag):
    found = chosen(sim_bag)
    assert found.cameras == (
        CameraTopics(
            "/camera/image", "/camera/camera_info", "/camera/depth/image", "/camera/depth/camera_info"
        ),
    )
    assert (found.commands, found.labels) == ("/grounding/command", "/truth/grounding")
    assert found.labels_3d == "/truth/detections_3d"


def test_depth_is_no_camera_and_the_one_that_begins_alike_is_the_camera_s(bag_of):
    said = [
        image("/left/color/image_raw"),
        depth("/left/depth/image_raw"),
        depth("/left/aligned_depth_to_color/image_raw"),
        depth("/right/depth/image_raw", "32FC1"),
        info("/left/color/camera_info"),
        info("/left/aligned_depth_to_color/camera_info"),
    ]
    [camera] = chosen(bag_of(said)).cameras
    assert camera == CameraTopics(
        "/left/color/image_raw",
        "/left/color/camera_info",
        "/left/aligned_depth_to_color/image_raw",
        "/left/aligned_depth_to_color/camera_info",
    )
    [other] = chosen(bag_of(said, "again.mcap"), depth="/right/depth/image_raw").cameras
    assert other.depth == "/right/depth/image_raw"


def test_an_image_that_was_also_sent_compressed_is_one_camera(bag_of):
    assert chosen(bag_of([image("/cam/image"), compressed("/cam/image/compressed")])).images == (
        "/cam/image",
    )
    only = bag_of([compressed("/cam/image/compressed"), image("/grounding/annotated")], "only.mcap")
    assert chosen(only).images == ("/cam/image/compressed",)


def test_of_several_cameras_one_is_chosen_or_all(bag_of):
    bag = bag_of([image("/left/image"), image("/right/image")])
    with pytest.raises(InputError, match=r"images on /left/image, /right/image: choose with --image TOPIC"):
        chosen(bag)
    assert chosen(bag, images=("/right/image",)).images == ("/right/image",)
    assert chosen(bag, images=("all",)).images == ("/left/image", "/right/image")


def test_other_strings_are_no_commands_and_answers_are_no_labels(bag_of, sim_bag):
    bag = bag_of([image("/image"), command("/speech", "hello"), command("/robot/command", "the mug")])
    assert chosen(bag).commands == "/robot/command"
    assert chosen(bag).labels is None
    two = bag_of([image("/image"), command("/a/command", "x"), command("/b/command", "x")], "two.mcap")
    with pytest.raises(InputError, match=r"commands on /a/command, /b/command: choose with --commands"):
        chosen(two)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"images": ("/nothing",)}, r"--image /nothing: the bag has no such topic; it has /image, /speech"),
        ({"images": ("/speech",)}, r"--image /speech is of type std_msgs/msg/String: it has to be"),
        ({"commands": "/image"}, r"--commands /image is of type sensor_msgs/msg/Image"),
        ({"labels": "/speech"}, r"--labels /speech is of type"),
        ({"labels_3d": "/speech"}, r"--labels-3d /speech is of type"),
    ],
)
def test_what_was_named_has_to_fit(bag_of, wanted, sentence):
    with pytest.raises(InputError, match=sentence):
        chosen(bag_of([image("/image"), command("/speech", "hello")]), **wanted)


def test_a_bag_without_images_says_what_it_has(bag_of):
    with pytest.raises(InputError, match=r"has no images; its topics are /speech\."):
        chosen(bag_of([command("/speech", "hello")]))
    with pytest.raises(InputError, match=r"the bag has no images: no topic is recorded in it\."):
        chosen(bag_of([], "empty.mcap"))
