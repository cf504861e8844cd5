"""The figures that were published, by the names that ours have.

RefCOCO, Flickr30k and SEED-Bench: the release. Captions, VQA, REG and language: the paper; `instructed` is
after instruction tuning. ScienceQA and OCRBench: the public leaderboard of VLMEvalKit.
"""

from __future__ import annotations

from collections.abc import Mapping

from kosmos2_eval.benchmarks.benchmark import Choice

RECALLS = ("R@1", "R@5", "R@10")

PUBLISHED: dict[str, dict[str, Mapping[str, float]]] = {
    "refcoco": {
        "val": {"accuracy": 52.32},
        "testA": {"accuracy": 57.42},
        "testB": {"accuracy": 47.26},
    },
    "refcoco+": {
        "val": {"accuracy": 45.48},
        "testA": {"accuracy": 50.73},
        "testB": {"accuracy": 42.24},
    },
    "refcocog": {"val": {"accuracy": 60.57}, "test": {"accuracy": 61.65}},
    "flickr30k": {
        "val": dict(zip(RECALLS, (77.8, 79.2, 79.3), strict=True)),
        "test": dict(zip(RECALLS, (78.7, 80.1, 80.1), strict=True)),
    },
    "caption": {"test": {"CIDEr": 66.7}},
    "vqav2": {"test-dev": {"accuracy": 45.6}},
    "seed-bench": {
        "image": {
            "accuracy": 50.0,
            "Scene Understanding": 63.36,
            "Instance Identity": 57.07,
            "Instance Location": 43.96,
            "Spatial Relation": 37.90,
            "Instance Interaction": 55.67,
            "Visual Reasoning": 60.72,
        }
    },
    "scienceqa": {"test": {"accuracy": 32.7}},
    "ocrbench": {"all": {"score": 244}},
    "language": {
        task: {"accuracy": accuracy}
        for task, accuracy in {
            "storycloze": 72.0,
            "hellaswag": 49.4,
            "winograd": 69.1,
            "winogrande": 55.6,
            "piqa": 72.9,
            "boolq": 62.0,
            "cb": 30.4,
            "copa": 67.0,
        }.items()
    },
}
REG = {
    0: {"METEOR": 12.2, "CIDEr": 60.3},
    2: {"METEOR": 13.8, "CIDEr": 62.2},
    4: {"METEOR": 14.1, "CIDEr": 62.3},
}


def of_split(name: str, choice: Choice) -> Mapping[str, float]:
    return PUBLISHED[name].get(choice.split, {})


def of_shots(choice: Choice) -> Mapping[str, float]:
    return REG.get(choice.few_shot, {})
