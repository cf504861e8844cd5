"""`kosmos2 watch`: shows what a running node detects, as a live table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from kosmos2.msg import Box, GroundedFrame, GroundedPhrase

from kosmos2_core.errors import InputError
from kosmos2_ros.apps.results import NodeResult, open_reader

CLEAR_LINE, CURSOR_UP = "\x1b[K", "\x1b[{}A"


def watch(target: str, once: bool, as_json: bool, timeout_s: float) -> None:
    """Print the results of a node until Ctrl-C, and say so whenever there are none.

    Args:
        target: name of the node, such as `/grounding`.
        once: stop after the first result.
        as_json: print one line of JSON per result instead of a table.
        timeout_s: how long to wait for a result before saying that there is none.

    Raises:
        InputError: `once` is set and there was no result within `timeout_s`.
    """
    table = LiveTable() if sys.stdout.isatty() and not (as_json or once) else None
    with open_reader("watch", target) as reader:
        while True:
            for result in reader.results(timeout_s):
                if table:
                    table.show(result)
                else:
                    print(format_result(result, as_json), flush=True)
                if once:
                    return
            silence = (
                f"no result of {reader.target} for {timeout_s:g} s: check that the node runs, is active, has"
                " a command (`kosmos2 say`) and gets images, and that ROS_DOMAIN_ID is the same there."
            )
            if once:
                raise InputError(silence)
            print(f"kosmos2: {silence}", file=sys.stderr)


def format_result(result: NodeResult, as_json: bool) -> str:
    """Return a result as text: one line of JSON, or a table."""
    return json.dumps(as_dict(result)) if as_json else "\n".join(table_lines(result))


class LiveTable:
    """The newest result of each camera, drawn again in place whenever one arrives."""

    def __init__(self) -> None:
        self._newest: dict[str, NodeResult] = {}
        self._height = 0  # lines on the screen

    def show(self, result: NodeResult) -> None:
        """Draw the table with this result in place of the camera's last one."""
        self._newest[result.topic] = result
        width, height = shutil.get_terminal_size()
        lines = [line for topic in sorted(self._newest) for line in table_lines(self._newest[topic])]
        lines = [line[: width - 1] for line in lines[: height - 1]]
        up = CURSOR_UP.format(self._height) if self._height else ""
        below = max(0, self._height - len(lines))
        rows = "".join(f"{line}{CLEAR_LINE}\n" for line in lines + [""] * below)
        print(up + rows, end="", flush=True)
        self._height = len(lines) + below


def table_lines(result: NodeResult) -> Iterator[str]:
    """Yield a line about the image, then one line per box or absent phrase, in pixels."""
    frame = result.frame
    stamp = datetime.fromtimestamp(frame.header.stamp.sec + frame.header.stamp.nanosec * 1e-9)
    yield (
        f"{result.topic}  {stamp:%H:%M:%S.%f}, {_seconds(frame.frame_age) * 1e3:.0f} ms old,"
        f" command {frame.command_id}: {frame.text}"
    )
    column = max((len(phrase.phrase) for phrase in frame.phrases), default=0)
    for phrase in frame.phrases:
        for row in _rows(phrase):
            yield f"  {phrase.phrase:<{column}}  {row}"


def _rows(phrase: GroundedPhrase) -> Iterator[str]:
    if not phrase.boxes:
        yield f"not found (presence {phrase.presence:.2f})"
    for box in phrase.boxes:
        x1, y1, x2, y2 = map(round, _edges(box))
        yield f"{box.score:.2f}  x {x1:>4} to {x2:>4}, y {y1:>4} to {y2:>4}"


def as_dict(result: NodeResult) -> dict[str, Any]:
    """Return a result for a program; boxes are in pixels, times in seconds."""
    frame: GroundedFrame = result.frame
    return {
        "topic": result.topic,
        "camera": frame.camera,
        "stamp": f"{frame.header.stamp.sec}.{frame.header.stamp.nanosec:09}",
        "command_id": frame.command_id,
        "text": frame.text,
        "width": frame.image_width,
        "height": frame.image_height,
        "phrases": [
            {
                "phrase": phrase.phrase,
                "presence": phrase.presence,
                "boxes": [{"box_px": _edges(box), "score": box.score} for box in phrase.boxes],
            }
            for phrase in frame.phrases
        ],
        "frame_age_s": _seconds(frame.frame_age),
        "inference_time_s": _seconds(frame.inference_time),
        "model": frame.model,
    }


def _edges(box: Box) -> list[float]:
    return [box.x_min, box.y_min, box.x_max, box.y_max]


def _seconds(duration: Any) -> float:
    return float(duration.sec + duration.nanosec * 1e-9)
