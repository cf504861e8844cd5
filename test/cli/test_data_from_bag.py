"""`kosmos2 data from-bag`: what a person sees, and exit codes."""

import json

import pytest

from kosmos2_cli.main import main
from kosmos2_sim.bag import BagPlan, make_bag


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_bag(
        tmp_path_factory.mktemp("bags") / "run", BagPlan(seconds=1, rate_hz=4, width=64, height=48)
    )


def from_bag(capsys, *arguments):
    code = main(["data", "from-bag", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_bag_becomes_data_that_can_be_checked(run, tmp_path, capsys):
    code, out, _ = from_bag(capsys, run, tmp_path / "data")
    assert code == 0
    first, images, used, phrases = out.splitlines()
    assert first == f"{tmp_path / 'data/records.jsonl'}"
    assert images.split() == ["4", "images", "on", "/camera/image,", "over", "0.8", "s"]
    assert used.split() == ["4", "used,", "labelled", "by", "/truth/grounding"]
    assert "phrases" in phrases
    assert main(["data", "check", str(tmp_path / "data")]) == 0


def test_a_program_gets_a_line_of_json(run, tmp_path, capsys):
    code, out, _ = from_bag(capsys, run, tmp_path / "data", "--every", "3", "--jpeg", "90", "--json")
    said = json.loads(out)
    assert (code, said["images"], said["records"], said["left_out"]) == (0, 2, 2, {})
    assert [file.suffix for file in (tmp_path / "data/images").iterdir()] == [".jpg", ".jpg"]


def test_what_was_left_out_is_in_it(run, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("1767225600.25 [the mug](0.1,0.2,0.3,0.4)\n7 [the mug]()\n")
    code, out, _ = from_bag(capsys, run, tmp_path / "data", "--labels", tmp_path / "labels.txt", "--json")
    said = json.loads(out)
    assert (code, said["left_out"], said["labels_left_out"]) == (0, {"no label has its stamp": 3}, 1)


def test_what_a_damaged_bag_lacks_is_said(run, tmp_path, capsys):
    cut = tmp_path / "cut.mcap"
    data = next(run.glob("*.mcap")).read_bytes()
    cut.write_bytes(data[: len(data) * 4 // 5])
    code, out, error = from_bag(capsys, cut, tmp_path / "data")
    assert code == 0
    assert error.startswith("kosmos2: cut.mcap is cut off or damaged at byte ")
    assert error.count("\n") == 1
    assert "used, labelled by /truth/grounding" in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--every", "0"), "--every 0 is not possible: give 1 for every image, or more."),
        (("--jpeg", "0"), "--jpeg is 0: the quality must be from 1 to 100, such as 95."),
        (("--labels", "nowhere.txt"), "--labels nowhere.txt is neither a file nor a topic"),
        (("--labels", "/tf"), "--labels /tf is of type tf2_msgs/msg/TFMessage"),
        (("--image", "/no"), "--image /no: the bag has no such topic; it has /camera/camera_info, "),
        (("--from", "9"), "--from 9 is after the end of the bag"),
    ],
)
def test_bad_options_get_one_sentence_and_leave_nothing(run, tmp_path, capsys, options, sentence):
    code, out, error = from_bag(capsys, run, tmp_path / "data", *options)
    assert (code, out) == (2, "")
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
