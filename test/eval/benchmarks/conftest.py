"""The small model that comes along, in our engine and in the peer, on simulated images."""

import pytest
from released_peer import TINY, peer, pictures  # noqa: F401

from kosmos2_core.engine import Engine
from kosmos2_eval.benchmarks.benchmark import BenchmarkPart
from kosmos2_eval.benchmarks.runner import ask


@pytest.fixture(scope="session")
def tiny():
    return Engine.load(TINY, device="cpu")


@pytest.fixture
def evaluate(tiny, tmp_path):
    """Read a benchmark's data below tmp_path, ask, and judge: questions, answers, figures of each way."""

    def run(benchmark, split, **choice):
        questions = benchmark.read(tmp_path, BenchmarkPart(split, **choice))
        said = ask(tiny, questions, benchmark.decoding)
        ways = {way: [one[way] for one in said] for way in said[0]}
        figures = {
            way: {one.name: one for one in benchmark.score(questions, own)} for way, own in ways.items()
        }
        return questions, ways, figures

    return run
