"""`kosmos2 sim bag`: what a person sees, and exit codes."""

import pytest
from rosbags.rosbag2 import Reader

from kosmos2_cli.main import main

SMALL = ("--seconds", "0.5", "--rate", "4", "--width", "64", "--height", "48")


def sim_bag(capsys, *arguments):
    code = main(["sim", "bag", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_bag_is_written_and_named(tmp_path, capsys):
    folder = tmp_path / "runs/first"
    code, out, _ = sim_bag(capsys, folder, *SMALL, "--compressed", "--still", "--storage", "sqlite3")
    assert (code, out) == (0, f"{folder}\n")
    with Reader(folder) as reader:
        counts = {one.topic: one.msgcount for one in reader.connections}
    assert counts["/camera/image/compressed"] == counts["/truth/grounding"] == 2
    assert "/tf" not in counts
    assert (folder / "first.db3").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--seconds", "-1"), "a bag of -1 seconds cannot be made: the time must be above 0."),
        (("--rate", "0"), "a bag with 0 images per second cannot be made"),
        (("--storage", "zip"), "there is no bag storage 'zip': choose one of mcap, sqlite3."),
        (("--depth", "8UC1"), "there is no depth encoding '8UC1': choose 32FC1 or 16UC1."),
        (("--width", "3"), "an image of 3 x 48 pixels cannot be rendered"),
        (("--seed", "many"), "invalid int value: 'many'; run `kosmos2 sim bag --help` for usage."),
    ],
)
def test_bad_options_get_one_sentence_and_leave_nothing(tmp_path, capsys, options, sentence):
    code, _, error = sim_bag(capsys, tmp_path / "run", *SMALL, *options)
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path, capsys):
    code, _, error = sim_bag(capsys, tmp_path, *SMALL)
    assert code == 2
    assert error == f"kosmos2: {tmp_path} exists: choose a free name, or remove it.\n"
