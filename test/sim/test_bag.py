"""Bags of the tabletop, read back and checked by what a robot would compute from them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from reading import meant
from rosbags.rosbag2 import Reader

from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_io.message_types import typestore
from kosmos2_sim import bag
from kosmos2_sim.bag import EPOCH_NS, BagPlan, make_bag
from kosmos2_sim.film import Film, draw_film
from kosmos2_sim.tabletop import Tabletop

PLAN = BagPlan(seconds=4, rate_hz=2.5, seed=3, split="cluttered", width=192, height=144)
SMALL = replace(PLAN, seconds=0.8, width=64, height=48)


def read(folder):
    """Of each topic, its messages by their stamps in the bag."""
    found: dict[str, dict] = {}
    with Reader(folder) as reader:
        for connection, stamp_ns, data in reader.messages():
            found.setdefault(connection.topic, {})[stamp_ns] = typestore().deserialize_cdr(
                data, connection.msgtype
            )
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bag(tmp_path_factory.mktemp("bags") / "run", PLAN)


@pytest.fixture(scope="module")
def topics(folder):
    return read(folder)


@pytest.fixture(scope="module")
def shots():
    """What the camera saw, by stamp."""
    with Tabletop(PLAN.width, PLAN.height) as tabletop:
        film = draw_film(tabletop, PLAN.seed, PLAN.split)
        return {EPOCH_NS + k * 400_000_000: film.shoot(k * 0.4) for k in range(PLAN.frames)}


def matrix(position, rotation):
    x, y, z, w = rotation.x, rotation.y, rotation.z, rotation.w
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = position.x, position.y, position.z
    return pose


def placed(transform):
    return matrix(transform.transform.translation, transform.transform.rotation)


def optical_in_world(topics, stamp_ns):
    """By following the frames' names, as a transform buffer does."""
    [fixed] = topics["/tf_static"].values()
    parents = {
        transform.child_frame_id: transform
        for transform in [*topics["/tf"][stamp_ns].transforms, *fixed.transforms]
    }
    pose, frame = np.eye(4), topics["/camera/image"][stamp_ns].header.frame_id
    while frame != "world":
        pose = placed(parents[frame]) @ pose
        frame = parents[frame].header.frame_id
    return pose


def pixels(image):
    return image.data.reshape(image.height, image.width, 3)


def points_m(topics, stamp_ns):
    """(H, W, 3), each pixel's point in the world, by ROS's rule: pixel centres at whole numbers."""
    depth, info = topics["/camera/depth/image"][stamp_ns], topics["/camera/depth/camera_info"][stamp_ns]
    z = depth.data.view("<f4").reshape(depth.height, depth.width).astype(float)
    v, u = np.mgrid[: depth.height, : depth.width]
    (fx, _, cx), (_, fy, cy), _ = info.k.reshape(3, 3)
    seen = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z, np.ones_like(z)], -1)
    return (seen @ optical_in_world(topics, stamp_ns).T)[..., :3]


def test_every_stamp_has_all_of_a_frame_and_headers_say_so(topics, shots):
    of_frames = [name for name in topics if name not in ("/tf_static", "/grounding/command")]
    assert len(of_frames) == 8
    for name in of_frames:
        assert list(topics[name]) == list(shots), name
        for stamp_ns, message in topics[name].items():
            head = message.transforms[0].header if name == "/tf" else message.header
            assert head.stamp.sec * 10**9 + head.stamp.nanosec == stamp_ns
            assert head.frame_id == {"/tf": "world", "/truth/detections_3d": "world"}.get(
                name, "camera_optical_frame"
            )


def test_images_and_depth_are_what_was_rendered(topics, shots):
    for stamp_ns, shot in shots.items():
        np.testing.assert_array_equal(pixels(topics["/camera/image"][stamp_ns]), shot.image)
        depth = topics["/camera/depth/image"][stamp_ns].data.view("<f4")
        np.testing.assert_array_equal(depth, shot.depth_m.ravel())


def test_transforms_lead_from_the_image_to_the_world(topics, shots):
    for stamp_ns, shot in shots.items():
        np.testing.assert_allclose(optical_in_world(topics, stamp_ns), shot.pose, atol=1e-9)
    ways = [placed(message.transforms[0]) for message in topics["/tf"].values()]
    assert all(way[2, 0] < 0 for way in ways), "the link's x is forward, down to the table"
    assert all(way[2, 2] > 0 for way in ways), "and its z is up"
    assert np.linalg.norm(ways[0][:3, 3] - ways[-1][:3, 3]) > 0.05, "it moves"


def test_depth_puts_the_table_into_its_plane(topics, shots):
    """Half a pixel off, in the calibration or in a box, it would be a millimetre."""
    for stamp_ns, shot in shots.items():
        height_m = points_m(topics, stamp_ns)[shot.mask == 0][:, 2]
        near = np.abs(height_m[np.abs(height_m) < 5e-3])
        assert len(near) > 1000
        assert np.median(near) < 3e-4


def test_a_2d_box_is_around_the_pixels_whose_points_lie_in_the_3d_box(topics):
    """What a robot computes from depth, calibration and transforms, by ids that are the same in both."""
    checked = 0
    for stamp_ns, flat in topics["/truth/detections"].items():
        solids = {
            detection.id: detection for detection in topics["/truth/detections_3d"][stamp_ns].detections
        }
        assert solids.keys() == {detection.id for detection in flat.detections}
        points = points_m(topics, stamp_ns)
        for detection in flat.detections:
            box = solids[detection.id].bbox
            pose = matrix(box.center.position, box.center.orientation)
            points_in_box = (points - pose[:3, 3]) @ pose[:3, :3]
            half_m = np.array([box.size.x, box.size.y, box.size.z]) / 2 + 1e-3
            v, u = np.nonzero((np.abs(points_in_box) <= half_m).all(-1) & (points[..., 2] > 2e-3))
            centre, sides = detection.bbox.center.position, (detection.bbox.size_x, detection.bbox.size_y)
            np.testing.assert_allclose(
                [centre.x * 2, centre.y * 2], [u.min() + u.max() + 1, v.min() + v.max() + 1], atol=2.5
            )
            np.testing.assert_allclose(sides, [np.ptp(u) + 1, np.ptp(v) + 1], atol=2.5)
            checked += 1
    assert checked > 5


def test_the_projected_3d_box_encloses_the_2d_box(topics):
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for stamp_ns, solid in topics["/truth/detections_3d"].items():
        flat = {
            detection.id: detection.bbox for detection in topics["/truth/detections"][stamp_ns].detections
        }
        camera = topics["/camera/camera_info"][stamp_ns].p.reshape(3, 4)
        in_camera = np.linalg.inv(optical_in_world(topics, stamp_ns))
        for detection in solid.detections:
            size, box = detection.bbox.size, flat[detection.id]
            in_box = np.c_[corners * (size.x, size.y, size.z) / 2, np.ones(8)]
            seen = (
                camera
                @ in_camera
                @ matrix(detection.bbox.center.position, detection.bbox.center.orientation)
                @ in_box.T
            )
            u, v = seen[:2] / seen[2] + 0.5  # to the boxes' pixels, whose first corner is (0, 0)
            assert u.min() - 0.5 <= box.center.position.x - box.size_x / 2
            assert u.max() + 0.5 >= box.center.position.x + box.size_x / 2
            assert v.min() - 0.5 <= box.center.position.y - box.size_y / 2
            assert v.max() + 0.5 >= box.center.position.y + box.size_y / 2


def test_commands_come_every_few_seconds_and_frames_answer_the_last_one(topics, shots):
    commands = topics["/grounding/command"]
    assert next(iter(commands)) == EPOCH_NS
    assert len(commands) >= 2
    assert set(commands) <= set(shots)
    for stamp_ns, frame in topics["/truth/grounding"].items():
        standing = max(stamp for stamp in commands if stamp <= stamp_ns)
        asked = parse_markdown(commands[standing].data)
        assert frame.text == asked.text
        assert frame.command_id == str(list(commands).index(standing) + 1)
        assert [(phrase.span_start, phrase.span_end) for phrase in frame.phrases] == [
            (phrase.start, phrase.end) for phrase in asked.phrases
        ]


def test_the_answers_are_true(topics, shots):
    for stamp_ns, frame in topics["/truth/grounding"].items():
        shot = shots[stamp_ns]
        boxes = [detection.id for detection in topics["/truth/detections"][stamp_ns].detections]
        wanted = []
        for index, phrase in enumerate(frame.phrases):
            found = meant(phrase.phrase, shot.things)
            assert phrase.presence == len(phrase.boxes) == len(found)
            for box, thing in zip(phrase.boxes, found, strict=True):
                edges = box.x_min, box.y_min, box.x_max, box.y_max
                assert edges == pytest.approx(thing.box.pixels(PLAN.width, PLAN.height))
                assert box.score == 1.0
                wanted.append(f"{frame.command_id}/{index}/0")
        assert boxes == wanted
        assert (frame.image_width, frame.image_height, frame.camera) == (PLAN.width, PLAN.height, "camera")


def test_a_command_ends_early_when_it_no_longer_holds(tmp_path, monkeypatch):
    holds = iter([False, True, True])
    monkeypatch.setattr(bag.FilmCommand, "is_answerable", lambda *_: next(holds))
    topics = read(make_bag(tmp_path / "run", replace(SMALL, seconds=1.6)))
    assert list(topics["/grounding/command"]) == [EPOCH_NS, EPOCH_NS + 400_000_000]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_same_plan_makes_the_same_bytes(tmp_path, storage):
    first, second = (make_bag(tmp_path / place / "run", SMALL, storage) for place in ("a", "b"))
    assert sorted(file.name for file in first.iterdir()) == sorted(file.name for file in second.iterdir())
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_a_still_camera_has_its_place_in_tf_static(tmp_path):
    topics = read(make_bag(tmp_path / "run", replace(SMALL, still=True)))
    assert "/tf" not in topics
    [fixed] = topics["/tf_static"].values()
    assert {(transform.header.frame_id, transform.child_frame_id) for transform in fixed.transforms} == {
        ("camera_link", "camera_optical_frame"),
        ("world", "camera_link"),
    }
    first, second = (pixels(message) for message in topics["/camera/image"].values())
    np.testing.assert_array_equal(first, second)


def test_jpeg_and_millimetres_say_the_same_less_exactly(tmp_path):
    plan = replace(SMALL, compressed=True, depth="16UC1")
    topics, exact = (
        read(make_bag(tmp_path / name, bag_plan)) for name, bag_plan in (("a", plan), ("b", SMALL))
    )
    assert "/camera/image" not in topics
    for stamp_ns, jpeg in topics["/camera/image/compressed"].items():
        seen = cv2.cvtColor(cv2.imdecode(jpeg.data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.abs(seen.astype(int) - pixels(exact["/camera/image"][stamp_ns])).mean() < 4
        depth_mm = topics["/camera/depth/image"][stamp_ns].data.view("<u2")
        depth_m = exact["/camera/depth/image"][stamp_ns].data.view("<f4")
        np.testing.assert_allclose(depth_mm / 1000, depth_m, atol=5.1e-4)


def test_broken_off_it_leaves_nothing(tmp_path, monkeypatch):
    shoot = Film.shoot

    def interrupted(film, time_s):
        if time_s > 0.3:
            raise KeyboardInterrupt
        return shoot(film, time_s)

    monkeypatch.setattr(Film, "shoot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_bag(tmp_path / "run", SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"seconds": 0}, "a bag of 0 seconds cannot be made"),
        ({"seconds": float("nan")}, "a bag of nan seconds cannot be made"),
        ({"rate_hz": -1}, "-1 images per second cannot be made"),
        ({"rate_hz": 1e9}, "images per second cannot be made: the rate must be above 0 and at most 1000"),
        ({"depth": "64FC1"}, "no depth encoding '64FC1': choose 32FC1 or 16UC1"),
        ({"split": "easy"}, "no split 'easy'"),
        ({"seed": -1}, "the seed -1 is negative"),
    ],
)
def test_a_plan_that_cannot_be_made_gets_one_sentence(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        replace(SMALL, **wrong)


def test_a_size_that_cannot_be_rendered_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="cannot be rendered"):
        make_bag(tmp_path / "run", replace(SMALL, width=5000))
    assert list(tmp_path.iterdir()) == []
