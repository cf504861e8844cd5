"""The reliability scoreboard: rows of a number, a name, the figure to reach, and the one that was measured.

A test belongs to the row of its marker, and says what it measured by `record_property("figure", ...)`; a
row passes if all its tests do. `make test` runs the rows on fewer examples. `make reliability` runs them on
all, prints the scoreboard and writes docs/reliability.md.
"""

import os
import platform
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from peer import make_peer, make_processor, save_peer, shape

from kosmos2_core.engine import Engine

if find_spec("rclpy"):
    from serving import model, robot, ros, serve  # noqa: F401

FULL = os.environ.get("KOSMOS2_RELIABILITY") == "full"
PAGE = Path(__file__).resolve().parents[2] / "docs/reliability.md"
QUERIES, SIZE = 8, 56  # of the small models


@dataclass
class Row:
    number: int
    name: str
    target: str
    figures: list[str] = field(default_factory=list)
    passed: bool = True

    @property
    def cells(self) -> tuple[str, ...]:
        result = "pass" if self.passed else "**fail**"
        return str(self.number), self.name, self.target, "; ".join(self.figures) or "-", result


ROWS: dict[int, Row] = {}


def pytest_configure(config):
    config.addinivalue_line("markers", "row(number, name, target): the row of the scoreboard it measures")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    marker = item.get_closest_marker("row")
    if marker and (report.when == "call" or report.failed):
        row = ROWS.setdefault(marker.args[0], Row(*marker.args))
        row.passed &= report.passed
        row.figures += [value for name, value in report.user_properties if name == "figure"]
    return report


def pytest_terminal_summary(terminalreporter):
    if not FULL or not ROWS:
        return
    rows = [ROWS[number].cells for number in sorted(ROWS)]
    terminalreporter.section("reliability")
    for number, name, target, figure, result in rows:
        terminalreporter.write_line(f"{number:>2}  {result.strip('*')}  {name}: {figure}  (target: {target})")
    PAGE.write_text(page(rows), encoding="utf-8")


def page(rows):
    from bench.core import processor_name

    machine = f"{processor_name()}, {os.cpu_count()} processors; Python {platform.python_version()}"
    table = [("row", "test", "target", "measured", "result"), ("---",) * 5, *rows]
    lines = [
        "# Reliability",
        "",
        "`make reliability` runs these tests in full and writes this page. `make test` runs them on fewer",
        "examples.",
        "",
        f"Machine: {machine}.",
        "",
        *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in table),
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def count():
    """How many examples: all of them with `make reliability`, fewer with `make test`."""
    return lambda full, quick: full if FULL else quick


@pytest.fixture(scope="session")
def processor():
    return make_processor(size=SIZE, queries=QUERIES)


@pytest.fixture(scope="session")
def make_folder(processor, tmp_path_factory):
    """A checkpoint of a small model with random weights, which `change(peer)` may have changed before."""

    def make(change=lambda peer: None):
        peer = make_peer(shape(f"{len(processor.tokenizer)} 64 3 128 4", f"48 96 2 3 {SIZE} 14", QUERIES))
        change(peer)
        folder = save_peer(peer, tmp_path_factory.mktemp("checkpoint"))
        processor.tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def engine(make_folder):
    return Engine.load(make_folder(), device="cpu")


@pytest.fixture(scope="session")
def make_speaker(make_folder):
    """An engine of a model that says each id with the log-probability `scores[id]`, whatever it is asked."""

    def make(scores):
        def change(peer):
            model = peer.text_model.model
            model.layer_norm.weight.data.zero_()
            model.layer_norm.bias.data.zero_()[0] = 1
            model.embed_tokens.weight.data[: len(scores), 0] = scores

        return Engine.load(make_folder(change), device="cpu")

    return make


@pytest.fixture(scope="session")
def tokenizer(engine):
    return engine.tokenizer


@pytest.fixture(scope="session")
def picture():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
