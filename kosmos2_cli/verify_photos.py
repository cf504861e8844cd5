"""The mode `kosmos2 verify --photos`: a checkpoint's behaviour on photographs whose contents are known."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_cli.options import load_engine

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_core.images import Pixels
    from kosmos2_eval.photos import PhotoAnswers

SHEET = "phrases.png"
COLUMNS = 6  # of the contact sheet


def verify_photos(arguments: argparse.Namespace) -> int:
    """Ask the checkpoint about all photographs, print a table and the verdict, and write pictures.

    Returns:
        The exit code: 0 if all criteria are met, else 1.
    """
    from tqdm import tqdm

    from kosmos2_core.files import write_errors
    from kosmos2_eval import photos

    labelled = photos.read_labels()
    images = [photo.load() for photo in labelled]  # reports a missing package before the model is loaded
    with write_errors(arguments.out):
        arguments.out.mkdir(parents=True, exist_ok=True)
    engine = load_engine(arguments)
    numbered = enumerate(tqdm(labelled, desc="photographs", disable=None, leave=False))
    answers = [photos.ask_about(engine, photo, images[number], number) for number, photo in numbered]
    write_pictures(arguments.out, answers, images)
    criteria, absence = photos.criteria(answers), photos.absence(answers)
    passed = all(criterion.met for criterion in criteria)
    if arguments.json:
        print(json.dumps(_results(answers, passed), ensure_ascii=False))
        return 0 if passed else 1
    print("\n".join(photos.report_lines(answers)), end="\n\n")
    for criterion in criteria:
        needed = f"at least {criterion.least:.0%} needed"
        print(f"{criterion.name:<32}{f'{criterion.right}/{criterion.count}':>7}, {needed}:", end=" ")
        print("met" if criterion.met else "NOT MET")
    print("\nabsent phrases, which are no criterion (AUROC: 1 is perfect, 0.5 is chance):")
    used = ", ".join(answers[0].caption.evidence)
    for name, value in absence.items():
        print(f"  {name:<10}{'-' if value is None else f'{value:.3f}'}", end="")
        print(f"  the checkpoint's own, from {used}" if name == "presence" else "")
    print(f"\npictures: {arguments.out}\n{photos.verdict(criteria)}")
    return 0 if passed else 1


def _results(answers: Sequence[PhotoAnswers], passed: bool) -> dict[str, object]:
    from kosmos2_eval import photos

    criteria = photos.criteria(answers)
    return {
        "passed": passed,
        "verdict": photos.verdict(criteria),
        "criteria": [asdict(criterion) | {"met": criterion.met} for criterion in criteria],
        "absence": photos.absence(answers),
        "photos": [
            {
                "name": known.photo.name,
                "phrases": {
                    example.text: {"iou": example.iou, "right": example.right} for example in known.located
                },
                "caption": known.caption.markdown,
                "caption_right": known.caption_is_right,
                "caption_box_right": known.caption_has_box,
                "questions": dict(zip(known.photo.questions, known.answers, strict=True)),
                "right_answers": known.right_answers,
            }
            for known in answers
        ],
    }


def write_pictures(folder: Path, answers: Sequence[PhotoAnswers], images: Sequence[Pixels]) -> None:
    """Write each photograph with the boxes of its caption, and a contact sheet of all phrases."""
    from kosmos2_core.drawing import arrange_tiles, draw
    from kosmos2_core.images import save_image
    from kosmos2_eval.contact_sheet import GAP, tile

    for known, pixels in zip(answers, images, strict=True):
        save_image(draw(pixels, known.caption.phrases), folder / f"{known.photo.name}.png")
    tiles = [tile(example, images[example.image]) for known in answers for example in known.examples]
    save_image(arrange_tiles(tiles, COLUMNS, gap_px=GAP, margin_px=GAP), folder / SHEET)
