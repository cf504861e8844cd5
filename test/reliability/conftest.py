"""The reliability scoreboard: rows of a number, a name, the figure to reach, and the one that was measured.

A test belongs to the row of its marker, and says what it measured by `record_property("figure", ...)`; a
row passes if all its tests do. `make test` runs the rows on fewer examples. `make reliability` and
`make soak` run them on all, print the scoreboard and write docs/reliability.md.
"""

from importlib.util import find_spec

import numpy as np
import pytest
from peer import make_peer, make_processor, save_peer, shape

from kosmos2_core.engine import Engine

from .scoreboard import PAGE, TIER, Row, is_measured, page

if find_spec("rclpy"):
    from serving import model, robot, ros, serve  # noqa: F401

QUERIES, SIZE = 8, 56  # of the small models
ROWS: dict[int, Row] = {}


def pytest_configure(config):
    config.addinivalue_line("markers", "row(number, name, target): the row of the scoreboard it measures")


def pytest_collection_modifyitems(config, items):
    chosen = [item for item in items if is_measured(number_of(item))]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def number_of(item):
    marker = item.get_closest_marker("row")
    return marker.args[0] if marker else None


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
    if not TIER or not ROWS:
        return
    rows = [ROWS[number] for number in sorted(ROWS)]
    terminalreporter.section("reliability")
    for row in rows:
        number, name, target, figure, result = row.cells
        terminalreporter.write_line(f"{number:>2}  {result.strip('*')}  {name}: {figure}  (target: {target})")
    PAGE.write_text(page(rows, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.fixture(scope="session")
def count():
    """Return a function that chooses a number of examples: the full one, or the quick one of `make test`."""
    return lambda full, quick: full if TIER else quick


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
