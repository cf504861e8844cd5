"""Work that was broken off goes on; what was cut off in the middle does not count."""

import pytest

from kosmos2_core.errors import InputError
from kosmos2_eval.bag.journal import FILE, Journal


def test_batches_are_there_after_a_break_and_gone_when_all_is_done(tmp_path):
    journal = Journal(tmp_path, {"bag": 1})
    journal.add([1, 0.1 + 0.2])
    journal.close(finished=False)
    journal = Journal(tmp_path, {"bag": 1})
    assert journal.done == 1
    journal.add("second")
    assert list(journal.batches()) == [[1, 0.1 + 0.2], "second"]
    journal.close(finished=True)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_line_that_was_cut_off_does_not_count(tmp_path, cut):
    journal = Journal(tmp_path, {})
    journal.add("first")
    journal.add("second")
    journal.close(finished=False)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-cut])
    journal = Journal(tmp_path, {})
    assert journal.done == 1
    journal.add("again")
    assert list(journal.batches()) == ["first", "again"]


def test_an_unfinished_evaluation_of_something_else_is_left_alone(tmp_path):
    Journal(tmp_path, {"bag": 1}).close(finished=False)
    with pytest.raises(InputError, match=r"unfinished evaluation of something else .* or remove"):
        Journal(tmp_path, {"bag": 2})
    assert Journal(tmp_path, {"bag": 1}).done == 0


def test_a_start_that_was_cut_off_starts_again(tmp_path):
    (tmp_path / FILE).write_text('{"ba')
    journal = Journal(tmp_path, {"bag": 1})
    journal.add("first")
    assert list(journal.batches()) == ["first"]
