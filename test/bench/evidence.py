"""Measure what each kind of evidence for presence costs.

    python test/bench/evidence.py [MODEL ...] [--rounds N] [--threads N] [--question WORDS]

Locates one phrase and eight phrases in a new image, N times (default 20) with each combination of evidence
in turn, and prints the median time in a table in Markdown. This is the CPU time of the process, because on a
busy machine the time of the clock says little. Without names the model is models/tabletop-tiny.

For the size of the public checkpoint, give a random model that `test/bench/checkpoint.py` wrote. With the
public vocabulary the default question has about 13 tokens, with that model's small one 25; `--question "{}?"`
has 15 to 20.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tasks import PHRASES

from kosmos2_core import presence
from kosmos2_core.calibration import Calibration
from kosmos2_core.engine import Engine
from kosmos2_core.presence import PresenceWeights
from kosmos2_core.requests import Locate

MODEL = Path(__file__).resolve().parents[2] / "models/tabletop-tiny"
COMBINATIONS = (("object",), ("question",), ("phrase",), ("question", "phrase"), presence.EVIDENCE_KINDS)
NUMBERS = (1, len(PHRASES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=[str(MODEL)])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--question", default=presence.EXISTENCE_QUESTION)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| model | evidence | 1 phrase, ms | more | 8 phrases, ms | more |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models:
        engine = Engine.load(model, "cpu")
        if presence.QUESTION not in presence.available_evidence(engine.tokenizer):
            presence.ANSWERS = (("a",), ("the",))  # a small vocabulary has no "yes"; the cost is the same
        name = f"{Path(model).name}, {engine.precision}"
        times = measure(
            [with_evidence(engine, kinds, arguments.question) for kinds in COMBINATIONS], arguments.rounds
        )
        for kinds, known in zip(COMBINATIONS, times, strict=True):
            cells = [
                f"{1000 * value:.1f} | {value / base - 1:+.0%}"
                for value, base in zip(known, times[0], strict=True)
            ]
            print(f"| {name} | {', '.join(kinds)} | {' | '.join(cells)} |", flush=True)


def with_evidence(engine: Engine, kinds: tuple[str, ...], question: str) -> Engine:
    """Return an engine of the same model that takes presence from these kinds of evidence."""
    calibration = engine.calibration or Calibration()
    weights = None if kinds == ("object",) else PresenceWeights(dict.fromkeys(kinds, 1.0), 0.0, question)
    return Engine(engine.model, engine.tokenizer, replace(calibration, presence=weights))


def measure(engines: list[Engine], rounds: int) -> list[list[float]]:
    """Return for each engine the median time in seconds for each number of phrases, the engines in turn."""
    rng = np.random.default_rng(0)
    times: list[list[list[float]]] = [[[] for _ in NUMBERS] for _ in engines]
    for number_of_round in range(rounds + 1):
        image = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        for engine, known in zip(engines, times, strict=True):
            for count, values in zip(NUMBERS, known, strict=True):
                request = Locate("; ".join(PHRASES[:count]), min_presence=0.0, max_corners=4)
                begin = time.process_time()
                engine.run([([image], request)])
                if number_of_round:  # the first one warms up
                    values.append(time.process_time() - begin)
    return [[statistics.median(values) for values in known] for known in times]


if __name__ == "__main__":
    main()
