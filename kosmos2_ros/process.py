"""A process with one node that ends at once, and with exit status 0, when it is told to."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn

import rclpy
from rclpy.action import ActionServer
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.executors import (
    ConditionReachedException,
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions

from kosmos2_core.errors import Kosmos2Error

THREADS = 80  # started when needed: each call of a service that waits holds one
END_S = 1.5
NOTHING_TO_DO = (ExternalShutdownException, ShutdownException, ConditionReachedException, TimeoutException)


class Executor(SingleThreadedExecutor):
    """Topics and timers in the thread that spins; services and actions, which may wait long, in others.

    rclpy's executor of many threads hands over every image too, which takes longer than to store it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(THREADS, "kosmos2-call")
        self._handed: set[Any] = set()  # tasks that a thread has, or will have
        self._turn = threading.RLock()  # held while something is waited for or done
        self._ending, self._over = threading.Event(), threading.Event()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        with self._turn:
            if not self._ending.is_set():
                self._take_turn(timeout_sec)
        if self._ending.is_set():
            self._over.wait(END_S)

    def _take_turn(self, timeout_sec: float | None) -> None:
        # InvalidHandle: a subscription that another thread, deactivating the node, has just destroyed.
        with suppress(*NOTHING_TO_DO, InvalidHandle):
            task, entity, _ = self.wait_for_ready_callbacks(timeout_sec, None, self._ending.is_set)
            if entity is None or isinstance(entity, Service | ActionServer):  # None: an action's own work
                self._hand_over(task)
            else:
                task()
                task.result()  # raises what the callback raised

    def _hand_over(self, task: Any) -> None:
        """Once: until a thread begins with it, it is offered again and again."""
        if task not in self._handed:
            self._handed.add(task)
            self._pool.submit(self._do, task)

    def _do(self, task: Any) -> None:
        try:
            task()
        finally:
            self._handed.discard(task)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """After the turn that is being taken, which rclpy's own would take the ground from under."""
        self._ending.set()
        self.wake()
        waited = self._turn.acquire(timeout=END_S if timeout_sec is None else timeout_sec)
        try:
            self._pool.shutdown(wait=False, cancel_futures=True)
            return bool(super().shutdown(timeout_sec))
        finally:
            self._over.set()
            if waited:
                self._turn.release()


def run(
    name: str,
    make: Callable[[], Any],
    started: Callable[[Any], None],
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Make the node and serve it until SIGINT or SIGTERM: exit status 0. started: called when it is served;
    may take long. A node that cannot be made is a sentence and exit status 2.

    The main thread only waits, so that a signal is heard while anything is imported, loaded or computed.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    served = _Served(name, make, started, ended)
    served.start()
    ended.wait()
    if served.status:
        _end(served.status)
    closing = threading.Thread(target=served.close, daemon=True)
    closing.start()
    closing.join(END_S)
    _end(0)


def _end(status: int) -> NoReturn:
    """At once: a model that loads or computes cannot be interrupted, and threads of torch and of ROS outlive
    Python badly."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Served:
    def __init__(
        self, name: str, make: Callable[[], Any], started: Callable[[Any], None], ended: threading.Event
    ) -> None:
        self.status = 0
        self._name, self._make, self._started, self._ended = name, make, started, ended
        self._node: Any = None
        self._executor: Executor | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._node, self._executor = self._make(), Executor()
            self._executor.add_node(self._node)
            threading.Thread(target=self._started, args=(self._node,), daemon=True).start()
            self._executor.spin()
        except (Kosmos2Error, ParameterException) as error:
            print(f"{self._name}: {error}", file=sys.stderr)
            self.status = 2
        except Exception:  # a mistake of ours: whoever started the node is told
            traceback.print_exc()
            self.status = 1
        finally:
            self._ended.set()

    def close(self) -> None:
        if self._executor is None:
            return
        self._node.close()
        self._executor.shutdown(timeout_sec=END_S)
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown()
