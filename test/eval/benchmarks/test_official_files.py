"""Files are found in one tree for all, or in a folder of their own."""

import pytest
from official_data import lines, write

from kosmos2_core.errors import Kosmos2Error
from kosmos2_eval.benchmarks.official_files import find, json_of, lines_of, rows_of

PLACE = "vqa/deep/questions.json"


@pytest.mark.parametrize("where", [PLACE, "deep/questions.json", "questions.json"])
def test_a_file_is_found_below_the_folder_that_was_named(tmp_path, where):
    write(tmp_path / where, "{}")
    assert find(tmp_path, PLACE, "somewhere") == tmp_path / where


def test_what_is_missing_is_named_with_its_place_in_the_tree(tmp_path):
    with pytest.raises(
        Kosmos2Error, match=rf"{PLACE} is missing: download it from a server and put it there"
    ):
        find(tmp_path, PLACE, "a server")


def test_lines_and_rows_have_what_is_in_them(tmp_path):
    write(tmp_path / "a.jsonl", lines([{"a": "b\u2028c"}, 2]) + "\n")
    assert lines_of(tmp_path / "a.jsonl") == [{"a": "b\u2028c"}, 2]
    write(tmp_path / "a.csv", '\ufeffx,y\n1,"a, ""b""\nc"\n')
    assert rows_of(tmp_path / "a.csv") == [{"x": "1", "y": 'a, "b"\nc'}]


@pytest.mark.parametrize(("read", "content"), [(json_of, "{"), (lines_of, "{}\n{"), (json_of, "[" * 100_000)])
def test_a_damaged_file_is_one_sentence(tmp_path, read, content):
    write(tmp_path / "a.json", content)
    with pytest.raises(Kosmos2Error, match=r"a\.json .*download it again\.$") as caught:
        read(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_sentence(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Kosmos2Error, match="cannot be read"):
        rows_of(tmp_path / "a.csv")
