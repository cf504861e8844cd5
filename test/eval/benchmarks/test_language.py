"""Language tasks: official files, the wordings, and likelihoods as the peer computes them."""

import numpy as np
import pytest
from official_data import lines, write

from kosmos2_core.requests import Complete, Score
from kosmos2_eval.benchmarks.benchmark import BenchmarkPart
from kosmos2_eval.benchmarks.language import LANGUAGE, SOURCES

STORY = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
    '1,"Ann said, ""Hi.""",She left.,It rained.,She ran.,She was dry.,She was wet.,2\n'
)
SCHEMA = """<collection><schema><text><txt1>The mug does not fit
 into the box because</txt1><pron>it</pron><txt2>is too large.</txt2></text>
 <answers><answer>The mug</answer><answer>the box</answer></answers>
 <correctAnswer> A. </correctAnswer></schema>
</collection>"""
FILES = {
    "storycloze": STORY,
    "hellaswag": lines([{"ind": 4, "ctx": "[header] A man", "endings": ["sits.", "flies."], "label": 0}]),
    "winograd": SCHEMA,
    "winogrande": lines(
        [{"sentence": "Ann hit Bo, so _ cried.", "option1": "Ann", "option2": "Bo", "answer": "2"}]
    ),
    "piqa": lines([{"goal": "Open a jar.", "sol1": "Turn the lid.", "sol2": "Eat it."}]),
    "boolq": lines([{"question": "is ice cold", "passage": "Ice is cold.", "idx": 0, "label": True}]),
    "cb": lines([{"premise": "It rains.", "hypothesis": "It is wet", "label": "neutral", "idx": 3}]),
    "copa": lines(
        [
            {
                "premise": "It fell.",
                "choice1": "It broke.",
                "choice2": "I ran.",
                "question": "effect",
                "label": 0,
            },
            {
                "premise": "It fell.",
                "choice1": "I slept.",
                "choice2": "I hit it.",
                "question": "cause",
                "label": 1,
            },
        ]
    ),
}
ICE = "Passage: Ice is cold. After reading this passage, I have a question: is ice cold? True or False?"
# What is asked of each, as (beginning, end) of its options, and which is true.
EXPECTED = {
    "storycloze": [
        ('Ann said, "Hi." She left. It rained. She ran.', "She was dry."),
        ('Ann said, "Hi." She left. It rained. She ran.', "She was wet."),
        1,
    ],
    "hellaswag": [("[header] A man", "sits."), ("[header] A man", "flies."), 0],
    "winograd": [
        ("The mug does not fit into the box because The mug", "is too large."),
        ("The mug does not fit into the box because the box", "is too large."),
        0,
    ],
    "winogrande": [("Ann hit Bo, so Ann", " cried."), ("Ann hit Bo, so Bo", " cried."), 1],
    "piqa": [("Open a jar.", "Turn the lid."), ("Open a jar.", "Eat it."), 1],
    "boolq": [
        *((ICE, answer) for answer in ("False", "True")),
        1,
    ],
    "cb": [
        *(
            ("It rains. Question: It is wet. True, False, or Neither? Answer:", answer)
            for answer in ("True", "False")
        ),
        ("It rains. Question: It is wet. True, False, or Neither? Answer:", "Neither"),
        2,
    ],
    "copa": [("It fell so", "it broke."), ("It fell so", "i ran."), 0],
}


@pytest.fixture
def data(tmp_path):
    for task, content in FILES.items():
        write(tmp_path / SOURCES[task][0], content)
    write(tmp_path / "piqa/valid-labels.lst", "1\n")


def options_of(question):
    """As (beginning, end), whether they share a prompt or not."""
    return [
        (request.prompt.text.replace("\\", ""), option)
        for request in question.requests
        for option in request.options
    ]


@pytest.mark.parametrize("task", SOURCES)
def test_each_task_is_worded_as_its_authors_do(data, tmp_path, task):
    question = LANGUAGE.read(tmp_path, BenchmarkPart(task))[0]
    *options, truth = EXPECTED[task]
    assert options_of(question) == options
    assert question.truth == truth
    assert question.images == ()
    assert all(
        isinstance(request, Score) and isinstance(request.prompt, Complete) for request in question.requests
    )


def test_a_cause_is_joined_with_because(data, tmp_path):
    question = LANGUAGE.read(tmp_path, BenchmarkPart("copa"))[1]
    assert options_of(question)[1] == ("It fell because", "i hit it.")


@pytest.mark.parametrize("task", ["winogrande", "cb"])
def test_likelihoods_are_the_peer_s_and_the_likeliest_counts(data, evaluate, peer, task):
    [question], ways, figures = evaluate(LANGUAGE, task)
    expected = [peer.likelihood(None, begin, end.strip()) for begin, end in options_of(question)]
    assert ways["released"][0].options == pytest.approx(expected, abs=2e-3)
    assert figures["released"]["accuracy"].value == 100 * (np.argmax(expected) == question.truth)


def test_labels_that_do_not_fit_are_one_sentence(data, tmp_path):
    write(tmp_path / "piqa/valid-labels.lst", "1\n0\n")
    with pytest.raises(Exception, match=r"valid\.jsonl is not as it was published"):
        LANGUAGE.read(tmp_path, BenchmarkPart("piqa"))
    write(tmp_path / SOURCES["winograd"][0], "<collection>")
    with pytest.raises(Exception, match=r"WSCollection\.xml is not as it was published"):
        LANGUAGE.read(tmp_path, BenchmarkPart("winograd"))
