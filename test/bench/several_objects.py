"""Measure how many of several equal objects `max_boxes: 8` finds, at different score thresholds.

    python test/bench/several_objects.py [PHRASES]

Phrases such as `a red object`, on unseen scenes in which they fit two, three or four objects: PHRASES of each
count (default 200). Prints a table in Markdown.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import count as numbers_from
from pathlib import Path

import numpy as np

from kosmos2_core.boxes import iou
from kosmos2_core.engine import Engine
from kosmos2_core.requests import Locate
from kosmos2_sim.descriptions import indefinite, visible_things
from kosmos2_sim.expressions import groups
from kosmos2_sim.tabletop import Tabletop

MODEL = Path(__file__).resolve().parents[2] / "models/tabletop-tiny"
COUNTS = (2, 3, 4)
THRESHOLDS = (0.0, 0.0002, 0.001, 0.01, 0.1, 0.3)
RIGHT = 0.5  # IoU


def phrases_of(shot, rng):
    """Phrases that fit two to four well visible objects, with the objects' boxes."""
    things = visible_things(shot)
    for description, group in groups(things, rng):
        if len(group) in COUNTS and set(group) <= set(things.referents):
            yield indefinite(description.words), [thing.box for thing in group]


def main(wanted: int) -> None:
    engine, rng = Engine.load(MODEL, device="cpu"), np.random.default_rng(0)
    answers = defaultdict(list)  # by the number of objects: boxes found, true boxes
    with Tabletop() as tabletop:
        for seed in numbers_from():
            shot = tabletop.shoot(seed, "standard")
            asked = [
                (text, truth) for text, truth in phrases_of(shot, rng) if len(answers[len(truth)]) < wanted
            ]
            asked = [asked[index] for index in rng.permutation(len(asked))[:3]]
            found = engine.look(shot.image).run(*(Locate(f"[{text}]", max_boxes=8) for text, _ in asked))
            for (_, truth), answer in zip(asked, found, strict=True):
                answers[len(truth)].append((answer.phrases[0].boxes, truth))
            if all(len(answers[count]) >= wanted for count in COUNTS):
                break
    print(f"{wanted} phrases of each count")
    print("| `min_score` | recall of 2 | of 3 | of 4 | different objects for each phrase | boxes | right |")
    print("|---|---|---|---|---|---|---|")
    for threshold in THRESHOLDS:
        print(row(threshold, {count: answers[count][:wanted] for count in COUNTS}))


def row(threshold, answers) -> str:
    recalls, objects, boxes, right = [], 0, 0, 0
    for count, cases in answers.items():
        hits = [
            list(matches([box for box in found if box.score >= threshold], truth)) for found, truth in cases
        ]
        objects += sum(len(set(hit) - {None}) for hit in hits)
        recalls.append(sum(len(set(hit) - {None}) for hit in hits) / count / len(cases))
        boxes += sum(map(len, hits))
        right += sum(number is not None for hit in hits for number in hit)
    total = sum(map(len, answers.values()))
    figures = [*recalls, objects / total, boxes / total, right / max(boxes, 1)]
    return f"| {threshold:g} | {' | '.join(f'{figure:.2f}' for figure in figures)} |"


def matches(boxes, truth):
    """For each box the number of the object that it is right about, or None."""
    for box in boxes:
        overlaps = [iou(box, true) for true in truth]
        best = int(np.argmax(overlaps))
        yield best if overlaps[best] >= RIGHT else None


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
