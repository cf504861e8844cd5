"""The included small model in our engine and in `transformers`, on simulated images."""

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
    """Read a benchmark's data below tmp_path, ask and score: questions, answers and scores by way."""

    def run(benchmark, split, **part):
        questions = benchmark.read(tmp_path, BenchmarkPart(split, **part))
        answers = ask(tiny, questions, benchmark.decoding)
        ways = {way: [by_way[way] for by_way in answers] for way in answers[0]}
        scores = {
            way: {score.name: score for score in benchmark.score(questions, of_way)}
            for way, of_way in ways.items()
        }
        return questions, ways, scores

    return run
