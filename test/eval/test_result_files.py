"""Interrupted work resumes from its log; a line that was cut off in the middle does not count."""

import pytest

from kosmos2_core.errors import InputError
from kosmos2_eval.result_files import JsonLinesLog, json_text, read_steps

HEADER = {"bag": 1, "options": ["a", "b"]}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "work.jsonl"


def write_log(file, *steps, header=HEADER):
    with JsonLinesLog(file, header) as log:
        for step in steps:
            log.add(step)


def test_steps_are_there_after_an_interruption_and_gone_when_all_is_done(file):
    write_log(file, [1, 0.1 + 0.2])
    log = JsonLinesLog(file, HEADER, sync=True)
    assert log.count == 1
    log.add("second")
    assert log.count == 2
    assert list(log.steps()) == [[1, 0.1 + 0.2], "second"]
    log.remove()
    assert not file.exists()


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_line_that_was_cut_off_does_not_count(file, cut):
    write_log(file, "first", "second")
    file.write_bytes(file.read_bytes()[:-cut])
    assert read_steps(file, HEADER) == ['"first"']
    with JsonLinesLog(file, HEADER) as log:
        assert log.count == 1
        log.add("again")
        assert list(log.steps()) == ["first", "again"]


def test_a_header_that_was_cut_off_is_written_again(file):
    file.write_text('{"ba')
    assert read_steps(file, HEADER) == []
    write_log(file, "first")
    assert read_steps(file, HEADER) == ['"first"']


def test_the_log_of_a_different_run_is_left_alone(file):
    write_log(file, "first")
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"work\.jsonl belongs to a different run .* or remove this file"):
        JsonLinesLog(file, HEADER | {"bag": 2})
    with pytest.raises(InputError, match="belongs to a different run"):
        read_steps(file, None)
    assert file.read_bytes() == before


def test_a_file_that_is_no_log_is_left_alone(file):
    file.write_text("some text\n")
    with pytest.raises(InputError, match="belongs to a different run"):
        JsonLinesLog(file, HEADER)
    assert file.read_text() == "some text\n"


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"work\.jsonl cannot be written"):
        JsonLinesLog(tmp_path / "missing" / "work.jsonl", HEADER)


@pytest.mark.parametrize("text", ["«the mug»", "\u2028 in a line", "lone \udc80 surrogate"])
def test_any_text_is_read_as_it_was_written(file, text):
    write_log(file, text, "next")
    with JsonLinesLog(file, HEADER) as log:
        assert list(log.steps()) == [text, "next"]


def test_json_has_rounded_numbers_and_no_negative_zero():
    assert (
        json_text({"a": -0.00000001, "b": (1 / 3, 2)})
        == '{\n  "a": 0.0,\n  "b": [\n    0.333333,\n    2\n  ]\n}\n'
    )
