"""All benchmarks decode as the release does, and stand beside what was published."""

import pytest

from kosmos2_cli.main import COMMANDS
from kosmos2_eval.benchmarks.benchmark import BenchmarkPart
from kosmos2_eval.benchmarks.catalogue import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_decodes_as_the_release(name):
    decoding = BENCHMARKS[name].load().decoding
    assert decoding.released
    assert (decoding.no_repeat, decoding.temperature) == (3, 0)
    assert decoding.beams == (5 if name == "caption" else 1)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_has_a_command_and_a_published_figure(name):
    published = BENCHMARKS[name].load().published
    assert COMMANDS["eval"].subcommands[name].location == "kosmos2_cli.eval_benchmark:BENCHMARK"
    assert any(published(BenchmarkPart(split)) for split in BENCHMARKS[name].splits)
