"""Commands that change a model: train, calibrate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_device, check_at_least, load_engine
from kosmos2_core.errors import InputError

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_core.box_scoring import Evidence
    from kosmos2_core.calibration import Calibration
    from kosmos2_core.presence import EvidenceOptions, PresenceWeights
    from kosmos2_eval.scenes import LocateExample, Sample
    from kosmos2_training.calibrate import CalibrationFit, PhraseEvidence

TRAIN_EXAMPLES = """
Examples:

  kosmos2 train training/configs/tabletop-tiny.yaml
  kosmos2 train mine.yaml --device cuda

Paths in the configuration are relative to the folder in which the command is run. The training writes only to
the folder that the setting `run` names; if it was interrupted, run the same command again to resume.
docs/training.md explains the settings.
"""

CALIBRATE_EXAMPLES = """
Examples:

  kosmos2 calibrate models/mine
  kosmos2 calibrate models/mine --data my_robot --plot reliability.png
  kosmos2 calibrate models/mine --split cluttered --count 4000 --dry-run
  kosmos2 calibrate models/mine --data my_robot --false-alarms 0.01
  kosmos2 calibrate models/mine --data my_robot --evidence question,phrase

Fits the scores, and the presence threshold below which a phrase is "not found", on one half of the images.
Reports the result on the other half, and writes calibration.json beside the weights. Use data that the model
was not trained on and that resembles what it will see: the scores are valid for such data only.
docs/calibration.md explains the figures.
"""

FIGURES = {
    "nll": "surprise (NLL)",
    "calibration_error": "calibration error",
    "brier": "Brier",
    "accuracy": "accuracy",
    "mean_iou": "mean IoU",
}
CALIBRATION_SEED = 1_000_000  # far from the seeds with which `kosmos2 eval scenes` begins
CALIBRATION_COUNT = 2000
FALSE_ALARMS = 0.03
MAX_SPREAD = 1.5  # cells; wider Gaussians count as this
BY_OBJECT = ("object",)  # the evidence for presence of a checkpoint without a calibration of others
FEWEST_PHRASES = 300  # with fewer, chance decides more about the fit than the model does


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", type=Path, help="YAML file with the settings of the training"
    )
    add_device(parser)


def _run_train(arguments: argparse.Namespace) -> None:
    from kosmos2_training.config import read_training

    training = read_training(arguments.config)  # reports a mistake in it before torch is imported
    from kosmos2_training.session import run_training

    print(run_training(training, Path.cwd(), arguments.device))


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    from kosmos2_cli.samples import ALL_SPLITS, SPLITS, add_samples

    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of the checkpoint")
    add_samples(parser, (*SPLITS, ALL_SPLITS), count=CALIBRATION_COUNT, seed=CALIBRATION_SEED)
    parser.add_argument(
        "--probes",
        type=int,
        default=1,
        metavar="N",
        help="on rendered scenes, add N present and N absent phrases of each kind per image (default: 1)",
    )
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=FALSE_ALARMS,
        metavar="RATE",
        help="fraction of the absent phrases that the presence threshold may let pass (default: %(default)s)",
    )
    parser.add_argument(
        "--evidence",
        default="object",
        metavar="KINDS",
        help="evidence that decides whether a phrase is in the image, separated by commas: object (a box"
        " follows the phrase), question (yes or no to an existence question), phrase (its words are likelier"
        " with the image than without) (default: %(default)s)",
    )
    parser.add_argument(
        "--question",
        metavar="WORDS",
        help="existence question for --evidence question, with {} for the phrase"
        " (default: Is there {} in the image?)",
    )
    parser.add_argument(
        "--spread",
        type=float,
        metavar="CELLS",
        help="use this spread of corners instead of fitting it: the data may not tell spreads apart where its"
        " objects have all about the same size",
    )
    parser.add_argument("--dry-run", action="store_true", help="report the result without writing it")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="write the reliability diagram to this picture"
    )
    add_device(parser)


def _run_calibrate(arguments: argparse.Namespace) -> None:
    _check_calibrate(arguments)
    from kosmos2_core.calibration import write_calibration
    from kosmos2_core.packages import require
    from kosmos2_eval.charts import save_reliability
    from kosmos2_eval.scenes import reliability_of
    from kosmos2_training.calibrate import (
        ALL_CORNERS,
        SPREADS,
        examples_at,
        fit,
        fit_presence,
        gather_phrases,
        halves,
    )

    wanted = evidence_options(arguments.evidence, arguments.question)
    if arguments.plot:
        require("matplotlib")  # before the long work
    engine = load_engine(arguments)
    name = arguments.data.name if arguments.data else arguments.split
    old = calibration_before(engine.calibration, wanted)
    gathered = all_evidence(wanted, old)
    phrases = gather_phrases(engine, _samples(arguments), ALL_CORNERS, gathered)
    to_fit, to_report = halves(phrases)
    if not (to_fit and to_report):
        raise InputError(
            f"{name} has {len(phrases)} phrases, of one image or none: calibration needs more images."
        )
    grid = engine.control.grid
    weights = fit_presence(to_fit, wanted) if wanted.kinds != BY_OBJECT else None
    fitted = fit(
        lambda calibration: examples_at(to_fit, grid, calibration),
        arguments.false_alarms,
        weights,
        SPREADS if arguments.spread is None else [arguments.spread],
    )
    if len(phrases) < FEWEST_PHRASES:
        print(
            f"kosmos2: warning: {name} has only {len(phrases)} phrases: with fewer than {FEWEST_PHRASES} the"
            " calibration depends on chance, so use more data.",
            file=sys.stderr,
        )
    calibrations = (old, fitted.calibration)
    before, after = (examples_at(to_report, grid, calibration) for calibration in calibrations)
    print(calibration_report(fitted, before, after))
    print(presence_report(calibrations, (before, after)))
    if weights:
        print(evidence_report(to_report, weights, gathered.kinds))
    if arguments.plot:
        save_reliability({"before": reliability_of(before), "after": reliability_of(after)}, arguments.plot)
    if not arguments.dry_run:
        origin = {"fitted_on": name, "phrases": len(to_fit), "false_alarms": arguments.false_alarms}
        print(write_calibration(arguments.model, fitted.calibration, origin))


def _samples(arguments: argparse.Namespace) -> Iterator[Sample]:
    """Yield the images to calibrate on; those of all splits in equal parts, without the split for tests."""
    from kosmos2_cli.samples import ALL_SPLITS, SPLITS, TEST_SPLIT, read_samples

    if arguments.data or arguments.split != ALL_SPLITS:
        return read_samples(arguments, arguments.split, arguments.probes)
    splits = [split for split in SPLITS if split != TEST_SPLIT]
    return chain.from_iterable(
        read_samples(arguments, split, arguments.probes, part=len(splits)) for split in splits
    )


def _check_calibrate(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that make no sense, before a model is loaded."""
    from kosmos2_cli.samples import check_samples

    check_samples(arguments)
    check_at_least("probes", arguments.probes, 0)
    if not 0 <= arguments.false_alarms < 1:  # NaN fails too
        raise InputError(f"--false-alarms is {arguments.false_alarms:g}: it must be from 0 to below 1.")
    if arguments.spread is not None and not 0 <= arguments.spread <= MAX_SPREAD:
        raise InputError(f"--spread is {arguments.spread:g}: it must be from 0 to {MAX_SPREAD:g} cells.")
    if not arguments.model.is_dir():
        raise InputError(
            f"{arguments.model} is not a folder: name the folder of the checkpoint, because calibration.json"
            " is written into it."
        )


def calibration_report(
    fitted: CalibrationFit, before: Sequence[LocateExample], after: Sequence[LocateExample]
) -> str:
    """Return the fitted values, and the figures of the other half of the images before and after.

    Args:
        fitted: the result of the fit on one half of the images.
        before: phrases of the other half, scored as the checkpoint did until now.
        after: the same phrases, scored with the fitted calibration.
    """
    from kosmos2_eval.scene_report import reliability_text
    from kosmos2_eval.scenes import locate_metrics, reliability_of

    found = fitted.calibration
    figures = [locate_metrics(examples) for examples in (before, after)]
    rows = [
        f"{name:<20}" + "".join(f"{column[key]:>9.3f}" for column in figures)
        for key, name in FIGURES.items()
        if figures[0][key] is not None
    ]
    lines = [
        f"temperature {found.temperature:.3g}, slope {found.slope:.3g}, spread {found.spread:.3g},"
        f" refine {str(found.refine).lower()}, min_presence {found.min_presence:.3g}",
        f"refining changes the mean IoU by {fitted.gain:+.4f}, standard error {fitted.gain_error:.4f}",
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


def evidence_options(kinds: str, question: str | None) -> EvidenceOptions:
    """Return the evidence that the options `--evidence` and `--question` name.

    Raises:
        InputError: a kind is not known or named twice, or the question does not fit.
    """
    from kosmos2_core.presence import EVIDENCE_KINDS, EXISTENCE_QUESTION, QUESTION, EvidenceOptions

    named = [kind.strip() for kind in kinds.split(",")]
    if not set(named) <= set(EVIDENCE_KINDS) or len(set(named)) < len(named):
        raise InputError(
            f"--evidence {kinds} is not known: give {', '.join(EVIDENCE_KINDS)}, or some of them, once and"
            " separated by commas."
        )
    if question is not None and QUESTION not in named:
        raise InputError("--question is for the evidence `question`: add it to --evidence.")
    if question is not None and question.count("{}") != 1:
        raise InputError("--question must have `{}` once, where the phrase is: `Is there {} in the image?`.")
    in_order = tuple(kind for kind in EVIDENCE_KINDS if kind in named)
    return EvidenceOptions(in_order, EXISTENCE_QUESTION if question is None else question)


def calibration_before(known: Calibration | None, wanted: EvidenceOptions) -> Calibration:
    """Return the calibration that the report compares with.

    If the checkpoint's own one asks another existence question than the new one will, its presence is taken
    from `<object>` alone: only one question is asked about each phrase.
    """
    from kosmos2_core.calibration import Calibration
    from kosmos2_core.presence import QUESTION

    calibration = known or Calibration()
    weights = calibration.presence
    if weights and QUESTION in weights.weights and QUESTION in wanted.kinds:
        return calibration if weights.question == wanted.question else replace(calibration, presence=None)
    return calibration


def all_evidence(wanted: EvidenceOptions, known: Calibration) -> EvidenceOptions:
    """Return the evidence that either calibration needs, and that of `<object>` to compare with."""
    from kosmos2_core.presence import EVIDENCE_KINDS, OBJECT, QUESTION

    before = known.presence.options if known.presence else wanted
    needed = {OBJECT, *wanted.kinds, *before.kinds}
    question = wanted.question if QUESTION in wanted.kinds else before.question
    return replace(wanted, kinds=tuple(kind for kind in EVIDENCE_KINDS if kind in needed), question=question)


def evidence_report(phrases: Sequence[PhraseEvidence], weights: PresenceWeights, kinds: Sequence[str]) -> str:
    """Return how well each kind of evidence, and their combination, tells present phrases from absent ones.

    Args:
        phrases: phrases that the weights were not fitted to.
        weights: the fitted combination.
        kinds: kinds of evidence that were gathered.
    """
    from kosmos2_core.presence import QUESTION
    from kosmos2_training.calibrate import presence_auroc

    lines = ["", "evidence for presence of these phrases:", f"{'':<20}{'AUROC':>9}{'weight':>9}"]
    for kind in kinds:
        share = f"{weights.weights[kind]:>9.3g}" if kind in weights.weights else f"{'-':>9}"
        alone = presence_auroc(phrases, partial(_value_of, kind))
        lines.append(f"{kind:<20}{_auroc(alone)}{share}")
    together = presence_auroc(phrases, lambda evidence: weights.presence(evidence.values))
    lines.append(f"{'together':<20}{_auroc(together)}")
    if QUESTION in weights.weights:
        lines.append(f"question: {weights.question}")
    return "\n".join(lines)


def _value_of(kind: str, evidence: Evidence) -> float:
    return evidence.values[kind]


def _auroc(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:>9.3f}"


def presence_report(calibrations: Sequence[Calibration], examples: Sequence[Sequence[LocateExample]]) -> str:
    """Return false alarms and misses at the presence threshold, before and after."""
    from kosmos2_eval.scenes import presence_of

    figures = [
        presence_of(located, calibration.min_presence)["all"]
        for located, calibration in zip(examples, calibrations, strict=True)
    ]
    absent, present = figures[0]["absent"], figures[0]["present"]
    if not absent:
        return (
            "no phrase is absent, so min_presence keeps its default: add absent phrases to the data, marked"
            " `()`"
        )
    rows = [
        f"{name:<20}" + "".join(f"{100 * (column[key] or 0.0):>8.1f}%" for column in figures)
        for key, name in (("false_alarms", "false alarms"), ("misses", "misses"))
    ]
    return "\n".join([f"presence of {absent} absent and {present} present phrases of these images:", *rows])


TRAIN = CliCommand(_add_train, _run_train, TRAIN_EXAMPLES)
CALIBRATE = CliCommand(_add_calibrate, _run_calibrate, CALIBRATE_EXAMPLES)
