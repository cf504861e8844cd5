"""Progress of set-up: lines in a log, one live line on a terminal."""

import io
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import progress as progress_module  # noqa: E402
from progress import Progress  # noqa: E402

STAGES = ({"first": 3}, {"packages": 20, "interfaces": 30}, {"last": 5})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test says so."""
    now_s = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now_s[0])

    def wait(seconds: float) -> None:
        now_s[0] += seconds

    return wait


def test_a_log_has_a_line_when_a_step_starts_and_when_it_ends(clock):
    log = io.StringIO()
    progress = Progress(STAGES, log)
    with progress.step("first", "making .venv"):
        clock(4)
    progress.close()
    assert log.getvalue().splitlines() == [
        "set-up: making .venv ... (0 s so far, about 38 s in all)",
        "set-up: making .venv: done in 4 s",
    ]


def test_steps_side_by_side_count_once(clock):
    progress = Progress(STAGES, io.StringIO())
    with progress.step("first", "making .venv"):
        clock(3)
    with progress.step("packages", "installing"), progress.step("interfaces", "building"):
        clock(10)
        assert progress.times() == "13 s so far, about 38 s in all"
        clock(50)  # longer than expected: what is to come still counts
        assert progress.times() == "63 s so far, about 68 s in all"


def test_a_step_with_nothing_to_do_is_silent_and_takes_no_time():
    log = io.StringIO()
    progress = Progress(STAGES, log)
    with progress.step("first", "making .venv", needed=False):
        pass
    assert log.getvalue() == ""
    assert progress.times() == "0 s so far, about 35 s in all"


def test_a_terminal_has_one_line_that_fits_and_is_erased(monkeypatch):
    monkeypatch.setattr(progress_module, "REFRESH_S", 0.001)
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    progress = Progress(STAGES, terminal)
    with progress.step("first", "a title " * 20):
        while "so far" not in terminal.getvalue():
            pass
        progress.say("a sentence")
    progress.close()
    shown = terminal.getvalue().split(progress_module.ERASE)
    live = [line for line in shown if "so far" in line]
    assert live
    assert all(len(line) < 60 for line in live)
    assert "set-up: a sentence\n" in shown
    assert shown[-1] == ""
    assert terminal.getvalue().count("\n") == 2  # the sentence, and the end of the step
