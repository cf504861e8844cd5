"""A data set of the simulated tabletop: images, masks, and what is true of them, in `kosmos2_data.records`.

    images/000000.jpg   masks/000000.png   records.jsonl   made.json (what it was made with)

or, in shards, `shard-000.tar` with the images and masks as members. Record i is the shot of seed
first_seed + i, whoever rendered it, so that one begun before is continued, and any number of processes
makes the same bytes.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import signal
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from kosmos2_core.errors import InputError
from kosmos2_data.records import Item, Record, Truth, to_json
from kosmos2_sim.layout import SPLITS, check
from kosmos2_sim.probes import probes
from kosmos2_sim.scene import Tabletop
from kosmos2_sim.sentences import items
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.truth import Thing

RECORDS, MADE = "records.jsonl", "made.json"
QUALITY = 95


@dataclass(frozen=True)
class Plan:
    """What decides a data set's content; the count may grow."""

    split: str
    first_seed: int
    items_per_image: int
    size: int
    shapes: tuple[str, ...]
    must: str | None
    per_shard: int | None  # images in a tar file; None: plain files
    probes_per_kind: int = 0  # present and absent phrases of each kind, for each image


@dataclass(frozen=True)
class Example:
    """One image, encoded."""

    image: bytes
    mask: bytes
    items: tuple[Item, ...]
    truths: tuple[Truth, ...]


def make_dataset(
    folder: Path,
    count: int,
    split: str,
    first_seed: int,
    items_per_image: int,
    size: int = 224,
    workers: int = 1,
    shards: int | None = None,
    shapes: tuple[str, ...] = SHAPES,
    must: str | None = None,
    probes_per_kind: int = 0,
) -> Path:
    """Write a data set, or what is missing of it, and return the file of its records."""
    for name, number in (("count", count), ("items", items_per_image), ("workers", workers), ("size", size)):
        if number < 1:
            raise InputError(f"{name} is {number}: it is at least 1.")
    if probes_per_kind < 0:
        raise InputError(f"probes is {probes_per_kind}: it must be at least 0.")
    if shards is not None and not 1 <= shards <= count:
        raise InputError(f"shards is {shards}: it is from 1 to the number of images, {count}.")
    per_shard = None if shards is None else -(-count // shards)
    plan = Plan(split, first_seed, items_per_image, size, tuple(shapes), must, per_shard, probes_per_kind)
    check(first_seed, split, plan.shapes, must)
    _begin(folder, plan)
    done = _continue(folder / RECORDS, count, per_shard)
    examples = _examples(plan, range(first_seed + done, first_seed + count), workers)
    with tqdm(examples, total=count, initial=min(done, count), unit="image", disable=None) as shown:
        write = _write_files if per_shard is None else partial(_write_shards, per_shard)
        try:
            write(folder, done, shown)
        except OSError as error:
            raise InputError(f"{folder} cannot be written to: {error.strerror}.") from None
    return folder / RECORDS


def _begin(folder: Path, plan: Plan) -> None:
    """What the folder is made with is written first; one begun otherwise is not continued."""
    made = folder / MADE
    mine = json.loads(json.dumps(asdict(plan)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not made.exists() and (folder / RECORDS).exists():
            raise InputError(f"{folder} has records that were not made by this command: take another folder.")
        if not made.exists():
            made.write_text(json.dumps(mine) + "\n", encoding="utf-8")
        theirs = {"probes_per_kind": 0} | json.loads(made.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}.") from None
    except ValueError:
        raise InputError(f"{made} is not what this command wrote: take another folder.") from None
    for name, value in mine.items():
        if theirs.get(name) != value:
            raise InputError(
                f"{folder} was begun with {name} {theirs.get(name)}, not {value}: take another folder."
            )


def _continue(records: Path, count: int, per_shard: int | None) -> int:
    """How many records stand. A line cut off is dropped, and with it the others of its shard."""
    if not records.exists():
        return 0
    with records.open("r+b") as stream:
        sizes = [len(line) for line in stream if line.endswith(b"\n")]
        done = len(sizes)
        if per_shard and done < count:
            done -= done % per_shard
        stream.truncate(sum(sizes[:done]))
    return done


def _examples(plan: Plan, seeds: range, workers: int) -> Iterator[Example]:
    """In the order of the seeds."""
    if workers == 1:
        with Tabletop(plan.size, plan.size) as tabletop:
            for seed in seeds:
                yield make_example(tabletop, plan, seed)
        return
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    with ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            yield from pool.map(partial(_work, plan), seeds, chunksize=8)
        except BrokenProcessPool:
            raise InputError(
                "a process that renders was killed, most likely for memory: use fewer workers; the same"
                " command goes on where it stopped."
            ) from None


def make_example(tabletop: Tabletop, plan: Plan, seed: int) -> Example:
    shot = tabletop.shoot(seed, plan.split, plan.shapes, plan.must)
    rng = np.random.default_rng([SPLITS.index(plan.split), seed, 1])
    said = items(shot, rng, plan.items_per_image, plan.shapes)
    return Example(
        jpeg(shot.image),
        _encoded(shot.mask, "PNG"),
        tuple(dict.fromkeys((*said, *probes(shot, plan.probes_per_kind, plan.shapes)))),
        tuple(Truth(thing.mark, _names(thing), thing.box) for thing in shot.things if thing.box),
    )


def _names(thing: Thing) -> tuple[str, ...]:
    """The material last: it is left out where it cannot be seen."""
    return thing.colour, thing.shape, *((thing.material,) if thing.material_shows else ())


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """An image as data sets have it, (height, width, 3)."""
    return _encoded(image, "JPEG", quality=QUALITY, subsampling=0)


def _encoded(pixels: NDArray[np.uint8], form: str, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def _work(plan: Plan, seed: int) -> Example:
    return make_example(_own_tabletop(plan.size), plan, seed)


@cache
def _own_tabletop(size: int) -> Tabletop:
    """A worker process's."""
    return Tabletop(size, size)


def _write_files(folder: Path, done: int, examples: Iterable[Example]) -> None:
    """A line is written after its files."""
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    with (folder / RECORDS).open("a", encoding="utf-8") as lines:
        for number, example in enumerate(examples, done):
            record = _record(example, number)
            (folder / record.image).write_bytes(example.image)
            (folder / str(record.mask)).write_bytes(example.mask)
            lines.write(to_json(record) + "\n")
            lines.flush()


def _write_shards(per_shard: int, folder: Path, done: int, examples: Iterable[Example]) -> None:
    """The lines of a shard are written after it."""
    numbered = enumerate(examples, done)
    while shard := list(islice(numbered, per_shard)):
        name = f"shard-{shard[0][0] // per_shard:03}.tar"
        records = [_record(example, number) for number, example in shard]
        with tarfile.open(folder / name, "w") as tar:
            for record, (_, example) in zip(records, shard, strict=True):
                _add(tar, record.image, example.image)
                _add(tar, str(record.mask), example.mask)
        within = [replace(one, image=f"{name}/{one.image}", mask=f"{name}/{one.mask}") for one in records]
        with (folder / RECORDS).open("a", encoding="utf-8") as lines:
            lines.writelines(to_json(record) + "\n" for record in within)


def _record(example: Example, number: int) -> Record:
    return Record(f"images/{number:06}.jpg", example.items, f"masks/{number:06}.png", example.truths)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
