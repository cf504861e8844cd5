"""Writing replaces a file as a whole; damaged JSON is one sentence; tables hold no formulas."""

import csv
import io
import os
from pathlib import Path

import pytest
from full_disk import files_up_to

from kosmos2_core.errors import DiskError, InputError, ModelError
from kosmos2_core.files import csv_text, new_folder, read_csv, read_json, replacing, write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path):
    file = tmp_path / "report.json"
    write_atomically(file, "old")
    write_atomically(file, "neu: ä")
    assert file.read_text(encoding="utf-8") == "neu: ä"
    write_atomically(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert list(tmp_path.iterdir()) == [file]


def test_if_writing_fails_the_old_file_stays_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "report.json"
    write_atomically(file, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path):
    file = tmp_path / "report.html"
    write_atomically(file, "old")
    words = r"report\.html cannot be written \(File too large\): make room"
    with pytest.raises(DiskError, match=words), files_up_to(1000):
        write_atomically(file, "new" * 1000)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\): choose a name"):
        write_atomically(tmp_path / "gone" / "report.html", "text")


def test_an_interrupted_block_leaves_the_old_file(tmp_path):
    def interrupted():
        with replacing(tmp_path / "report.json") as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    write_atomically(tmp_path / "report.json", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", "text")
    assert (tmp_path / "link").readlink().name == "file"
    assert (tmp_path / "file").read_text() == "text"
    write_atomically(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


TEXTS = ["=1+1", "+a", "-2 mugs", "@x", "\tx", "'=x", "''=x", "'tis", "a=b", "", "＝1", "-0.5", "1e3"]


def test_a_spreadsheet_shows_texts_and_runs_none():
    """The rows are as they were when they are read, and no cell begins as a formula does."""
    rows = [{"text": text, "number": -0.5, "none": None} for text in TEXTS]
    table = csv_text(["text", "number", "none"], rows)
    cells = list(csv.DictReader(io.StringIO(table, newline="")))
    formulas = [cell["text"] for cell in cells if cell["text"].startswith(tuple("=+-@\t\r＝"))]
    assert formulas == ["-0.5"]  # a number
    assert {cell["number"] for cell in cells} == {"-0.5"}
    assert [row["text"] for row in read_csv(io.StringIO(table, newline=""))] == TEXTS


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, b"\xff"])
def test_damaged_json_is_one_sentence_with_advice(tmp_path, content):
    file = tmp_path / "config.json"
    write_atomically(file, content)
    with pytest.raises(ModelError, match=r"config\.json cannot be read as JSON .*: train again\."):
        read_json(file, "train again")


def test_a_missing_file_is_left_to_the_caller(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "config.json")


def test_a_new_folder_gets_its_name_when_it_is_complete(tmp_path):
    folder = tmp_path / "deep" / "data"
    with new_folder(folder) as unfinished:
        unfinished.mkdir()
        (unfinished / "file").write_text("content")
        assert not folder.exists()
    assert (folder / "file").read_text() == "content"
    with pytest.raises(InputError, match="data exists: choose a free name"), new_folder(folder):
        pass


def test_of_a_new_folder_that_fails_nothing_is_left(tmp_path):
    def interrupted():
        with new_folder(tmp_path / "data") as unfinished:
            unfinished.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
