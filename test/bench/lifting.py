"""How far a box in space is from what is seen of its object: made from the true box in the image, and from
the one that the model finds by the object's name.

    python test/bench/lifting.py [SCENES]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from in_space import registered, seen_of, well_seen

from kosmos2_core.boxes import Box, iou
from kosmos2_core.engine import Engine
from kosmos2_core.requests import Locate
from kosmos2_io.lifting import lift
from kosmos2_sim.descriptions import plain_name, visible_things
from kosmos2_sim.tabletop import Tabletop

MODEL = Path(__file__).parents[2] / "models" / "tabletop-tiny"
SPLITS = ("standard", "cluttered", "occluded", "far")
FIRST_SEED = 5000


def off_mm(shot, thing, box: Box) -> float | None:
    height, width = shot.mask.shape
    found = lift(box.pixels(width, height), registered(shot), shot.pose)
    middle, _ = seen_of(shot, thing)
    return None if found is None else 1000 * float(np.linalg.norm(np.array(found.centre_m) - middle))


def measure(engine: Engine, tabletop: Tabletop, split: str, scenes: int) -> dict[str, list[float | None]]:
    """Distances in millimetres; None: no place was found."""
    rows: dict[str, list[float | None]] = {"true box": [], "found": [], "found and right": []}
    for seed in range(FIRST_SEED, FIRST_SEED + scenes):
        shot = tabletop.shoot(seed, split)
        rows["true box"] += [off_mm(shot, thing, thing.box) for thing in well_seen(shot)]
        things = visible_things(shot)
        asked = [(thing, name) for thing in things.referents if (name := plain_name(things, thing))]
        answers = engine.look(shot.image).run(*(Locate(f"[the {name.words}]") for _, name in asked))
        for (thing, _), answer in zip(asked, answers, strict=True):
            [phrase] = answer.phrases
            off = off_mm(shot, thing, phrase.boxes[0]) if phrase.boxes else None
            rows["found"].append(off)
            if phrase.boxes and iou(phrase.boxes[0], thing.box) >= 0.5:
                rows["found and right"].append(off)
    return rows


def main() -> None:
    scenes = int(sys.argv[1]) if sys.argv[1:] else 30
    engine = Engine.load(MODEL, device="cpu")
    print("| split | box | objects | no place | median | 90 % within |\n|---|---|---|---|---|---|")
    with Tabletop() as tabletop:
        for split in SPLITS:
            for name, distances in measure(engine, tabletop, split, scenes).items():
                placed = [one for one in distances if one is not None]
                figures = [f"{np.percentile(placed, share):.1f} mm" for share in (50, 90)]
                row = (split, name, len(distances), len(distances) - len(placed), *figures)
                print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
