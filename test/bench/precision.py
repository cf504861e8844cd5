"""Compare the accuracy of a model with weights of eight bits with that of the same model in floats.

    python test/bench/precision.py [--model DIR] [--count N]

Both answer the same phrases, N of each split of unseen scenes (default 1100). Prints a table in Markdown, and
how many phrases only one of the two located, with McNemar's test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from corners import limited

from kosmos2_cli.samples import SPLITS, render_samples
from kosmos2_core.engine import Engine
from kosmos2_eval.metrics import mcnemar
from kosmos2_eval.scenes import LocateExample, locate_examples, locate_metrics

MODEL = Path(__file__).resolve().parents[2] / "models/tabletop-tiny"
PRECISIONS = {"float32": "none", "int8": "int8"}  # the choice of `Engine.load`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--count", type=int, default=1100)
    arguments = parser.parse_args()
    engines = {
        name: Engine.load(arguments.model, "cpu", quantize=choice) for name, choice in PRECISIONS.items()
    }
    print("| split | precision | right boxes | mean IoU | presence AUROC | calibration error | Brier |")
    print("|---|---|---|---|---|---|---|")
    located: dict[str, list[LocateExample]] = {name: [] for name in engines}
    for split in SPLITS:
        samples = list(limited(render_samples(split, 0), arguments.count))
        for name, engine in engines.items():
            examples = locate_examples(engine, samples)
            print_row(split, name, examples)
            located[name] += examples
    for name, examples in located.items():
        print_row("all", name, examples)
    print_paired(*located.values())


def print_row(split: str, name: str, examples: list[LocateExample]) -> None:
    metrics = locate_metrics(examples)
    names = ("accuracy", "mean_iou", "presence_auroc", "calibration_error", "brier")
    print(f"| {' | '.join([split, name, *(f'{metrics[key]:.4f}' for key in names)])} |", flush=True)


def print_paired(floats: list[LocateExample], integers: list[LocateExample]) -> None:
    pairs = [pair for pair in zip(floats, integers, strict=True) if pair[0].truth]
    right = [[example.right for example in examples] for examples in zip(*pairs, strict=True)]
    test = mcnemar(*right)
    print(
        f"\n{len(pairs)} present phrases: int8 alone located {test.won}, float32 alone {test.lost};"
        f" McNemar p = {test.p:.2g}."
    )


if __name__ == "__main__":
    main()
