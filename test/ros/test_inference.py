"""The inference thread with a stand-in model: what it does first, and what becomes of frames."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from stand_in import FOUND, PATIENCE_S, StandIn

from kosmos2_core.errors import InputError
from kosmos2_core.requests import Chat, Locate
from kosmos2_ros.errors import Code, RequestError
from kosmos2_ros.frames import CameraFrame, FrameStore
from kosmos2_ros.inference import InferenceLimits, InferenceThread
from kosmos2_ros.work import CurrentCommand, PendingQuery

PIXELS = np.zeros((4, 6, 3), np.uint8)
MUG = CurrentCommand("1", Locate("the mug"))
SECOND_NS = 10**9


class Rig:
    """An inference thread with cameras, and the results it published."""

    def __init__(self, model, cameras=("left",), publish=None, to_rgb=None, step_s=0.0, **limits):
        self.now_ns, self.published, self.news = 100 * SECOND_NS, [], threading.Condition()
        self.model, self.frames, self.errors = model, FrameStore(cameras), []
        self.inference = InferenceThread(
            model,
            self.frames,
            publish or self._publish,
            to_rgb or (lambda message: PIXELS),
            lambda: self.now_ns,
            self.errors.append,
            InferenceLimits(**limits),
            step_s,
        )

    def _publish(self, result):
        with self.news:
            self.published.append(result)
            self.news.notify()

    def __enter__(self):
        self.inference.start()
        return self

    def __exit__(self, *_):
        self.model.open = True
        self.model.let.release(100)
        assert self.inference.stop(PATIENCE_S)

    def frame(self, number=0, camera="left", stamp_ns=None):
        stamp_ns = self.now_ns + number if stamp_ns is None else stamp_ns
        frame = CameraFrame(camera, SimpleNamespace(number=number), stamp_ns)
        self.frames.store(frame)
        return frame

    def wait(self, count):
        with self.news:
            assert self.news.wait_for(lambda: len(self.published) >= count, PATIENCE_S)
        return [result.frame.message.number for result in self.published]

    def counts(self, camera="left"):
        return self.frames[camera].latest.counts.snapshot()

    def finished(self, camera="left"):
        """When nothing is in flight any more."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.counts(camera).in_flight:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        return self.counts(camera)


def query(text="the bowl", **fields):
    fields = {"deadline_s": time.monotonic() + PATIENCE_S, "camera": "left"} | fields
    return PendingQuery(lambda width, height: Locate(text), **fields)


def refused(future):
    with pytest.raises(RequestError) as caught:
        future.result(PATIENCE_S)
    return caught.value.code


def test_without_a_command_frames_only_replace_each_other():
    with Rig(StandIn()) as rig:
        for number in range(5):
            rig.frame(number)
    assert rig.model.jobs == []
    counts = rig.counts()
    assert (counts.received, counts.outcomes["replaced"], counts.outcomes["expired"], counts.residual) == (
        5,
        4,
        1,
        0,
    )


def test_the_newest_frame_wins():
    with Rig(StandIn(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        for number in (1, 2, 3):
            rig.frame(number)
        rig.model.let.release(2)
        assert rig.wait(2) == [0, 3]
        counts = rig.finished()
    assert (counts.outcomes["processed"], counts.outcomes["replaced"]) == (2, 2)


def test_a_query_goes_before_the_stream():
    with Rig(StandIn(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        asked = query()
        rig.frame(1)
        rig.inference.ask(asked)
        rig.model.let.release(2)
        assert asked.future.result(PATIENCE_S).answer.text == "the bowl"
        rig.model.let.release()
        rig.wait(2)
    assert [jobs[0][1].text for jobs in rig.model.jobs] == ["the mug", "the bowl", "the mug"]


def test_a_query_is_about_the_newest_frame_answered_or_not():
    with Rig(StandIn()) as rig:
        rig.inference.command = MUG
        frame = rig.frame(7)
        rig.wait(1)
        asked = query()
        rig.inference.ask(asked)
        assert asked.future.result(PATIENCE_S).frame is frame


def test_cameras_that_are_ready_together_are_one_batch():
    with Rig(StandIn(open_=False), cameras=("left", "right")) as rig:
        rig.inference.command = MUG
        rig.frame(0, "left")
        rig.model.wait()
        rig.frame(1, "left")
        rig.frame(2, "right")
        rig.model.let.release(2)
        assert sorted(rig.wait(3)) == [0, 1, 2]
    assert [len(jobs) for jobs in rig.model.jobs] == [1, 2]


def test_a_busy_camera_does_not_keep_another_waiting():
    with Rig(StandIn(open_=False), cameras=("left", "right")) as rig:
        rig.inference.command = MUG
        rig.frame(0, "left")
        for number in range(1, 6):
            rig.model.wait()
            rig.frame(number, "left")
            if number == 2:
                rig.frame(100, "right")
            rig.model.let.release()
        rig.model.let.release()
        numbers = rig.wait(7)
    assert 100 in numbers[2:4]


def test_a_rate_limit_is_each_camera_s_own():
    with Rig(StandIn(), cameras=("left", "right"), max_rate_hz=0.001) as rig:
        rig.inference.command = MUG
        rig.frame(0, "left")
        rig.wait(1)
        rig.frame(1, "left")
        rig.frame(2, "right")
        assert rig.wait(2) == [0, 2]
        assert rig.frames["left"].latest.waiting


def test_a_running_batch_is_published_for_its_own_command_and_the_newest_command_is_next():
    with Rig(StandIn(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        for number in (2, 3, 4):
            rig.inference.command = CurrentCommand(str(number), Locate("the bowl"))
        rig.frame(1)
        rig.model.let.release(2)
        assert rig.wait(2) == [0, 1]
        assert [result.command.id for result in rig.published] == ["1", "4"]
        assert [result.answer.text for result in rig.published] == ["the mug", "the bowl"]
        counts = rig.finished()
    assert counts.outcomes["processed"] == 2


def test_a_result_for_a_withdrawn_command_is_not_published():
    with Rig(StandIn(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        rig.inference.command = None
        rig.model.let.release()
        counts = rig.finished()
    assert rig.published == []
    assert counts.reasons == {"expired: the command was withdrawn meanwhile": 1}


class InThreeParts(StandIn):
    """Asks for leave before each part of a batch."""

    def locate_in_parts(self, jobs):
        for _ in range(2):
            self.pass_(jobs)
            yield
        return self.run(jobs)


def test_a_query_does_not_wait_for_the_rest_of_a_batch():
    with Rig(InThreeParts(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        asked = query()
        rig.inference.ask(asked)
        rig.model.let.release(4)  # the first part, and the three of the query
        assert asked.future.result(PATIENCE_S).answer.text == "the bowl"
        assert rig.published == []
        rig.model.let.release(2)
        assert rig.wait(1) == [0]
    assert [jobs[0][1].text for jobs in rig.model.jobs] == ["the mug"] + 3 * ["the bowl"] + 2 * ["the mug"]


def test_a_withdrawn_command_ends_a_batch_after_its_part():
    with Rig(InThreeParts(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        rig.inference.command = None
        rig.model.let.release()
        assert rig.finished().reasons == {"expired: the command was withdrawn meanwhile": 1}
    assert len(rig.model.jobs) == 1


def test_a_batch_that_was_begun_is_accounted_for_when_the_thread_stops():
    rig = Rig(InThreeParts(open_=False))
    with rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        stopping = threading.Thread(target=rig.inference.stop, args=(PATIENCE_S,))
        stopping.start()
        while rig.inference.command:
            time.sleep(0.001)
        rig.model.let.release()
        stopping.join(PATIENCE_S)
    counts = rig.counts()
    assert (counts.in_flight, counts.residual) == (0, 0)
    assert counts.reasons == {"expired: the node was deactivated": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_frame_too_old_is_dropped_with_the_reason(when):
    with Rig(StandIn(open_=False), max_age_ns=SECOND_NS) as rig:
        rig.inference.command = MUG
        if when == "before":
            rig.frame(0, stamp_ns=rig.now_ns - 2 * SECOND_NS)
        else:
            rig.frame(0)
            rig.model.wait()
            rig.now_ns += 2 * SECOND_NS
            rig.model.let.release()
        counts = rig.finished()
    assert counts.outcomes["expired"] == 1
    assert len(rig.errors) == (when == "after"), "the log says which parameter to raise"
    assert list(counts.reasons) == [
        "expired: too old before the model was free"
        if when == "before"
        else "expired: too old when it was answered"
    ]


def test_a_stamp_in_the_future_or_none_is_not_too_old():
    with Rig(StandIn(), max_age_ns=SECOND_NS) as rig:
        rig.inference.command = MUG
        future = rig.frame(0, stamp_ns=rig.now_ns + 50 * SECOND_NS)
        rig.wait(1)
        zero = rig.frame(1, stamp_ns=0)
        assert rig.wait(2) == [0, 1]
        assert future.age_ns(rig.now_ns) == 0
        assert 0 <= zero.age_ns(rig.now_ns) < PATIENCE_S * SECOND_NS


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory at 0x7f"), MemoryError(), InputError("no.")]
)
def test_an_error_of_the_model_costs_one_frame(error):
    with Rig(StandIn()) as rig:
        rig.inference.command = MUG
        rig.model.error = error
        rig.frame(0)
        assert rig.finished().outcomes["failed"] == 1
        rig.frame(1)
        assert rig.wait(1) == [1]
    assert rig.errors == [error]


def test_numbers_that_are_not_finite_are_not_published():
    with Rig(StandIn()) as rig:
        rig.inference.command, rig.model.boxes = MUG, (replace(FOUND, score=math.nan),)
        rig.frame(0)
        assert rig.finished().outcomes["failed"] == 1
        rig.model.boxes = (FOUND,)
        rig.frame(1)
        assert rig.wait(1) == [1]


def test_an_image_that_cannot_be_read_is_rejected_with_its_reason():
    def to_rgb(message):
        if message.number == 0:
            raise InputError("the image is empty.")
        return PIXELS

    with Rig(StandIn(), to_rgb=to_rgb) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        assert rig.finished().reasons == {"rejected: the image is empty.": 1}
        rig.frame(1)
        assert rig.wait(1) == [1]


def test_an_error_of_publishing_costs_one_frame():
    heard = []

    def publish(result):
        heard.append(result.frame.message.number)
        if len(heard) == 1:
            raise RuntimeError("no memory left on the wire")

    with Rig(StandIn(), publish=publish) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        assert rig.finished().outcomes["failed"] == 1
        rig.frame(1)
        assert rig.finished().outcomes["processed"] == 1


class TestQueriesThatAreNotAnswered:
    def test_no_image(self):
        with Rig(StandIn()) as rig:
            asked = query()
            rig.inference.ask(asked)
            assert refused(asked.future) == Code.NO_IMAGE

    def test_stale(self):
        with Rig(StandIn(), max_age_ns=SECOND_NS) as rig:
            rig.frame(0, stamp_ns=rig.now_ns - 5 * SECOND_NS)
            asked = query()
            rig.inference.ask(asked)
            assert refused(asked.future) == Code.STALE

    def test_no_frame_as_new_as_asked_for(self):
        with Rig(StandIn()) as rig:
            rig.frame(0)
            asked = query(
                camera="left", not_before_ns=rig.now_ns + SECOND_NS, deadline_s=time.monotonic() + 0.05
            )
            rig.inference.ask(asked)
            assert refused(asked.future) == Code.STALE

    def test_busy(self):
        with Rig(StandIn(open_=False), queue_size=2) as rig:
            rig.frame(0)
            first = query()
            rig.inference.ask(first)
            rig.model.wait()
            for _ in range(2):
                rig.inference.ask(query())
            with pytest.raises(RequestError) as caught:
                rig.inference.ask(query())
            assert caught.value.code == Code.BUSY

    def test_timeout(self):
        with Rig(StandIn(open_=False)) as rig:
            rig.frame(0)
            rig.inference.ask(query())
            rig.model.wait()
            late = query(deadline_s=time.monotonic() - 1)
            rig.inference.ask(late)
            rig.model.let.release()
            assert refused(late.future) == Code.TIMEOUT

    @pytest.mark.parametrize(
        ("error", "code"),
        [(RuntimeError("at 0x7f00"), Code.MODEL_ERROR), (InputError("no."), Code.BAD_REQUEST)],
    )
    def test_errors_of_the_model(self, error, code):
        with Rig(StandIn()) as rig:
            rig.frame(0)
            rig.model.error = error
            asked = query()
            rig.inference.ask(asked)
            with pytest.raises(RequestError) as caught:
                asked.future.result(PATIENCE_S)
            assert caught.value.code == code
            assert "0x7f" not in str(caught.value)

    def test_the_end(self):
        rig = Rig(StandIn(open_=False))
        with rig:
            rig.frame(0)
            rig.inference.ask(query())
            rig.model.wait()
            waiting = query()
            rig.inference.ask(waiting)
            rig.inference.stop(0)
            assert refused(waiting.future) == Code.INACTIVE
            with pytest.raises(RequestError) as caught:
                rig.inference.ask(query())
            assert caught.value.code == Code.INACTIVE


def test_a_query_waits_for_a_frame_as_new_as_it_asks_for():
    with Rig(StandIn()) as rig:
        rig.frame(0)
        asked = query(not_before_ns=rig.now_ns + 5)
        rig.inference.ask(asked)
        newer = rig.frame(9)
        assert asked.future.result(PATIENCE_S).frame is newer


def test_a_hung_model_is_known_and_queries_are_told_at_once():
    with Rig(StandIn(open_=False), hang_s=0.05) as rig:
        rig.frame(0)
        rig.inference.ask(query())
        rig.model.wait()
        deadline_s = time.monotonic() + PATIENCE_S
        while not rig.inference.hung:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        with pytest.raises(RequestError) as caught:
            rig.inference.ask(query())
        assert caught.value.code == Code.BUSY


def test_a_slow_model_that_makes_progress_is_not_hung():
    """A step of the model takes longer than a query may wait, but less than `hang_s`."""
    with Rig(InThreeParts(open_=False), hang_s=60) as rig:
        rig.frame(0)
        short, long = query(deadline_s=time.monotonic() + 0.05), query()
        rig.inference.ask(short)
        rig.model.wait()
        rig.inference.ask(long)  # it is judged by its own deadline, and answered
        assert not rig.inference.hung
        rig.model.let.release(6)
        assert long.future.result(PATIENCE_S).answer.text == "the bowl"


def test_a_step_is_too_long_only_beside_steps_as_they_usually_are():
    with Rig(StandIn(open_=False), hang_s=0.01, step_s=30.0) as rig:
        rig.frame(0)
        rig.inference.ask(query())
        rig.model.wait()
        while rig.inference.busy_s <= 0.02:
            time.sleep(0.005)
        assert not rig.inference.hung


def test_deactivated_a_query_ends_after_its_step():
    with Rig(InThreeParts(open_=False)) as rig:
        rig.frame(0)
        asked = query()
        rig.inference.ask(asked)
        rig.model.wait()
        assert not rig.inference.stop(0)
        rig.model.let.release()
        assert refused(asked.future) == Code.INACTIVE
    assert len(rig.model.jobs) == 1


def test_what_a_hung_model_answers_after_the_end_is_not_published():
    with Rig(StandIn(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        assert not rig.inference.stop(0)
        rig.model.let.release()
        assert rig.finished().outcomes["expired"] == 1
    assert rig.published == []


def dialogue(on_token, **fields):
    return PendingQuery(
        lambda width, height: Chat("what is it?"),
        time.monotonic() + PATIENCE_S,
        "left",
        on_token=on_token,
        **fields,
    )


def test_a_dialogue_streams_while_frames_are_grounded():
    heard = []
    with Rig(StandIn(open_=False)) as rig:
        rig.inference.command = MUG
        rig.frame(0)
        rig.model.wait()
        asked = dialogue(lambda answer, pixels: heard.append(answer.text))
        rig.inference.ask(asked)
        rig.frame(1)
        rig.model.let.release(10)
        assert asked.future.result(PATIENCE_S).answer.text == "a b c"
        rig.wait(2)
    assert heard == ["a", "a b", "a b c", "a b c"]
    kinds = [type(jobs[0][1]).__name__ for jobs in rig.model.jobs]
    # By turns: the first batch has two parts, of which the model sees the first.
    assert kinds[:4] == ["Locate", "Chat", "Chat", "Locate"]


def test_a_cancelled_dialogue_ends_within_one_token():
    cancelled = threading.Event()
    with Rig(StandIn()) as rig:
        rig.frame(0)
        asked = dialogue(lambda answer, pixels: cancelled.set(), cancelled=cancelled)
        rig.inference.ask(asked)
        assert asked.future.result(PATIENCE_S).answer.text == "a"
    assert len(rig.model.jobs) == 1


@pytest.mark.ros
def test_a_request_about_an_image_that_the_stream_used_does_not_encode_it_again(root):
    from kosmos2_ros.node import load_engine
    from kosmos2_ros.parameters import GroundingParameters

    engine = load_engine(GroundingParameters(model=str(root / "models/tabletop-tiny"), device="cpu"))
    engine.open, engine.let = True, threading.Semaphore()  # as a stand-in has them
    encoded = []
    engine.model.vision.register_forward_pre_hook(lambda tower, args: encoded.append(len(args[0])))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    with Rig(engine, to_rgb=lambda message: pictures[message.number].copy()) as rig:
        rig.inference.command = MUG
        for number in (0, 1):
            rig.frame(number)
            rig.wait(number + 1)
            assert encoded == [1] * (number + 1)
            asked = query(text="the bowl")
            rig.inference.ask(asked)
            assert asked.future.result(PATIENCE_S).answer.text == "the bowl"
            assert encoded == [1] * (number + 1)
