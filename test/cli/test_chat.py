"""`kosmos2 chat`: a dialogue in a pipe and in a terminal."""

import io
import os
import pty
import re
import select
import subprocess
import sys

import pytest

PATIENCE_S = 20.0
SHORT = ("--max-tokens", 12)


@pytest.fixture
def chat(kosmos2, photos, monkeypatch):
    """The command with these lines of input: exit code, standard output, standard error."""

    def run(text, *options):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return kosmos2("chat", photos / "0.png", *SHORT, *options)

    return run


def test_each_line_is_answered_and_remembered(chat):
    code, both, err = chat("What is red?\n\nAnd what is blue?\n")
    assert (code, err) == (0, "")
    assert len(both.splitlines()) >= 2
    _, second, _ = chat("And what is blue?\n")
    assert both.splitlines()[1] != second.splitlines()[0]


def test_help_lists_the_commands(chat):
    code, out, _ = chat("/help\n")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines() if line.startswith("  /")} == {
        "/help",
        "/save",
        "/quit",
    }


def test_quit_ends_the_dialogue(chat):
    _, first, _ = chat("What is red?\n")
    code, out, _ = chat("What is red?\n/quit\nAnd what is blue?\n")
    assert (code, out) == (0, first)


def test_a_dialogue_is_saved_as_markdown(chat, tmp_path):
    file = tmp_path / "dialogue.md"
    code, out, err = chat(f"What is red?\n/save {file}\nWhat is blue?\n/save {file}\n")
    assert (code, err) == (0, "")
    first, second = file.read_text().split("> What is blue?\n\n")  # answers may have any characters
    assert first.startswith("> What is red?\n\n")
    assert second.strip()
    assert out.splitlines().count(str(file)) == 2
    answer = out.splitlines()[0]
    assert answer in first


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/save", "/save needs the name of a file"),
        ("/save nowhere/at/all.md", "nowhere/at/all.md cannot be written (No such file or directory)"),
        ("/save taken.md", "taken.md exists: choose another name"),
        ("/quti", "there is no command /quti: /help lists"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_the_dialogue_goes_on(chat, line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.md").write_text("mine")
    code, out, err = chat(f"{line}\nWhat is red?\n")
    assert code == 0
    assert words in err
    assert err.count("\n") == 1
    assert out.strip()
    assert (tmp_path / "taken.md").read_text() == "mine"


def test_a_terminal_edits_lines_and_recalls_earlier_ones():
    """Backspace and the up arrow, as the terminal sends them."""
    code = (
        "from kosmos2_cli.chat import read_lines\n"
        "for line in read_lines():\n    print(f'[{line}]', flush=True)"
    )
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    )
    os.close(follower)
    try:
        wait_for(leader, rb"/help.*> ")
        os.write(leader, b"the rex\x7fd mug\n")
        wait_for(leader, rb"\[the red mug\].*> ")  # before the prompt the terminal edits the line itself
        os.write(leader, b"\x1b[A?\n")
        wait_for(leader, rb"\[the red mug\?\].*> ")
        os.write(leader, b"\x04")
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def wait_for(terminal, pattern):
    shown = b""
    while not re.search(pattern, shown, re.DOTALL):
        ready, _, _ = select.select([terminal], [], [], PATIENCE_S)
        assert ready, f"the terminal shows only {shown!r}"
        shown += os.read(terminal, 1000)
