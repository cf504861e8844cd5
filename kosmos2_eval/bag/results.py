"""What an evaluation comes to, as files: results.json, timings.json, queries.csv, overlay.mcap, report.html.

results.json and queries.csv say nothing of time, of paths or of how the bag is stored: the same evaluation
gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kosmos2_eval.bag.answerers import Answered, Answerer, Node
from kosmos2_eval.bag.evaluation import Evaluation
from kosmos2_eval.bag.figures import comparison, figures
from kosmos2_eval.bag.overlay import write_overlay
from kosmos2_eval.bag.queries import DIGITS, rounded, write_queries
from kosmos2_eval.bag.recording import Recording
from kosmos2_eval.bag.report import Content, write_report


def results_of(recording: Recording, answerers: Sequence[Answerer], evaluation: Evaluation) -> dict[str, Any]:
    topics, part = recording.topics, recording.part
    results = {
        "models": [answerer.name for answerer in answerers],
        "min_presence": [answerer.threshold for answerer in answerers],
        "topics": {
            "images": list(topics.images),
            "commands": topics.commands,
            "labels": topics.labels or ("file" if recording.labels else None),
            "labels_3d": topics.labels_3d,
        },
        "every": part.every,
        "images": {
            "recorded": recording.images,
            "chosen": evaluation.images,
            "evaluated": evaluation.evaluated,
            "nothing_asked": len(evaluation.silent_ns),
            "rejected": dict(sorted(evaluation.rejected.items())),
        },
        "figures": figures(evaluation.judged[0]),
    }
    if isinstance(recording.asking, Node):
        results["answers"] = answered(recording.asking, evaluation)
    if len(answerers) > 1:
        results["compared"] = {
            "figures": figures(evaluation.judged[1]),
            "difference": comparison(*evaluation.judged),
        }
    return results


def timings_of(names: Sequence[str], evaluation: Evaluation, load_s: Sequence[float]) -> dict[str, Any]:
    images = evaluation.evaluated
    queries = len(evaluation.judged[0])
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
                "one_image_ms": spread([one * 1000 for one in alone]),
            }
            for name, loading, seconds, alone in zip(
                names, load_s, evaluation.model_s, evaluation.alone_s, strict=True
            )
        ],
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    quantiles = [float(one) for one in np.quantile(values, [0.5, 0.95, 1.0])] if len(values) else [None] * 3
    return {"count": len(values), **dict(zip(("median", "p95", "max"), quantiles, strict=True))}


# Of the node whose answers were recorded.


def answered(node: Node, evaluation: Evaluation) -> dict[str, int]:
    """Dropped: images between the first and the last answered one that have no answer."""
    stamps_ns = [one.stamp_ns for one in node.every()]
    first, last = min(stamps_ns, default=0), max(stamps_ns, default=0)
    return {
        "recorded": len(stamps_ns),
        "matched": evaluation.evaluated,
        "dropped": sum(first <= one <= last for one in evaluation.silent_ns),
    }


def node_timings(node: Node) -> dict[str, Any]:
    """End to end: from an image's stamp until its answer was recorded."""
    every = node.every()
    return {
        "end_to_end_ms": _ms(every, lambda one: one.log_ns - one.stamp_ns),
        "frame_age_ms": _ms(every, lambda one: one.age_ns),
        "inference_ms": _ms(every, lambda one: one.inference_ns),
    }


def _ms(answers: Sequence[Answered], of: Any) -> dict[str, Any]:
    return spread([of(one) / 1e6 for one in answers])


# Files.


def write_files(
    folder: Path,
    title: str,
    recording: Recording,
    answerers: Sequence[Answerer],
    evaluation: Evaluation,
    load_s: Sequence[float],
) -> dict[str, Any]:
    """All of them; returns the results. title: of what was recorded. load_s: of each model."""
    names = [one.name for one in answerers]
    results, timings = results_of(recording, answerers, evaluation), timings_of(names, evaluation, load_s)
    if isinstance(recording.asking, Node):
        timings["node"] = node_timings(recording.asking)
    models = dict(zip(names, evaluation.judged, strict=True))
    write_json(folder / "results.json", results)
    write_json(folder / "timings.json", timings)
    write_queries(folder / "queries.csv", models)
    write_overlay(folder / "overlay.mcap", models)
    content = Content(title, names, results, timings, evaluation.judged)
    write_report(folder / "report.html", content, recording.bag)
    return results


def json_text(value: Any) -> str:
    return json.dumps(_rounded(value), indent=2, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value, DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


def write_json(file: Path, value: Any) -> None:
    file.write_text(json_text(value), encoding="utf-8")
