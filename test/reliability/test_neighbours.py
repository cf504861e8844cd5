"""Row 39: a request is answered the same alone and in any batch, whatever its neighbours ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kosmos2_core.boxes import Box
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.images import load_image
from kosmos2_core.presence import PresenceWeights
from kosmos2_core.quantized import choose_kernel
from kosmos2_core.requests import Ask, Caption, Chat, Describe, Locate, Score

TOLERANCE, INT8_TOLERANCE = 1e-5, 0.01
SHORT = Decoding(max_new_tokens=12)
REGIONS = (Box(0.1, 0.2, 0.5, 0.6), Box(0.0, 0.0, 1.0, 1.0), Box(0.55, 0.5, 0.7, 0.8))

phrases = st.lists(
    st.sampled_from(
        ["the mug", "the red object", "a ball", "the leftmost object", "the mug next to the banana"]
    ),
    min_size=1,
    max_size=3,
).map("; ".join)
located = st.builds(
    Locate,
    phrases,
    max_boxes=st.sampled_from([1, 3, 8]),
    min_score=st.sampled_from([0.0, 0.3]),
    max_corners=st.sampled_from([1, 4, 16, 64, 256]),
    zoom=st.booleans(),
    min_presence=st.sampled_from([None, 0.0, 0.9]),
)
questions = st.sampled_from(["Is there a mug?", "What is this?", "How many objects are there?"])
regions = st.sampled_from(REGIONS)
requests = st.one_of(
    located,
    st.builds(Caption, st.booleans()),
    st.builds(Describe, regions),
    st.builds(Ask, questions, ground=st.booleans()),
    st.builds(Ask, st.just("What is [this]?"), regions, st.booleans()),
    st.builds(Chat, questions, st.just((("Is there a mug?", "yes"),)), st.booleans()),
    st.builds(Score, st.builds(Ask, questions), st.just(("yes", "no", "a red mug"))),
)
jobs = st.lists(st.tuples(st.integers(0, 2), requests), min_size=2, max_size=5)


@pytest.fixture(scope="module")
def pictures(root):
    whole = load_image(root / "docs/tabletop.jpg")
    height, width = whole.shape[:2]
    return [whole, whole[: height // 2], whole[:, width // 3 :]]


def numbers(answer):
    """Return what is compared of an answer: texts and cells exactly, coordinates and scores nearly."""
    exact = [answer.text, [(phrase.phrase, len(phrase.boxes), phrase.cells) for phrase in answer.phrases]]
    exact.append([option.text for option in answer.options])
    values = [phrase.presence for phrase in answer.phrases if phrase.presence is not None]
    for phrase in answer.phrases:
        for box in phrase.boxes:
            values += [box.x1, box.y1, box.x2, box.y2, box.score]
    return exact, values + [option.mean for option in answer.options]


def differences(engine, asked):
    """Return how much each request's numbers differ between this batch and alone; texts must not differ."""
    for job, together in zip(asked, engine.run(asked, SHORT), strict=True):
        [alone] = engine.run([job], SHORT)
        (exact, found), (expected_exact, expected) = numbers(together), numbers(alone)
        assert exact == expected_exact
        yield from (abs(a - b) for a, b in zip(found, expected, strict=True))


# Presence from all kinds of evidence, which share the pass of the phrases.
EVIDENCE = PresenceWeights({"object": 0.3, "question": 0.3, "phrase": 0.3}, 0.0, "Is there {} on the table?")


def with_all_evidence(engine):
    return Engine(engine.model, engine.tokenizer, replace(engine.calibration, presence=EVIDENCE))


CHECKED = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


ROW = pytest.mark.row(
    *(39, "each request alone and in batches of two to five, of every type and with every option"),
    "texts and cells equal; coordinates and scores within 1e-5; in int8, the best box's score within 0.01",
)


@ROW
def test_a_request_is_answered_the_same_whatever_its_neighbours_ask(root, pictures, count, record_property):
    engine = Engine.load(root / "models/tabletop-tiny", device="cpu", quantize="none")
    engines = [engine, with_all_evidence(engine)]
    examples, furthest = count(300, 8), 0.0

    @settings(CHECKED, max_examples=examples)
    @given(jobs, st.sampled_from(engines))
    def check(drawn, engine):
        nonlocal furthest
        asked = [([pictures[index]], request) for index, request in drawn]
        furthest = max([furthest, *differences(engine, asked)])
        assert furthest <= TOLERANCE

    check()
    record_property("figure", f"{examples} batches, {furthest:.1e} at most")


@ROW
def test_in_int8_neighbours_change_little(root, pictures, count, record_property):
    """Sums round differently in a batch, and a value at the edge of two integers may become the other one."""
    if choose_kernel() is None:
        pytest.skip("there is no fast int8 kernel for this processor")
    engine = Engine.load(root / "models/tabletop-tiny", device="cpu", quantize="int8")
    engines = [engine, with_all_evidence(engine)]
    examples, furthest = count(300, 8), 0.0

    @settings(CHECKED, max_examples=examples)
    @given(st.lists(st.tuples(st.integers(0, 2), located), min_size=2, max_size=5), st.sampled_from(engines))
    def check(drawn, engine):
        nonlocal furthest
        asked = [([pictures[index]], replace(request, min_presence=0.0)) for index, request in drawn]
        for job, together in zip(asked, engine.run(asked), strict=True):
            [alone] = engine.run([job])
            for phrase, expected in zip(together.phrases, alone.phrases, strict=True):
                pairs = [(phrase.presence, expected.presence)]
                pairs += [
                    (a.score, b.score) for a, b in zip(phrase.boxes[:1], expected.boxes[:1], strict=False)
                ]
                furthest = max([furthest, *(abs(a - b) for a, b in pairs)])
        assert furthest <= INT8_TOLERANCE

    check()
    record_property("figure", f"int8: {examples} batches, {furthest:.1e} at most")
