"""Training uses the prompts and answers of inference."""

import numpy as np
import pytest

from kosmos2_core.grounded_text import parse_ids, parse_markdown
from kosmos2_core.prompts import locate_prompt_ids, prompt_ids
from kosmos2_core.requests import DESCRIBE_PROMPTS, Ask, Caption, Locate
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.records import Item
from kosmos2_training.batches import answered_prompts

RNG = np.random.default_rng(0)
BOX, OTHER = "(0.1,0.2,0.3,0.4)", "(0.5,0.5,0.9,0.8)"


@pytest.fixture(scope="module")
def tokenizer(data):
    return Tokenizer.load(data / "tokenizer")


def split(example):
    start = len(example.ids) - example.answer_length
    return example.ids[:start], example.ids[start:]


def test_locating_is_learnt_as_it_is_asked(tokenizer):
    text = f"put [the red disc]{BOX} into [the bowl]{OTHER}"
    examples = answered_prompts(tokenizer, Item("locate", parse_markdown(text)), RNG)
    prompts = locate_prompt_ids(tokenizer, Locate("put [the red disc] into [the bowl]"))
    control = tokenizer.control
    for example, prompt, box in zip(
        examples, prompts, ((0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.9, 0.8)), strict=True
    ):
        asked, answer = split(example)
        assert [*asked, control.object] == prompt
        assert answer[0] == control.object
        assert answer[-2:] == [control.object_end, control.end]
        [first, second] = sorted(example.corners)
        assert (*example.corners[first], *example.corners[second]) == box
        assert all(example.ids[place] in control.locations for place in example.corners)


def test_an_absent_phrase_is_answered_without_a_box(tokenizer):
    [example] = answered_prompts(tokenizer, Item("locate", parse_markdown("[the zebra]()")), RNG)
    asked, answer = split(example)
    assert asked[-1] == tokenizer.control.phrase_end
    assert answer == [tokenizer.control.end]
    assert not example.corners


def test_several_boxes_of_a_phrase_are_one_answer(tokenizer):
    item = Item("locate", parse_markdown("[the discs](0.1,0.2,0.3,0.4;0.5,0.5,0.9,0.8)"))
    [example] = answered_prompts(tokenizer, item, RNG)
    assert len(example.corners) == 4
    assert tokenizer.control.another in example.ids


def test_a_caption_is_learnt_after_its_prompt(tokenizer):
    text = parse_markdown(f"[a red disc]{BOX} and [a bowl]{OTHER}")
    [example] = answered_prompts(tokenizer, Item("caption", text), RNG)
    asked, answer = split(example)
    assert asked == prompt_ids(tokenizer, Caption())
    spoken = parse_ids(tokenizer, answer[:-1])
    assert [spoken.text[phrase.start : phrase.end] for phrase in spoken.phrases] == ["a red disc", "a bowl"]
    assert len(example.corners) == 4


def test_describing_gets_the_box_in_its_prompt_and_learns_words(tokenizer):
    seen = set()
    for seed in range(40):
        item = Item("describe", parse_markdown(f"[the red disc]{BOX}"))
        [example] = answered_prompts(tokenizer, item, np.random.default_rng(seed))
        asked, answer = split(example)
        assert tokenizer.encode("the red disc") == answer[:-1]
        assert not example.corners  # the prompt's box is not learnt
        assert sum(number in tokenizer.control.locations for number in asked) == 2
        seen.add(tuple(asked))
    assert len(seen) == len(DESCRIBE_PROMPTS)


@pytest.mark.parametrize(("answer", "ground"), [("red", False), (f"[the bowl]{OTHER}", True)])
def test_a_question_is_grounded_where_its_answer_is(tokenizer, answer, ground):
    item = Item("ask", parse_markdown(answer), parse_markdown("What is it?"))
    [example] = answered_prompts(tokenizer, item, RNG)
    asked, learnt = split(example)
    assert asked == prompt_ids(tokenizer, Ask("What is it?", ground=ground))
    assert len(example.corners) == 2 * ground
    assert learnt[-1] == tokenizer.control.end


def test_words_that_were_not_in_the_data_are_spelt(tokenizer):
    ids = tokenizer.encode("the zebra-crossing 42!")
    assert "".join(map(tokenizer.piece, ids)).strip() == "the zebra-crossing 42!"
    assert tokenizer.control.unknown not in ids
