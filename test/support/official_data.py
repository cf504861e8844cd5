"""Miniature data sets in the forms in which the official ones are published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from released_peer import SIDE

from kosmos2_core.boxes import Box


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def place(picture: Path, file: Path) -> Path:
    """A picture where a data set has it, whatever its name says: readers go by what is in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(picture, file))


def lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def xywh(box: Box) -> list[float]:
    x1, y1, x2, y2 = box.pixels(SIDE, SIDE)
    return [x1, y1, x2 - x1, y2 - y1]


def mdetr_refcoco(rows: Sequence[tuple[str, str, Box, int]]) -> dict[str, Any]:
    """Rows: file name, expression, true box, COCO's number of the annotation."""
    images, annotations = [], []
    for number, (name, caption, box, original) in enumerate(rows, 100):
        images.append(
            {
                "file_name": name,
                "height": SIDE,
                "width": SIDE,
                "id": number,
                "original_id": 1,
                "caption": caption,
                "dataset_name": "refcoco",
                "tokens_negative": [],
            }
        )
        annotations.append(
            {
                "area": 1.0,
                "iscrowd": 0,
                "image_id": number,
                "category_id": 1,
                "id": number + 7,
                "bbox": xywh(box),
                "original_id": original,
                "tokens_positive": [[0, len(caption)]],
            }
        )
    return {"info": [], "licenses": [], "images": images, "annotations": annotations, "categories": []}


def mdetr_flickr(rows: Sequence[tuple[str, str, list[tuple[str, list[Box]]]]]) -> dict[str, Any]:
    """Rows: file name, caption, its phrases in order, each with its true boxes."""
    images, annotations = [], []
    for number, (name, caption, phrases) in enumerate(rows):
        spans, end = [], 0
        for phrase, boxes in phrases:
            start = caption.index(phrase, end)
            end = start + len(phrase)
            spans.append([[start, end]])
            annotations += [
                {"image_id": number, "id": len(annotations), "bbox": xywh(box), "tokens_positive": spans[-1]}
                for box in boxes
            ]
        images.append(
            {
                "file_name": name,
                "height": str(SIDE),
                "width": str(SIDE),
                "id": number,
                "caption": caption,
                "dataset_name": "flickr",
                "sentence_id": 0,
                "original_img_id": 1,
                "tokens_negative": [[0, len(caption)]],
                "tokens_positive_eval": spans,
            }
        )
    return {"images": images, "annotations": annotations, "categories": []}


def vqa_answers(answers: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(answers, 1)
    ]
