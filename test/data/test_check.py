"""What is wrong with data is named, the rest is used, and the counts add up."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_data import BROKEN_LINES, line, truth, write_data

from kosmos2_core.boxes import Box
from kosmos2_data.check import check, size_name, survey
from kosmos2_data.record_source import BadRecord, RecordSource
from kosmos2_data.records import to_json


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


GREY = np.zeros((64, 96), np.uint8)
# Files beside the lines, each with a line that names it, and words of the sentence.
BROKEN_FILES: dict[str, tuple[str, bytes | None, str, str]] = {
    "image missing": ("bad/a.png", None, line({"image": "bad/a.png"}), "bad/a.png cannot be opened"),
    "image cut off": ("bad/b.png", png(GREY)[:-30], line({"image": "bad/b.png"}), "bad/b.png is damaged"),
    "no image": ("bad/c.png", b"<html>", line({"image": "bad/c.png"}), "bad/c.png is not an image"),
    "mask missing": ("bad/d.png", None, line({"mask": "bad/d.png"}), "bad/d.png cannot be opened"),
    "mask of colours": ("bad/e.png", png(np.dstack([GREY] * 3)), line({"mask": "bad/e.png"}), "8-bit grey"),
    "mask of another size": (
        *("bad/f.png", png(GREY[:32]), line({"mask": "bad/f.png"})),
        "bad/f.png has 96x32 pixels and the image 96x64",
    ),
    "mark not in the mask": (
        *("bad/g.png", png(GREY), truth(mark=7).replace("masks/0.png", "bad/g.png")),
        "no pixel of the mark 7 (red mug)",
    ),
}
BROKEN_BYTES = {"no UTF-8": (b'{"image": "\xff.png"}', "not UTF-8"), "huge": (b"[" * 2_000_000, "1 MB")}


@pytest.fixture(scope="module")
def broken_data(tmp_path_factory) -> tuple[Path, list[str], Callable[[int], str]]:
    """Data with every mistake in it, each between good records; the words for each bad line."""
    folder = tmp_path_factory.mktemp("data")
    good = [to_json(record).encode() for record in write_data(folder)]
    (folder / "bad").mkdir()
    for path, content, _, _ in BROKEN_FILES.values():
        if content is not None:
            (folder / path).write_bytes(content)
    bad = [(text.encode(), words) for text, words in BROKEN_LINES.values()]
    bad += [(text.encode(), words) for _, _, text, words in BROKEN_FILES.values()]
    bad += BROKEN_BYTES.values()
    lines = [record for number, (text, _) in enumerate(bad) for record in (good[number % 4], text)]
    (folder / "records.jsonl").write_bytes(b"\n\n".join(lines) + b"\n")
    return folder, [words for _, words in bad]


def test_every_bad_record_is_named_the_rest_is_used_and_the_counts_add_up(broken_data):
    folder, words = broken_data
    source = RecordSource(folder)
    found = survey(source, range(len(source)))
    assert len(words) > 60
    assert [bad.line for bad in found.bad] == [3 + 4 * number for number in range(len(words))]
    assert [
        (bad.reason, word) for bad, word in zip(found.bad, words, strict=True) if word not in bad.reason
    ] == []
    assert all(bad.reason.isprintable() and len(bad.reason) < 300 for bad in found.bad)
    assert found.good == len(words)
    assert found.lines == found.good + len(found.bad) + found.empty


def test_what_reads_one_record_says_the_same(broken_data):
    """Training reads by `check`, the command by `survey`."""
    source = RecordSource(broken_data[0])
    checked = [check(source, number) for number in range(len(source))]
    assert [record for record in checked if isinstance(record, BadRecord)] == survey(
        source, range(len(source))
    ).bad
    image, mask, record = checked[0]
    assert image.shape[:2] == mask.shape == (64, 96)
    assert record == source[0]


def surveyed(folder, *lines):
    (folder / "records.jsonl").write_text("\n".join(lines))
    source = RecordSource(folder)
    return survey(source, range(len(source)))


def test_what_is_in_data_is_counted(tmp_path):
    write_data(tmp_path, 1)
    found = surveyed(
        tmp_path,
        line(text="put [the mug](0,0,1,1) on [the tray]()", kind="command"),
        line(task="ask", question="what is [this](0.1,0.1,0.2,0.2;0.3,0.3,0.31,0.5)?", text="a mug"),
        line({"image": "nowhere.png"}),
        "",
        line(task="caption", text="[a mug](0,0,0.5,0.5)", kind="brief", detailed=True),
    )
    assert (found.lines, found.good, len(found.bad), found.empty) == (5, 3, 1, 1)
    assert found.tasks == {"locate": 1, "ask": 1, "caption": 1}
    assert found.kinds == {"command": 1, "brief": 1}
    assert (found.located, found.absent, found.boxes, found.thin) == (2, 1, 4, 1)
    assert found.as_json()["box_sides_px"] == {
        "0-7": 0,
        "7-14": 1,
        "14-28": 1,
        "28-56": 0,
        "56-112": 0,
        "112-224": 2,
    }
    assert found.as_json()["bad_records"][0]["line"] == 3


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line(text="[a](0.1,0.1,0.12,0.5) [b]()")], ["1 of 1 boxes are narrower"]),
        (
            [line(), line(), line()],
            ["no phrase is absent", "2 records are the same as an earlier one; the first is line 2"],
        ),
        ([line(text="[a](0,0,1,1) [b]()")], []),
    ],
)
def test_what_may_not_be_meant_is_a_warning(tmp_path, lines, words):
    write_data(tmp_path, 1)
    warnings = list(surveyed(tmp_path, *lines).warnings())
    assert len(warnings) == len(words)
    assert [word for word, warning in zip(words, warnings, strict=True) if word not in warning] == []


@pytest.mark.parametrize(
    ("side_px", "name"), [(3, "0-7"), (7, "7-14"), (13.9, "7-14"), (60, "56-112"), (224, "112-224")]
)
def test_sizes_are_named_by_the_side_of_a_square(side_px, name):
    assert size_name(Box(0, 0, side_px / 224, side_px / 224)) == name
