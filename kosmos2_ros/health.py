"""/diagnostics: how the model and each camera are, in a level, a sentence and numbers."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from kosmos2_ros.camera import Camera
from kosmos2_ros.worker import Worker

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
STALE_S = 1.4  # without a frame: known within two seconds
Values = dict[str, Any]


class Rates:
    """How fast counters grew between two looks."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def hz(self, name: str, total: int) -> float:
        now_s = time.monotonic()
        before_s, before = self._last.get(name, (now_s, total))
        self._last[name] = now_s, total
        return (total - before) / (now_s - before_s) if now_s > before_s else 0.0


class Health:
    def __init__(self, node: str) -> None:
        self._node, self._rates = node, Rates()

    def report(
        self, head: Any, state: str, about: Values, worker: Worker | None, cameras: Iterable[Camera]
    ) -> Any:
        """state: the lifecycle's. about: what was configured. worker: of an active node."""
        statuses = [self._of_model(state, about, worker)]
        if worker:
            statuses += [self._of_camera(camera, worker) for camera in cameras]
        return DiagnosticArray(header=head, status=statuses)

    def _of_model(self, state: str, about: Values, worker: Worker | None) -> Any:
        values = {"state": state, **about, **memory()}
        if worker is None:
            return self._status("model", OK, f"{state}: not grounding", values)
        ages, inferences = np.array(list(worker.recent), float).reshape(-1, 2).T / 1e6
        values |= {
            "command": worker.command.request.text if worker.command else "",
            "queries_waiting": worker.queued,
            "latency_p50_ms": _percentile(ages, 50),
            "latency_p95_ms": _percentile(ages, 95),
            "inference_p50_ms": _percentile(inferences, 50),
            "inference_p95_ms": _percentile(inferences, 95),
            "busy_s": round(worker.busy_s, 3),
        }
        if worker.hung:
            hung = f"the model has not answered for {worker.busy_s:.0f} s: restart the node"
            return self._status("model", ERROR, hung, values)
        if not worker.alive:
            return self._status("model", ERROR, "the model's thread ended: activate the node anew", values)
        doing = "grounding" if worker.command else "waiting for a command"
        return self._status("model", OK, doing, values)

    def _of_camera(self, camera: Camera, worker: Worker) -> Any:
        books = camera.mailbox.books.snapshot()
        newest = camera.mailbox.newest
        age_s = time.monotonic() - newest.arrived_s if newest else float("nan")
        name = camera.name or "camera"
        values = {
            "topic": camera.full_topic,
            "received": books.received,
            **{str(outcome): number for outcome, number in books.outcomes.items()},
            "in_flight": books.in_flight,
            "received_hz": round(self._rates.hz(f"{name}/in", books.received), 2),
            "processed_hz": round(self._rates.hz(f"{name}/out", books.outcomes["processed"]), 2),
            "last_frame_s_ago": round(age_s, 3),
            **books.reasons,
        }
        level, message = self._trouble(camera, age_s)
        return self._status(name, level, message, values)

    def _trouble(self, camera: Camera, age_s: float) -> tuple[bytes, str]:
        if camera.deaf_to:
            topic, policy = camera.deaf_to
            return ERROR, (
                f"incompatible QoS ({policy}) on {topic}: change the camera's, or the parameter"
                f" qos_overrides.{topic}.subscription.{policy}"
            )
        if camera.publishers == 0:
            return WARN, f"no publisher on {camera.full_topic}: is the camera on, the topic right?"
        if np.isnan(age_s):
            return WARN, f"a publisher on {camera.full_topic}, but no image yet"
        if age_s > STALE_S:
            return WARN, f"stale: the last image came {age_s:.1f} s ago"
        return OK, "images arrive"

    def _status(self, part: str, level: bytes, message: str, values: Mapping[str, Any]) -> Any:
        return DiagnosticStatus(
            name=f"{self._node}: {part}",
            hardware_id=part,
            level=level,
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def memory() -> Values:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = {
        "memory_MiB": pages * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "memory_peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10,
    }
    if torch.cuda.is_available():
        used["gpu_memory_MiB"] = torch.cuda.memory_allocated() // 2**20
    return used


def _percentile(values: Any, share: int) -> float:
    return round(float(np.percentile(values, share)), 1) if len(values) else float("nan")
