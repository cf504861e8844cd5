"""SEED-Bench: the choice of most mean log-probability, as the peer computes it."""

import numpy as np
import pytest
from official_data import place, write

from kosmos2_eval.benchmarks.visual_questions import SEED_BENCH

CHOICES = ("two", "three things on a table", "one\nring ", "a bowl")
QUESTIONS = (
    ("How many things are\non the table?", 5, "image"),
    ("What is it?", 2, "image"),
    ("When?", 10, "video"),
)


@pytest.fixture
def likelihoods(tmp_path, pictures, peer):
    """The likeliest is true of the first question, the least likely of the second."""
    place(pictures[1], tmp_path / "SEED-Bench/SEED-Bench-image/1454426_2591111986")
    options = [
        [
            peer.likelihood(
                pictures[1], f"Question: {' '.join(text.split())} Answer:", " ".join(choice.split())
            )
            for choice in CHOICES
        ]
        for text, _, _ in QUESTIONS[:2]
    ]
    answers = (int(np.argmax(options[0])), int(np.argmin(options[1])), 0)
    questions = [
        {
            "answer": "ABCD"[answers[index]],
            "data_id": "1454426_2591111986",
            "data_type": kind,
            "question": text,
            "question_id": str(101669 + index),
            "question_type_id": number,
            **{f"choice_{letter}": choice for letter, choice in zip("abcd", CHOICES, strict=True)},
        }
        for index, (text, number, kind) in enumerate(QUESTIONS)
    ]
    kinds = {"Instance Identity": 2, "Instances Counting": 5, "Action Recognition": 10}
    write(tmp_path / "SEED-Bench/SEED-Bench.json", {"questions": questions, "question_type": kinds})
    return options


def test_the_likeliest_choice_by_a_token_s_mean(likelihoods, evaluate):
    questions, ways, figures = evaluate(SEED_BENCH, "image")
    assert len(questions) == 2  # videos are left out
    for answer, options in zip(ways["released"], likelihoods, strict=True):
        assert answer.options == pytest.approx(options, abs=2e-3)
    assert {name: score.value for name, score in figures["released"].items()} == {
        "accuracy": 50,
        "Instances Counting": 100,
        "Instance Identity": 0,
    }
