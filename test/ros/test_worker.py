"""The worker with a stand-in model that does what each test says: who comes first, and where frames go."""

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
from kosmos2_ros.codes import Code, QueryError
from kosmos2_ros.mailbox import Frame, Mailbox
from kosmos2_ros.worker import Command, Limits, Query, Worker

PIXELS = np.zeros((4, 6, 3), np.uint8)
MUG = Command("1", Locate("the mug"))
SECOND_NS = 10**9


class Desk:
    """A worker with cameras, and what it published."""

    def __init__(self, model, cameras=("left",), publish=None, to_rgb=None, **limits):
        self.now_ns, self.published, self.news = 100 * SECOND_NS, [], threading.Condition()
        self.model, self.boxes, self.errors = model, {name: Mailbox() for name in cameras}, []
        self.worker = Worker(
            model,
            self.boxes,
            publish or self._publish,
            to_rgb or (lambda message: PIXELS),
            lambda: self.now_ns,
            self.errors.append,
            Limits(**limits),
        )

    def _publish(self, result):
        with self.news:
            self.published.append(result)
            self.news.notify()

    def __enter__(self):
        self.worker.start()
        return self

    def __exit__(self, *_):
        self.model.open = True
        self.model.let.release(100)
        assert self.worker.stop(PATIENCE_S)

    def frame(self, number=0, camera="left", stamp_ns=None):
        stamp_ns = self.now_ns + number if stamp_ns is None else stamp_ns
        frame = Frame(camera, SimpleNamespace(number=number), stamp_ns)
        self.worker.put(frame)
        return frame

    def wait(self, count):
        with self.news:
            assert self.news.wait_for(lambda: len(self.published) >= count, PATIENCE_S)
        return [one.frame.message.number for one in self.published]

    def books(self, camera="left"):
        return self.boxes[camera].books.snapshot()

    def settled(self, camera="left"):
        """When nothing is in flight any more."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.books(camera).in_flight:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        return self.books(camera)


def query(text="the bowl", **fields):
    fields = {"deadline_s": time.monotonic() + PATIENCE_S, "camera": "left"} | fields
    return Query(lambda width, height: Locate(text), **fields)


def refused(future):
    with pytest.raises(QueryError) as caught:
        future.result(PATIENCE_S)
    return caught.value.code


def test_without_a_command_frames_only_replace_each_other():
    with Desk(StandIn()) as desk:
        for number in range(5):
            desk.frame(number)
    assert desk.model.jobs == []
    books = desk.books()
    assert (books.received, books.outcomes["replaced"], books.outcomes["expired"], books.residual) == (
        5,
        4,
        1,
        0,
    )


def test_the_newest_frame_wins():
    with Desk(StandIn(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        for number in (1, 2, 3):
            desk.frame(number)
        desk.model.let.release(2)
        assert desk.wait(2) == [0, 3]
        books = desk.settled()
    assert (books.outcomes["processed"], books.outcomes["replaced"]) == (2, 2)


def test_a_query_goes_before_the_stream():
    with Desk(StandIn(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        asked = query()
        desk.frame(1)
        desk.worker.ask(asked)
        desk.model.let.release(2)
        assert asked.future.result(PATIENCE_S).answer.text == "the bowl"
        desk.model.let.release()
        desk.wait(2)
    assert [jobs[0][1].text for jobs in desk.model.jobs] == ["the mug", "the bowl", "the mug"]


def test_a_query_is_about_the_newest_frame_answered_or_not():
    with Desk(StandIn()) as desk:
        desk.worker.command = MUG
        frame = desk.frame(7)
        desk.wait(1)
        asked = query()
        desk.worker.ask(asked)
        assert asked.future.result(PATIENCE_S).frame is frame


def test_cameras_that_are_ready_together_are_one_batch():
    with Desk(StandIn(open_=False), cameras=("left", "right")) as desk:
        desk.worker.command = MUG
        desk.frame(0, "left")
        desk.model.wait()
        desk.frame(1, "left")
        desk.frame(2, "right")
        desk.model.let.release(2)
        assert sorted(desk.wait(3)) == [0, 1, 2]
    assert [len(jobs) for jobs in desk.model.jobs] == [1, 2]


def test_a_busy_camera_does_not_keep_another_waiting():
    with Desk(StandIn(open_=False), cameras=("left", "right")) as desk:
        desk.worker.command = MUG
        desk.frame(0, "left")
        for number in range(1, 6):
            desk.model.wait()
            desk.frame(number, "left")
            if number == 2:
                desk.frame(100, "right")
            desk.model.let.release()
        desk.model.let.release()
        numbers = desk.wait(7)
    assert 100 in numbers[2:4]


def test_a_rate_limit_is_each_camera_s_own():
    with Desk(StandIn(), cameras=("left", "right"), max_rate_hz=0.001) as desk:
        desk.worker.command = MUG
        desk.frame(0, "left")
        desk.wait(1)
        desk.frame(1, "left")
        desk.frame(2, "right")
        assert desk.wait(2) == [0, 2]
        assert desk.boxes["left"].waiting


def test_a_running_batch_is_published_for_its_own_command_and_the_newest_command_is_next():
    with Desk(StandIn(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        for number in (2, 3, 4):
            desk.worker.command = Command(str(number), Locate("the bowl"))
        desk.frame(1)
        desk.model.let.release(2)
        assert desk.wait(2) == [0, 1]
        assert [result.command.id for result in desk.published] == ["1", "4"]
        assert [result.answer.text for result in desk.published] == ["the mug", "the bowl"]
        books = desk.settled()
    assert books.outcomes["processed"] == 2


def test_a_result_for_a_withdrawn_command_is_not_published():
    with Desk(StandIn(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        desk.worker.command = None
        desk.model.let.release()
        books = desk.settled()
    assert desk.published == []
    assert books.reasons == {"expired: the command was withdrawn meanwhile": 1}


class InThreeParts(StandIn):
    """Asks for leave before each part of a batch."""

    def locate_in_parts(self, jobs):
        for _ in range(2):
            self.pass_(jobs)
            yield
        return self.run(jobs)


def test_a_query_does_not_wait_for_the_rest_of_a_batch():
    with Desk(InThreeParts(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        asked = query()
        desk.worker.ask(asked)
        desk.model.let.release(2)  # the first part, and the query
        assert asked.future.result(PATIENCE_S).answer.text == "the bowl"
        assert desk.published == []
        desk.model.let.release(2)
        assert desk.wait(1) == [0]
    assert [jobs[0][1].text for jobs in desk.model.jobs] == ["the mug", "the bowl", "the mug", "the mug"]


def test_a_withdrawn_command_ends_a_batch_after_its_part():
    with Desk(InThreeParts(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        desk.worker.command = None
        desk.model.let.release()
        assert desk.settled().reasons == {"expired: the command was withdrawn meanwhile": 1}
    assert len(desk.model.jobs) == 1


def test_a_batch_that_was_begun_is_accounted_for_when_the_worker_stops():
    desk = Desk(InThreeParts(open_=False))
    with desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        stopping = threading.Thread(target=desk.worker.stop, args=(PATIENCE_S,))
        stopping.start()
        while desk.worker.command:
            time.sleep(0.001)
        desk.model.let.release()
        stopping.join(PATIENCE_S)
    books = desk.books()
    assert (books.in_flight, books.residual) == (0, 0)
    assert books.reasons == {"expired: the node was deactivated": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_frame_too_old_is_dropped_with_the_reason(when):
    with Desk(StandIn(open_=False), max_age_ns=SECOND_NS) as desk:
        desk.worker.command = MUG
        if when == "before":
            desk.frame(0, stamp_ns=desk.now_ns - 2 * SECOND_NS)
        else:
            desk.frame(0)
            desk.model.wait()
            desk.now_ns += 2 * SECOND_NS
            desk.model.let.release()
        books = desk.settled()
    assert books.outcomes["expired"] == 1
    assert list(books.reasons) == [
        "expired: too old before the model was free"
        if when == "before"
        else "expired: too old when it was answered"
    ]


def test_a_stamp_in_the_future_or_none_is_not_too_old():
    with Desk(StandIn(), max_age_ns=SECOND_NS) as desk:
        desk.worker.command = MUG
        future = desk.frame(0, stamp_ns=desk.now_ns + 50 * SECOND_NS)
        desk.wait(1)
        zero = desk.frame(1, stamp_ns=0)
        assert desk.wait(2) == [0, 1]
        assert future.age_ns(desk.now_ns) == 0
        assert 0 <= zero.age_ns(desk.now_ns) < PATIENCE_S * SECOND_NS


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory at 0x7f"), MemoryError(), InputError("no.")]
)
def test_an_error_of_the_model_costs_one_frame(error):
    with Desk(StandIn()) as desk:
        desk.worker.command = MUG
        desk.model.error = error
        desk.frame(0)
        assert desk.settled().outcomes["failed"] == 1
        desk.frame(1)
        assert desk.wait(1) == [1]
    assert desk.errors == [error]


def test_numbers_that_are_not_finite_are_not_published():
    with Desk(StandIn()) as desk:
        desk.worker.command, desk.model.boxes = MUG, (replace(FOUND, score=math.nan),)
        desk.frame(0)
        assert desk.settled().outcomes["failed"] == 1
        desk.model.boxes = (FOUND,)
        desk.frame(1)
        assert desk.wait(1) == [1]


def test_an_image_that_cannot_be_read_is_rejected_with_its_reason():
    def to_rgb(message):
        if message.number == 0:
            raise InputError("the image is empty.")
        return PIXELS

    with Desk(StandIn(), to_rgb=to_rgb) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        assert desk.settled().reasons == {"rejected: the image is empty.": 1}
        desk.frame(1)
        assert desk.wait(1) == [1]


def test_an_error_of_publishing_costs_one_frame():
    heard = []

    def publish(result):
        heard.append(result.frame.message.number)
        if len(heard) == 1:
            raise RuntimeError("no memory left on the wire")

    with Desk(StandIn(), publish=publish) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        assert desk.settled().outcomes["failed"] == 1
        desk.frame(1)
        assert desk.settled().outcomes["processed"] == 1


class TestQueriesThatAreNotAnswered:
    def test_no_image(self):
        with Desk(StandIn()) as desk:
            asked = query()
            desk.worker.ask(asked)
            assert refused(asked.future) == Code.NO_IMAGE

    def test_stale(self):
        with Desk(StandIn(), max_age_ns=SECOND_NS) as desk:
            desk.frame(0, stamp_ns=desk.now_ns - 5 * SECOND_NS)
            asked = query()
            desk.worker.ask(asked)
            assert refused(asked.future) == Code.STALE

    def test_no_frame_as_new_as_asked_for(self):
        with Desk(StandIn()) as desk:
            desk.frame(0)
            asked = query(
                camera="left", not_before_ns=desk.now_ns + SECOND_NS, deadline_s=time.monotonic() + 0.05
            )
            desk.worker.ask(asked)
            assert refused(asked.future) == Code.STALE

    def test_busy(self):
        with Desk(StandIn(open_=False), queue_size=2) as desk:
            desk.frame(0)
            first = query()
            desk.worker.ask(first)
            desk.model.wait()
            for _ in range(2):
                desk.worker.ask(query())
            with pytest.raises(QueryError) as caught:
                desk.worker.ask(query())
            assert caught.value.code == Code.BUSY

    def test_timeout(self):
        with Desk(StandIn(open_=False)) as desk:
            desk.frame(0)
            desk.worker.ask(query())
            desk.model.wait()
            late = query(deadline_s=time.monotonic() - 1)
            desk.worker.ask(late)
            desk.model.let.release()
            assert refused(late.future) == Code.TIMEOUT

    @pytest.mark.parametrize(
        ("error", "code"),
        [(RuntimeError("at 0x7f00"), Code.MODEL_ERROR), (InputError("no."), Code.BAD_REQUEST)],
    )
    def test_errors_of_the_model(self, error, code):
        with Desk(StandIn()) as desk:
            desk.frame(0)
            desk.model.error = error
            asked = query()
            desk.worker.ask(asked)
            with pytest.raises(QueryError) as caught:
                asked.future.result(PATIENCE_S)
            assert caught.value.code == code
            assert "0x7f" not in str(caught.value)

    def test_the_end(self):
        desk = Desk(StandIn(open_=False))
        with desk:
            desk.frame(0)
            desk.worker.ask(query())
            desk.model.wait()
            waiting = query()
            desk.worker.ask(waiting)
            desk.worker.stop(0)
            assert refused(waiting.future) == Code.INACTIVE
            with pytest.raises(QueryError) as caught:
                desk.worker.ask(query())
            assert caught.value.code == Code.INACTIVE


def test_a_query_waits_for_a_frame_as_new_as_it_asks_for():
    with Desk(StandIn()) as desk:
        desk.frame(0)
        asked = query(not_before_ns=desk.now_ns + 5)
        desk.worker.ask(asked)
        newer = desk.frame(9)
        assert asked.future.result(PATIENCE_S).frame is newer


def test_a_hung_model_is_known_and_queries_are_told_at_once():
    with Desk(StandIn(open_=False), hang_s=0.05) as desk:
        desk.frame(0)
        desk.worker.ask(query())
        desk.model.wait()
        deadline_s = time.monotonic() + PATIENCE_S
        while not desk.worker.hung:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        with pytest.raises(QueryError) as caught:
            desk.worker.ask(query())
        assert caught.value.code == Code.BUSY


def test_what_a_hung_model_answers_after_the_end_is_not_published():
    with Desk(StandIn(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        assert not desk.worker.stop(0)
        desk.model.let.release()
        assert desk.settled().outcomes["expired"] == 1
    assert desk.published == []


def talk(hear, **fields):
    return Query(
        lambda width, height: Chat("what is it?"), time.monotonic() + PATIENCE_S, "left", hear=hear, **fields
    )


def test_a_dialogue_streams_while_frames_are_grounded():
    heard = []
    with Desk(StandIn(open_=False)) as desk:
        desk.worker.command = MUG
        desk.frame(0)
        desk.model.wait()
        asked = talk(lambda answer, pixels: heard.append(answer.text))
        desk.worker.ask(asked)
        desk.frame(1)
        desk.model.let.release(10)
        assert asked.future.result(PATIENCE_S).answer.text == "a b c"
        desk.wait(2)
    assert heard == ["a", "a b", "a b c", "a b c"]
    kinds = [type(jobs[0][1]).__name__ for jobs in desk.model.jobs]
    # By turns: the first batch has two parts, of which the model sees the first.
    assert kinds[:4] == ["Locate", "Chat", "Chat", "Locate"]


def test_a_cancelled_dialogue_ends_within_one_token():
    cancelled = threading.Event()
    with Desk(StandIn()) as desk:
        desk.frame(0)
        asked = talk(lambda answer, pixels: cancelled.set(), cancelled=cancelled)
        desk.worker.ask(asked)
        assert asked.future.result(PATIENCE_S).answer.text == "a"
    assert len(desk.model.jobs) == 1
