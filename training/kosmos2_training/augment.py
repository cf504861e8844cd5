"""Other images of the same scene, and of what was said only what is still true.

Mirrored, cut or with a border around, under other light. What a change may have made untrue is left out;
a change that would leave nothing to say is not made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText
from kosmos2_core.images import Pixels
from kosmos2_data.records import Item, Record, Truth
from kosmos2_training.photometry import Photometry, relight
from kosmos2_training.window import Window, cut, look, random_window, whole_window
from kosmos2_training.wording import stands_losing, stands_mirroring, stands_moving

Mask = NDArray[np.uint8] | None
View = tuple[Pixels, Mask, Record]


@dataclass(frozen=True)
class Augmentation:
    """How often each change is made, and how far it goes."""

    mirror: float = 0.25
    crop: float = 0.25
    crop_side: float = 0.65  # of the image's, at least
    crop_whole: float = 0.6  # of crops: those that leave out nothing of what is known
    pad: float = 0.15
    pad_side: float = 1.3  # of the image's, at most
    visible: float = 0.5  # so much of a box must be left; else nothing is said of it
    photometry: Photometry = field(default_factory=Photometry)


def augment(
    image: Pixels, mask: Mask, record: Record, rng: Generator, options: Augmentation | None = None
) -> View:
    """The same for the same state of rng. A mask tells what is left of an object that is cut off."""
    options = options or Augmentation()
    view = (image, mask, record)
    if rng.random() < options.mirror:
        view = mirrored(*view) or view
    if window := _draw_window(view, rng, options):
        view = reframed(*view, window, options.visible) or view
    return relight(view[0], rng, options.photometry), *view[1:]


def mirrored(image: Pixels, mask: Mask, record: Record) -> View | None:
    """Left and right exchanged; None where then nothing could be said."""
    items = [_moved(item, _mirrored_box) for item in record.items if stands_mirroring(item)]
    truths = [(truth, _mirrored_box(truth.box)) for truth in record.truths]
    changed = _changed(record, items, truths)
    if changed is None:
        return None
    return _flip(image), None if mask is None else _flip(mask), changed


def reframed(image: Pixels, mask: Mask, record: Record, window: Window, visible: float) -> View | None:
    """What a window shows, which may be larger than the image; None where then nothing could be said."""
    height, width = image.shape[:2]
    truths = [(truth, *look(window, truth.box, truth.mark, mask, (width, height))) for truth in record.truths]
    sights = {_key(truth.box): (box, share) for truth, box, share in truths}

    def sight(box: Box) -> tuple[Box | None, float]:
        return sights.get(_key(box)) or look(window, box, 0, None, (width, height))

    def move(box: Box) -> Box | None:
        moved, share = sight(box)
        return moved if share >= visible else None

    boxes = [box for item in record.items for box in _boxes(item)]
    complete = window.contains(width, height) or (
        bool(truths) and all(share == 1 for *_, share in truths) and all(sight(box)[1] == 1 for box in boxes)
    )
    kept = [item for item in record.items if stands_moving(item) and (complete or stands_losing(item))]
    changed = _changed(
        record, [_moved(item, move) for item in kept], [(truth, box) for truth, box, _ in truths]
    )
    if changed is None:
        return None
    return cut(image, window), None if mask is None else cut(mask, window, border=0), changed


def _draw_window(view: View, rng: Generator, options: Augmentation) -> Window | None:
    image, _, record = view
    height, width = image.shape[:2]
    draw = rng.random()
    if draw < options.crop:
        window = random_window(width, height, options.crop_side, 1, rng)
        if rng.random() < options.crop_whole:
            boxes = [truth.box for truth in record.truths]
            boxes += [box for item in record.items for box in _boxes(item)]
            return whole_window(window, boxes, width, height)
        return window
    if draw < options.crop + options.pad:
        return random_window(width, height, 1, options.pad_side, rng)
    return None


def _changed(
    record: Record, items: list[Item | None], truths: list[tuple[Truth, Box | None]]
) -> Record | None:
    kept = tuple(item for item in items if item is not None)
    seen = tuple(replace(truth, box=box) for truth, box in truths if box is not None)
    return replace(record, items=kept, truths=seen) if kept else None


def _moved(item: Item, move: Callable[[Box], Box | None]) -> Item | None:
    """With its boxes where they are now; None where one of them is gone."""
    if any(move(box) is None for box in _boxes(item)):
        return None

    def text(old: GroundedText) -> GroundedText:
        phrases = (
            replace(phrase, boxes=tuple(new for box in phrase.boxes or () if (new := move(box))))
            for phrase in old.phrases
        )
        return replace(old, phrases=tuple(phrases))

    return replace(item, text=text(item.text), question=item.question and text(item.question))


def _boxes(item: Item) -> list[Box]:
    texts = [item.text] if item.question is None else [item.text, item.question]
    return [box for text in texts for phrase in text.phrases for box in phrase.boxes or ()]


def _key(box: Box) -> tuple[float, ...]:
    """The same for a truth's box and for the one written in a text, which has six decimals."""
    return tuple(round(value, 6) for value in box.pixels(1, 1))


def _mirrored_box(box: Box) -> Box | None:
    try:
        return Box(1 - box.x2, box.y1, 1 - box.x1, box.y2)
    except InputError:  # too narrow for a float
        return None


def _flip(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.flip(pixels, 1), np.uint8)
