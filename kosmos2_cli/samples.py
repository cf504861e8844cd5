"""Images of which the truth is known, for commands that measure a model: rendered unseen, or from data."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count as numbers_from
from itertools import takewhile
from pathlib import Path

from tqdm import tqdm

from kosmos2_core.errors import InputError
from kosmos2_core.images import load_image
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import Item, Record
from kosmos2_eval.scenes import Sample

SPLITS = ("standard", "cluttered", "occluded", "far")  # not `train`, which models may have seen
ITEMS = 8  # things said of each image, as `kosmos2 sim dataset --items 8` has them
SIZE_PX = 224
PROBES_PER_IMAGE = 2  # present ones and absent ones of each kind, at most
IMAGES_PER_PROBE, FEWEST_IMAGES = 5, 50  # so many images at most: three things of one noun in a row are rare


def add_samples(parser: argparse.ArgumentParser, splits: tuple[str, ...], count: int, seed: int) -> None:
    parser.add_argument(
        "--split", default=splits[0], choices=splits, help="scenes to render (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="not scenes, but a folder with records.jsonl, or such a file",
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help=f"phrases to locate, to the end of an image (default: {count} of scenes; all of --data)",
    )
    parser.add_argument(
        "--seed", type=int, default=seed, metavar="S", help="of the first scene (default: %(default)s)"
    )
    parser.set_defaults(usual_count=count)


def check_samples(arguments: argparse.Namespace) -> None:
    """Before anything is loaded."""
    if arguments.count is not None and arguments.count < 1:
        raise InputError(f"--count {arguments.count} asks for nothing: it is at least 1.")
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed} is negative: it is 0 or more.")


def samples_of(arguments: argparse.Namespace, split: str) -> Iterator[Sample]:
    """Of the data that was named, else of scenes, with a progress bar."""
    if arguments.data is not None:
        return _so_many(read(arguments.data), arguments.count, arguments.data.name)
    return _so_many(rendered(split, arguments.seed), arguments.count or arguments.usual_count, split)


def rendered(split: str, first_seed: int) -> Iterator[Sample]:
    """Scenes without end, the same images and items as `kosmos2 sim dataset` writes."""
    from kosmos2_sim.dataset import DatasetPlan, encoded_record  # loads MuJoCo
    from kosmos2_sim.shapes import SHAPES
    from kosmos2_sim.tabletop import Tabletop

    plan = DatasetPlan(split, first_seed, ITEMS, SIZE_PX, SHAPES, must=None, per_shard=None)
    with Tabletop(SIZE_PX, SIZE_PX) as tabletop:
        for seed in numbers_from(first_seed):
            example = encoded_record(tabletop, plan, seed)
            record = Record(f"{split} {seed}", example.items, truths=example.truths)
            yield load_image(example.image), record


def probe_samples(split: str, first_seed: int, wanted: int) -> Iterator[Sample]:
    """Rendered scenes with phrases that probe presence: so many present and so many absent ones of each kind.

    The scenes are those of `rendered`. A command with two phrases may bring one more than is wanted; a rare
    kind has fewer if the number of images is at its limit.
    """
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
            items = tuple(_still_missing(probes(shot, PROBES_PER_IMAGE), missing))
            if items:
                yield load_image(jpeg(shot.image)), Record(f"{split} {seed}", items)
            bar.update(total - missing.total() - bar.n)


def _still_missing(items: Iterable[Item], missing: Counter[tuple[str, bool]]) -> Iterator[Item]:
    """The items with a phrase that is still missing, which is then no longer counted as missing."""
    for item in items:
        phrases = [(item.kind, bool(phrase.boxes)) for phrase in item.text.phrases]
        if any(phrase in missing for phrase in phrases):
            yield item
            for phrase in phrases:
                missing[phrase] -= 1
                if missing[phrase] <= 0:
                    del missing[phrase]


def read(path: Path) -> Iterator[Sample]:
    source = RecordSource(path)
    for number in range(len(source)):
        record = source[number]
        yield source.image(record), record


def _so_many(samples: Iterable[Sample], count: int | None, name: str) -> Iterator[Sample]:
    """Up to the image in which that many phrases to locate are reached."""
    seen = 0
    with tqdm(total=count, desc=name, unit=" phrases", leave=False, disable=None) as bar:
        for pixels, record in samples:
            phrases = sum(len(item.text.phrases) for item in record.items if item.task == "locate")
            yield pixels, record
            seen += phrases
            bar.update(phrases)
            if count is not None and seen >= count:
                return
