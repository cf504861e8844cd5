"""Answers on disk: nothing that was written is lost, asked twice, or mixed with another model's."""

import json

import pytest

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.answers import AnswerStore, answer_step
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, Question

ABOUT = {"benchmark": "refcoco", "model": "mine"}
SAID = {
    "released": BenchmarkAnswer("«a mug»", (Box(0.1, 0.2, 0.3, 0.4),)),
    "ours": BenchmarkAnswer(options=(-0.5, -1.25)),
}
QUESTIONS = [Question(name, (), (), None) for name in "abc"]


def add(folder, *names, rank=0, failed=None):
    with AnswerStore(folder, ABOUT).open_log(rank) as log:
        for name in names:
            log.add(answer_step(name, None if failed else SAID, failed))


def test_what_was_written_is_read_as_it_was(tmp_path):
    add(tmp_path, "a")
    add(tmp_path, "b", rank=1)
    assert AnswerStore.read(tmp_path, ABOUT).answers == {"a": SAID, "b": SAID}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_that_was_cut_off_is_asked_again_and_others_stay(tmp_path, cut):
    add(tmp_path, "a", "b")
    file = tmp_path / "answers-0.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert list(AnswerStore.read(tmp_path, ABOUT).answers) == ["a"]
    add(tmp_path, "b", "c")
    assert list(AnswerStore.read(tmp_path, ABOUT).answers) == ["a", "b", "c"]


def test_a_run_that_was_killed_in_its_first_line_begins_again(tmp_path):
    (tmp_path / "answers-0.jsonl").write_text('{"benchm')
    assert AnswerStore.read(tmp_path, ABOUT).answers == {}
    add(tmp_path, "a")
    assert list(AnswerStore.read(tmp_path, ABOUT).answers) == ["a"]


def test_what_failed_is_open_until_it_is_answered(tmp_path):
    add(tmp_path, "a", failed="it is damaged.")
    answers = AnswerStore.read(tmp_path, ABOUT)
    assert (answers.answers, answers.failed) == ({}, {"a": "it is damaged."})
    add(tmp_path, "a")
    answers = AnswerStore.read(tmp_path, ABOUT)
    assert (list(answers.answers), answers.failed) == (["a"], {})


def test_all_processes_answers_become_one_file_in_the_order_of_the_questions(tmp_path):
    add(tmp_path, "c", "a", "z")
    add(tmp_path, "b", rank=1)
    AnswerStore.read(tmp_path, ABOUT).merge(QUESTIONS)
    [file] = tmp_path.iterdir()
    head, *lines = file.read_text().splitlines()
    assert json.loads(head) == ABOUT
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", "c", "z"]
    assert AnswerStore.read(tmp_path, ABOUT).answers == dict.fromkeys("abcz", SAID)


def test_answers_to_something_else_are_refused(tmp_path):
    add(tmp_path, "a")
    with pytest.raises(InputError, match="belongs to a different run"):
        AnswerStore.read(tmp_path, ABOUT | {"model": "another"})


def test_a_file_that_is_none_of_ours_is_one_sentence(tmp_path):
    (tmp_path / "answers.jsonl").write_text("1\n2\n")
    with pytest.raises(InputError, match="remove this file"):
        AnswerStore.read(tmp_path, ABOUT)
    (tmp_path / "answers.jsonl").write_text(json.dumps(ABOUT) + "\nnonsense\n")
    with pytest.raises(InputError, match=r"answers\.jsonl, line 2.*remove"):
        AnswerStore.read(tmp_path, ABOUT)


def test_an_answer_stands_whatever_file_says_that_it_failed(tmp_path):
    add(tmp_path, "a", failed="it is damaged.", rank=1)
    add(tmp_path, "a", rank=0)
    answers = AnswerStore.read(tmp_path, ABOUT)
    assert (list(answers.answers), answers.failed) == (["a"], {})
