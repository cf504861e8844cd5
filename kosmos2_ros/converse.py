"""The action: one turn of a dialogue, streamed token by token, stopped by a cancel.

A dialogue's name is the dialogue: its turns as JSON. So nothing is kept here, and a node that was started
anew goes on with it.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import TimeoutError as NotInTime
from typing import Any

from kosmos2.action import Converse

from kosmos2_core.answers import Answer
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_core.requests import Chat
from kosmos2_ros.queries import GRACE_S, Queries
from kosmos2_ros.ros_messages import ANSWERS
from kosmos2_ros.worker import Query, Result, timeout_error

DIALOGUE_TEXTS = 16  # a dialogue may be as long as so many texts
CANCELS_S = 0.02  # how often to look for a cancel while nothing is said
Turns = tuple[tuple[str, str], ...]


class Conversation:
    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def execute(self, goal: Any) -> Any:
        result = Converse.Result()
        try:
            self._answer(goal, result)
        except Exception as error:  # the border of the node: whoever asked gets an answer
            result.error, result.message = self._queries.reason(error)
            goal.canceled() if goal.is_cancel_requested else goal.abort()
        finally:
            # rclpy keeps the goal, and so its texts, for 15 minutes.
            goal.request.text = goal.request.dialogue = ""
        return result

    def _answer(self, goal: Any, result: Any) -> None:
        asked, session, options = goal.request, self._queries.session(), self._queries.options()
        options.check_text(asked.text)
        options.check_text(asked.dialogue, DIALOGUE_TEXTS)
        turns = turns_of(asked.dialogue)
        chat = Chat(asked.text, turns, asked.ground)
        query = self._queries.query(asked, lambda width, height: chat)
        query.hear = lambda answer, pixels: self._tell(goal, query, answer, pixels)
        session.worker.ask(query)
        answered = self._wait(goal, query)
        result.frame = session.replies.frame(answered, self._queries.name())
        result.dialogue = json.dumps([*turns, (asked.text, answered.answer.markdown)], ensure_ascii=False)
        goal.canceled() if goal.is_cancel_requested else goal.succeed()

    @staticmethod
    def _tell(goal: Any, query: Query, answer: Answer, pixels: Pixels) -> None:
        if goal.is_cancel_requested:
            query.cancelled.set()
            return
        height, width = pixels.shape[:2]
        feedback = Converse.Feedback(text=answer.text, phrases=ANSWERS.phrases(answer, width, height))
        goal.publish_feedback(feedback)

    @staticmethod
    def _wait(goal: Any, query: Query) -> Result:
        while True:
            try:
                return query.future.result(CANCELS_S)
            except NotInTime:
                if goal.is_cancel_requested:
                    query.cancelled.set()
                if time.monotonic() > query.deadline_s + GRACE_S:
                    query.cancelled.set()
                    raise timeout_error() from None


def turns_of(dialogue: str) -> Turns:
    """Of an earlier result."""
    try:
        turns = json.loads(dialogue) if dialogue else []
        return tuple((_text(asked), _text(answered)) for asked, answered in turns)
    except (ValueError, TypeError, RecursionError):
        raise InputError(
            "the dialogue is not one of an earlier result: give that back as it was, or leave it empty."
        ) from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
