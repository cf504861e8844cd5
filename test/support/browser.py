"""A browser without a window: Chromium, fetched from Debian where this test may install it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CONSOLE = re.compile(r"CONSOLE[:(].*")


@dataclass(frozen=True)
class Page:
    html: str  # after its scripts ran
    console: list[str]  # what it complained of


@cache
def browser() -> str:
    """Its path. Skips the test where there is none."""
    if not _found() and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-q"], timeout=120, **quiet)
        install = ["apt-get", "install", "-qy", "--no-install-recommends", "chromium"]
        subprocess.run(install, timeout=480, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    found = _found()
    if not found:
        pytest.skip(
            "no Chromium: not installed, and this user cannot (apt-get, root and a network are needed)"
        )
    return found


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def opened(file: Path, screenshot: Path | None = None, dark: bool = False) -> Page:
    """The page, five seconds of its own time after it was opened."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=5000"]
    command += ["--window-size=1400,3000", f"--user-data-dir={file.parent / 'browser'}"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    command.append(f"--screenshot={screenshot}" if screenshot else "--dump-dom")
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return Page(done.stdout, CONSOLE.findall(done.stderr))
