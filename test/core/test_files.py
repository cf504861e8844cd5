"""Writing replaces a file as a whole; damaged JSON is one sentence."""

import os

import pytest

from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.files import new_folder, read_json, write_atomically


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
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


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
