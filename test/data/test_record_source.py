"""Records by number: from files or shards, in any order, in any process."""

import gzip
import json
import multiprocessing
import random
import struct
import tarfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_data import line, write_data

from kosmos2_core.errors import InputError
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_data.records import record_of, to_json


def write_lines(folder, *lines):
    file = folder / "records.jsonl"
    file.write_bytes(b"\n".join(record if isinstance(record, bytes) else record.encode() for record in lines))
    return file


def into_shard(folder, records, name="shard-000.tar", prefix=""):
    """The same data, its images and masks in a tar file."""
    with tarfile.open(folder / name, "w") as tar:
        for record in records:
            for path in (record.image, record.mask):
                tar.add(folder / path, prefix + path)
                (folder / path).unlink()
    moved = [
        replace(record, image=f"{name}/{record.image}", mask=f"{name}/{record.mask}") for record in records
    ]
    write_lines(folder, *map(to_json, moved))


def test_random_access_is_reading_in_order(tmp_path):
    written = write_data(tmp_path, 6)
    source = RecordSource(tmp_path)
    numbers = list(range(6))
    random.Random(0).shuffle(numbers)
    shuffled = {number: source[number] for number in numbers}
    assert [to_json(shuffled[number]) for number in range(6)] == [to_json(record) for record in written]
    assert list(source) == [shuffled[number] for number in range(6)]
    assert source[-1] == source[5]


def test_a_link_out_of_the_folder_is_one_sentence_and_one_within_it_is_fine(tmp_path):
    folder, secret = tmp_path / "data", tmp_path / "secret.png"
    write_data(folder, 4)
    (folder / "images/0.png").rename(secret)
    (folder / "images/0.png").symlink_to(secret)
    (folder / "images/1.png").unlink()
    (folder / "images/1.png").symlink_to("2.png")
    (folder / "masks").rename(tmp_path / "masks")
    (folder / "masks").symlink_to(tmp_path / "masks")
    (folder / "images/3.png").unlink()
    (folder / "images/3.png").symlink_to("3.png")
    source = RecordSource(folder)
    with pytest.raises(
        InputError, match=r"images/0\.png is a link out of the data's folder .*: copy the file"
    ):
        source.image(source[0])
    with pytest.raises(InputError, match=r"masks/2\.png is a link out of the data's folder"):
        source.mask(source[2])
    with pytest.raises(InputError, match=r"images/3\.png cannot be opened"):
        source.image(source[3])
    assert np.array_equal(source.image(source[1]), source.image(source[2]))


def test_a_link_out_of_the_folder_to_a_tar_file_is_one_sentence(tmp_path):
    folder = tmp_path / "data"
    into_shard(folder, write_data(folder, 1))
    (folder / "shard-000.tar").rename(tmp_path / "far.tar")
    (folder / "shard-000.tar").symlink_to(tmp_path / "far.tar")
    source = RecordSource(folder)
    with pytest.raises(InputError, match=r"shard-000\.tar/images/0\.png is a link out of the data's"):
        source.image(source[0])


def test_the_folder_itself_may_be_a_link(tmp_path):
    write_data(tmp_path / "far", 1)
    (tmp_path / "data").symlink_to("far")
    source = RecordSource(tmp_path / "data")
    assert source.image(source[0]).shape


def test_a_folder_and_its_file_of_lines_are_the_same(tmp_path):
    write_data(tmp_path)
    (tmp_path / "records.jsonl").rename(tmp_path / "half.jsonl")
    assert RecordSource(tmp_path / "half.jsonl").image(RecordSource(tmp_path / "half.jsonl")[0]).shape


def test_empty_lines_are_no_records_and_keep_the_others_numbers(tmp_path):
    source = RecordSource(write_lines(tmp_path, "", line(), "  \r", "", line() + "\r", "oh", line(), ""))
    assert (len(source), source.empty, list(source.lines)) == (4, 3, [2, 5, 6, 7])
    assert source[0] == source[1] == source[3] == record_of(line())
    with pytest.raises(InputError, match=r"records\.jsonl, line 6: the line is not JSON"):
        source[2]
    assert isinstance(source.read(2), BadRecord)


def test_no_lines_are_no_records(tmp_path):
    assert len(RecordSource(write_lines(tmp_path, ""))) == 0


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_what_is_no_data_is_said(tmp_path, place):
    with pytest.raises(InputError, match=r"cannot be opened \(No such file.*records\.jsonl"):
        RecordSource(tmp_path / place)


def test_a_huge_line_and_bytes_that_are_no_text_are_named_and_the_next_is_read(tmp_path):
    latin = line(text="[the café]()").replace("\\u00e9", "é").encode("latin-1")
    source = RecordSource(write_lines(tmp_path, line(kind="k" * 3_000_000), latin, line()))
    assert source.read(0) == BadRecord(1, "the line is longer than 1 MB: give the image fewer items.")
    assert source.read(1).line == 2
    assert "is not UTF-8, byte" in source.read(1).reason
    assert source[2] == record_of(line())


@pytest.mark.parametrize("prefix", ["", "./"])
def test_shards_are_the_files(tmp_path, prefix):
    records = write_data(tmp_path)
    files = RecordSource(tmp_path)
    expected = [(files.image(record), files.mask(record)) for record in files]
    into_shard(tmp_path, records, prefix=prefix)
    shards = RecordSource(tmp_path)
    for record, (image, mask) in zip(shards, expected, strict=True):
        assert record.image.startswith("shard-000.tar/")
        assert np.array_equal(shards.image(record), image)
        assert np.array_equal(shards.mask(record), mask)


def test_a_folder_may_be_called_as_a_tar_file(tmp_path):
    [record] = write_data(tmp_path / "shard.tar", 1)
    file = write_lines(
        tmp_path, to_json(replace(record, image=f"shard.tar/{record.image}", mask=None, truths=()))
    )
    source = RecordSource(file)
    assert source.image(source[0]).ndim == 3
    assert source.mask(source[0]) is None


def means(source, number):
    return float(source.image(source[number]).mean())


@pytest.mark.parametrize("shard", [False, True])
def test_other_processes_read_the_same(tmp_path, shard):
    records = write_data(tmp_path)
    if shard:
        into_shard(tmp_path, records)
    source = RecordSource(tmp_path)
    expected = [means(source, number) for number in range(len(source))]  # all is opened before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(source.__getitem__, range(4)) == list(source)
        assert [float(image.mean()) for image in pool.map(source.image, list(source))] == expected
        pool.close()  # to be ended by SIGTERM needs a process that has no handler of it
        pool.join()


def bomb():
    """A PNG of a few bytes that says it has 40,000 x 40,000 pixels."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(b"\0")}
    whole = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "images/0.png cannot be opened: No such file"),
        (b"", "images/0.png is not an image"),
        (b"GIF89a", "images/0.png is not an image"),
        (bomb(), "images/0.png is too large"),
    ],
    ids=["missing", "empty", "GIF", "bomb"],
)
@pytest.mark.parametrize("shard", [False, True])
def test_what_is_wrong_with_an_image_is_said_with_its_path(tmp_path, content, words, shard):
    if shard and content is None:
        words = "shard-000.tar has no member images/0.png"
    records = write_data(tmp_path, 2)
    (tmp_path / "images/0.png").write_bytes(content or b"")
    if shard:
        into_shard(tmp_path, records if content is not None else records[1:])
        write_lines(tmp_path, line({"image": "shard-000.tar/images/0.png"}))
    elif content is None:
        (tmp_path / "images/0.png").unlink()
    source = RecordSource(tmp_path)
    with pytest.raises(InputError) as error:
        source.image(source[0])
    assert words in str(error.value)


def test_a_truncated_image_is_damaged(tmp_path):
    write_data(tmp_path, 1)
    file = tmp_path / "images/0.png"
    file.write_bytes(file.read_bytes()[:-60])
    source = RecordSource(tmp_path)
    with pytest.raises(InputError, match=r"images/0\.png is damaged"):
        source.image(source[0])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 3], "no member|uncompressed and complete"),
        (gzip.compress, "shard-000.tar is not a tar file"),
        (lambda data: b"no tar", "shard-000.tar is not a tar file"),
        (lambda data: data[:100] + b"\xff" * 200 + data[300:], "shard-000.tar is not a tar file"),
    ],
)
def test_a_broken_shard_is_said(tmp_path, spoil, words):
    into_shard(tmp_path, write_data(tmp_path))
    shard = tmp_path / "shard-000.tar"
    shard.write_bytes(spoil(shard.read_bytes()))
    source = RecordSource(tmp_path)
    with pytest.raises(InputError, match=words):
        source.image(source[3])


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "I;16"])
def test_a_mask_that_is_not_plain_grey_is_no_mask(tmp_path, mode):
    write_data(tmp_path, 1)
    Image.new(mode, (96, 64)).save(tmp_path / "masks/0.png")
    source = RecordSource(tmp_path)
    with pytest.raises(InputError, match="8-bit grey"):
        source.mask(source[0])


def test_a_mask_s_values_are_kept(tmp_path):
    [record] = write_data(tmp_path, 1)
    values = np.arange(96 * 64, dtype=np.uint8).reshape(64, 96)
    Image.fromarray(values).save(tmp_path / "masks/0.png")
    assert np.array_equal(RecordSource(tmp_path).mask(record), values)
    assert json.loads(to_json(record))["mask"] == "masks/0.png"
