"""`kosmos2 data`: what a person sees, and exit codes."""

import json

import pytest
from PIL import Image
from small_data import line, write_data

from kosmos2_cli.main import main


@pytest.fixture
def data(tmp_path):
    write_data(tmp_path / "data")
    return tmp_path / "data"


def kosmos2(capsys, *arguments):
    code = main(["data", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_good_data_is_counted(data, capsys):
    code, out, _ = kosmos2(capsys, "check", data)
    assert code == 0
    assert out.startswith("4 lines: 4 good, 0 bad, 0 empty\n")
    assert "count" in out
    assert "warning: no phrase is absent" in out


def test_bad_records_are_named_with_their_lines_and_the_exit_code_is_2(data, capsys):
    file = data / "records.jsonl"
    file.write_text(file.read_text() + "\nno JSON\n" + line({"image": "gone.png"}))
    code, out, error = kosmos2(capsys, "check", file)
    assert code == 2
    first, second, _, total = out.splitlines()[:4]
    assert first.startswith("line 6: the line is not JSON")
    assert second == "line 7: gone.png cannot be opened: No such file or directory."
    assert total == "7 lines: 4 good, 2 bad, 1 empty"
    assert error == ""


def test_json_says_the_same(data, capsys):
    (data / "images/0.png").unlink()
    code, out, _ = kosmos2(capsys, "check", "--json", data)
    found = json.loads(out)
    assert code == 2
    assert (found["lines"], found["good"], found["bad"], found["empty"]) == (4, 3, 1, 0)
    assert found["bad_records"] == [
        {"line": 1, "reason": "images/0.png cannot be opened: No such file or directory."}
    ]


def test_a_sheet_is_written_and_named(data, capsys, tmp_path):
    code, out, _ = kosmos2(capsys, "show", data, "--count", 4, "--out", tmp_path / "sheet.png")
    assert (code, out) == (0, f"{tmp_path / 'sheet.png'}\n")
    assert Image.open(tmp_path / "sheet.png").width > 800


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere"], "nowhere cannot be opened"),
        (["show", "nowhere"], "nowhere cannot be opened"),
        (["show", ".", "--count", "0"], "--count is 0: it must be at least 1"),
        (["show", ".", "--seed", "-1"], "--seed is -1"),
        (["show", "data", "--out", "sheet.xyz"], "sheet.xyz cannot be written"),
        (["show", "data", "--out", "nowhere/sheet.png"], "nowhere/sheet.png cannot be written"),
        (["chekc", "data"], "chekc"),
        ([], "COMMAND"),
    ],
)
def test_bad_usage_gets_one_sentence(data, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(data.parent)
    code, out, error = kosmos2(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in error
    assert error.count("\n") == 1


def test_help_names_the_commands_and_loads_nothing(capsys):
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    out = capsys.readouterr().out
    assert "check" in out
    assert "show" in out
