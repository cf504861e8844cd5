"""Images with known correct answers, for commands that measure a model: rendered scenes or a user's data."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count as numbers_from
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2_cli.options import check_at_least

if TYPE_CHECKING:  # importing torch takes seconds
    from kosmos2_data.records import Item
    from kosmos2_eval.scenes import Sample

# Not `train` and `worlds`, which models may have seen.
SPLITS = ("standard", "cluttered", "occluded", "far", "rooms", "outdoors")
ALL_SPLITS = "all"
TEST_SPLIT = "outdoors"  # its scenes are for tests alone: nothing is trained or calibrated on them
ITEMS_PER_IMAGE = 8  # as in `kosmos2 sim dataset --items 8`
SIZE_PX = 224
PROBES_PER_IMAGE = 2  # at most so many present and so many absent phrases of each kind
# Limit on the number of images rendered for probes: three objects of the same noun in a row are rare.
IMAGES_PER_PROBE, FEWEST_IMAGES = 5, 50


def add_samples(parser: argparse.ArgumentParser, splits: tuple[str, ...], count: int, seed: int) -> None:
    """Add the options that choose the images.

    Args:
        splits: names of the splits that can be rendered; the first is the default.
        count: default number of phrases on rendered scenes.
        seed: default seed of the first scene.
    """
    parser.add_argument(
        "--split",
        default=splits[0],
        choices=splits,
        help=f"kind of rendered scenes: {', '.join(splits)} (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="use this data instead of rendered scenes: a folder with records.jsonl, or such a file",
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="stop after the image that completes N phrases to locate"
        f" (default: {count} on rendered scenes, all of --data)",
    )
    parser.add_argument(
        "--seed", type=int, default=seed, metavar="S", help="seed of the first scene (default: %(default)s)"
    )
    parser.set_defaults(default_count=count)


def check_samples(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that make no sense, before anything is loaded."""
    check_at_least("count", arguments.count, 1)
    check_at_least("seed", arguments.seed, 0)


def read_samples(
    arguments: argparse.Namespace, split: str, probes: int = 0, part: int = 1
) -> Iterator[Sample]:
    """Yield samples of `--data` if it is given, else of rendered scenes; with a progress bar.

    Args:
        split: the kind of rendered scenes.
        probes: number of present and of absent phrases of each kind that are added to a rendered scene.
        part: stop after this part of the phrases, one in `part`, that the options ask for.
    """
    if arguments.data is not None:
        return _limited(read_records(arguments.data), arguments.count, arguments.data.name)
    count = -(-(arguments.count or arguments.default_count) // part)
    return _limited(render_samples(split, arguments.seed, probes), count, split)


def render_samples(split: str, first_seed: int, probes: int = 0) -> Iterator[Sample]:
    """Yield scenes without end, the same images and items as `kosmos2 sim dataset` writes."""
    from kosmos2_core.images import load_image
    from kosmos2_data.records import Record
    from kosmos2_sim.dataset import DatasetPlan, encoded_record  # loads MuJoCo
    from kosmos2_sim.shapes import SHAPES
    from kosmos2_sim.tabletop import Tabletop

    plan = DatasetPlan(split, first_seed, ITEMS_PER_IMAGE, SIZE_PX, SHAPES, None, None, probes)
    with Tabletop(SIZE_PX, SIZE_PX) as tabletop:
        for seed in numbers_from(first_seed):
            example = encoded_record(tabletop, plan, seed)
            record = Record(f"{split} {seed}", example.items, truths=example.truths)
            yield load_image(example.image), record


def probe_samples(split: str, first_seed: int, wanted: int) -> Iterator[Sample]:
    """Yield rendered scenes with phrases that probe presence.

    The scenes are those of `render_samples`. There are `wanted` present and `wanted` absent phrases of each
    kind; a command with two phrases may bring one more, and a rare kind has fewer if the number of images is
    at its limit.
    """
    from tqdm import tqdm

    from kosmos2_core.images import load_image
    from kosmos2_data.records import Record
    from kosmos2_sim.dataset import jpeg  # loads MuJoCo
    from kosmos2_sim.items import PROBE_KINDS, probes
    from kosmos2_sim.tabletop import Tabletop

    missing = Counter({(kind, present): wanted for kind in PROBE_KINDS for present in (True, False)})
    total = missing.total()
    seeds = range(first_seed, first_seed + max(IMAGES_PER_PROBE * wanted, FEWEST_IMAGES))
    with (
        Tabletop(SIZE_PX, SIZE_PX) as tabletop,
        tqdm(total=total, desc=f"{split}, presence", unit=" phrases", leave=False, disable=None) as bar,
    ):
        for seed in takewhile(lambda _: missing, seeds):
            shot = tabletop.shoot(seed, split)
            items = tuple(_take_missing(probes(shot, PROBES_PER_IMAGE), missing))
            if items:
                yield load_image(jpeg(shot.image)), Record(f"{split} {seed}", items)
            bar.update(total - missing.total() - bar.n)


def _take_missing(items: Iterable[Item], missing: Counter[tuple[str, bool]]) -> Iterator[Item]:
    """Yield the items with a phrase that is still missing, and count it as no longer missing."""
    for item in items:
        phrases = [(item.kind, bool(phrase.boxes)) for phrase in item.text.phrases]
        if any(phrase in missing for phrase in phrases):
            yield item
            for phrase in phrases:
                missing[phrase] -= 1
                if missing[phrase] <= 0:
                    del missing[phrase]


def read_records(path: Path) -> Iterator[Sample]:
    """Yield the images and records of a data folder or file."""
    from kosmos2_data.record_source import RecordSource

    source = RecordSource(path)
    for number in range(len(source)):
        record = source[number]
        yield source.image(record), record


def _limited(samples: Iterable[Sample], count: int | None, name: str) -> Iterator[Sample]:
    """Yield samples up to the image that completes `count` phrases to locate."""
    from tqdm import tqdm

    done = 0
    with tqdm(total=count, desc=name, unit=" phrases", leave=False, disable=None) as bar:
        for pixels, record in samples:
            phrases = sum(len(item.text.phrases) for item in record.items if item.task == "locate")
            yield pixels, record
            done += phrases
            bar.update(phrases)
            if count is not None and done >= count:
                return
