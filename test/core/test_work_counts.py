"""The work that requests cost, as counts: encoded images, rows of the decoder, logits, waits, allocations.

Times depend on the machine; these counts do not. A count that grows is a slower answer.
"""

import numpy as np
import pytest
import torch
from peer import make_peer, make_processor, save_peer, shape

from kosmos2_core import presence
from kosmos2_core.box_search import finish
from kosmos2_core.calibration import Calibration
from kosmos2_core.decoding import Decoding, extend, generate, make_cache
from kosmos2_core.engine import Engine
from kosmos2_core.model import Kosmos2, StaticCache
from kosmos2_core.presence import PresenceWeights, existence_question
from kosmos2_core.prompts import prompt_ids
from kosmos2_core.requests import Ask, Caption, Complete, Locate, Score

QUERIES, SIZE = 8, 56
GREEDY = Decoding()
PHRASES = ["a mug", "the red bowl", "a can", "the table", "an old box", "a plate", "the left cup", "a bottle"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    processor = make_processor(size=SIZE, queries=QUERIES)
    peer = make_peer(shape(f"{len(processor.tokenizer)} 64 3 128 4", f"48 96 2 3 {SIZE} 14", QUERIES))
    folder = save_peer(peer, tmp_path_factory.mktemp("checkpoint"))
    processor.tokenizer.save_pretrained(folder)
    return Engine.load(folder, device="cpu")


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8))


@pytest.fixture
def waits(monkeypatch):
    """Count how often the host reads from the device `meta`, which stands for a GPU.

    Whoever reads a value of its tensors in another way than by the two methods that are replaced here gets an
    exception: these tensors have no values.
    """
    read = []

    def values_of(tensor):
        read.append(tuple(tensor.shape))
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    copied, listed = torch.Tensor.cpu, torch.Tensor.tolist
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda tensor: values_of(tensor) if tensor.is_meta else copied(tensor)
    )
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda tensor: listed(values_of(tensor) if tensor.is_meta else tensor)
    )
    return read


@pytest.fixture
def remote(engine):
    """An engine whose model is on the device `meta`."""
    with torch.device("meta"):
        model = Kosmos2(engine.model.config).eval()
    return Engine(model, engine.tokenizer)


class WorkCounts:
    """Counts the work of an engine's model, by wrapping its methods."""

    def __init__(self, engine, monkeypatch) -> None:
        self.engine = engine
        decoder, logits, allocate = engine.model.decoder, engine.model.decoder.logits, StaticCache.__init__
        self.clear()

        def count_logits(hidden, ids=None):
            rows = hidden.shape[:-1].numel()
            if ids is None:
                self.vocabulary_rows += rows
            else:
                self.partial_rows.append((rows, len(ids)))
            return logits(hidden, ids)

        def count_caches(cache, *args, **settings):
            self.caches += 1
            allocate(cache, *args, **settings)

        monkeypatch.setattr(decoder, "logits", count_logits)
        monkeypatch.setattr(StaticCache, "__init__", count_caches)
        self.hooks = [
            engine.model.vision.register_forward_pre_hook(self._count_images),
            decoder.register_forward_pre_hook(self._count_pass),
        ]

    def clear(self) -> None:
        self.images = self.vocabulary_rows = self.caches = 0
        self.passes, self.partial_rows = [], []

    def of(self, jobs, decoding=GREEDY):
        """Run jobs and return the answers; the counts are those of this call."""
        self.clear()
        return self.engine.run(jobs, decoding)

    def _count_images(self, vision, args):
        self.images += len(args[0])

    def _count_pass(self, decoder, args):
        self.passes.append(args[0].shape[:2].numel())  # sequences times tokens

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


@pytest.fixture
def counts(engine, monkeypatch):
    counts = WorkCounts(engine, monkeypatch)
    yield counts
    counts.remove()


def prefix_rows(engine):
    """`<s>`, an image in its marks, and `<grounding><phrase>`."""
    return 1 + QUERIES + 2 + 2


def phrase_rows(engine, phrase):
    return len(engine.tokenizer.encode(phrase)) + 2  # and `</phrase><object>`


def locate(phrases, **settings):
    settings = {"min_presence": 0.0, "max_corners": 4} | settings
    return [Locate(f"[{phrase}]", **settings) for phrase in phrases]


@pytest.mark.parametrize("number", [1, 8])
def test_phrases_on_an_image_cost_one_pass_and_one_step(engine, images, counts, number):
    counts.of([([images[0]], request) for request in locate(PHRASES[:number])])
    assert counts.images == 1
    rest = sum(phrase_rows(engine, phrase) for phrase in PHRASES[:number])
    assert counts.passes == [prefix_rows(engine) + rest, 4 * number]
    assert counts.vocabulary_rows == number  # the presence
    assert counts.partial_rows == [(number, 1024), (4 * number, 1024)]  # first and second corners
    assert counts.caches == 1


def test_evidence_for_presence_joins_the_pass_of_the_phrases(engine, images, counts, monkeypatch):
    """The question and the words without the image are more tokens of it, not another one."""
    monkeypatch.setattr(presence, "ANSWERS", (("a",), ("the",)))  # the small vocabulary has no "yes"
    weights = PresenceWeights({"question": 1.0, "phrase": 1.0}, 0.0)
    counts.engine = Engine(engine.model, engine.tokenizer, Calibration(presence=weights))
    counts.of([([images[0]], request) for request in locate(PHRASES[:1])])
    words = len(engine.tokenizer.encode(PHRASES[0]))
    question = len(prompt_ids(engine.tokenizer, Ask(existence_question(weights.question, PHRASES[0]))))
    seeing = 1 + QUERIES + 2 + len([engine.control.grounding, engine.control.phrase]) + words + 2
    assert counts.passes == [seeing + question + 1 + 2 + words - 1, 4]
    assert counts.vocabulary_rows == 2 * words  # with the image and without; none for `<object>`
    assert counts.images == counts.caches == 1


def test_an_absent_phrase_costs_no_step(engine, images, counts):
    counts.of([([images[0]], request) for request in locate(PHRASES[:1], min_presence=1.0)])
    assert len(counts.passes) == 1


def test_what_is_asked_twice_is_computed_once(engine, images, counts):
    [request] = locate(PHRASES[:1])
    [once] = counts.of([([images[0]], request)])
    alone = counts.images, counts.passes, counts.vocabulary_rows, counts.partial_rows
    copied = images[0].copy()
    assert counts.of([([images[0]], request), ([copied], request), ([images[0]], request)]) == [once] * 3
    assert (counts.images, counts.passes, counts.vocabulary_rows, counts.partial_rows) == alone


def test_equal_words_with_other_options_or_in_another_image_are_another_question(engine, images, counts):
    [one_box], [three_boxes] = locate(PHRASES[:1]), locate(PHRASES[:1], max_boxes=3)
    jobs = [([images[0]], one_box), ([images[0]], three_boxes), ([images[1]], one_box)]
    answers = counts.of(jobs)
    assert counts.images == 2
    another = 2  # after two of the three boxes, whether another one follows
    assert counts.vocabulary_rows == 3 + another
    for job, answer in zip(jobs, answers, strict=True):
        [alone] = engine.run([job])
        assert answer.phrases[0].cells == alone.phrases[0].cells


@pytest.fixture
def small_boxes(engine, counts, monkeypatch):
    """All phrases are in the same cell; boxes of a random model would be too large for zoom."""
    control, logits = engine.control, engine.model.decoder.logits

    def in_a_cell(hidden, ids=None):
        out = logits(hidden, ids)
        if ids == control.locations:
            out[:, 14 * control.grid + 14] += 100
        return out

    monkeypatch.setattr(engine.model.decoder, "logits", in_a_cell)


def test_zooming_into_the_same_box_is_done_once(engine, images, counts, small_boxes):
    requests = locate([PHRASES[0]] * 2, zoom=True)
    first, second = counts.of([([images[0]], request) for request in requests])
    assert first == second
    assert counts.images == 2  # the image and the crop
    assert counts.vocabulary_rows == 2


def test_a_certain_model_tries_one_first_corner(engine, images, counts, small_boxes):
    counts.of([([images[0]], request) for request in locate(PHRASES, max_corners=16)])
    assert counts.passes[1:] == [len(PHRASES)]


def test_equal_prompts_are_answered_once_unless_they_are_sampled(engine, images, counts):
    greedy = Decoding(max_new_tokens=6, scores=False, released=True)
    jobs = [([images[0]], Caption()), ([images[0].copy()], Caption()), ([images[0]], Ask("What is red?"))]
    first, second, _ = counts.of(jobs, greedy)
    assert first == second
    assert counts.vocabulary_rows == 2 * 6
    sampled = Decoding(max_new_tokens=6, scores=False, released=True, temperature=50.0, seed=0)
    counts.of(jobs[:2], sampled)
    assert counts.vocabulary_rows == 2 * 6
    assert counts.images == 1


def test_equal_options_are_scored_once(engine, images, counts):
    options = ("the mug", "a bowl", "the mug")
    [answer] = counts.of([([images[0]], Score(Ask("What is red?"), options))])
    assert answer.options[0] == answer.options[2]
    tokens = [len(engine.tokenizer.encode(option)) for option in options[:2]]
    assert counts.vocabulary_rows == sum(tokens)


# Waits of the host for the device, and allocations.


@pytest.mark.parametrize("number", [1, 8])
def test_locating_waits_for_the_prompts_and_for_the_corners(remote, images, waits, number):
    remote.run([([images[0]], request) for request in locate(PHRASES[:number])])
    assert waits == [(number, 1 + 1024), (4 * number, 1024)]


def test_two_cameras_wait_as_often_as_one(remote, images, waits):
    remote.run([([image], request) for image in images for request in locate(PHRASES[:3])])
    assert waits == [(6, 1 + 1024), (24, 1024)]


@pytest.mark.parametrize("released", [True, False])
def test_an_answer_waits_once_for_each_token(remote, images, waits, released):
    """Two prompts of different length, which need padding."""
    asked = [Ask("What is red?"), Ask("What is left of the old box on the table?")]
    decoding = Decoding(max_new_tokens=12, scores=False, released=released)
    remote.run([([images[0]], request) for request in asked], decoding)
    assert waits == [(2,)] * 12


def test_within_a_box_an_answer_waits_once_for_each_token(remote, waits):
    control = remote.control
    ids = [control.phrase, 50, control.phrase_end, control.object]
    with torch.inference_mode():
        cache = make_cache(remote.model, 1, len(ids) + 3)
        hidden = extend(remote.model, cache, remote.model.embed(torch.tensor([ids], device="meta")))
        assert len(list(generate(remote.model, cache, hidden[:, 0], control, GREEDY, [ids]))) == 4
    assert waits == [(1,)] * 4


def test_beam_search_waits_once_for_each_token(remote, images, waits):
    asked = [Ask("What is red?"), Ask("What is left of the old box on the table?")]
    decoding = Decoding(max_new_tokens=12, scores=False, beams=3)
    remote.run([([images[0]], request) for request in asked], decoding)
    assert waits == [(12, 2)] * 12  # twice as many candidates as beams, of both prompts


def test_scoring_waits_once(remote, images, waits):
    remote.run([([images[0]], Score(Ask("What is red?"), ("the mug", "a bowl on the left")))])
    assert waits == [(2,)]


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_allocates_as_often_however_long_it_is(engine, images, counts, beams):
    for tokens in (4, 40):
        decoding = Decoding(max_new_tokens=tokens, scores=False, released=True, beams=beams)
        counts.of([([images[0]], Ask("What is red?"))], decoding)
        assert counts.caches == (1 if beams == 1 else 2)  # the prompt's; the beams'


def test_a_caption_computes_each_token_once(engine, images, counts):
    counts.of([([images[0]], Caption())], Decoding(max_new_tokens=7, scores=False, released=True))
    prompt, *steps = counts.passes
    assert prompt == 1 + QUERIES + 2 + len(prompt_ids(engine.tokenizer, Caption()))
    assert steps == [1] * 6
    assert counts.vocabulary_rows == 7


def test_two_cameras_share_their_passes(engine, images, counts):
    jobs = [([image], request) for image in images for request in locate(PHRASES[:3])]
    counts.of(jobs)
    assert counts.images == 2
    rest = sum(phrase_rows(engine, phrase) for phrase in PHRASES[:3])
    assert counts.passes == [2 * (prefix_rows(engine) + rest), 2 * 3 * 4]
    assert counts.vocabulary_rows == 6


def test_a_prompt_whose_beams_are_finished_costs_nothing_more(engine, images, counts, monkeypatch):
    """The rows of a pass are those of the prompts that are not answered yet."""
    beams, end = 3, engine.control.end
    logits = engine.model.decoder.logits

    def ended(hidden, ids=None):  # the beams of the first prompt end at once
        out = logits(hidden, ids)
        if len(hidden) == 2 * beams:
            out[:beams, end] += 100
        return out

    monkeypatch.setattr(engine.model.decoder, "logits", ended)
    jobs = [([images[0]], Ask("What is red?")), ([images[0]], Caption())]
    counts.of(jobs, Decoding(max_new_tokens=6, scores=False, released=True, beams=beams))
    *_, first_step, second_step, third_step = counts.passes[:5]
    assert (first_step, second_step, third_step) == (2 * beams, beams, beams)


def test_a_box_in_an_answer_needs_no_whole_vocabulary(engine, images, counts, monkeypatch):
    control, logits = engine.control, engine.model.decoder.logits

    def with_box(hidden, ids=None):  # a random model seldom says a box
        out = logits(hidden, ids)
        if ids is None:
            out[:, control.object] += 100
        return out

    monkeypatch.setattr(engine.model.decoder, "logits", with_box)
    decoding = Decoding(max_new_tokens=4, scores=False)
    counts.of([([images[0]], Complete("[the red mug]", ground=True))], decoding)
    after_box = abs(control.another - control.object_end) + 1
    assert counts.partial_rows == [(1, 1024), (1, 1024), (1, after_box)]
    assert counts.vocabulary_rows == 1  # for `<object>`


# Images that are kept.


@pytest.fixture
def keeping(engine, counts):
    """An engine that keeps the encodings of two images; its work is counted."""
    counts.engine = Engine(engine.model, engine.tokenizer)
    counts.engine.keep_images = 2
    return counts.engine


def test_the_encodings_of_the_images_used_last_are_kept(keeping, images, counts):
    """Whatever the requests, and whether they are answered in parts."""
    [request] = locate(PHRASES[:1])
    answers = finish(keeping.locate_in_parts([([image], request) for image in images]))
    assert counts.images == 2
    again = counts.of([([image.copy()], request) for image in images])
    assert counts.images == 0
    assert [answer.phrases[0].cells for answer in again] == [answer.phrases[0].cells for answer in answers]
    next(keeping.stream([images[0]], Caption()))
    assert counts.images == 0
    third = 255 - images[0]
    counts.of([([third], request)])  # takes the place of the second, which was used least recently
    counts.of([([images[0]], request)])
    assert counts.images == 0
    counts.of([([images[1]], request)])
    assert counts.images == 1


def test_crops_do_not_replace_images_that_are_kept(keeping, images, counts, small_boxes):
    keeping.keep_images = 1
    counts.of([([images[0]], request) for request in locate(PHRASES, zoom=True)])
    assert counts.images == 2  # with the crop
    counts.of([([images[0]], request) for request in locate(PHRASES[:1])])
    assert counts.images == 0


def test_no_encoding_is_kept_unless_it_is_wanted(engine, images, counts):
    for _ in range(2):
        counts.of([([images[0]], request) for request in locate(PHRASES[:1])])
        assert counts.images == 1
