"""`kosmos2 eval scenes` and `kosmos2 calibrate` as a user runs them, on rendered scenes and on data."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from small_data import write_data

from kosmos2_cli import samples
from kosmos2_cli.main import main
from kosmos2_cli.samples import SPLITS, probe_samples, render_samples
from kosmos2_core.calibration import MIN_PRESENCE, Calibration, read_calibration
from kosmos2_core.engine import Engine
from kosmos2_core.grounded_text import GroundedText
from kosmos2_core.requests import Locate
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import to_json
from kosmos2_sim.items import PROBE_KINDS
from kosmos2_sim.layout import SPLITS as ALL_SPLITS
from kosmos2_sim.tabletop import Tabletop


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "discs"
    write_data(folder, 6)
    return folder


@pytest.fixture(scope="module")
def half_right(data, checkpoint):
    """Data of which the model is right every other time: its own answers are the truth there."""
    source, engine = RecordSource(data), Engine.load(checkpoint, device="cpu")
    lines = []
    for number in range(len(source)):
        record = source[number]
        view = engine.look(source.image(record))
        items = [item for item in record.items if item.task == "locate"]
        for place in range(0, len(items), 2):
            text = items[place].text
            [answer] = view.run(Locate(text.text, min_presence=0.0))
            phrase = replace(text.phrases[0], boxes=answer.phrases[0].boxes)
            items[place] = replace(items[place], text=GroundedText(text.text, (phrase,)))
        lines.append(to_json(replace(record, items=tuple(items))))
    (data / "half.jsonl").write_text("\n".join(lines))
    return data / "half.jsonl"


def test_a_threshold_that_is_given_is_that_of_the_figures(kosmos2, half_right):
    rates = {}
    for least in (0, 1):
        code, out, _ = kosmos2("eval", "scenes", "--data", half_right, "--json", "--min-presence", least)
        assert code == 0
        figures = json.loads(out)["splits"]["half.jsonl"]
        assert figures["presence"]["threshold"] == least
        rates[least] = figures["presence"]["all"]["misses"], figures["locate"].pop("accuracy_with_threshold")
        rates[least, "boxes"] = figures["locate"]
    assert rates[0] == (0.0, rates[0, "boxes"]["accuracy"])
    assert rates[1] == (1.0, 0.0)
    assert rates[0, "boxes"] == rates[1, "boxes"]


def test_without_probes_the_phrases_of_the_scenes_tell_presence(kosmos2):
    code, out, _ = kosmos2("eval", "scenes", "--split", "far", "--count", 5, "--probes", 0, "--json")
    assert code == 0
    figures = json.loads(out)["splits"]["far"]
    assert figures["presence"]["probes"] is None
    assert figures["presence"]["all"]["absent"] == figures["locate"]["absent"]


def test_probes_end_when_all_kinds_have_enough_or_at_the_last_image(monkeypatch):
    seeds = []

    def shoot(tabletop, seed, *arguments):
        seeds.append(seed)
        return shot_of(tabletop, seed, *arguments)

    shot_of = Tabletop.shoot
    monkeypatch.setattr(Tabletop, "shoot", shoot)
    taken = list(probe_samples("standard", 3, 4))
    assert seeds == list(range(3, 3 + len(seeds)))
    assert len(seeds) < samples.FEWEST_IMAGES  # all that is wanted was there before
    counts = Counter(
        (item.kind, bool(phrase.boxes))
        for _, record in taken
        for item in record.items
        for phrase in item.text.phrases
    )
    assert set(counts) == {(kind, present) for kind in PROBE_KINDS for present in (True, False)}
    assert min(counts.values()) == 4
    assert all(count == 4 for (kind, _), count in counts.items() if kind != "command")
    assert taken[0][1].image == "standard 3"
    np.testing.assert_array_equal(taken[1][0], next(islice(render_samples("standard", 3), 1, None))[0])
    monkeypatch.setattr(samples, "IMAGES_PER_PROBE", 0)
    monkeypatch.setattr(samples, "FEWEST_IMAGES", 2)
    assert len(list(probe_samples("standard", 3, 4))) == 2


def test_splits_are_those_that_training_does_not_draw_from():
    assert tuple(split for split in ALL_SPLITS if split not in ("train", "worlds")) == SPLITS


def test_rendered_scenes_give_the_same_figures_each_time(kosmos2, tmp_path):
    texts = []
    for number in range(2):
        scenes = "eval", "scenes", "--split", "far", "--count", 5, "--probes", 2
        code, out, _ = kosmos2(*scenes, "--out", tmp_path / str(number))
        assert code == 0
        texts.append((tmp_path / str(number) / "results.json").read_bytes())
    assert texts[0] == texts[1]
    figures = json.loads(texts[0])["splits"]["far"]
    assert 5 <= figures["locate"]["count"] < 5 + 2 * 8
    assert set(figures["presence"]) == {"threshold", "probes", "images", "kinds", "all", "worst"}
    assert set(figures["presence"]["kinds"]) == set(PROBE_KINDS)
    for rates in figures["presence"]["kinds"].values():
        assert 2 <= rates["present"] <= 3
        assert 2 <= rates["absent"] <= 3
        assert {"false_alarms", "false_alarms_error", "misses", "misses_error", "auroc"} < set(rates)
    assert "all present phrases" in out
    assert "right, with the threshold" in out
    images = figures["presence"]["images"]
    assert f"far, {images} images: a phrase is found if its presence is at least {MIN_PRESENCE:.3g}\n" in out
    assert {line.split()[0] for line in out.splitlines() if line} >= {*PROBE_KINDS, "all"}
    assert {file.name for file in (tmp_path / "0").iterdir()} == {
        "results.json",
        "far.png",
        "far-reliability.png",
    }


def test_data_of_one_s_own_is_evaluated_to_its_end(kosmos2, half_right):
    code, out, _ = kosmos2("eval", "scenes", "--data", half_right, "--json")
    assert code == 0
    figures = json.loads(out)["splits"]["half.jsonl"]
    presence, located = figures["presence"], figures["locate"]
    assert presence["probes"] is None
    assert list(presence["kinds"]) == list(located["kinds"])  # its own phrases, and no probes
    assert presence["all"]["absent"] == located["absent"]
    assert presence["all"]["present"] + presence["all"]["absent"] == located["count"]
    assert located["count"] == half_right.read_text().count('"task": "locate"')
    assert 0.4 < located["accuracy"] < 0.8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", 0], "--count is 0: it must be at least 1"),
        (["--seed", -1], "--seed is -1: it must be at least 0"),
        (["--split", "train"], "invalid choice: 'train'"),
        (["--data", "nowhere"], "nowhere cannot be opened"),
        (["--probes", -1], "--probes is -1: it must be at least 0"),
        (["--probes", 5, "--data", "nowhere"], "--probes is for rendered scenes"),
        (["--min-presence", 1.5], "--min-presence is 1.5: it must be a probability"),
        (["--min-presence", "nan"], "--min-presence is nan: it must be a probability"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(kosmos2, arguments, words):
    code, _, error = kosmos2("eval", "scenes", *arguments)
    assert code == 2
    assert words in error
    assert error.count("\n") == 1


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A checkpoint to write to."""
    return shutil.copytree(checkpoint, tmp_path / "copied")


def calibrate(capsys, *arguments):
    code = main(["calibrate", *map(str, arguments), "--device", "cpu"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_calibrating_writes_what_the_engine_then_uses(copied, half_right, capsys, tmp_path):
    code, out, error = calibrate(capsys, copied, "--data", half_right, "--plot", tmp_path / "plot.png")
    assert code == 0
    assert re.search(r"half.jsonl has only \d\d phrases: with fewer than 300 the calibration depends", error)
    assert out.splitlines()[-1] == str(copied / "calibration.json")
    before, after = map(float, next(line for line in out.splitlines() if "NLL" in line).split()[-2:])
    assert after < before
    found = read_calibration(copied)
    assert found not in (None, Calibration())
    assert Engine.load(copied, device="cpu").calibration == found
    assert (tmp_path / "plot.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def with_absent(half_right):
    """The same data, in which the phrases that are located wrongly are said to be absent."""
    source = RecordSource(half_right)
    lines = []
    for number in range(len(source)):
        record = source[number]
        items = list(record.items)
        for place in range(1, len(items), 2):
            text = items[place].text
            if items[place].task == "locate":
                phrase = replace(text.phrases[0], boxes=())
                items[place] = replace(items[place], text=GroundedText(text.text, (phrase,)))
        lines.append(to_json(replace(record, items=tuple(items))))
    file = half_right.with_name("absent.jsonl")
    file.write_text("\n".join(lines))
    return file


def rows_of(report):
    """Return the cells of the rows about evidence, by kind."""
    rows = re.findall(r"^(object|question|phrase|together) +([\d.]+) *([\d.e-]*)$", report, re.MULTILINE)
    return {kind: cells for kind, *cells in rows}


def test_evidence_for_presence_is_fitted_shown_and_used(copied, with_absent, capsys):
    code, out, error = calibrate(capsys, copied, "--data", with_absent, "--evidence", "phrase")
    assert code == 0, error
    rows = rows_of(out)
    assert set(rows) == {"object", "phrase", "together"}
    assert (rows["object"][1], rows["together"][1]) == ("-", "")
    weights = read_calibration(copied).presence
    assert list(weights.weights) == ["phrase"]

    source = RecordSource(with_absent)
    [answer] = Engine.load(copied, device="cpu").look(source.image(source[0])).run(Locate("the red disc"))
    assert answer.evidence == ("phrase",)
    assert main(["info", str(copied)]) == 0
    assert "presence from phrase" in capsys.readouterr().out

    code, out, _ = calibrate(capsys, copied, "--data", with_absent)  # back to `<object>` alone
    assert code == 0
    assert rows_of(out) == {}
    assert "presence" not in json.loads((copied / "calibration.json").read_text())


@pytest.mark.slow
def test_a_question_in_other_words_is_fitted_and_asked(root, tmp_path, capsys):
    model = shutil.copytree(root / "models/tabletop-tiny", tmp_path / "model")
    asked = ("--evidence", "phrase,question", "--question", "Is there {} on the table?")
    code, out, _ = calibrate(capsys, model, "--count", 150, *asked)
    assert code == 0
    assert set(rows_of(out)) == {"object", "question", "phrase", "together"}
    assert float(rows_of(out)["question"][0]) >= 0.85
    assert "question: Is there {} on the table?" in out
    weights = read_calibration(model).presence
    assert tuple(weights.weights) == ("question", "phrase")
    assert weights.question == "Is there {} on the table?"


def test_a_dry_run_writes_nothing(copied, half_right, capsys):
    files = sorted(copied.iterdir())
    assert calibrate(capsys, copied, "--data", half_right, "--dry-run")[0] == 0
    assert sorted(copied.iterdir()) == files


def test_what_cannot_be_calibrated_is_one_sentence(copied, data, capsys):
    for arguments, words in (
        ((copied, "--data", data), "none are right"),
        ((copied.parent / "gone",), "is not a folder"),
        ((copied, "--data", data, "--count", 1), "of one image"),
        ((copied, "--data", data, "--evidence", "phrase"), "no phrase is absent, so evidence for presence"),
        (
            (copied, "--data", data, "--evidence", "scent"),
            "--evidence scent is not known: give object, question",
        ),
        ((copied, "--data", data, "--spread", 2), "--spread is 2: it must be from 0 to 1.5 cells"),
        ((copied, "--data", data, "--evidence", "phrase,phrase"), "once and separated by commas"),
        ((copied, "--data", data, "--question", "Is {} there?"), "--question is for the evidence `question`"),
        (
            (copied, "--data", data, "--evidence", "question", "--question", "Is it there?"),
            "must have `{}` once",
        ),
    ):
        code, _, error = calibrate(capsys, *arguments)
        assert (code, error.count("\n")) == (2, 1)
        assert words in error
    assert not (copied / "calibration.json").exists()
