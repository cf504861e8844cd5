"""The work that requests cost, as counts: encoded images, rows of the decoder, logits, waits, allocations.

Times depend on the machine; these counts do not. A count that grows is a slower answer.
"""

import numpy as np
import pytest
from peer import make_peer, make_processor, save_peer, shape

from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.model import StaticCache
from kosmos2_core.requests import Ask, Caption, Locate, Score

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
    assert counts.vocabulary_rows == 3
    for job, answer in zip(jobs, answers, strict=True):
        [alone] = engine.run([job])
        assert answer.phrases[0].cells == alone.phrases[0].cells


def test_zooming_into_the_same_box_is_done_once(engine, images, counts, monkeypatch):
    monkeypatch.setattr("kosmos2_core.localizer.MAX_CROP", 10.0)  # boxes of a random model are large
    requests = locate([PHRASES[0]] * 2, zoom=True)
    first, second = counts.of([([images[0]], request) for request in requests])
    assert first == second
    assert counts.images == 2  # the image and the crop
    assert counts.vocabulary_rows == 2


def test_equal_prompts_are_answered_once_unless_they_are_sampled(engine, images, counts):
    greedy = Decoding(max_new_tokens=6, scores=False, released=True)
    jobs = [([images[0]], Caption()), ([images[0].copy()], Caption()), ([images[0]], Ask("What is red?"))]
    first, second, _ = counts.of(jobs, greedy)
    assert first == second
    assert counts.vocabulary_rows == 2 * 6
    sampled = Decoding(max_new_tokens=6, scores=False, released=True, temperature=50.0, seed=0)
    first, second = counts.of(jobs[:2], sampled)
    assert first.text != second.text
    assert counts.images == 1


def test_equal_options_are_scored_once(engine, images, counts):
    options = ("the mug", "a bowl", "the mug")
    [answer] = counts.of([([images[0]], Score(Ask("What is red?"), options))])
    assert answer.options[0] == answer.options[2]
    tokens = [len(engine.tokenizer.encode(option)) for option in options[:2]]
    assert counts.vocabulary_rows == sum(tokens)
