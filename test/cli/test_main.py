"""The command `kosmos2`: help, error messages, exit codes, imports on demand, Tab completion."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata

import pytest
from full_disk import files_up_to

from kosmos2_cli.main import COMMANDS, Subcommand, main

HEAD = "from kosmos2_cli.main import CliCommand\n"
MODULES = {
    "fine": (
        "def add(p):\n    p.add_argument('name')\n    p.add_argument('--loud', choices=('yes', 'no'))\n"
        "def run(a):\n    print('hello', a.name)"
    ),
    "wrong": (
        "from kosmos2_core.errors import Kosmos2Error\ndef add(p): pass\n"
        "def run(a):\n    raise Kosmos2Error('there is no image mug.png: name one that exists.')"
    ),
    "broken": "def add(p): pass\ndef run(a):\n    return 1 / 0",
    "costly": "raise ImportError('must not be imported')",
    "long": "def add(p):\n    p.add_argument('name')\ndef run(a):\n    print('line\\n' * 10000)",
    "saves": (
        "from pathlib import Path\nfrom kosmos2_core.files import write_atomically\n"
        "def add(p):\n    p.add_argument('name')\n"
        "def run(a):\n    write_atomically(Path(a.name), 'x' * 1000)"
    ),
    "endless": "def add(p): pass\ndef run(a):\n    while True:\n        print('line')",
}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}_command.py").write_text(
            f"{HEAD}{text}\nCOMMAND = CliCommand(add, run, 'Example: kosmos2 {name} mug')\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    found = {name: Subcommand(f"does {name} things", f"{name}_command:COMMAND") for name in MODULES}
    group = Subcommand("has two commands", subcommands={name: found[name] for name in ("fine", "costly")})
    return found | {"group": group}


def read_sentence(capsys) -> str:
    """Return standard error, which must be one line."""
    error = capsys.readouterr().err
    assert error.startswith("kosmos2: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("words", [["fine"], ["group", "fine"]])
def test_a_command_runs_and_the_others_are_not_imported(commands, capsys, words):
    assert main([*words, "world"], commands) == 0
    assert capsys.readouterr().out == "hello world\n"


@pytest.mark.parametrize("words", [[], ["group"]])
def test_help_lists_the_commands_without_importing_them(commands, capsys, words):
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"], commands)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "does costly things" in out
    assert ("--version" in out) == (not words)


def test_the_help_of_a_command_shows_its_example(commands, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fine", "--help"], commands)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "Does fine things." in out
    assert "Example: kosmos2 fine mug" in out


def test_no_command_shows_the_help_and_is_bad_usage(commands, capsys):
    assert main([], commands) == 2
    assert "does fine things" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fiine"], ["fiine", "did you mean fine?", "kosmos2 --help"]),
        (["--colour"], ["--colour", "kosmos2 --help"]),
        (["fine"], ["name", "kosmos2 fine --help"]),
        (["fine", "a", "b"], ["b", "kosmos2 fine --help"]),
        (["group"], ["COMMAND", "kosmos2 group --help"]),
        (["group", "costli"], ["costli", "did you mean costly?", "kosmos2 group --help"]),
        (["wrong"], ["there is no image mug.png: name one that exists."]),
    ],
)
def test_bad_usage_and_bad_input_get_one_sentence_and_exit_2(commands, capsys, argv, words):
    assert main(argv, commands) == 2
    error = read_sentence(capsys)
    assert [word for word in words if word not in error] == []


def test_a_bug_is_one_sentence_and_exit_1(commands, capsys, monkeypatch):
    monkeypatch.delenv("KOSMOS2_DEBUG", raising=False)
    assert main(["broken"], commands) == 1
    assert "ZeroDivisionError" in read_sentence(capsys)


def test_a_bug_shows_its_traceback_on_request(commands, capsys, monkeypatch):
    monkeypatch.setenv("KOSMOS2_DEBUG", "1")
    assert main(["broken"], commands) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly(commands, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from kosmos2_cli.main import Subcommand, main\n"
        "sys.exit(main(['endless'], {'endless': Subcommand('Prints', 'endless_command:COMMAND')}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


@pytest.mark.parametrize("word", ["fine", "long"])
def test_output_to_a_full_disk_is_one_sentence_and_exit_1(commands, tmp_path, word):
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from kosmos2_cli.main import Subcommand, main\n"
        f"sys.exit(main(['{word}', 'mug'], {{'{word}': Subcommand('Prints', '{word}_command:COMMAND')}}))"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": ""},  # as users have it
        )
    assert done.returncode == 1
    assert done.stderr == (
        "kosmos2: the output cannot be written (No space left on device): make room on its disk, or choose"
        " another disk.\n"
    )


def test_a_full_disk_is_one_sentence_and_exit_1(commands, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with files_up_to(100):
        assert main(["saves", "report.json"], commands) == 1
    assert "report.json cannot be written (File too large)" in read_sentence(capsys)


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from kosmos2_cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("pydantic", ["train", "none.yaml"], "'kosmos2[train]'"),
        ("rosbags", ["eval", "bag", "none", "--out", "none"], "'kosmos2[eval]'"),
        ("torch", ["info", "--model", "none"], "kosmos2"),
        ("tokenizers", ["locate", "none.png", "the mug"], "kosmos2"),
        ("spacy", ["locate", "none.png", "the mug", "--spacy", "en_core_web_sm"], "'kosmos2[spacy]'"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module, words, extra):
    done = subprocess.run([sys.executable, "-c", WITHOUT, module, *words], capture_output=True, text=True)
    assert done.stderr == f"kosmos2: {module} is not installed: run `pip install {extra}`.\n"
    assert done.returncode == 2


@pytest.mark.parametrize("command", [["kosmos2"], [sys.executable, "-m", "kosmos2_cli"]])
def test_the_installed_command_tells_its_version(command):
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"kosmos2 {metadata.version('kosmos2')}\n"


def all_commands(commands=COMMANDS, before=()):
    for name, command in commands.items():
        yield (*before, name)
        yield from all_commands(command.subcommands, (*before, name))


@pytest.mark.parametrize("words", list(all_commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(words, capsys):
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    benchmark = words[0] == "eval" and words[-1] not in ("eval", "scenes", "bag", "diff")
    assert ("  kosmos2 eval refcoco" if benchmark else f"  kosmos2 {' '.join(words)}") in out


HELP_OF_ALL = """
import ast, contextlib, sys
from kosmos2_cli.main import main
for words in ast.literal_eval(sys.argv[1]):
    with contextlib.suppress(SystemExit):
        main([*words, "--help"])
    slow = {"torch", "cv2", "numpy", "mujoco", "rclpy", "transformers"} & sys.modules.keys()
    if slow:
        sys.exit(f"the help of {' '.join(words)} imports {sorted(slow)}")
"""


def test_help_and_completion_import_nothing_slow():
    commands = repr([(), *all_commands()])
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL, commands], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def complete_in_bash(line: str) -> set[str]:
    """Return what bash offers when Tab is pressed at the end of the line."""
    environment = os.environ | {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }
    command = 'exec 8>&1 9>&2; "$0" -m kosmos2_cli >/dev/null 2>&1'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], capture_output=True, text=True, env=environment, timeout=60
    )
    return {word.strip() for word in done.stdout.split("\n") if word}


def complete_in_fish(line: str) -> set[str]:
    """Return what fish offers, after the line that docs/installation.md adds to its start-up file."""
    code = f"register-python-argcomplete --shell fish kosmos2 | source; complete -C {shlex.quote(line)}"
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            ["fish", "-c", code],
            capture_output=True,
            text=True,
            env=os.environ | {"HOME": home, "XDG_CONFIG_HOME": home},
            timeout=60,
        )
    assert done.stderr == ""
    return {offer.partition("\t")[0] for offer in done.stdout.splitlines()}  # word, tab, help


SHELLS = (
    pytest.param(complete_in_bash, id="bash"),
    pytest.param(
        complete_in_fish,
        id="fish",
        marks=pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed"),
    ),
)


@pytest.mark.parametrize("complete", SHELLS)
@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("kosmos2 ", {"locate", "data", "watch"}, {"check"}),
        ("kosmos2 lo", {"locate"}, {"caption"}),
        ("kosmos2 data ", {"check", "show", "from-bag"}, {"locate"}),
        ("kosmos2 locate --min", {"--min-score", "--min-presence"}, {"--max-boxes"}),
        ("kosmos2 eval refcoco+ --split ", {"val", "testA", "testB"}, {"standard"}),
        ("kosmos2 locate mug --dtype b", {"bfloat16"}, {"float16"}),
        ("kosmos2 nothing ", set(), {"locate"}),
    ],
)
def test_the_tab_key_completes_commands_options_and_choices(complete, line, offered, not_offered):
    found = complete(line)
    assert offered <= found
    assert not_offered & found == set()
