"""`kosmos2 eval bag` and `kosmos2 eval diff`, as a person runs them."""

import json

import pytest

from kosmos2_cli.main import main
from kosmos2_eval.bag.summary import text_table


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "run"
    size = ["--seconds", "1", "--rate", "4", "--width", "96", "--height", "72"]
    assert main(["sim", "bag", str(folder), *size, "--compressed"]) == 0
    return folder


def test_a_report_then_another_and_what_changed(bag, checkpoint, kosmos2, tmp_path, capsys):
    code, out, error = kosmos2("eval", "bag", bag, "--out", tmp_path / "a")
    assert code == 0, error
    assert "accuracy at IoU 0.5" in out
    assert "4 of 4 images" in out
    assert out.splitlines()[-1] == str(tmp_path / "a/report.html")
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == ["overlay.mcap", "queries.csv", "report.html", "results.json", "timings.json"]
    assert str(bag) not in (tmp_path / "a/results.json").read_text()

    code, out, _ = kosmos2("eval", "bag", bag, "--out", tmp_path / "b", "--json", "--compare", checkpoint)
    results = json.loads(out)
    assert code == 0
    assert results == json.loads((tmp_path / "b/results.json").read_text())
    assert results["models"] == [checkpoint.name, f"{checkpoint.name} (compared)"]
    assert results["compared"]["difference"]["mcnemar"]["p"] == 1.0

    assert main(["eval", "diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "0 won, 0 lost, McNemar p = 1" in out
    assert main(["eval", "diff", str(tmp_path / "a"), str(tmp_path / "b/results.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"]["lost"] == []


def test_the_threshold_says_which_phrases_get_a_box(bag, kosmos2, tmp_path):
    found = {}
    for least in (0, 1):
        code, out, error = kosmos2(
            *("eval", "bag", bag, "--out", tmp_path / str(least), "--min-presence", least, "--json")
        )
        assert code == 0, error
        results = json.loads(out)
        assert results["min_presence"] == [least]
        figures = results["figures"]["all"]
        found[least] = [figures["found"], figures["misses"], figures["presence"]]
    assert found[0][:2] == [1.0, 0.0]
    assert found[1][:2] == [0.0, 1.0]
    assert "most misses: " in text_table(results)
    assert found[0][2] == found[1][2]  # presence is told without a box, too
    assert "its presence is below the threshold (1 for " in (tmp_path / "1/report.html").read_text()


def test_recorded_answers_need_no_model(bag, tmp_path, capsys):
    arguments = ["eval", "bag", str(bag), "--answers", str(bag), "--answers-topic", "/truth/grounding"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "accuracy at IoU 0.5               1.000" in out
    assert "0 images were dropped by the node" in out
    assert "most " not in out  # the true answers have no false alarms and no misses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--labels", "nothing.txt"], "--labels nothing.txt is neither a file nor a topic"),
        (["--labels", "/nothing"], "--labels /nothing: the bag has no such topic; it has /camera/"),
        (["--image", "/nothing"], "--image /nothing: the bag has no such topic"),
        (["--every", "0"], "--every 0 is not possible: give 1 for every image, or more."),
        (["--from", "3", "--to", "2"], "--from and --to are seconds from the start of the bag"),
        (["--phrase", "a", "--as-labelled"], "exclude each other: give one of these options."),
        (["--phrase", "go home"], "`go home` names nothing to locate"),
        (["--model", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--min-presence", "2"], "--min-presence is 2: it must be a probability, from 0 to 1."),
        (["--answers", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(bag, tmp_path, capsys, options, sentence):
    out = tmp_path / "out"
    code = main(["eval", "bag", str(bag), "--out", str(out), "--model", "models/tabletop-tiny", *options])
    error = capsys.readouterr().err
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists() or list(out.iterdir()) == []


def test_a_missing_package_of_the_report_is_named_before_the_work(bag, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("kosmos2_core.packages.find_spec", lambda package: None)
    assert main(["eval", "bag", str(bag), "--model", "nowhere", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "jinja2 is not installed: run `pip install 'kosmos2[eval]'`" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bag_that_is_not_there_or_is_none(tmp_path, capsys):
    (tmp_path / "text.mcap").write_text("hello")
    for bag in ("nothing", "text.mcap"):
        code = main(["eval", "bag", str(tmp_path / bag), "--out", str(tmp_path / "out")])
        error = capsys.readouterr().err
        assert code == 2
        assert bag in error
        assert error.count("\n") == 1
    assert main(["eval", "diff", str(tmp_path), str(tmp_path)]) == 2
    assert "has no results.json" in capsys.readouterr().err


def test_another_question_does_not_go_on_with_an_unfinished_one(bag, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".unfinished.jsonl").write_text('"something else"\n')
    code = main(["eval", "bag", str(bag), "--out", str(out), "--model", "models/tabletop-tiny"])
    assert code == 2
    assert "belongs to a different run" in capsys.readouterr().err
