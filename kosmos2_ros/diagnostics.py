"""/diagnostics: the state of the model and of each camera, as a level, a sentence and numbers."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from kosmos2_core.weight_files import WeightFiles
from kosmos2_ros.inference import InferenceThread
from kosmos2_ros.inputs import CameraInput

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
STALE_S = 1.4  # without a frame; it is reported within two seconds
LATE_FACTOR = 3  # a camera is stale or silent only after so many of its intervals: some send once in 5 s
SILENCE_S = 5.0  # without a frame, until the log says so
Values = dict[str, Any]


class Rates:
    """The rates at which counters grow between two reports."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def hz(self, name: str, total: int) -> float:
        """Return the rate since the last call for this counter; 0 at the first call."""
        now_s = time.monotonic()
        before_s, before = self._last.get(name, (now_s, total))
        self._last[name] = now_s, total
        return (total - before) / (now_s - before_s) if now_s > before_s else 0.0


@dataclass(frozen=True)
class ModelState:
    """The part of the model's status that the inference thread does not know.

    Args:
        lifecycle: The node's state.
        values: Numbers and texts to report: checkpoint, device, threshold.
        problem: Why the node cannot ground; empty: it can, or nothing went wrong.
        loading: The model is being loaded.
        warning: What the user should know about a model that works; else empty.
    """

    lifecycle: str
    values: Values
    problem: str = ""
    loading: bool = False
    warning: str = ""


class WeightWatch:
    """Tells which weights run, and whether the files they came from have changed.

    Args:
        weights: The files; None: the model was not loaded from files.
    """

    def __init__(self, weights: WeightFiles | None) -> None:
        self.sha256 = ""  # known after some seconds, since the files must be read once more
        self._weights = weights
        if weights:
            threading.Thread(target=self._read, args=(weights,), daemon=True).start()

    def _read(self, weights: WeightFiles) -> None:
        with suppress(OSError):  # a file was removed, which `changed` tells
            self.sha256 = weights.digest()

    @property
    def warning(self) -> str:
        """A sentence if the files have changed since they were loaded, else nothing."""
        if self._weights is None or not self._weights.changed():
            return ""
        return "the checkpoint changed on disk, the loaded model did not: restart the node to use the new one"


class Diagnostics:
    """Makes the messages on /diagnostics.

    Args:
        node: The node's full name; names of statuses begin with it.
    """

    def __init__(self, node: str) -> None:
        self._node, self._rates = node, Rates()

    def report(
        self,
        header: Any,
        model: ModelState,
        inference: InferenceThread | None,
        cameras: Iterable[CameraInput],
        problems_3d: Mapping[str, str],
    ) -> Any:
        """Return a DiagnosticArray.

        Args:
            header: The time of the report.
            model: The state of the model.
            inference: The inference thread of an active node, else None.
            cameras: Reported only while the node is active.
            problems_3d: Why boxes could not be placed in space, by camera.
        """
        statuses = [self._model_status(model, inference)]
        if inference:
            statuses += [self._camera_status(camera, problems_3d.get(camera.name, "")) for camera in cameras]
        return DiagnosticArray(header=header, status=statuses)

    def _model_status(self, model: ModelState, inference: InferenceThread | None) -> Any:
        values = {"state": model.lifecycle, **model.values, **memory_use()}
        if inference is None:
            if model.loading:
                return self._status("model", OK, f"{model.lifecycle}: loading the model", values)
            if model.problem:
                return self._status("model", ERROR, model.problem, values)
            return self._status("model", OK, f"{model.lifecycle}: not grounding", values)
        ages, inference_times = np.array(list(inference.recent), float).reshape(-1, 2).T / 1e6
        values |= {
            "command": inference.command.request.text if inference.command else "",
            "queries_waiting": inference.queue_length,
            "latency_p50_ms": _percentile(ages, 50),
            "latency_p95_ms": _percentile(ages, 95),
            "inference_p50_ms": _percentile(inference_times, 50),
            "inference_p95_ms": _percentile(inference_times, 95),
            "busy_s": round(inference.busy_s, 3),
        }
        if inference.hung:
            return self._status("model", ERROR, inference.why_hung, values)
        if not inference.alive:
            ended = "the inference thread ended: deactivate the node and activate it again"
            return self._status("model", ERROR, ended, values)
        if model.problem:
            return self._status("model", ERROR, model.problem, values)
        if model.warning:
            return self._status("model", WARN, model.warning, values)
        activity = "grounding" if inference.command else "waiting for a command"
        return self._status("model", OK, activity, values)

    def _camera_status(self, camera: CameraInput, problem_3d: str) -> Any:
        counts = camera.data.latest.counts.snapshot()
        newest = camera.data.latest.newest
        age_s = time.monotonic() - newest.arrived_s if newest else float("nan")
        name = camera.name or "camera"
        values = {
            "topic": camera.image_topic,
            "received": counts.received,
            **{str(outcome): number for outcome, number in counts.outcomes.items()},
            "in_flight": counts.in_flight,
            "received_hz": round(self._rates.hz(f"{name}/in", counts.received), 2),
            "processed_hz": round(self._rates.hz(f"{name}/out", counts.outcomes["processed"]), 2),
            "last_frame_s_ago": round(age_s, 3),
            **counts.reasons,
        }
        level, message = camera_problem(camera, age_s)
        if level == OK and problem_3d:
            level, message = WARN, f"images arrive, but boxes have no place in space: {problem_3d}"
        return self._status(name, level, message, values)

    def _status(self, part: str, level: bytes, message: str, values: Mapping[str, Any]) -> Any:
        return DiagnosticStatus(
            name=f"{self._node}: {part}",
            hardware_id=part,
            level=level,
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def camera_problem(camera: CameraInput, age_s: float) -> tuple[bytes, str]:
    """Return the level and the sentence about a camera.

    Args:
        camera: The camera.
        age_s: Seconds since the newest image arrived; NaN if none has.
    """
    if camera.incompatible:
        topic, policy = camera.incompatible
        return ERROR, (
            f"incompatible QoS ({policy}) on {topic}: change the camera's, or the parameter"
            f" qos_overrides.{topic}.subscription.{policy}"
        )
    if camera.publisher_count == 0:
        return WARN, f"no publisher on {camera.image_topic}: is the camera on, and is the topic right?"
    if np.isnan(age_s):
        return WARN, f"a publisher on {camera.image_topic}, but no image yet"
    if age_s > patience_s(camera, STALE_S):
        return WARN, f"stale: the last image came {age_s:.1f} s ago"
    return OK, "images arrive"


def patience_s(camera: CameraInput, at_least_s: float) -> float:
    """Return how long a camera may send nothing: some of its intervals, or longer before one is known."""
    interval_s = camera.data.latest.interval_s
    return SILENCE_S if interval_s is None else max(at_least_s, LATE_FACTOR * interval_s)


class SilenceLog:
    """Logs a camera that sends no image for 5 s, once per silence, and its return."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._since_s: dict[
            str, float
        ] = {}  # by image topic: when the last frame arrived, or listening began
        self._silent: set[str] = set()

    def start(self, cameras: Iterable[CameraInput]) -> None:
        """Begin to watch these cameras."""
        self._since_s = dict.fromkeys((camera.image_topic for camera in cameras), time.monotonic())
        self._silent = set()

    def check(self, cameras: Iterable[CameraInput]) -> None:
        """Log changes; called regularly while the node is active."""
        for camera in cameras:
            self._check(camera, camera.image_topic)

    def _check(self, camera: CameraInput, topic: str) -> None:
        newest = camera.data.latest.newest
        since_s = max(newest.arrived_s if newest else 0.0, self._since_s.get(topic, time.monotonic()))
        silence_s, limit_s = time.monotonic() - since_s, patience_s(camera, SILENCE_S)
        if silence_s >= limit_s and topic not in self._silent:
            self._silent.add(topic)
            _, problem = camera_problem(camera, silence_s if newest else float("nan"))
            self._logger.warning(f"no image on {topic} for {silence_s:.0f} s ({problem})")
        elif silence_s < limit_s and topic in self._silent:
            self._silent.remove(topic)
            self._logger.info(f"images arrive on {topic} again")


def memory_use() -> Values:
    """Return the memory of this process, and of the GPU if there is one."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = {
        "memory_MiB": pages * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "memory_peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10,
    }
    if torch.cuda.is_available():
        used["gpu_memory_MiB"] = torch.cuda.memory_allocated() // 2**20
    return used


def _percentile(values: Any, percent: int) -> float:
    return round(float(np.percentile(values, percent)), 1) if len(values) else float("nan")
