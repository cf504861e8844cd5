"""All benchmarks by the names of their commands.

`kosmos2 eval refcoco --help` needs titles and options only. The modules that read and score a benchmark
import torch, so they are imported when the benchmark is run.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_eval.benchmarks.benchmark import Benchmark

LANGUAGE_TASKS = ("storycloze", "hellaswag", "winograd", "winogrande", "piqa", "boolq", "cb", "copa")


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark's options, and where to find its implementation.

    Args:
        title: name for people.
        location: `module:NAME` of a `Benchmark`, in this package.
        splits: the first one is the default.
        shots: the possible numbers of examples before each question.
    """

    title: str
    location: str
    splits: tuple[str, ...]
    shots: tuple[int, ...] = (0,)

    def load(self) -> Benchmark:
        """Import the implementation."""
        module, _, name = self.location.partition(":")
        benchmark: Benchmark = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return benchmark


BENCHMARKS = {
    "refcoco": BenchmarkEntry("RefCOCO", "grounding:REFCOCO", ("val", "testA", "testB")),
    "refcoco+": BenchmarkEntry("RefCOCO+", "grounding:REFCOCO_PLUS", ("val", "testA", "testB")),
    "refcocog": BenchmarkEntry("RefCOCOg", "grounding:REFCOCOG", ("val", "test")),
    "flickr30k": BenchmarkEntry("Flickr30k Entities", "grounding:FLICKR30K", ("val", "test")),
    "reg": BenchmarkEntry("REG, RefCOCOg", "captions:REG", ("val", "test"), shots=(0, 2, 4)),
    "caption": BenchmarkEntry("Captions, Flickr30k", "captions:CAPTION", ("test", "val")),
    "vqav2": BenchmarkEntry("VQAv2", "visual_questions:VQAV2", ("val", "test-dev", "test")),
    "seed-bench": BenchmarkEntry("SEED-Bench", "visual_questions:SEED_BENCH", ("image",)),
    "scienceqa": BenchmarkEntry("ScienceQA", "visual_questions:SCIENCEQA", ("test", "val")),
    "ocrbench": BenchmarkEntry("OCRBench", "visual_questions:OCRBENCH", ("all",)),
    "language": BenchmarkEntry("Language", "language:LANGUAGE", LANGUAGE_TASKS),
}
