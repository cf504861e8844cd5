"""Our figures beside the paper's."""

import json
from pathlib import Path

import pytest

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate
from kosmos2_eval.benchmarks.answers import AnswerStore
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, BenchmarkPart, Question, mean_score
from kosmos2_eval.benchmarks.comparison import check_complete, results_of, table
from kosmos2_eval.benchmarks.grounding import REFCOCO

HERE, THERE = Box(0, 0, 0.5, 0.5), Box(0.5, 0.5, 1, 1)
ABOUT = {"benchmark": "refcoco", "split": "val", "model": "mine"}


@pytest.fixture
def questions():
    return [
        Question(str(number), (Path(f"{number // 2}"),), (), (HERE,), ours=Locate("it"))
        for number in range(4)
    ]


@pytest.fixture
def answers(questions):
    said = {
        question.id: {
            "released": BenchmarkAnswer(boxes=(HERE if question.id in "01" else THERE,)),
            "ours": BenchmarkAnswer(boxes=(HERE,)),
        }
        for question in questions
    }
    return AnswerStore(Path("out"), ABOUT, said)


def test_the_table_has_the_paper_s_figures_and_both_of_ours(questions, answers):
    results = results_of(REFCOCO, BenchmarkPart("val"), questions, answers, [])
    rows = [line.split() for line in table("RefCOCO", results).splitlines()]
    assert rows[0] == ["RefCOCO,", "4", "of", "4", "questions,", "mine"]
    assert rows[2] == ["paper", "released", "decoding", "box", "search"]
    assert rows[3] == ["accuracy", "52.32", "50.00", "±", "50.00", "100.00", "±", "0.00"]
    assert rows[4][:4] == ["mean", "IoU", "-", "50.00"]
    assert json.loads(json.dumps(results)) == results


def test_the_error_takes_questions_about_one_image_to_go_wrong_together(questions):
    """Two images, one right in both its questions: as if there were two questions, not four."""
    assert mean_score("it", questions, [1, 1, 0, 0]).error == pytest.approx(50)
    alone = [Question(str(number), (), (), None) for number in range(4)]
    assert mean_score("it", alone, [1, 1, 0, 0]).error == pytest.approx(100 * (0.25 / 3) ** 0.5)
    assert mean_score("it", questions[:2], [1, 1]).error is None


def test_what_is_left_out_is_counted_and_named(questions, answers):
    del answers.answers["3"], answers.answers["2"]
    answers.failed["3"] = "a.png is damaged."
    results = results_of(REFCOCO, BenchmarkPart("val"), questions, answers, [Path("gone.jpg")])
    assert results["answered"] == 2
    assert results["remarks"] == [
        "1 image is missing; their questions are left out: gone.jpg.",
        "1 question is left out because of errors: 3: a.png is damaged.",
    ]
    assert results["figures"][0]["released"]["value"] == 100


def test_without_any_answer_there_is_a_table_still(questions):
    results = results_of(REFCOCO, BenchmarkPart("val"), questions, AnswerStore(Path("out"), ABOUT), [])
    assert "0 of 4 questions" in table("RefCOCO", results)
    assert results["figures"][0] == {
        "name": "accuracy",
        "paper": 52.32,
        "released": {"value": None, "error": None, "count": 0},
    }


def test_an_answer_that_a_process_kept_to_itself_is_missed(questions, answers):
    check_complete(questions, answers)
    del answers.answers["2"]
    with pytest.raises(InputError, match="1 question is not answered in out, 2 first"):
        check_complete(questions, answers)
    answers.failed["2"] = "it is too long."
    check_complete(questions, answers)
