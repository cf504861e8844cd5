"""Counts of frames balance; depth is found however long the model takes; calibration is kept and cleared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.errors import InputError
from kosmos2_ros.frames import (
    DEPTH_BYTES,
    EXPECTED_DEPTHS,
    MAX_REASONS,
    OTHER_REASONS,
    RECENT_DEPTHS,
    CameraCalibration,
    CameraFrame,
    DepthBuffer,
    FrameCounts,
    FrameOutcome,
    FrameStore,
    LatestFrame,
)

FINISHED = [
    outcome for outcome in FrameOutcome if outcome not in (FrameOutcome.REPLACED, FrameOutcome.REJECTED)
]
EVENTS = st.lists(st.sampled_from(["store", "reject", "pop", "clear", *FINISHED]))
SLOP_NS = 5


@given(EVENTS)
def test_counts_balance_after_every_event(events):
    latest, popped = LatestFrame(), []
    for event in events:
        if event == "store":
            latest.store(CameraFrame("left", None, 1))
        elif event == "reject":
            latest.reject("empty")
        elif event == "clear":
            latest.clear()
        elif event == "pop":
            if frame := latest.pop():
                popped.append(frame)
        elif popped:
            popped.pop()
            latest.counts.finish(event)
        counts = latest.counts.snapshot()
        assert counts.residual == 0
        assert counts.in_flight == len(popped) + latest.waiting


def test_received_reasons_do_not_fill_the_memory():
    counts = FrameCounts()
    for number in range(10 * MAX_REASONS):
        counts.receive()
        counts.finish(FrameOutcome.REJECTED, f"the encoding {number} is not known.")
    reasons = counts.snapshot().reasons
    assert len(reasons) == MAX_REASONS + 1
    assert reasons[OTHER_REASONS] == 9 * MAX_REASONS


def depth(name, size=0):
    return SimpleNamespace(name=name, data=bytes(size))


def test_depth_images_are_kept_within_a_number_of_bytes():
    depths, part = DepthBuffer(), DEPTH_BYTES // 4
    for number in range(RECENT_DEPTHS):
        depths.expect(number)
        depths.store(number, depth(number, part))
    found = [depths.find(number, 0) for number in range(RECENT_DEPTHS)]
    assert [image.name for image in found if image] == [4, 5, 6, 7]
    depths.store(99, depth("huge", DEPTH_BYTES + 1))
    assert "bytes" in depths.rejected
    depths.expect(99)
    assert depths.find(99, 0) is None


def test_depth_of_an_expected_frame_is_kept_while_others_arrive():
    depths = DepthBuffer()
    depths.store(100, depth("right"))
    depths.expect(100)
    for number in range(10 * RECENT_DEPTHS):
        depths.store(1000 + number, depth("later"))
    assert depths.find(100, SLOP_NS).name == "right"


def test_depth_may_arrive_after_its_frame_was_popped():
    depths = DepthBuffer()
    depths.store(90, depth("before"))
    depths.expect(100)
    depths.store(103, depth("near"))
    depths.store(101, depth("nearest"))
    depths.store(104, depth("after"))
    assert depths.find(100, SLOP_NS).name == "nearest"
    assert depths.find(100, 0) is None


def test_depth_that_no_frame_expects_is_forgotten():
    depths = DepthBuffer()
    for number in range(3 * EXPECTED_DEPTHS):
        depths.store(number, depth(number))
        depths.expect(number)
    assert depths.find(0, SLOP_NS) is None
    assert depths.find(3 * EXPECTED_DEPTHS - 1, 0).name == 3 * EXPECTED_DEPTHS - 1
    depths.clear()
    assert depths.find(3 * EXPECTED_DEPTHS - 1, SLOP_NS) is None


def camera_info(stamp_ns=0, focal=100.0, width=64):
    """A CameraInfo as a driver sends it with every image, with a stamp of its own."""
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp_ns),
        width=width,
        height=48,
        distortion_model="plumb_bob",
        d=[0.1, 0.0, 0.0, 0.0, 0.0],
        k=[focal, 0.0, 32.0, 0.0, focal, 24.0, 0.0, 0.0, 1.0],
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    )


def test_a_camera_model_is_rebuilt_only_when_the_calibration_changes():
    calibration = CameraCalibration()
    assert calibration.model() is None
    calibration.store(camera_info(1))
    model = calibration.model()
    calibration.store(camera_info(2))
    assert calibration.model() is model, "the same calibration: cached values stay"
    calibration.store(camera_info(3, focal=200.0))
    assert calibration.model().matrix[0, 0] == 200


def test_a_camera_that_is_not_calibrated_is_refused_until_it_is():
    calibration = CameraCalibration()
    calibration.store(camera_info(focal=0.0))
    with pytest.raises(InputError):
        calibration.model()
    calibration.store(camera_info())
    assert calibration.model() is not None


def test_nothing_is_left_of_a_camera_after_it_is_cleared():
    """A stale CameraInfo would place boxes of the next activation by the calibration of the last one."""
    frames = FrameStore(["left"])
    camera = frames["left"]
    camera.calibration.store(camera_info())
    camera.depth_calibration.store(camera_info())
    camera.depths.store(1, depth("depth"))
    frames.store(CameraFrame("left", None, 1))
    camera.clear()
    assert camera.calibration.model() is camera.depth_calibration.model() is None
    assert camera.latest.newest is None
    assert camera.latest.counts.snapshot().outcomes[FrameOutcome.EXPIRED] == 1


def test_a_stored_frame_wakes_the_thread_that_waits():
    frames = FrameStore(["left"])
    with frames.changed:
        frames.store(CameraFrame("left", None, 1))
        assert frames["left"].latest.waiting
