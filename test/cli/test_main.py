"""The command `kosmos2`: help, errors in one sentence, exit codes, lazy imports."""

import subprocess
import sys
from importlib import metadata

import pytest

from kosmos2_cli.main import Subcommand, main

MODULES = {
    "fine": "def add_arguments(p):\n    p.add_argument('name')\ndef run(a):\n    print('hello', a.name)",
    "wrong": (
        "from kosmos2_core.errors import Kosmos2Error\ndef add_arguments(p): pass\n"
        "def run(a):\n    raise Kosmos2Error('there is no image mug.png: name one that exists.')"
    ),
    "broken": "def add_arguments(p): pass\ndef run(a):\n    return 1 / 0",
    "costly": "raise ImportError('must not be imported')",
    "endless": ("def add_arguments(p): pass\ndef run(a):\n    while True:\n        print('line')"),
}


@pytest.fixture
def subcommands(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}_command.py").write_text(f'"""Example: kosmos2 {name} mug"""\n{text}\n')
    monkeypatch.syspath_prepend(tmp_path)
    return {name: Subcommand(f"does {name} things", f"{name}_command") for name in MODULES}


def sentence(capsys) -> str:
    """Standard error, which must be one line."""
    error = capsys.readouterr().err
    assert error.startswith("kosmos2: ")
    assert error.count("\n") == 1
    return error


def test_a_subcommand_runs_and_the_others_are_not_imported(subcommands, capsys):
    assert main(["fine", "world"], subcommands) == 0
    assert capsys.readouterr().out == "hello world\n"


def test_help_lists_the_subcommands_without_importing_them(subcommands, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"], subcommands)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "does costly things" in out
    assert "--version" in out


def test_a_subcommand_s_help_shows_its_example(subcommands, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fine", "--help"], subcommands)
    assert end.value.code == 0
    assert "Example: kosmos2 fine mug" in capsys.readouterr().out


def test_nothing_asked_shows_the_help_and_is_bad_usage(subcommands, capsys):
    assert main([], subcommands) == 2
    assert "does fine things" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fien"], ["fien", "did you mean fine?", "kosmos2 --help"]),
        (["--colour"], ["--colour", "kosmos2 --help"]),
        (["fine"], ["name", "kosmos2 fine --help"]),
        (["fine", "a", "b"], ["b", "kosmos2 fine --help"]),
        (["wrong"], ["there is no image mug.png: name one that exists."]),
    ],
)
def test_bad_usage_and_bad_input_get_one_sentence_and_exit_2(subcommands, capsys, argv, words):
    assert main(argv, subcommands) == 2
    error = sentence(capsys)
    assert [word for word in words if word not in error] == []


def test_a_bug_is_one_sentence_and_exit_1(subcommands, capsys, monkeypatch):
    monkeypatch.delenv("KOSMOS2_DEBUG", raising=False)
    assert main(["broken"], subcommands) == 1
    assert "ZeroDivisionError" in sentence(capsys)


def test_a_bug_shows_its_traceback_on_request(subcommands, capsys, monkeypatch):
    monkeypatch.setenv("KOSMOS2_DEBUG", "1")
    assert main(["broken"], subcommands) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly(subcommands, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from kosmos2_cli.main import Subcommand, main\n"
        "sys.exit(main(['endless'], {'endless': Subcommand('', 'endless_command')}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


@pytest.mark.parametrize("command", [["kosmos2"], [sys.executable, "-m", "kosmos2_cli"]])
def test_the_installed_command_tells_its_version(command):
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"kosmos2 {metadata.version('kosmos2')}\n"
