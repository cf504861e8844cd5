"""What changed between two evaluations, and which queries changed sides."""

import json

import pytest

from kosmos2_core.errors import InputError
from kosmos2_eval.bag.queries import COLUMNS
from kosmos2_eval.diff import diff_json, diff_text, metric_changes, query_changes, read_evaluation


def write(folder, ious, results=None, truth="present"):
    """An evaluation of as many images as there are IoUs."""
    folder.mkdir()
    lines = [",".join(COLUMNS)]
    for number, iou in enumerate(ious):
        fields = dict.fromkeys(COLUMNS, "") | {
            "model": folder.name,
            "camera": "/image",
            "stamp": f"{number}.0",
            "text": f"[mug {number}]",
            "index": "0",
            "truth": truth,
            "score": "0.5",
            "iou": str(iou),
        }
        lines.append(",".join(fields[name] for name in COLUMNS))
    (folder / "queries.csv").write_text("\n".join(lines) + "\n")
    (folder / "results.json").write_text(json.dumps(results or {"accuracy": 0.5}))
    return read_evaluation(folder)


def test_queries_that_changed_sides_the_largest_fall_first(tmp_path):
    before = write(tmp_path / "a", [0.9, 0.6, 0.8, 0.1, 0.4, 0.7])
    after = write(tmp_path / "b", [0.9, 0.4, 0.0, 0.9, 0.45, 0.7])
    found = query_changes(before.rows, after.rows)
    assert found.queries == 6
    assert [row.text for row, _ in found.lost] == ["[mug 2]", "[mug 1]"]
    assert [row.text for _, row in found.won] == ["[mug 3]"]
    assert found.accuracy["difference"] == pytest.approx(-1 / 6)
    assert found.p == 1.0
    text = diff_text(before, after)
    assert "6 queries in common: 1 won, 2 lost, McNemar p = 1" in text
    assert "IoU 0.80 -> 0.00  2.0 /image  [mug 2]" in text


def test_only_queries_of_both_that_are_there_are_compared(tmp_path):
    before, after = write(tmp_path / "a", [0.9] * 4), write(tmp_path / "b", [0.1] * 2)
    assert query_changes(before.rows, after.rows).queries == 2
    absent = write(tmp_path / "c", [0.0] * 4, truth="absent")
    assert query_changes(before.rows, absent.rows) is None
    assert "no query with a true box in common: are they of the same bag?" in diff_text(before, absent)


def test_numbers_of_any_results_are_compared(tmp_path):
    before = write(tmp_path / "a", [], {"splits": {"far": {"accuracy": 0.5, "count": 7}}, "model": "x"})
    after = write(tmp_path / "b", [], {"splits": {"far": {"accuracy": 0.75, "count": 7}}, "model": "y"})
    [row] = metric_changes(before, after)
    assert (row.name, row.before, row.after) == ("splits far accuracy", 0.5, 0.75)
    assert "+0.250" in diff_text(before, after)
    assert diff_text(before, before) == "All metrics are equal."
    assert diff_json(before, after)["queries"] is None


def test_an_evaluation_against_itself_changes_nothing(evaluated_twice):
    before, after = map(read_evaluation, evaluated_twice)
    assert all(row.before == row.after for row in metric_changes(before, after))
    found = diff_json(before, after)
    assert found["queries"]["lost"] == found["queries"]["won"] == []
    assert found["queries"]["mcnemar_p"] == 1.0
    assert "accuracy at IoU 0.5" in diff_text(before, after)


@pytest.fixture
def evaluated_twice(tmp_path):
    group = {"accuracy": {"0.5": 0.5}, "mean_iou": 0.4}
    results = {"figures": {"all": group, "kinds": {"name": group}, "stability": {"jitter": None}}}
    write(tmp_path / "a", [0.9, 0.1], results)
    write(tmp_path / "b", [0.9, 0.1], results)
    return tmp_path / "a", tmp_path / "b" / "results.json"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "cannot be read as JSON"), ("[1]", "does not contain results"), (None, r"has no results\.json")],
)
def test_what_is_no_evaluation_is_a_sentence(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_evaluation(tmp_path)
