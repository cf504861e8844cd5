"""Examples:

  kosmos2 calibrate models/mine
  kosmos2 calibrate models/mine --data my_robot --plot reliability.png
  kosmos2 calibrate models/mine --split cluttered --count 4000 --dry-run
  kosmos2 calibrate models/mine --data my_robot --false-alarms 0.01

Fits the scores, and the presence threshold below which a phrase is "not found", on one half of the images.
Reports on the other half, and writes calibration.json beside the weights. Use data that the model was not
trained on, and that is like what it will see: scores hold for such data only. docs/calibration.md has more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from kosmos2_cli.samples import SPLITS, add_samples, check_samples, samples_of
from kosmos2_core.calibration import Calibration, write_calibration
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_eval.charts import save_reliability
from kosmos2_eval.scene_report import reliability_text
from kosmos2_eval.scenes import LocateExample, locate_metrics, presence_of, reliability_of
from kosmos2_training.calibrate import FALSE_ALARMS, Fitted, cases_at, fit, halves, hear

FIGURES = {
    "nll": "surprise (NLL)",
    "calibration_error": "calibration error",
    "brier": "Brier",
    "accuracy": "right",
    "mean_iou": "IoU",
}
SEED = 1_000_000  # far from those that `kosmos2 eval scenes` begins with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="the checkpoint's folder")
    add_samples(parser, SPLITS, count=2000, seed=SEED)
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=FALSE_ALARMS,
        metavar="RATE",
        help="share of the absent phrases that the presence threshold may let pass (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="report, and write nothing")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the reliability diagram as a picture")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    check_samples(arguments)
    if not 0 <= arguments.false_alarms < 1:  # NaN fails too
        raise InputError(f"--false-alarms is {arguments.false_alarms:g}: it must be from 0 to below 1.")
    if not arguments.model.is_dir():
        raise InputError(
            f"{arguments.model} is no folder: name the one with the weights, to write beside them."
        )
    engine = Engine.load(arguments.model, arguments.device)
    name = arguments.data.name if arguments.data else arguments.split
    heard = hear(engine, samples_of(arguments, name))
    to_fit, to_report = halves(heard)
    if not (to_fit and to_report):
        raise InputError(f"{name} has {len(heard)} phrases of one image or none: take more images.")
    grid = engine.control.grid
    fitted = fit(lambda calibration: cases_at(to_fit, grid, calibration), arguments.false_alarms)
    calibrations = (engine.calibration or Calibration(), fitted.calibration)
    before, after = (cases_at(to_report, grid, calibration) for calibration in calibrations)
    print(report(fitted, before, after))
    print(presence_report(calibrations, after))
    if arguments.plot:
        save_reliability({"before": reliability_of(before), "after": reliability_of(after)}, arguments.plot)
    if not arguments.dry_run:
        origin = {"fitted_on": name, "phrases": len(to_fit), "false_alarms": arguments.false_alarms}
        print(write_calibration(arguments.model, fitted.calibration, origin))


def report(fitted: Fitted, before: Sequence[LocateExample], after: Sequence[LocateExample]) -> str:
    """What was fitted, and on the other half of the images what it does."""
    found = fitted.calibration
    figures = [locate_metrics(cases) for cases in (before, after)]
    rows = [
        f"{name:<20}" + "".join(f"{one[key]:>9.3f}" for one in figures)
        for key, name in FIGURES.items()
        if figures[0][key] is not None
    ]
    lines = [
        f"temperature {found.temperature:.3g}, slope {found.slope:.3g}, spread {found.spread:.3g},"
        f" refine {str(found.refine).lower()}, min_presence {found.min_presence:.3g}",
        f"refining adds {fitted.gain:+.4f} to the mean IoU, standard error {fitted.gain_error:.4f}",
        "",
        f"{len(after)} phrases of other images:",
        f"{'':<20}{'before':>9}{'after':>9}",
        *rows,
        "",
        "before",
        reliability_text(reliability_of(before)),
        "after",
        reliability_text(reliability_of(after)),
    ]
    return "\n".join(lines)


def presence_report(calibrations: Sequence[Calibration], cases: Sequence[LocateExample]) -> str:
    """False alarms and misses at the presence threshold, before and after."""
    figures = [presence_of(cases, calibration.min_presence)["all"] for calibration in calibrations]
    absent, present = figures[0]["absent"], figures[0]["present"]
    if not absent:
        return "no phrase is absent, so min_presence stays at its default: add absent phrases, marked `()`"
    rows = [
        f"{name:<20}" + "".join(f"{100 * (one[key] or 0.0):>8.1f}%" for one in figures)
        for key, name in (("false_alarms", "false alarms"), ("misses", "misses"))
    ]
    return "\n".join([f"presence of {absent} absent and {present} present phrases of these images:", *rows])
