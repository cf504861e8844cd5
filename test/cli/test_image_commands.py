"""Each command as a user gives it, on a small checkpoint: what it prints, writes, and says of bad input."""

import io
import json
import os
import re
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from kosmos2_cli.main import main

SHORT = ("--max-tokens", 12)


def test_locate_prints_a_line_for_each_phrase(kosmos2, photos):
    code, out, err = kosmos2("locate", "pick up the red mug and put it into the bowl", photos / "0.png")
    assert (code, err) == (0, "")
    assert [line.split("  ")[1] for line in out.splitlines()] == ["the red mug", "the bowl"]


def test_what_is_not_found_is_said(kosmos2, photos):
    _, out, _ = kosmos2("locate", "the red mug", photos / "0.png", "--min-score", "0.999")
    assert "the red mug  not found (presence 0." in out


def test_locate_as_json_is_a_line_for_each_image(kosmos2, photos):
    code, out, _ = kosmos2(
        "locate", "[the mug] on [the table]", f"{photos}/*.png", "--json", "--max-boxes", 2
    )
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["image"] for line in lines] == [str(photos / f"{number}.png") for number in range(3)]
    for line in lines:
        assert line["text"] == "the mug on the table"
        assert (line["width"], line["height"]) == (80, 60)
        for phrase in line["phrases"]:
            assert line["text"][phrase["start"] : phrase["end"]] == phrase["phrase"]
            for box in phrase["boxes"]:
                x1, y1, x2, y2 = box["box_px"]
                assert 0 <= x1 < x2 <= 80
                assert 0 <= y1 < y2 <= 60
                assert 0 <= box["score"] <= phrase["presence"] <= 1


def test_a_picture_is_saved_for_one_image_and_a_folder_of_them_for_many(kosmos2, photos, tmp_path):
    picture = tmp_path / "new" / "annotated.png"
    assert kosmos2("locate", "the mug", photos / "0.png", "--save", picture)[0] == 0
    with Image.open(picture) as drawn, Image.open(photos / "0.png") as original:
        assert drawn.size == original.size
        assert np.asarray(drawn).tolist() != np.asarray(original).tolist()
    many = tmp_path / "many"
    assert kosmos2("locate", "the mug", photos, "--save", many)[0] == 0
    assert sorted(file.name for file in many.iterdir()) == ["0.png", "1.png", "2.png"]
    code, _, err = kosmos2("locate", "the mug", photos, "--save", picture)
    assert code == 2
    assert "name a folder" in err


def test_images_of_one_name_get_a_picture_each(kosmos2, photos, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.png").write_bytes((photos / "1.png").read_bytes())
    kosmos2("locate", "the mug", photos / "0.png", tmp_path / "other" / "0.png", "--save", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["0-2.png", "0.png"]


def test_a_bad_image_among_many_is_named_and_the_others_are_answered(kosmos2, photos, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    code, out, err = kosmos2("locate", "the mug", photos, tmp_path / "bad.png", photos / "1.png", "--json")
    assert code == 2
    assert len(out.splitlines()) == 4
    assert f"{tmp_path / 'bad.png'} is not an image" in err
    assert "1 of the images could not be read, the first is " in err


def test_each_nth_frame_of_a_video(kosmos2, tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for value in range(7):
        video.write(np.full((48, 64, 3), value * 30, np.uint8))
    video.release()
    code, out, _ = kosmos2(
        "locate", "the mug", tmp_path / "v.avi", "--every", 3, "--json", "--save", tmp_path
    )
    assert code == 0
    names = [json.loads(line)["image"] for line in out.splitlines()]
    assert names == [f"{tmp_path}/v.avi#{number:06}" for number in (0, 3, 6)]
    assert (tmp_path / "v.avi-000003.png").exists()


def test_caption_describe_and_ask_say_something(kosmos2, photos):
    photo = photos / "0.png"
    for arguments in (
        ("caption", photo),
        ("caption", "--detailed", "--no-boxes", photo, "--beams", 2),
        ("describe", photo, "--region", "0.1,0.2,0.5,0.6"),
        ("describe", photo, "--region", "8,12,40,36", "--wording", "What is [this]? This is"),
        ("ask", "What is red?", photo, "--ground"),
        ("ask", "What colour is it?", photo, "--region", "0.1,0.2,0.5,0.6", "--temperature", 1, "--seed", 3),
    ):
        code, out, err = kosmos2(*arguments, *SHORT)
        assert (code, err) == (0, "")
        assert out.strip()


def test_a_region_in_pixels_is_the_region_in_parts_of_the_image(kosmos2, photos):
    said = {
        kosmos2("describe", photos / "0.png", "--region", region, *SHORT)[1]
        for region in ("0.1,0.2,0.5,0.6", "8,12,40,36")
    }
    assert len(said) == 1


def test_chat_forgets_what_was_said_longest_ago(kosmos2, monkeypatch):
    lines = "".join(f"{'why ' * 400}{number}?\n" for number in range(4))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{lines}{'why ' * 3000}?\nAnd now?\n"))
    code, out, err = kosmos2("chat", *SHORT)
    assert code == 0
    assert err.count("\n") == 1
    assert "more than the model's 2048" in err
    assert len(out.splitlines()) == 5


def test_info_says_what_a_checkpoint_is(kosmos2, checkpoint):
    code, out, _ = kosmos2("info", checkpoint, "--json")
    about = json.loads(out)
    assert code == 0
    assert about["image"] == "56 x 56, patches of 14"
    assert about["locations"] == "32 x 32"
    assert about["bytes"] == os.path.getsize(checkpoint / "model.safetensors")
    assert about["parameters"] * 4 == pytest.approx(about["bytes"], rel=0.02)
    assert "parameters" in kosmos2("info")[1]


def test_quantize_writes_a_checkpoint_that_the_commands_use(kosmos2, checkpoint, photos, tmp_path):
    folder = tmp_path / "int8"
    code, out, err = kosmos2("quantize", checkpoint, "--out", folder)
    assert (code, out.strip(), err) == (0, str(folder), "")
    about, original = (json.loads(kosmos2("info", name, "--json")[1]) for name in (folder, checkpoint))
    assert about["parameters"] == original["parameters"]
    assert about["precision"] == "F32, I8"
    assert about["bytes"] < original["bytes"] / 2
    code, out, _ = kosmos2("locate", "a mug", photos / "0.png", "--model", folder, "--min-presence", 0)
    assert code == 0
    assert out
    code, _, err = kosmos2("quantize", checkpoint, "--out", folder)
    assert code == 2
    assert err == f"kosmos2: {folder} exists: choose a free name, or remove it.\n"


def test_a_quantisation_that_is_not_known_is_one_sentence(kosmos2, photos):
    code, _, err = kosmos2("locate", "a mug", photos / "0.png", "--quantize", "int4")
    assert code == 2
    assert err == "kosmos2: int4 would not be faster than int8 on this machine: choose int8 or auto.\n"


def test_verify_proves_that_the_peer_agrees(kosmos2, photos):
    code, out, _ = kosmos2("verify", photos / "0.png", photos / "1.png", "--tokens", 12)
    assert code == 0
    assert out.splitlines()[-1] == "All agree."
    assert len(out.splitlines()) == 9


def test_verify_fails_where_they_differ(kosmos2, photos, monkeypatch):
    monkeypatch.setattr("kosmos2_core.model.sinusoids", torch.zeros)  # no positions
    code, out, _ = kosmos2("verify", photos / "0.png", "--tokens", 12, "--json")
    assert code == 1
    assert not all(json.loads(line)["good"] for line in out.splitlines())


PHOTOS = pytest.mark.extra("photos", "skimage")


@PHOTOS
def test_verify_on_photos_writes_its_pictures_and_fails_for_a_random_model(kosmos2, tmp_path):
    code, out, _ = kosmos2("verify", "--photos", "--out", tmp_path / "made", "--json")
    assert code == 1
    results = json.loads(out)
    assert not results["passed"]
    assert len(results["photos"]) == 8
    assert {known.name for known in (tmp_path / "made").iterdir()} == {
        "phrases.png",
        *(f"{photo['name']}.png" for photo in results["photos"]),
    }


@PHOTOS
@pytest.mark.slow
def test_the_included_model_does_not_know_photos_and_is_told_so(root, tmp_path, capsys):
    model = root / "models/tabletop-tiny"
    arguments = ["verify", "--photos", "--model", str(model), "--device", "cpu", "--out", str(tmp_path)]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert re.search(r"^astronaut +\d/8 +wrong +wrong +\d/3$", out, re.MULTILINE)
    last = out.splitlines()[-1]
    assert last.startswith("This checkpoint does not behave on photographs as Kosmos-2 should: phrases with")
    assert "expected of a checkpoint that was trained on simulated scenes" in last


BAD = [
    (("verify",), "verify takes images, or --photos: give one of the two"),
    (("verify", "PHOTO", "--photos"), "verify takes images, or --photos"),
    (("locate", "", "PHOTO"), "names nothing to locate"),
    (("locate", "pick it up", "PHOTO"), "names nothing to locate"),
    (("locate", "the mug", "nowhere.png"), "there is no image nowhere.png"),
    (("locate", "the mug", "no*.png"), "there is no image no*.png"),
    (("locate", "the mug", "."), "the folder . has no image"),
    (("locate", "the mug", "PHOTO", "--max-boxes", "0"), "at least 1"),
    (("locate", "the mug", "PHOTO", "--min-score", "2"), "min_score is 2: it must be from 0 to 1"),
    (("locate", "the mug", "PHOTO", "--dtype", "int3"), "invalid choice: 'int3'"),
    pytest.param(
        ("locate", "the mug", "PHOTO", "--spacy", "en_none"),
        "no spaCy pipeline en_none",
        marks=pytest.mark.extra("spacy", "spacy"),
    ),
    (("locate", "the mug", "PHOTO", "--save", "out.gif"), "--save out.gif must end with"),
    (("locate", "the mug", "PHOTO", "--every", "0"), "--every is 0"),
    (("describe", "PHOTO", "--region", "1,2,3"), "is not four numbers"),
    (("describe", "PHOTO", "--region", "0.5,0.5,0.1,0.1"), "is not x1,y1,x2,y2"),
    (("describe", "PHOTO", "--region", "0,0,1,1", "--wording", "It is"), "must mark exactly one thing"),
    (("ask", " ", "PHOTO"), "the question is empty"),
    (("ask", "what?", "PHOTO", "--region", "0,0,1,1"), "does not say what the region is"),
    (("caption", "PHOTO", "--beams", "0"), "beams is 0"),
    (("caption", "PHOTO", "--beams", "many"), "--beams"),
    (("verify", "PHOTO", "--dtype", "bfloat16"), "verify compares in float32"),
    (("locate", "the mug", "99"), "camera99 cannot be opened"),
]


@pytest.mark.parametrize(("arguments", "what"), BAD)
def test_bad_input_is_one_sentence(kosmos2, photos, arguments, what, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    photo = str(photos / "0.png")
    code, _, err = kosmos2(*(photo if argument == "PHOTO" else argument for argument in arguments))
    assert code == 2
    assert what in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_model_that_is_not_there_is_one_sentence(photos, capsys):
    assert main(["locate", "the mug", str(photos / "0.png"), "--model", "no/such/folder"]) == 2
    assert "there is no folder no/such/folder" in capsys.readouterr().err


def test_unreadable_input_is_refused_before_the_model_is_loaded(photos, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    for image in (tmp_path / "bad.png", tmp_path / "missing.png", tmp_path):
        for command in (("locate", "the mug"), ("caption",), ("chat",), ("verify",)):
            assert main([*command, str(image), "--model", "no/such/folder"]) == 2
            assert "no/such/folder" not in capsys.readouterr().err


def test_a_terminal_shows_that_the_model_is_being_loaded(kosmos2, photos, monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    code, _, _ = kosmos2("locate", "the mug", photos / "0.png")
    assert code == 0
    written = sys.stderr.getvalue()
    assert written.startswith("loading ")
    assert written.endswith("\r")
    shown, cleared, _ = written.split("\r")
    assert cleared == " " * len(shown)


class Terminal(io.StringIO):
    def isatty(self):
        return True
