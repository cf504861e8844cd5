"""Data sets of the simulated tabletop: images, masks and the records of `kosmos2_data.records`.

    images/000000.jpg   masks/000000.png   records.jsonl   made.json (the options it was made with)

With shards, the images and masks are members of `shard-000.tar` and so on. Record i is the shot of the seed
first_seed + i. So an interrupted data set can be continued, and any number of processes makes the same bytes.
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
from kosmos2_core.files import write_atomically, write_errors
from kosmos2_data.records import Item, Record, Truth, to_json
from kosmos2_sim.items import ITEM_KINDS, PROBE_KINDS, items, probes
from kosmos2_sim.layout import SPLITS, check_scene
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.shot import Thing
from kosmos2_sim.tabletop import Tabletop

RECORDS, MADE = "records.jsonl", "made.json"
ADDED_LATER = {"probes_per_kind": 0, "probe_kinds": [], "item_kinds": []}  # missing in older made.json files
JPEG_QUALITY = 95


@dataclass(frozen=True)
class DatasetPlan:
    """The options that determine the content of a data set; only the number of records may grow later."""

    split: str
    first_seed: int
    items_per_image: int
    size: int
    shapes: tuple[str, ...]
    must: str | None
    per_shard: int | None  # images in a tar file; None: no tar files
    probes_per_kind: int = 0  # present and absent phrases of each kind, for each image
    probe_kinds: tuple[str, ...] = ()  # the kinds of the probes; if empty, all of them
    item_kinds: tuple[str, ...] = ()  # the kinds of the items beside the brief caption; if empty, all of them


@dataclass(frozen=True)
class EncodedRecord:
    """One image and its mask as the bytes of their files, with what is said about the image."""

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
    probe_kinds: tuple[str, ...] = (),
    item_kinds: tuple[str, ...] = (),
) -> Path:
    """Write a data set, or the missing part of an interrupted one, and return the file of its records.

    Args:
        count: the number of images.
        items_per_image: the largest number of items for an image, without its probes.
        size: the width and the height of the images in pixels.
        workers: the number of processes that render.
        shards: the number of tar files; None: no tar files.
        shapes: the shapes that may appear.
        must: a shape that must appear in every image.
        probes_per_kind: the number of present and of absent phrases of each kind for an image.
        probe_kinds: the kinds of these phrases, from PROBE_KINDS; if empty, all of them.
        item_kinds: the kinds of the items, from ITEM_KINDS; if empty, all of them. The brief caption is
            always among the items.

    Raises:
        InputError: an option is wrong, the folder cannot be written to, or it holds other data.
    """
    for name, number in (("count", count), ("items", items_per_image), ("workers", workers), ("size", size)):
        if number < 1:
            raise InputError(f"{name} is {number}: it must be at least 1.")
    if probes_per_kind < 0:
        raise InputError(f"probes is {probes_per_kind}: it must be at least 0.")
    _check_kinds("probe-kinds", probe_kinds, PROBE_KINDS)
    _check_kinds("item-kinds", item_kinds, ITEM_KINDS)
    if shards is not None and not 1 <= shards <= count:
        raise InputError(f"shards is {shards}: it must be from 1 to the number of images, {count}.")
    per_shard = None if shards is None else -(-count // shards)
    plan = DatasetPlan(
        *(split, first_seed, items_per_image, size, tuple(shapes), must, per_shard),
        *(probes_per_kind, probe_kinds, item_kinds),
    )
    check_scene(first_seed, split, plan.shapes, must)
    _begin(folder, plan)
    done = _resume(folder / RECORDS, count, per_shard)
    records = _encoded_records(plan, range(first_seed + done, first_seed + count), workers)
    with tqdm(records, total=count, initial=min(done, count), unit="image", disable=None) as progress:
        write = _write_files if per_shard is None else partial(_write_shards, per_shard)
        with write_errors(folder):
            write(folder, done, progress)
    return folder / RECORDS


def _check_kinds(option: str, kinds: tuple[str, ...], known: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in known:
            raise InputError(f"{option} names {kind!r}: the kinds are {', '.join(known)}.")


def _begin(folder: Path, plan: DatasetPlan) -> None:
    """Write the plan into a new folder, or check that the folder was begun with the same plan."""
    made = folder / MADE
    options = json.loads(json.dumps(asdict(plan)))
    try:
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not made.exists() and (folder / RECORDS).exists():
            raise InputError(f"{folder} has records that were not made by this command: take another folder.")
        if not made.exists():
            write_atomically(made, json.dumps(options) + "\n")
        begun_with = json.loads(made.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{made} was not written by this command: take another folder.") from None
    for name, value in options.items():
        begun = begun_with.get(name, ADDED_LATER.get(name))
        if begun != value:
            raise InputError(f"{folder} was begun with {name} {begun}, not {value}: take another folder.")


def _resume(records: Path, count: int, per_shard: int | None) -> int:
    """Return the number of complete records.

    An incomplete line is removed from the file, and with it the other lines of its shard.
    """
    if not records.exists():
        return 0
    with records.open("r+b") as stream:
        sizes = [len(line) for line in stream if line.endswith(b"\n")]
        done = len(sizes)
        if per_shard and done < count:
            done -= done % per_shard
        stream.truncate(sum(sizes[:done]))
    return done


def _encoded_records(plan: DatasetPlan, seeds: range, workers: int) -> Iterator[EncodedRecord]:
    """Render the shots of the seeds and yield them in order."""
    if workers == 1:
        with Tabletop(plan.size, plan.size) as tabletop:
            for seed in seeds:
                yield encoded_record(tabletop, plan, seed)
        return
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    with ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            yield from pool.map(partial(_render_in_worker, plan), seeds, chunksize=8)
        except BrokenProcessPool:
            raise InputError(
                "a rendering process was killed, most likely for lack of memory: use fewer workers, and rerun"
                " the command to resume."
            ) from None


def encoded_record(tabletop: Tabletop, plan: DatasetPlan, seed: int) -> EncodedRecord:
    """Render the shot of a seed and draw its items."""
    shot = tabletop.shoot(seed, plan.split, plan.shapes, plan.must)
    rng = np.random.default_rng([SPLITS.index(plan.split), seed, 1])
    drawn = items(shot, rng, plan.items_per_image, plan.shapes, plan.item_kinds)
    probed = probes(shot, plan.probes_per_kind, plan.shapes, plan.probe_kinds, balanced=True)
    return EncodedRecord(
        jpeg(shot.image),
        _encoded(shot.mask, "PNG"),
        tuple(dict.fromkeys((*drawn, *probed))),
        tuple(Truth(thing.mark, _names(thing), thing.box) for thing in shot.things if thing.box),
    )


def _names(thing: Thing) -> tuple[str, ...]:
    """Return colour, shape and, if the image shows it, material."""
    return thing.colour, thing.shape, *((thing.material,) if thing.material_shows else ())


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode an image (H, W, 3) as data sets store it."""
    return _encoded(image, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _encoded(pixels: NDArray[np.uint8], file_format: str, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


def _render_in_worker(plan: DatasetPlan, seed: int) -> EncodedRecord:
    return encoded_record(_worker_tabletop(plan.size), plan, seed)


@cache
def _worker_tabletop(size: int) -> Tabletop:
    """Return the tabletop of this worker process."""
    return Tabletop(size, size)


def _write_files(folder: Path, done: int, records: Iterable[EncodedRecord]) -> None:
    """Write images and masks as files; the line of a record is written after its files."""
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    with (folder / RECORDS).open("a", encoding="utf-8") as lines:
        for number, encoded in enumerate(records, done):
            record = _record(encoded, number)
            (folder / record.image).write_bytes(encoded.image)
            (folder / str(record.mask)).write_bytes(encoded.mask)
            lines.write(to_json(record) + "\n")
            lines.flush()


def _write_shards(per_shard: int, folder: Path, done: int, records: Iterable[EncodedRecord]) -> None:
    """Write images and masks into tar files; the lines of a shard are written after it."""
    numbered = enumerate(records, done)
    while shard := list(islice(numbered, per_shard)):
        name = f"shard-{shard[0][0] // per_shard:03}.tar"
        members = [(_record(encoded, number), encoded) for number, encoded in shard]
        with tarfile.open(folder / name, "w") as tar:
            for record, encoded in members:
                _add(tar, record.image, encoded.image)
                _add(tar, str(record.mask), encoded.mask)
        with (folder / RECORDS).open("a", encoding="utf-8") as lines:
            for record, _ in members:
                in_shard = replace(record, image=f"{name}/{record.image}", mask=f"{name}/{record.mask}")
                lines.write(to_json(in_shard) + "\n")


def _record(encoded: EncodedRecord, number: int) -> Record:
    return Record(f"images/{number:06}.jpg", encoded.items, f"masks/{number:06}.png", encoded.truths)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
