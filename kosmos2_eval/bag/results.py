"""The output files of an evaluation: results.json, timings.json, queries.csv, overlay.mcap and report.html.

results.json and queries.csv contain no times, no paths and nothing about how the bag is stored: the same
evaluation gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kosmos2_core.files import write_atomically
from kosmos2_eval.bag.evaluation import BagEvaluation
from kosmos2_eval.bag.metrics import compare_models, model_metrics
from kosmos2_eval.bag.overlay import write_overlay
from kosmos2_eval.bag.predictors import Predictor, RecordedAnswer, RecordedAnswers
from kosmos2_eval.bag.queries import write_queries
from kosmos2_eval.bag.recording import Recording
from kosmos2_eval.bag.report import ReportContent, write_report
from kosmos2_eval.result_files import QUERIES, RESULTS, json_text, rounded

TIMINGS, OVERLAY, REPORT = "timings.json", "overlay.mcap", "report.html"


def write_files(
    folder: Path,
    title: str,
    recording: Recording,
    predictors: Sequence[Predictor],
    evaluation: BagEvaluation,
    load_s: Sequence[float],
    options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write all output files.

    Args:
        folder: the output folder.
        title: name of the recording in the report.
        recording: the evaluated recording.
        predictors: the evaluated models.
        evaluation: their predictions.
        load_s: loading time of each model.
        options: options of the command, for the report.

    Returns:
        The content of results.json, before rounding.
    """
    names = [predictor.name for predictor in predictors]
    results = results_of(recording, predictors, evaluation)
    timings = timings_of(names, evaluation, load_s)
    if isinstance(recording.commands, RecordedAnswers):
        timings["node"] = node_timings(recording.commands)
    by_name = dict(zip(names, evaluation.results, strict=True))
    write_atomically(folder / RESULTS, json_text(results))
    write_atomically(folder / TIMINGS, json_text(timings))
    write_queries(folder / QUERIES, by_name)
    write_overlay(folder / OVERLAY, by_name)
    content = ReportContent(
        title, by_name, results, timings, [predictor.device for predictor in predictors], options or {}
    )
    write_report(folder / REPORT, content, recording.bag)
    return results


def results_of(
    recording: Recording, predictors: Sequence[Predictor], evaluation: BagEvaluation
) -> dict[str, Any]:
    """Return the content of results.json."""
    topics = recording.topics
    results = {
        "models": [predictor.name for predictor in predictors],
        "min_presence": [predictor.min_presence for predictor in predictors],
        "topics": {
            "images": list(topics.images),
            "commands": topics.commands,
            "labels": topics.labels or ("file" if recording.labels else None),
            "labels_3d": topics.labels_3d,
        },
        "every": recording.span.every_nth,
        "images": {
            "recorded": recording.image_count,
            "chosen": evaluation.images,
            "evaluated": evaluation.evaluated,
            "nothing_asked": len(evaluation.unasked_ns),
            "rejected": dict(sorted(evaluation.rejected.items())),
        },
        "figures": model_metrics(evaluation.results[0]),
    }
    if isinstance(recording.commands, RecordedAnswers):
        results["answers"] = answer_counts(recording.commands, evaluation)
    if len(predictors) > 1:
        results["compared"] = {
            "figures": model_metrics(evaluation.results[1]),
            "difference": compare_models(*evaluation.results),
        }
    return results


def timings_of(names: Sequence[str], evaluation: BagEvaluation, load_s: Sequence[float]) -> dict[str, Any]:
    """Return the content of timings.json."""
    images, queries = evaluation.evaluated, len(evaluation.results[0])
    return {
        "images": images,
        "queries": queries,
        "read_s": rounded(evaluation.read_s),
        "models": [
            {
                "name": name,
                "load_s": rounded(loading),
                "answer_s": rounded(seconds),
                "images_per_s": rounded(images / seconds) if seconds else None,
                "queries_per_s": rounded(queries / seconds) if seconds else None,
                "one_image_ms": distribution([second * 1000 for second in alone]),
            }
            for name, loading, seconds, alone in zip(
                names, load_s, evaluation.model_s, evaluation.alone_s, strict=True
            )
        ],
    }


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """Return the count, the median, the 95th percentile and the maximum of some values."""
    quantiles = [float(value) for value in np.quantile(values, [0.5, 0.95, 1.0])] if values else [None] * 3
    return {"count": len(values), **dict(zip(("median", "p95", "max"), quantiles, strict=True))}


# A node's recorded answers.


def answer_counts(answers: RecordedAnswers, evaluation: BagEvaluation) -> dict[str, int]:
    """Return how many answers were recorded, matched an image, and are missing.

    `dropped` counts the images without an answer between the first and the last answered image.
    """
    stamps_ns = [answer.stamp_ns for answer in answers.in_order()]
    first, last = min(stamps_ns, default=0), max(stamps_ns, default=0)
    return {
        "recorded": len(stamps_ns),
        "matched": evaluation.evaluated,
        "dropped": sum(first <= stamp_ns <= last for stamp_ns in evaluation.unasked_ns),
    }


def node_timings(answers: RecordedAnswers) -> dict[str, Any]:
    """Return the node's times; `end_to_end_ms` is from the image's stamp until its answer was recorded."""

    def milliseconds(nanoseconds: Callable[[RecordedAnswer], int]) -> dict[str, Any]:
        return distribution([nanoseconds(answer) / 1e6 for answer in answers.in_order()])

    return {
        "end_to_end_ms": milliseconds(lambda answer: answer.log_ns - answer.stamp_ns),
        "frame_age_ms": milliseconds(lambda answer: answer.age_ns),
        "inference_ms": milliseconds(lambda answer: answer.inference_ns),
    }
