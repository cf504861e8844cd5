"""The scoreboard's page, and which rows a run includes."""

import pytest

from .scoreboard import HEAD, LONG_ROWS, SOAK_ROWS, Row, is_measured, page


def test_the_page_keeps_rows_that_were_not_measured_again():
    before = page([Row(4, "images", "80 cases", ["79 | 1"], passed=False), Row(19, "soak", "a day")], "")
    assert "| 4 | images | 80 cases | 79 \\| 1 | **fail** |" in before
    after = page([Row(4, "images", "80 cases", ["80 cases"])], before)
    assert after.count("\n| 4 |") == after.count("\n| 19 |") == 1
    assert "| 4 | images | 80 cases | 80 cases | pass |\n| 19 | soak | a day | - | pass |" in after
    assert HEAD in after


@pytest.mark.parametrize("number", [4, 23, *LONG_ROWS])
def test_a_row_is_measured_in_full_by_a_make_target(number):
    assert is_measured(number, "")
    assert is_measured(number, "full") == (number not in LONG_ROWS)
    assert is_measured(number, "soak") == (number in SOAK_ROWS)
    assert is_measured(None, "full")
    assert not is_measured(None, "soak")
