"""A process with one node. On SIGINT or SIGTERM it ends at once, with exit status 0."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
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
from rclpy.logging import LoggingSeverity, get_logger, set_logger_level
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions

from kosmos2_core.errors import DiskError, InputError, Kosmos2Error
from kosmos2_core.regular_files import check_regular_file
from kosmos2_ros.errors import log_error
from kosmos2_ros.shared_memory import destroy_node, remove_stale_segments

CALL_THREADS = 80  # started when needed: each service call that waits occupies one
END_TIMEOUT_S = 1.5
MAX_PARAMETER_FILE_BYTES = 2**18
C_POSITION = re.compile(r", at [^\s,]+:\d+")  # in an error message of ROS
NO_WORK = (ExternalShutdownException, ShutdownException, ConditionReachedException, TimeoutException)


class Executor(SingleThreadedExecutor):
    """Runs topics and timers in the spinning thread; services and actions, which may wait long, in others.

    rclpy's multi-threaded executor hands every image to another thread, which takes longer than to store it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(CALL_THREADS, "kosmos2-call")
        self._handed_over: set[Any] = set()  # tasks that another thread runs or will run
        self._turn = threading.RLock()  # held while this executor waits for work or runs a callback
        self._ending, self._ended = threading.Event(), threading.Event()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback and run it, or hand it over."""
        with self._turn:
            if not self._ending.is_set():
                self._take_turn(timeout_sec)
        if self._ending.is_set():
            self._ended.wait(END_TIMEOUT_S)

    def _take_turn(self, timeout_sec: float | None) -> None:
        # InvalidHandle: another thread, deactivating the node, has just destroyed the subscription.
        with suppress(*NO_WORK, InvalidHandle):
            task, entity, node = self.wait_for_ready_callbacks(timeout_sec, None, self._ending.is_set)
            if entity is None or isinstance(entity, Service | ActionServer):  # None: work of an action goal
                self._hand_over(task, node)
            else:
                task()
                self._end_or_go_on(task.exception(), node)

    def _end_or_go_on(self, error: Exception | None, node: Any) -> None:
        """Raise the project's own errors, which mean that the node cannot go on; log others.

        rclpy's own callbacks raise exceptions too: that of /clock does so for a time below zero.
        """
        if isinstance(error, Kosmos2Error):
            raise error
        _log_unexpected(error, node)

    def _hand_over(self, task: Any, node: Any) -> None:
        """Run a task in another thread, once: rclpy offers it again until it has begun."""
        if task not in self._handed_over:
            self._handed_over.add(task)
            self._pool.submit(self._run_task, task, node)

    def _run_task(self, task: Any, node: Any) -> None:
        try:
            task()
            _log_unexpected(task.exception(), node)
        finally:
            self._handed_over.discard(task)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Shut down after the running callback: rclpy's shutdown destroys the wait set that it still uses."""
        self._ending.set()
        self.wake()
        waited = self._turn.acquire(timeout=END_TIMEOUT_S if timeout_sec is None else timeout_sec)
        try:
            self._pool.shutdown(wait=False, cancel_futures=True)
            return bool(super().shutdown(timeout_sec))
        finally:
            self._ended.set()
            if waited:
                self._turn.release()


def _log_unexpected(error: Exception | None, node: Any) -> None:
    """Log what a callback raised, so that the node goes on without this message or call."""
    if error is not None and not isinstance(error, InvalidHandle):  # something was destroyed meanwhile
        log_error(node.get_logger() if node else get_logger("kosmos2"), error)


def run(
    name: str,
    make: Callable[[], Any],
    started: Callable[[Any], None],
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Make a node and spin it until SIGINT or SIGTERM, then end the process with status 0.

    The main thread only waits, so signals are handled while modules are imported or a model is loaded.

    Args:
        name: The program's name, for error messages.
        make: Makes the node. A node that cannot be made is one sentence on stderr and exit status 2.
        started: Called in a thread with the node when it spins; may take long.
        args: Command-line arguments; None: sys.argv.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    remove_stale_segments()
    try:
        init_ros(args)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        _exit_now(2)
    spinner = _Spinner(name, make, started, ended)
    spinner.start()
    ended.wait()
    status = spinner.status  # of what ended it; errors of a node that is being closed do not count
    closing = threading.Thread(target=spinner.close, daemon=True)
    closing.start()
    closing.join(END_TIMEOUT_S)
    _exit_now(status)


def init_ros(args: Sequence[str] | None) -> None:
    """Initialize rclpy without its signal handlers.

    Raises:
        InputError: rclpy cannot read the arguments after `--ros-args`.
    """
    words = sys.argv[1:] if args is None else args
    check_parameter_files(words)
    rcl_logger = "rcl"
    set_logger_level(rcl_logger, LoggingSeverity.FATAL)  # the exception says more than its line in the log
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rclpy has no public class for wrong arguments
        raise wrong_arguments(error, words) from None
    finally:
        set_logger_level(rcl_logger, LoggingSeverity.UNSET)


def check_parameter_files(words: Sequence[str]) -> None:
    """Refuse files that ROS would read for ever: pipes, and large ones, whose nesting costs it minutes.

    Raises:
        InputError: A file after `--params-file` cannot be read, or is too large.
    """
    for option, name in pairwise(words):
        if option != "--params-file":
            continue
        file = Path(name)
        try:
            check_regular_file(file)
            if (size := file.stat().st_size) > MAX_PARAMETER_FILE_BYTES:
                raise InputError(
                    f"the parameter file {name} has {size:,} bytes, more than {MAX_PARAMETER_FILE_BYTES:,}:"
                    " give a shorter one."
                )
        except OSError as error:
            raise InputError(f"the parameter file {name} cannot be read ({error.strerror}).") from None


def wrong_arguments(error: RuntimeError, words: Sequence[str]) -> InputError:
    """Return a sentence about arguments that ROS cannot read, without the positions in its C code."""
    reason = C_POSITION.sub("", str(error)).replace(". Error: ", ": ").rstrip(".")
    return InputError(f"ROS cannot use the arguments `{' '.join(words)}` ({reason}).")


def _exit_now(status: int) -> NoReturn:
    """Exit without cleaning up.

    A model that computes cannot be interrupted, and threads of torch and ROS crash when Python ends first.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Spinner:
    """The thread that makes the node and spins it."""

    def __init__(
        self, name: str, make: Callable[[], Any], started: Callable[[Any], None], ended: threading.Event
    ) -> None:
        self.status = 0
        self._name, self._make, self._started, self._ended = name, make, started, ended
        self._node: Any = None
        self._executor: Executor | None = None
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._node, self._executor = self._make(), Executor()
            self._executor.add_node(self._node)
            threading.Thread(target=self._started, args=(self._node,), daemon=True).start()
            self._executor.spin()
        except (Kosmos2Error, ParameterException) as error:
            print(f"{self._name}: {error}", file=sys.stderr)
            self.status = 1 if isinstance(error, DiskError) else 2
        except Exception:  # a programming error: show all of it
            traceback.print_exc()
            self.status = 1
        finally:
            self._ended.set()

    def close(self) -> None:
        if self._executor is None:
            gc.collect()  # ends the participant of a node that could not be made
            return
        self._node.close()
        self._executor.shutdown(timeout_sec=END_TIMEOUT_S)
        self._thread.join()
        destroy_node(self._node)
        rclpy.try_shutdown()
