"""The transform buffer answers as the tree of frames is, at any time it knows, and says why where not."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.errors import InputError
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages
from kosmos2_io.transforms import TransformBuffer, TransformError

messages = Messages(new)
S = 10**9


def turned(angle, axis=(0, 0, 1), position=(0, 0, 0)):
    """Rodrigues' formula, apart from quaternions."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose = np.eye(4)
    pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    pose[:3, 3] = position
    return pose


def message(parent, child, pose, stamp_ns=0):
    return messages.transforms(messages.transform(messages.header(stamp_ns, parent), child, pose))


def raw(parent="a", child="b", xyzw=(0, 0, 0, 1), position=(0, 0, 0), stamp_ns=0):
    place = new(
        "geometry_msgs/msg/Transform",
        translation=messages.vector(position),
        rotation=messages.rotation(xyzw),
    )
    head = messages.header(stamp_ns, parent)
    link = new("geometry_msgs/msg/TransformStamped", header=head, child_frame_id=child, transform=place)
    return messages.transforms(link)


def moving(*stamps_s, keep_s=100.0):
    """A cart that moves 1 m a second along x and turns 0.2 rad a second."""
    buffer = TransformBuffer(keep_s)
    for s in stamps_s:
        buffer.add(message("world", "cart", turned(0.2 * s, position=(s, 0, 0)), round(s * S)), static=False)
    return buffer


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_any_two_frames_of_a_tree_are_where_the_way_by_the_root_says(seed, count):
    rng = np.random.default_rng(seed)
    buffer, in_root = TransformBuffer(), {"f0": np.eye(4)}
    for i in range(1, count):
        parent, pose = f"f{rng.integers(i)}", turned(*rng.uniform(-3, 3, 1), *rng.uniform(-3, 3, (2, 3)))
        in_root[f"f{i}"] = in_root[parent] @ pose
        buffer.add(message(parent, f"f{i}", pose, 5 * S), static=bool(rng.integers(2)))
    a, b = (f"f{i}" for i in rng.integers(count, size=2))
    found = buffer.lookup(a, b, 5 * S)
    np.testing.assert_allclose(found, np.linalg.inv(in_root[a]) @ in_root[b], atol=1e-9)
    np.testing.assert_allclose(buffer.lookup(b, a, 5 * S) @ found, np.eye(4), atol=1e-9)


@given(st.floats(1, 3))
def test_between_two_stamps_it_moves_straight_and_turns_evenly(time_s):
    found = moving(1, 3).lookup("world", "cart", round(time_s * S))
    np.testing.assert_allclose(found, turned(0.2 * time_s, position=(time_s, 0, 0)), atol=1e-8)


def test_it_turns_the_shorter_way_round():
    buffer = TransformBuffer()
    buffer.add(raw(xyzw=(0, 0, 0, 1), stamp_ns=S), static=False)
    buffer.add(raw(xyzw=(0, 0, -np.sin(0.1), -np.cos(0.1)), stamp_ns=2 * S), static=False)
    np.testing.assert_allclose(buffer.lookup("a", "b", 3 * S // 2), turned(0.1), atol=1e-12)


def test_a_long_chain_and_many_frames():
    buffer = TransformBuffer()
    for i in range(600):
        buffer.add(message(f"f{i}", f"f{i + 1}", turned(0.01, position=(1, 0, 0))), static=True)
    expected = np.linalg.matrix_power(turned(0.01, position=(1, 0, 0)), 600)
    np.testing.assert_allclose(buffer.lookup("f0", "f600", 7 * S), expected, atol=1e-8)


def test_what_is_static_holds_at_all_times_and_stamp_0_is_the_newest_that_all_have():
    buffer = moving(1, 2, 4)
    buffer.add(message("cart", "mast", turned(0, position=(0, 0, 1)), 99 * S), static=True)
    buffer.add(message("mast", "eye", turned(0), 1 * S), static=False)
    buffer.add(message("mast", "eye", turned(0), 3 * S), static=False)
    np.testing.assert_allclose(buffer.lookup("world", "mast", 2 * S)[:3, 3], [2, 0, 1])
    np.testing.assert_allclose(buffer.lookup("world", "eye", 0)[:3, 3], [3, 0, 1])
    np.testing.assert_allclose(buffer.lookup("world", "mast", 0)[:3, 3], [4, 0, 1])


def test_transforms_that_come_late_find_their_place():
    np.testing.assert_allclose(moving(1, 4, 2, 3).lookup("world", "cart", 5 * S // 2)[0, 3], 2.5)


def test_names_of_old_drivers_are_the_same_frames_and_a_frame_is_at_rest_in_itself():
    buffer = TransformBuffer()
    buffer.add(message("/world", "/cart", turned(0, position=(1, 0, 0))), static=True)
    assert buffer.lookup("world", "/cart", 0)[0, 3] == 1
    np.testing.assert_array_equal(TransformBuffer().lookup("never", "never", 5), np.eye(4))


LOOP = (("c", "a"), ("a", "b"), ("b", "c"))


@pytest.mark.parametrize(
    ("buffer", "asked", "says", "later"),
    [
        (moving(1, 2), ("world", "ghost", S), "the frame ghost is not known", True),
        (moving(1, 2), ("ghost", "cart", S), "the frame ghost is not known", True),
        (moving(1, 2), ("world", "cart", S - 5 * 10**8), "cart in world .* 0.500 s before the first", False),
        (moving(1, 2), ("cart", "world", 4 * S), "cart in world .* 2.000 s after the last", True),
        (moving(1), ("world", "cart", S + 10**8), "0.100 s after the last", True),
    ],
)
def test_what_is_not_known_is_said_and_whether_it_may_still_come(buffer, asked, says, later):
    with pytest.raises(TransformError, match=says) as caught:
        buffer.lookup(*asked)
    assert str(caught.value).endswith(".")
    assert isinstance(caught.value, InputError)
    assert caught.value.can_answer_later == later


def test_frames_of_two_trees_and_a_loop_are_told():
    buffer = moving(1)
    buffer.add(message("table", "cup", turned(0)), static=True)
    with pytest.raises(TransformError, match=r"cart and cup are not connected.*world.*table"):
        buffer.lookup("cup", "cart", S)
    for parent, child in LOOP:
        buffer.add(message(parent, child, turned(0)), static=True)
    with pytest.raises(TransformError, match="loop"):
        buffer.lookup("a", "cart", S)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (raw(xyzw=(0, 0, 0, 0)), "not finite, too far, or no rotation"),
        (raw(xyzw=(0, np.nan, 0, 1)), "not finite, too far, or no rotation"),
        (raw(xyzw=(1e300, 0, 0, 1e300)), "not finite, too far, or no rotation"),
        (raw(position=(np.inf, 0, 0)), "not finite, too far, or no rotation"),
        (raw(position=(0, -8.6e7, 0)), "not finite, too far, or no rotation"),
        (raw(parent=""), "no frame name"),
        (raw(child="/"), "no frame name"),
        (raw(parent="b"), "a frame in itself"),
    ],
)
def test_a_broken_transform_is_counted_and_the_rest_of_its_message_taken(bad, reason):
    buffer = TransformBuffer()
    good = raw("world", "cart")
    buffer.add(messages.transforms(*bad.transforms, *good.transforms), static=True)
    assert buffer.ignored == {reason: 1}
    np.testing.assert_array_equal(buffer.lookup("world", "cart", S), np.eye(4))
    with pytest.raises(TransformError):
        buffer.lookup("a", "b", S)


def test_memory_is_bounded_by_time_by_number_in_all_and_by_frames(monkeypatch):
    monkeypatch.setattr("kosmos2_io.transforms.MAX_POSES", 100)
    monkeypatch.setattr("kosmos2_io.transforms.MAX_FRAMES", 50)
    buffer = moving(*range(50), keep_s=10.0)
    assert len(buffer._links["cart"].poses) == 11
    with pytest.raises(TransformError, match="before the first"):
        buffer.lookup("world", "cart", 38 * S)
    buffer.add(message("world", "cart", turned(0), 20 * S), static=False)
    buffer.add(message("world", "cart", turned(0), 49 * S), static=False)
    assert buffer.ignored == {"too old": 1, "repeated stamp": 1}

    fast = TransformBuffer()
    transform = raw().transforms[0]
    for stamp_ns in range(105):
        transform.header.stamp.nanosec = stamp_ns
        fast.add(messages.transforms(transform), static=False)
    assert len(fast._links["b"].stamps_ns) == len(fast._links["b"].poses) == 100

    monkeypatch.setattr("kosmos2_io.transforms.MAX_POSES_IN_ALL", 250)
    for number in range(5):
        transform.child_frame_id = f"fast {number}"
        for stamp_ns in range(100):
            transform.header.stamp.nanosec = stamp_ns
            fast.add(messages.transforms(transform), static=False)
    kept = [len(link.poses) for link in fast._links.values()]
    assert sum(kept) == fast._pose_count <= 250
    assert min(kept) > 10, "each link keeps its newest poses"

    for number in range(50):
        transform.child_frame_id = f"frame {number}"
        fast.add(messages.transforms(transform), static=True)
    assert len(fast._links) == 50
    assert fast.ignored == {"too many frames": 6}


def test_after_a_jump_in_time_what_is_static_is_still_known():
    buffer = moving(50, 51)
    buffer.add(message("cart", "eye", turned(0)), static=True)
    buffer.clear()
    buffer.add(message("world", "cart", turned(0, position=(7, 0, 0)), 1 * S), static=False)
    assert buffer.lookup("world", "eye", 1 * S)[0, 3] == 7
    assert buffer.lookup("world", "eye", 0)[0, 3] == 7


def test_a_frame_may_be_moved_to_another_parent():
    buffer = moving(1, 2)
    buffer.add(message("hand", "cart", turned(0, position=(3, 0, 0)), 2 * S), static=False)
    assert buffer.lookup("hand", "cart", 2 * S)[0, 3] == 3
    with pytest.raises(TransformError, match="world is not known"):
        buffer.lookup("world", "cart", 2 * S)


class Watched(TransformBuffer):
    """Says when it has been asked in vain."""

    def __init__(self):
        super().__init__()
        self.asked = threading.Event()

    def lookup(self, *asked):
        try:
            return super().lookup(*asked)
        except TransformError:
            self.asked.set()
            raise


def add_at(buffer, stamp_s):
    buffer.add(message("world", "cart", turned(0, position=(stamp_s, 0, 0)), stamp_s * S), static=False)


def test_waiting_ends_when_the_transform_comes():
    buffer, found = Watched(), []
    waiter = threading.Thread(
        target=lambda: found.append(buffer.wait_until("world", "cart", 3 * S // 2, timeout_s=60))
    )
    add_at(buffer, 0)
    waiter.start()
    for stamp_s in (1, 2):
        assert buffer.asked.wait(60)
        buffer.asked.clear()
        add_at(buffer, stamp_s)
    waiter.join(60)
    assert found[0][0, 3] == 1.5


def test_waiting_is_no_use_for_what_is_past_and_ends_in_time_for_what_does_not_come():
    buffer = moving(10, 11)
    with pytest.raises(TransformError, match="before the first"):
        buffer.wait_until("world", "cart", 9 * S, timeout_s=3600)
    with pytest.raises(TransformError, match="after the last"):
        buffer.wait_until("world", "cart", 12 * S, timeout_s=0.01)


def test_there_is_no_waiting_for_a_frame_that_nobody_has_named():
    with pytest.raises(TransformError, match="map is not known"):
        moving(10, 11).wait_until("map", "cart", 10 * S, timeout_s=3600)


@pytest.mark.ros
def test_a_message_of_rclpy_says_the_same():
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    link = TransformStamped(child_frame_id="cart")
    link.header.frame_id, link.header.stamp.sec, link.transform.translation.x = "world", 3, 2.0
    buffer = TransformBuffer()
    buffer.add(TFMessage(transforms=[link]), static=False)
    assert buffer.lookup("world", "cart", 3 * S)[0, 3] == 2
