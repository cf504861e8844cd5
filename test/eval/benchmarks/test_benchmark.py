"""What is kept of an answer."""

from kosmos2_core.answers import Answer, Entity, Option
from kosmos2_core.boxes import Box
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer

ONE, TWO, THREE = (Box(0, 0, size, size, score=0.5) for size in (0.2, 0.4, 0.6))


def test_boxes_are_of_the_phrase_that_was_asked_for_also_where_it_is_said_again():
    phrases = (
        Entity("a man", 0, 5, (ONE, TWO)),
        Entity("a dog", 9, 14, (THREE,)),
        Entity("a man", 20, 25, (THREE,)),
    )
    said = BenchmarkAnswer.of([Answer("a man, a dog and a man", phrases)])
    assert [box.x2 for box in said.boxes] == [0.2, 0.4, 0.6]
    assert all(box.score is None for box in said.boxes)


def test_a_phrase_without_a_box_has_none_whatever_else_is_said():
    assert (
        BenchmarkAnswer.of(
            [Answer("a man, a dog", (Entity("a man", 0, 5, ()), Entity("a dog", 7, 12, (ONE,))))]
        ).boxes
        == ()
    )


def test_options_are_means_of_all_prompts_in_their_order():
    answers = [
        Answer("b", options=(Option("a", -6.0, 2), Option("b", -4.0, 4))),
        Answer("c", options=(Option("c", -2.0, 1),)),
    ]
    said = BenchmarkAnswer.of(answers)
    assert said.options == (-3.0, -1.0, -2.0)
    assert said.best_option == 1


def test_json_says_the_same():
    said = BenchmarkAnswer("«a»", (Box(0.1, 1 / 3, 0.7, 1),), (-0.1, -1e-9))
    assert BenchmarkAnswer.from_json(said.to_json()) == said
