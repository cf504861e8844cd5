"""The paper's benchmarks as a user runs them, on miniature data sets in their official forms."""

import json
import subprocess
import sys
import time

import pytest
from official_data import lines, mdetr_refcoco, place, write
from released_peer import TINY, peer, pictures  # noqa: F401

from kosmos2_cli.main import main
from kosmos2_core.boxes import Box
from kosmos2_eval.benchmarks.catalogue import BENCHMARKS

EXPRESSIONS = ("the largest thing", "the smallest object", "two things", "the leftmost object")
CORNER = Box(0.96, 0.96, 1, 1)
MODEL = ("--model", str(TINY), "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory, pictures, peer):  # noqa: F811
    """RefCOCO of four images, whose first expression is true as the peer says it, the others not; and one
    image that is missing."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number, picture in enumerate(pictures):
        name = f"COCO_train2014_{number}.jpg"
        place(picture, folder / "train2014" / name)
        first, *others = EXPRESSIONS
        rows.append((name, first, peer.boxes(picture, f"<grounding><phrase> {first}</phrase>")[0], number))
        rows += [(name, text, CORNER, number) for text in others]
    rows.append(("gone.jpg", "a mug", CORNER, 9))
    for name in ("refcoco_val", "refcocog_val", "refcocog_train"):
        write(folder / f"mdetr_annotations/finetune_{name}.json", mdetr_refcoco(rows))
    return folder


@pytest.fixture
def run(capsys):
    """The command, in this process: exit code, standard output, standard error."""

    def evaluate(*arguments):
        code = main(["eval", *map(str, arguments), *MODEL])
        said = capsys.readouterr()
        return code, said.out, said.err

    return evaluate


def start(*arguments, launcher=()):
    """The command, as processes of their own."""
    command = [sys.executable, *(launcher or ("-m",)), "kosmos2_cli", "eval", *map(str, arguments), *MODEL]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def refcoco(data, tmp_path_factory):
    """results.json and answers of one run without a break."""
    out = tmp_path_factory.mktemp("out")
    assert main(["eval", "refcoco", "--data", str(data), "--out", str(out), *MODEL]) == 0
    return out


def test_a_benchmark_from_its_files_to_its_table(run, data, tmp_path):
    code, out, error = run("refcoco", "--data", data, "--out", tmp_path)
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("accuracy"))
    assert row.split()[:4] == ["accuracy", "52.32", "25.00", "±"]
    assert "16 of 17 questions" in out
    assert error.startswith("kosmos2: 1 image is missing; their questions are left out:")
    assert error.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"answers.jsonl", "results.json"}
    assert "time" not in (tmp_path / "results.json").read_text()


def test_json_is_what_the_folder_holds(run, data, refcoco):
    code, out, _ = run("refcoco", "--data", data, "--out", refcoco, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((refcoco / "results.json").read_text())


def test_a_killed_run_goes_on_where_it_was(run, data, refcoco, tmp_path):
    arguments = ("refcoco", "--data", data, "--out", tmp_path, "--batch", 1)
    file = tmp_path / "answers-0.jsonl"
    process = start(*arguments)
    while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 5):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    kept = file.read_text().splitlines()[1:5]
    assert run(*arguments)[0] == 0
    assert (tmp_path / "results.json").read_bytes() == (refcoco / "results.json").read_bytes()
    assert set(kept) <= set((tmp_path / "answers.jsonl").read_text().splitlines())


def test_two_processes_of_accelerate_come_to_the_same(data, refcoco, tmp_path):
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m")
    process = start("refcoco", "--data", data, "--out", tmp_path, launcher=launcher)
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert out.count("RefCOCO val, 16 of 17 questions") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"answers.jsonl", "results.json"}
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path, refcoco))
    assert ours["figures"][0] == theirs["figures"][0]
    ids = [json.loads(line)["id"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()[1:]]
    assert ids == [str(number) for number in range(100, 116)]


def test_several_processes_need_a_folder(run, data, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, error = run("refcoco", "--data", data)
    assert code == 2
    assert "several processes exchange answers in a folder: name one" in error


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_is_missing_is_one_sentence(run, tmp_path, name):
    code, _, error = run(name, *(["piqa"] if name == "language" else []), "--data", tmp_path)
    assert code == 2
    assert str(tmp_path) in error
    assert "is missing: download it from" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["refcoco", "--limit", 0], "--limit is 0: it must be at least 1"),
        (["refcoco", "--batch", -1], "--batch is -1: it must be at least 1"),
        (["refcoco", "--split", "train"], "invalid choice: 'train'"),
        (["refcoco", "--few-shot", 2], "--few-shot"),
        (["reg", "--few-shot", 3], "invalid choice: 3"),
        (["reg", "--seed", -1], "--seed is -1: it must be at least 0"),
        (["language", "squad"], "invalid choice: 'squad'"),
        (["vqav2", "--split", "test-dev"], "answers of test-dev are not public: name a folder"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(run, data, arguments, words):
    code, _, error = run(*arguments, "--data", data)
    assert code == 2
    assert words in error
    assert error.count("\n") == 1


def test_another_model_s_answers_are_not_mixed_in(run, data, refcoco):
    code, _, error = run("refcoco", "--data", data, "--out", refcoco, "--dtype", "bfloat16")
    assert code == 2
    assert "belongs to a different run" in error


def test_more_questions_go_on_from_fewer(run, data, tmp_path):
    for limit, answered in ((3, 3), (6, 6)):
        code, out, _ = run("refcoco", "--data", data, "--out", tmp_path, "--limit", limit)
        assert code == 0
        assert f"{answered} of {answered} questions" in out
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 7


@pytest.mark.extra("captions", "pycocoevalcap")
def test_examples_before_each_question(run, data, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # without Java
    code, out, error = run("reg", "--data", data, "--few-shot", 2, "--limit", 2, "--json")
    assert code == 0
    results = json.loads(out)
    assert [row["name"] for row in results["figures"]] == ["METEOR", "CIDEr"]
    assert [row["paper"] for row in results["figures"]] == [13.8, 62.2]
    assert results["figures"][0]["released"]["value"] is None
    assert "METEOR needs Java" in error


def test_answers_for_the_server(run, pictures, tmp_path):  # noqa: F811
    place(pictures[0], tmp_path / "test2015/COCO_test2015_000000000007.jpg")
    asked = [{"question_id": 70, "image_id": 7, "question": "What is on the table?"}]
    write(tmp_path / "vqa/v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": asked})
    code, out, error = run("vqav2", "--split", "test-dev", "--data", tmp_path, "--out", tmp_path / "out")
    assert code == 0
    [answer] = json.loads((tmp_path / "out/submission.json").read_text())
    assert answer["question_id"] == 70
    assert answer["answer"]
    assert "45.60" in out
    assert "submit submission.json to the evaluation server" in error


def test_a_task_of_language_alone(run, tmp_path):
    choices = {"choice1": "It broke.", "choice2": "I ran.", "label": 0}
    write(tmp_path / "COPA/val.jsonl", lines([{"premise": "It fell.", "question": "effect", **choices}]))
    code, out, _ = run("language", "copa", "--data", tmp_path)
    assert code == 0
    assert "accuracy" in out
    assert "67.00" in out
