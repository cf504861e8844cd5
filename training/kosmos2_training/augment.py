"""Augmentation: change an image, and keep only the items that remain true.

An image is mirrored, cropped or given a border, and its light is changed. Items that a change may have made
untrue are left out. A change that would leave no item is not made.

Which texts remain true is decided by lists of English words: sides, comparisons, places in the image. A word
too many in a list costs a few items; a missing word teaches something wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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
from kosmos2_training.image_changes import (
    Crop,
    Photometry,
    box_in_crop,
    crop_pixels,
    grown_crop,
    random_crop,
    relight,
)

Mask = NDArray[np.uint8] | None
LabelledImage = tuple[Pixels, Mask, Record]


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and sizes of the changes."""

    mirror: float = 0.25  # probability
    crop: float = 0.25  # probability
    crop_side: float = 0.65  # the smallest side of a crop, as a fraction of the image's
    crop_whole: float = 0.6  # the part of the crops that keep all known boxes complete
    pad: float = 0.15  # probability of a border
    pad_side: float = 1.3  # the largest side with a border, as a fraction of the image's
    visible: float = 0.5  # the part of an object that must remain, or else its items are left out
    photometry: Photometry = field(default_factory=Photometry)


def augment(
    image: Pixels, mask: Mask, record: Record, rng: Generator, options: Augmentation | None = None
) -> LabelledImage:
    """Change an image, its mask and its record at random.

    Args:
        mask: the instance mask, by which the remaining part of an object is measured.
        rng: the only source of randomness.
    """
    options = options or Augmentation()
    changed = (image, mask, record)
    if rng.random() < options.mirror:
        changed = mirrored(*changed) or changed
    if crop := _draw_crop(changed, rng, options):
        changed = cropped(*changed, crop, options.visible) or changed
    return relight(changed[0], rng, options.photometry), *changed[1:]


def mirrored(image: Pixels, mask: Mask, record: Record) -> LabelledImage | None:
    """Exchange left and right; return None if no item would remain."""
    items = [_moved(item, _mirrored_box) for item in record.items if is_true_mirrored(item)]
    truths = [(truth, _mirrored_box(truth.box)) for truth in record.truths]
    changed = _changed(record, items, truths)
    if changed is None:
        return None
    return _flip(image), None if mask is None else _flip(mask), changed


def cropped(image: Pixels, mask: Mask, record: Record, crop: Crop, visible: float) -> LabelledImage | None:
    """Crop an image, or give it a border; return None if no item would remain.

    Args:
        visible: the part of an object that must remain, or else its items are left out.
    """
    height, width = image.shape[:2]
    truths = [
        (truth, *box_in_crop(crop, truth.box, truth.mark, mask, (width, height))) for truth in record.truths
    ]
    known = {_key(truth.box): (box, part) for truth, box, part in truths}

    def remaining(box: Box) -> tuple[Box | None, float]:
        return known.get(_key(box)) or box_in_crop(crop, box, 0, None, (width, height))

    def move(box: Box) -> Box | None:
        moved, part = remaining(box)
        return moved if part >= visible else None

    boxes = [box for item in record.items for box in _boxes(item)]
    complete = crop.contains(width, height) or (
        bool(truths)
        and all(part == 1 for *_, part in truths)
        and all(remaining(box)[1] == 1 for box in boxes)
    )
    kept = [
        item for item in record.items if is_true_moved(item) and (complete or is_true_without_others(item))
    ]
    changed = _changed(
        record, [_moved(item, move) for item in kept], [(truth, box) for truth, box, _ in truths]
    )
    if changed is None:
        return None
    cropped_mask = None if mask is None else crop_pixels(mask, crop, border=0)
    return crop_pixels(image, crop), cropped_mask, changed


def _draw_crop(labelled: LabelledImage, rng: Generator, options: Augmentation) -> Crop | None:
    image, _, record = labelled
    height, width = image.shape[:2]
    draw = rng.random()
    if draw < options.crop:
        crop = random_crop(width, height, options.crop_side, 1, rng)
        if rng.random() < options.crop_whole:
            boxes = [truth.box for truth in record.truths]
            boxes += [box for item in record.items for box in _boxes(item)]
            return grown_crop(crop, boxes, width, height)
        return crop
    if draw < options.crop + options.pad:
        return random_crop(width, height, 1, options.pad_side, rng)
    return None


def _changed(
    record: Record, items: list[Item | None], truths: list[tuple[Truth, Box | None]]
) -> Record | None:
    """Return the record with the remaining items and truths, or None if no item remains."""
    kept = tuple(item for item in items if item is not None)
    remaining = tuple(replace(truth, box=box) for truth, box in truths if box is not None)
    return replace(record, items=kept, truths=remaining) if kept else None


def _moved(item: Item, move: Callable[[Box], Box | None]) -> Item | None:
    """Return an item with moved boxes, or None if one of its boxes is gone."""
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
    """Return the same key for the box of a truth and for the box in a text, which has six decimals."""
    return tuple(round(value, 6) for value in box.pixels(1, 1))


def _mirrored_box(box: Box) -> Box | None:
    try:
        return Box(1 - box.x2, box.y1, 1 - box.x1, box.y2)
    except InputError:  # the width was lost in rounding
        return None


def _flip(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.flip(pixels, 1), np.uint8)


# Which texts stay true.

_SIDE = (
    r"left\w*|right\w*|\w*clockwise|east\w*|west\w*|port|starboard|mirror\w*"
    r"|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|\d+(st|nd|rd|th)"
)
# Text on objects is not legible in a mirror.
_READING = (
    r"say\w*|read\w*|writ\w+|words?|texts?|letters?|labels?|signs?|logos?|clocks?|time|digits?|numbers?"
)
_COMPARISON = (
    rf"{_SIDE}|front|back\w*|rear|behind|next|near\w*|clos\w+|far\w*|furth\w+|between|beside\w*|by|above|below"
    r"|over|under\w*|beneath|top\w*|bottom\w*|middle|cent(re|er)\w*|among|around|against|opposite|\w+est"
    r"|most|least|more|less|fewer|than|bigger|smaller|larger|taller|shorter|longer|wider|thinner|higher|lower"
    r"|upper|lighter|darker|big|small|large|little|tall|short|long|wide|other\w*|another|same|different|only"
    r"|alone|all|every\w*|each|both|either|neither|none|any|many|count\w*|total|one of"
)
_RELATION = r"on|onto|in|into|inside|outside|with\w*|without|of|at|from|touching|holding|facing"
_PLACE = (
    r"(on|in|at|to|towards?) the (far |very |upper |lower |top |bottom )*(left|right)(?! of the)"
    r"|(image|picture|photo\w*|frame|view|screen)s?|side|half|part|corners?|edges?|middle|cent(re|er)\w*"
    r"|top\w*|bottom\w*|upper|lower|how (far|big|large|tall|wide|long)|distances?|\d*(m|cm|mm)"
    r"|(centi|milli)?(metre|meter)s?|inch\w*|f(oo|ee)t"
)


def _any(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b({words})\b", re.IGNORECASE)


SIDE, READING, COMPARISON, RELATION, PLACE = map(_any, (_SIDE, _READING, _COMPARISON, _RELATION, _PLACE))


def is_true_mirrored(item: Item) -> bool:
    """Return whether an item remains true, and usual, for the mirrored image."""
    if any(SIDE.search(text) for text in _texts(item)) or _lists_left_to_right(item):
        return False
    return item.task not in ("ask", "text") or not any(READING.search(text) for text in _texts(item))


def is_true_moved(item: Item) -> bool:
    """Return whether an item remains true if the image's edges move and no object leaves the image."""
    return not any(PLACE.search(text) for text in _texts(item))


def is_true_without_others(item: Item) -> bool:
    """Return whether an item remains true if objects that it does not mark are cut off or gone."""
    about_all = item.task in ("caption", "text") or (item.task == "ask" and not _regions(item))
    if about_all or any(COMPARISON.search(text) for text in _texts(item)):
        return False
    return not any(RELATION.search(item.text.words_of(phrase)) for phrase in item.text.phrases)


def _texts(item: Item) -> Iterator[str]:
    yield item.text.text
    if item.question is not None:
        yield item.question.text


def _regions(item: Item) -> bool:
    return item.question is not None and bool(item.question.phrases)


def _lists_left_to_right(item: Item) -> bool:
    """Return whether a caption names its objects from left to right, perhaps on purpose."""
    firsts = [phrase.boxes[0] for phrase in item.text.phrases if phrase.boxes]
    middles = [box.x1 + box.x2 for box in firsts]
    return item.task == "caption" and len(middles) > 1 and middles == sorted(middles)
