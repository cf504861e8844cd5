"""Shared memory of Fast DDS: none is left behind by this process, nor by one that was killed before it.

Each participant has segments in /dev/shm, 34 MiB with config/fastdds.xml. They are removed when it ends: when
nothing of its nodes is left.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rclpy.action import ActionServer

SHARED_MEMORY: Final = Path("/dev/shm")
# Fast DDS 2 and 3 name segments so. Their owner holds a lock on a file beside them as long as it lives.
SEGMENT_LOCK: Final = re.compile(r"fast(?:rtps|dds)_[0-9a-z]{16}_el")
LOCK_SUFFIX: Final = "_el"
# The name of a segment is random and never used again, and its lock is taken right after the lock file is
# created: an unlocked file that is older than this belongs to a process that has ended.
MIN_AGE_S: Final = 60.0


def destroy_node(node: Any) -> None:
    """Destroy a node with everything that belongs to it, so that its participant ends.

    rclpy's `destroy_node` leaves the action servers, and the state machine of a lifecycle node, which has no
    public name.
    """
    for waitable in list(node.waitables):
        if isinstance(waitable, ActionServer):
            waitable.destroy()
    node.destroy_node()
    if state_machine := getattr(node, "_state_machine", None):
        state_machine.destroy_when_not_in_use()


def remove_stale_segments(folder: Path = SHARED_MEMORY) -> None:
    """Remove this user's segments whose process was killed, as `fastdds shm clean` does for all users."""
    with suppress(OSError):  # there is no such folder
        for file in folder.iterdir():
            if SEGMENT_LOCK.fullmatch(file.name):
                with suppress(OSError):  # it is locked, or its owner or another process has just removed it
                    _remove_if_stale(file)


def _remove_if_stale(lock_file: Path) -> None:
    descriptor = os.open(lock_file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid() or time.time() - state.st_mtime < MIN_AGE_S:
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock_file.with_name(lock_file.name.removesuffix(LOCK_SUFFIX)).unlink(missing_ok=True)
        lock_file.unlink()
    finally:
        os.close(descriptor)
