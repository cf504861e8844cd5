"""Processes that a test starts, waits for, ends and kills."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

HERE, SHARED = Path(__file__).parent, Path("/dev/shm")
SCRIPTS = HERE.parent / "reliability"
PATIENCE_S = 120.0


def environment():
    """The environment of a child process that imports test helpers."""
    return os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


class Process:
    def __init__(self, script, *arguments, patience_s=PATIENCE_S):
        command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
        self._before = set(SHARED.iterdir())
        self.popen = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._patience = threading.Timer(patience_s, self.popen.kill)
        self._patience.start()

    def wait(self, word):
        """Until it says that; when that was."""
        assert any(line.strip() == word for line in self.popen.stdout), f"it ended and never said {word}"
        return time.monotonic()

    def send(self, number):
        """Its exit status, and the seconds until it was gone."""
        began_s = time.monotonic()
        self.popen.send_signal(number)
        status = self.popen.wait()
        return status, time.monotonic() - began_s

    def kill(self):
        """As a crash; when that was. What it leaves in the shared memory is taken away."""
        held = self.shared_files()
        self.popen.kill()
        self.popen.wait()
        killed_s = time.monotonic()
        self._patience.cancel()
        self.popen.stdout.close()
        for file in held:
            file.unlink(missing_ok=True)
        return killed_s

    def shared_files(self):
        """Return the shared files that the process holds and that were not there before it."""
        return shared_files(self.popen.pid) - self._before


def shared_files(process="self"):
    """Files in shared memory that a process holds now: mapped or locked. None, once it has ended."""
    about, files = Path("/proc", str(process)), list[str]()
    with suppress(OSError):
        files += [line.split()[-1] for line in (about / "maps").read_text().splitlines() if "/" in line]
        for descriptor in list((about / "fd").iterdir()):
            with suppress(OSError):  # it was closed, as the one that lists them
                files.append(os.readlink(descriptor))
    return {Path(file) for file in files if file.startswith(f"{SHARED}/")}


@contextmanager
def process(script, *arguments, **settings):
    started = Process(script, *arguments, **settings)
    try:
        yield started
    finally:
        started.kill()
