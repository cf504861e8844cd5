"""The services and the action: a request becomes a query for the inference thread, and its result a response.

`~/locate`, `~/describe` and `~/ask` answer once; `~/converse` streams one turn of a dialogue token by token
and can be cancelled. The field `dialogue` of its result holds all turns as JSON. The node keeps nothing, so a
dialogue continues after the node is restarted.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

from kosmos2.action import Converse

from kosmos2_core.answers import Answer
from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.decoding import Decoding
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_core.requests import Ask, Caption, Chat, Describe, Request
from kosmos2_io.images import Fallback, check_image
from kosmos2_io.stamps import header_ns, to_ns, to_s
from kosmos2_ros.errors import Code, RequestError, log_error, public_message, timeout_error
from kosmos2_ros.frames import CameraFrame
from kosmos2_ros.inference import InferenceThread
from kosmos2_ros.messages import ANSWERS
from kosmos2_ros.outputs import ResultMessages
from kosmos2_ros.parameters import GroundingParameters
from kosmos2_ros.slow_outputs import SlowOutputs
from kosmos2_ros.work import InferenceResult, PendingQuery, RequestMaker

GRACE_S = 0.1  # after the deadline, for the inference thread to say why the answer is late
DIALOGUE_TEXTS = 16  # a dialogue may have this many times the bytes of a text
CANCEL_POLL_S = 0.02  # how often a dialogue looks for a cancel request while no token arrives

Turns = tuple[tuple[str, str], ...]  # question and answer


@dataclass(frozen=True)
class ActiveSession:
    """The objects that exist only while the node is active."""

    inference: InferenceThread
    messages: ResultMessages
    slow_outputs: SlowOutputs


class Services:
    """Answers the three services.

    Args:
        parameters: Returns the current parameters.
        session: Returns the session, or raises RequestError with code INACTIVE if the node is not active.
        logger: The node's logger.
        fallback: Reads image encodings that `kosmos2_io` does not know.
    """

    def __init__(
        self,
        parameters: Callable[[], GroundingParameters],
        session: Callable[[], ActiveSession],
        logger: Any,
        fallback: Fallback | None = None,
    ) -> None:
        self.parameters, self.session = parameters, session
        self._logger, self._fallback = logger, fallback
        self._ids = itertools.count(1)

    def locate(self, request: Any, response: Any) -> Any:
        """Answer `~/locate`."""
        return self._catch_errors(self._locate, request, response)

    def describe(self, request: Any, response: Any) -> Any:
        """Answer `~/describe`."""
        return self._catch_errors(self._describe, request, response)

    def ask(self, request: Any, response: Any) -> Any:
        """Answer `~/ask`."""
        return self._catch_errors(self._ask, request, response)

    def error_of(self, error: Exception) -> tuple[int, str]:
        """Return the error code and the message of a response; log an unexpected exception."""
        if isinstance(error, RequestError):
            return int(error.code), str(error)
        if isinstance(error, InputError):
            return int(Code.BAD_REQUEST), str(error)
        log_error(self._logger, error)
        return int(Code.MODEL_ERROR), public_message(error)

    def make_query(self, request: Any, make_request: RequestMaker) -> PendingQuery:
        """Return a query with the fields that all services and the action have: camera, image, timeout.

        Args:
            request: The ROS request or goal.
            make_request: Makes the engine's request once the size of the image is known.

        Raises:
            InputError: A field makes no sense.
        """
        parameters = self.parameters()
        deadline_s = time.monotonic() + (_timeout_s(request.timeout) or parameters.query_timeout_s)
        query = PendingQuery(
            make_request,
            deadline_s,
            _camera_name(request.camera, parameters.cameras),
            Decoding(max_new_tokens=parameters.max_new_tokens, deadline_s=deadline_s),
        )
        image = getattr(request, "image", None)  # a Converse goal has neither image nor not_before
        if image is not None and len(image.data):
            check_image(image, self._fallback)
            query.frame = CameraFrame(request.camera, image, header_ns(image))
        elif not_before := getattr(request, "not_before", None):
            query.not_before_ns = to_ns(not_before)
        return query

    def next_id(self) -> str:
        """Return the id of the next answer: q1, q2, ... Ids of commands are 1, 2, ..."""
        return f"q{next(self._ids)}"

    def _catch_errors(self, answer: Callable[[Any, Any], None], request: Any, response: Any) -> Any:
        try:
            answer(request, response)
        except Exception as error:  # the edge of the node: every request gets an answer
            response.error, response.message = self.error_of(error)
        return response

    def _locate(self, request: Any, response: Any) -> None:
        parameters = self.parameters()
        locate = parameters.locate(request.text, request.max_boxes or 1, request.min_score, request.zoom)
        result, query_id = self._answer(request, lambda width, height: locate)
        messages = self.session().messages
        response.frame = messages.frame(result, query_id)
        response.detections = messages.detections(result, query_id)
        if request.want_3d:
            response.detections_3d = messages.detections_3d(result, query_id)

    def _describe(self, request: Any, response: Any) -> None:
        def make_request(width: int, height: int) -> Request:
            region = _region(request.region, width, height)
            return Caption(request.detailed) if region is None else Describe(region)

        response.frame = self._frame(*self._answer(request, make_request))

    def _ask(self, request: Any, response: Any) -> None:
        self.parameters().check_text(request.question)

        def make_request(width: int, height: int) -> Request:
            return Ask(request.question, _region(request.region, width, height), request.ground)

        response.frame = self._frame(*self._answer(request, make_request))

    def _frame(self, result: InferenceResult, query_id: str) -> Any:
        return self.session().messages.frame(result, query_id)

    def _answer(self, request: Any, make_request: RequestMaker) -> tuple[InferenceResult, str]:
        inference, query = self.session().inference, self.make_query(request, make_request)
        inference.ask(query)
        try:
            return query.future.result(query.deadline_s - time.monotonic() + GRACE_S), self.next_id()
        except FutureTimeoutError:
            query.cancelled.set()
            raise timeout_error() from None


class DialogueAction:
    """Executes goals of the action `~/converse`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def execute(self, goal: Any) -> Any:
        """Answer one turn and return the action's result."""
        result = Converse.Result()
        try:
            self._answer(goal, result)
        except Exception as error:  # the edge of the node: every goal gets a result
            result.error, result.message = self._services.error_of(error)
            goal.canceled() if goal.is_cancel_requested else goal.abort()
        finally:
            # rclpy keeps the goal for 15 minutes; its texts need not stay in memory.
            goal.request.text = goal.request.dialogue = ""
        return result

    def _answer(self, goal: Any, result: Any) -> None:
        request, session, parameters = goal.request, self._services.session(), self._services.parameters()
        parameters.check_text(request.text)
        parameters.check_text(request.dialogue, DIALOGUE_TEXTS)
        turns = turns_of(request.dialogue)
        chat = Chat(request.text, turns, request.ground)
        query = self._services.make_query(request, lambda width, height: chat)
        query.on_token = lambda answer, pixels: self._publish_feedback(goal, query, answer, pixels)
        session.inference.ask(query)
        answered = self._wait(goal, query)
        result.frame = session.messages.frame(answered, self._services.next_id())
        result.dialogue = json.dumps([*turns, (request.text, answered.answer.markdown)], ensure_ascii=False)
        goal.canceled() if goal.is_cancel_requested else goal.succeed()

    @staticmethod
    def _publish_feedback(goal: Any, query: PendingQuery, answer: Answer, pixels: Pixels) -> None:
        if goal.is_cancel_requested:
            query.cancelled.set()
            return
        height, width = pixels.shape[:2]
        feedback = Converse.Feedback(text=answer.text, phrases=ANSWERS.phrases(answer, width, height))
        goal.publish_feedback(feedback)

    @staticmethod
    def _wait(goal: Any, query: PendingQuery) -> InferenceResult:
        while True:
            try:
                return query.future.result(CANCEL_POLL_S)
            except FutureTimeoutError:
                if goal.is_cancel_requested:
                    query.cancelled.set()
                if time.monotonic() > query.deadline_s + GRACE_S:
                    query.cancelled.set()
                    raise timeout_error() from None


def turns_of(dialogue: str) -> Turns:
    """Return the turns in the field `dialogue` of an earlier result.

    Raises:
        InputError: The text is not from such a result.
    """
    try:
        turns = json.loads(dialogue) if dialogue else []
        return tuple((_string(question), _string(answer)) for question, answer in turns)
    except (ValueError, TypeError, RecursionError):
        raise InputError(
            "the field dialogue is not from an earlier result: send that unchanged, or leave it empty."
        ) from None


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _camera_name(camera: str, cameras: tuple[str, ...]) -> str:
    """Return the camera that a request is about: the one it names, or the first."""
    if not camera:
        return cameras[0]
    if camera not in cameras:
        named = [name for name in cameras if name]
        advice = f"use one of {', '.join(named)}" if named else "leave `camera` empty"
        raise InputError(f"there is no camera {camera[:60]!r}: {advice}.")
    return camera


def _timeout_s(duration: Any) -> float:
    """Return a request's timeout in seconds; 0: the node's default."""
    if duration.sec < 0:
        raise InputError(f"the timeout is {duration.sec} s: set 0 for the node's default, or a positive one.")
    return to_s(duration)


def _region(region: Any, width: int, height: int) -> Box | None:
    """Return a kosmos2/Box in pixels as a box of the image, or None if it is all zero.

    Raises:
        InputError: The region has no area inside the image.
    """
    x_min, y_min, x_max, y_max = region.x_min, region.y_min, region.x_max, region.y_max
    if not any((x_min, y_min, x_max, y_max)):
        return None
    # A comparison with NaN is false: box_of_pixels says that the box is not finite.
    if min(x_max, width) <= max(x_min, 0) or min(y_max, height) <= max(y_min, 0):
        raise InputError(
            f"the region ({x_min:g}, {y_min:g}, {x_max:g}, {y_max:g}) has no area in the image of {width} x"
            f" {height} pixels: give x_min < x_max and y_min < y_max in pixels."
        )
    return box_of_pixels(x_min, y_min, x_max, y_max, width, height)
