"""A line of grounded data: what is written is read, and what is wrong is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_data import BROKEN_LINES, line, truth

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, parse_markdown
from kosmos2_data.records import Item, Record, Truth, record_of, to_json


def test_the_example_of_the_docs_is_read(root):
    example = (root / "docs/data.md").read_text().split("```json\n")[1].split("```")[0]
    record = record_of(example)
    assert record.image == "images/000012.jpg"
    assert [item.task for item in record.items] == ["locate", "locate", "caption", "describe", "ask"]
    assert record.items[0].text.phrases[1].boxes == (Box(0.5, 0.4, 0.8, 0.7),)
    assert record.items[1].text.phrases[0].boxes == ()
    assert record.items[4].question == parse_markdown("What colour is the mug?")


def test_all_fields_are_read():
    record = record_of(truth())
    assert record.truths == (Truth(1, ("red", "mug"), Box(0.1, 0.2, 0.3, 0.4)),)
    assert record.mask == "masks/0.png"
    item = record_of(line(task="caption", text="[a mug](0,0,1,1)", detailed=True, kind="long")).items[0]
    assert (item.detailed, item.kind) == (True, "long")


def test_the_helpers_of_these_tests_make_good_lines():
    assert record_of(line()).mask is None
    assert len(record_of(truth()).truths) == 1


WORDS = st.text(st.sampled_from("ab é🤖[]()\\,;.0 \n\u2028"), min_size=1, max_size=12).filter(str.strip)
NUMBERS = st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True).map(sorted)
BOXES = st.builds(
    lambda x, y: Box(*(value / 1000 for value in (x[0], y[0], x[1], y[1]))), x=NUMBERS, y=NUMBERS
)


@st.composite
def texts(draw, most=3, least=0):
    text, phrases = draw(WORDS), []
    for boxes in draw(st.lists(st.lists(BOXES, min_size=1, max_size=3), min_size=least, max_size=most)):
        words = draw(WORDS)
        phrases.append(Phrase(len(text), len(text) + len(words), tuple(boxes)))
        text += words + draw(WORDS)
    return GroundedText(text, tuple(phrases))


ITEMS = st.one_of(
    st.builds(Item, st.just("locate"), texts(least=1), kind=st.text(st.sampled_from("abc "), max_size=4)),
    st.builds(Item, st.just("caption"), texts(), detailed=st.booleans()),
    st.builds(Item, st.just("ask"), texts(), texts(most=1)),
    st.builds(Item, st.just("text"), texts()),
)
TRUTHS = st.lists(
    st.builds(Truth, st.integers(1, 255), st.lists(WORDS, min_size=1, max_size=2).map(tuple), BOXES),
    max_size=3,
    unique_by=lambda truth: truth.mark,
).map(tuple)


@given(
    st.builds(Record, st.just("a/ä.png"), st.lists(ITEMS, min_size=1).map(tuple), st.just("m.png"), TRUTHS)
)
def test_what_is_written_is_read_as_the_same(record):
    text = to_json(record)
    assert "\n" not in text
    assert record_of(text) == record


def test_what_is_left_at_its_default_is_not_written():
    assert list(json.loads(to_json(record_of(line())))) == ["image", "items"]
    assert json.loads(to_json(record_of(line())))["items"] == [json.loads(line())["items"][0]]


@pytest.mark.parametrize("name", BROKEN_LINES)
def test_what_is_wrong_with_a_line_is_said_in_a_sentence(name):
    broken, words = BROKEN_LINES[name]
    with pytest.raises(InputError) as error:
        record_of(broken)
    assert words in str(error.value)
    assert len(str(error.value)) < 250
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        r"[a \[b\]](0,0,1,1) \[b\](0.1,0.2)",
        "see [the manual](http://x.y)() [a](0,0,1,1)",
        r"a key \[Esc\] and [a mug]()",
        "5 < 6 [ok]() <b>",
    ],
)
def test_plain_brackets_and_signs_are_no_mistake(text):
    assert record_of(line(text=text)).items[0].text == parse_markdown(text)


FIELDS = st.sampled_from(["image", "items", "task", "text", "mask", "truths"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=4),
)


@given(ANY)
def test_any_other_json_is_refused_in_a_sentence(value):
    with pytest.raises(InputError) as error:
        record_of(json.dumps(value))
    assert str(error.value).isprintable()
