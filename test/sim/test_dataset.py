"""Data sets on disk: their content, and that it does not depend on how they were made."""

import json
import shutil
import tarfile

import numpy as np
import pytest

from kosmos2_cli.main import main
from kosmos2_core.errors import InputError
from kosmos2_data.record_source import RecordSource
from kosmos2_sim.dataset import make_dataset
from kosmos2_sim.shapes import COLOURS, SHAPES

COUNT = 6


def make(folder, count=COUNT, **options):
    make_dataset(folder, count, "train", 5, 6, **{"size": 112, **options})
    return folder


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data") / "made")


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_records_images_and_masks_belong_together(made):
    source = RecordSource(made)
    assert len(source) == COUNT
    for number in range(COUNT):
        record = source[number]
        image, mask = source.image(record), source.mask(record)
        assert image.shape == (112, 112, 3)
        assert 1 <= len(record.items) <= 6
        assert record.items[0].task == "caption"
        assert {truth.mark for truth in record.truths} == set(np.unique(mask)) - {0}
        for truth in record.truths:
            rows, columns = np.nonzero(mask == truth.mark)
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert truth.box.pixels(112, 112) == pytest.approx(box)
            colour, shape, *material = truth.names
            assert colour in COLOURS
            assert shape in SHAPES
            assert material in ([], ["matte"], ["shiny"])


def test_boxes_in_sentences_are_those_of_truths(made):
    source = RecordSource(made)
    for record in map(source.__getitem__, range(COUNT)):
        true = [truth.box.pixels(112, 112) for truth in record.truths]
        said = [box for item in record.items for phrase in item.text.phrases for box in phrase.boxes]
        assert said
        for box in said:
            assert any(box.pixels(112, 112) == pytest.approx(corners, abs=0.001) for corners in true)


def test_two_processes_make_the_same_bytes(made, tmp_path):
    assert contents(make(tmp_path / "two", workers=2)) == contents(made)


@pytest.mark.parametrize("cut", [1, 3000])
def test_one_that_was_cut_off_is_continued(made, copy, cut):
    """In the middle of a line; its image was written before."""
    lines = (copy / "records.jsonl").read_bytes()
    (copy / "records.jsonl").write_bytes(lines[:-cut])
    (copy / "images/000005.jpg").write_bytes(b"")
    make(copy)
    assert contents(copy) == contents(made)


def test_more_can_be_added(made, tmp_path):
    fewer = make(tmp_path / "fewer", 4)
    assert len(RecordSource(fewer)) == 4
    assert contents(make(fewer)) == contents(made)


def test_what_is_complete_is_left_alone(made, copy):
    before = {file: file.stat().st_mtime_ns for file in copy.rglob("*.*g")}
    make(copy)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert contents(copy) == contents(made)


def test_shards_hold_the_same(made, tmp_path):
    sharded = make(tmp_path / "shards", shards=2)
    assert [file.name for file in sorted(sharded.glob("*.tar"))] == ["shard-000.tar", "shard-001.tar"]
    files, shards = RecordSource(made), RecordSource(sharded)
    assert len(shards) == COUNT
    assert shards[5].image == "shard-001.tar/images/000005.jpg"
    for number in range(COUNT):
        plain, sharded = files[number], shards[number]
        assert (plain.items, plain.truths) == (sharded.items, sharded.truths)
        np.testing.assert_array_equal(files.image(plain), shards.image(sharded))
        np.testing.assert_array_equal(files.mask(plain), shards.mask(sharded))


def test_a_shard_that_was_cut_off_is_written_again(tmp_path):
    folder = make(tmp_path / "shards", shards=2)
    whole = contents(folder)
    lines = whole["records.jsonl"].splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:4]))
    (folder / "shard-001.tar").write_bytes(whole["shard-001.tar"][:1000])
    assert contents(make(folder, shards=2)) == whole
    with tarfile.open(folder / "shard-001.tar") as tar:
        assert len(tar.getnames()) == 6


def test_shapes_are_as_asked(tmp_path):
    folder = make(tmp_path / "data", 4, shapes=("cube", "hammer"), must="hammer")
    for record in map(RecordSource(folder).__getitem__, range(4)):
        shapes = {truth.names[1] for truth in record.truths}
        assert shapes <= {"cube", "hammer"}
    lines = (folder / "records.jsonl").read_text()
    assert "hammer" in lines
    assert "banana" not in lines


def test_kinds_of_items_are_as_asked(tmp_path):
    folder = make(tmp_path / "data", 4, item_kinds=("describe", "colour"))
    kinds = {item.kind for record in map(RecordSource(folder).__getitem__, range(4)) for item in record.items}
    assert kinds == {"brief", "describe", "colour"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"size": -1}, "size is -1"),
        ({"shards": 99}, "shards is 99"),
        ({"shapes": ("cub",)}, "no shape 'cub'"),
        ({"must": "spoon"}, "no shape 'spoon'"),
        ({"item_kinds": ("name",)}, "item-kinds names 'name': the kinds are attribute, size"),
        ({"probe_kinds": ("colour",)}, "probe-kinds names 'colour': the kinds are name, attribute"),
    ],
)
def test_bad_settings_are_said_and_nothing_is_written(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        make(tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_one_begun_otherwise_is_not_continued(made, copy):
    with pytest.raises(InputError, match=r"begun with size 112, not 64: take another folder"):
        make(copy, size=64)
    assert contents(copy) == contents(made)


def test_records_from_elsewhere_are_left_alone(tmp_path):
    (tmp_path / "records.jsonl").write_text("mine\n")
    with pytest.raises(InputError, match="take another folder"):
        make(tmp_path)
    (tmp_path / "made.json").write_text("no json")
    with pytest.raises(InputError, match="take another folder"):
        make(tmp_path)
    assert (tmp_path / "records.jsonl").read_text() == "mine\n"


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written \("):
        make(tmp_path / "file")


def test_the_command(tmp_path, capsys):
    folder = tmp_path / "data"
    options = ["--count", "2", "--split", "far", "--seed", "3", "--items", "4", "--only", "cube, ball"]
    assert main(["sim", "dataset", str(folder), *options]) == 0
    assert capsys.readouterr().out == f"{folder / 'records.jsonl'}\n"
    assert len(RecordSource(folder)) == 2
    assert json.loads((folder / "made.json").read_text())["shapes"] == ["cube", "ball"]
    assert main(["sim", "dataset", str(folder), "--count", "2", "--split", "near"]) == 2
    assert "there is no split 'near'" in capsys.readouterr().err
