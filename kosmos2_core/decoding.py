"""From a prompt to ids: prefill, one step, the loop of steps, and the rules for what may come next.

The shapes in comments: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kosmos2_core.errors import InputError, TooLongError
from kosmos2_core.model import Kosmos2, StaticCache, TokenSelection
from kosmos2_core.tokenizer import ControlIds


@dataclass(frozen=True)
class Decoding:
    """Options of generating an answer.

    Args:
        max_new_tokens: The answer ends after this many tokens at the latest.
        beams: Number of answers that beam search follows at once; 1: no beam search.
        temperature: Divides the logits for sampling; 0: always take the likeliest token.
        top_p: Sample from the likeliest tokens that carry this much of the probability.
        seed: Seed of the sampling; None: another answer each time.
        no_repeat: No sequence of so many words occurs twice in an answer; 0: no such rule.
        released: Decode exactly as the released code does: without the grammar, and with `no_repeat` for
            location tokens and the prompt as well, so that no box can occur twice.
        scores: Compute scores of the boxes in the answer, at the cost of one more pass over its text.
        deadline_s: The answer ends at this time of `time.monotonic`; None: no limit.

    Raises:
        InputError: A value is out of range, or beam search is combined with sampling.
    """

    max_new_tokens: int = 256
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    no_repeat: int = 3
    released: bool = False
    scores: bool = True
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        for name, value, valid, expected in (
            ("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "at least 1"),
            ("temperature", self.temperature, 0 <= self.temperature <= 100, "from 0 to 100"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("beams", self.beams, 1 <= self.beams <= 32, "from 1 to 32"),
            ("no_repeat", self.no_repeat, self.no_repeat == 0 or self.no_repeat >= 2, "0, or at least 2"),
        ):
            if not valid:
                raise InputError(f"{name} is {value}: it must be {expected}.")
        if self.beams > 1 and self.temperature > 0:
            raise InputError("beams and a temperature exclude each other: beam search does not sample.")


def generate(
    model: Kosmos2,
    cache: StaticCache,
    hidden: Tensor,
    control: ControlIds,
    decoding: Decoding,
    prompts: Sequence[Sequence[int]] | None = None,
    stopped: Callable[[int], bool] | None = None,
) -> Iterator[list[int | None]]:
    """Yield one id per sequence and step, None for sequences that have ended.

    It ends when all sequences have ended, at the limit of tokens or time, or when the cache is full. While
    all sequences are within boxes, only the logits of the few tokens that fit there are computed.

    Args:
        model: The model.
        cache: Keys and values of the prompts, with room for the answers.
        hidden: (B, D) hidden states of the prompts' last tokens.
        control: Ids of the control tokens.
        decoding: How to choose.
        prompts: The ids before, for the rules.
        stopped: Returns whether a sequence, by its row, shall end; asked before each token.
    """
    rules = [TokenRules(control, decoding, prompts[row] if prompts else ()) for row in range(cache.batch)]
    choose = _chooser(decoding, hidden.device)
    for step in range(decoding.max_new_tokens):
        for row, row_rules in enumerate(rules):
            row_rules.ended |= stopped is not None and stopped(row)
        if all(row_rules.ended for row_rules in rules):
            return
        candidates = _joint_range([row_rules.candidates() for row_rules in rules if not row_rules.ended])
        scores = model.decoder.logits(hidden, candidates).float()
        first = candidates.start if candidates else 0
        for row, row_rules in enumerate(rules):
            row_rules.restrict(scores[row], first)
        ids = choose(scores) + first
        yield [row_rules.append(token) for row_rules, token in zip(rules, ids.tolist(), strict=True)]
        late = decoding.deadline_s is not None and time.monotonic() >= decoding.deadline_s
        last = step + 1 == decoding.max_new_tokens or cache.filled == cache.length
        if last or late or all(row_rules.ended for row_rules in rules):
            return
        hidden = decode_one(model, cache, ids)


def _joint_range(ranges: Sequence[range | None]) -> range | None:
    """Return the smallest range that holds all of these; None stands for the whole vocabulary."""
    known = [ids for ids in ranges if ids is not None]
    if len(known) < len(ranges):
        return None
    return range(min(ids.start for ids in known), max(ids.stop for ids in known))


def make_cache(model: Kosmos2, batch: int, length: int) -> StaticCache:
    """Make a cache for sequences of this length, on the model's device and in its precision.

    Raises:
        TooLongError: The model has fewer positions.
    """
    check_length(model, length)
    return StaticCache(model.config.text_config, batch, length, model.device, model.dtype)


def check_length(model: Kosmos2, length: int) -> None:
    """Check that the model has so many positions, else raise a TooLongError."""
    longest = model.config.text_config.max_position_embeddings
    if length > longest:
        raise TooLongError(
            f"{length} tokens are more than the model's {longest}: shorten the text or the answer."
        )


def extend(
    model: Kosmos2, cache: StaticCache, x: Tensor, real: Tensor | None = None, last: int = 1
) -> Tensor:
    """Run the decoder over new tokens and add them to the cache.

    Args:
        model: The model.
        cache: Keys and values of the tokens before.
        x: Embeddings (B, T, D), padded on the left.
        real: (B, T), false at padding; None: there is none.
        last: For how many of the last tokens hidden states are computed.

    Returns:
        Hidden states (B, last, D).
    """
    batch, new = x.shape[:2]
    positions, mask, causal = cache.reserve(new, real)
    selection = TokenSelection.last(last, batch, new).to(x.device) if last < new else None
    hidden: Tensor = model.decoder(x, positions, mask, causal, cache, selection)
    cache.advance(new)
    return hidden.view(batch, last, -1)


def decode_one(model: Kosmos2, cache: StaticCache, ids: Tensor) -> Tensor:
    """Run the decoder over one token per sequence (B,); return its hidden states (B, D)."""
    return extend(model, cache, model.embed(ids[:, None]))[:, 0]


def pad_left(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Return the ids (B, T) of prompts, and a mask that is false at padding; None: all are equally long."""
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    ids = [[pad] * count + list(prompt) for count, prompt in zip(padding, prompts, strict=True)]
    real = [[False] * count + [True] * (longest - count) for count in padding]
    return torch.tensor(ids, device=device), torch.tensor(real, device=device) if any(padding) else None


def _chooser(decoding: Decoding, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the function that chooses columns (B,) from logits (B, candidates)."""
    if decoding.temperature == 0:
        return lambda scores: scores.argmax(-1)
    generator = torch.Generator(device)
    if decoding.seed is not None:
        generator.manual_seed(decoding.seed)

    def sample(scores: Tensor) -> Tensor:
        probabilities, order = (scores / decoding.temperature).softmax(-1).sort(-1, descending=True)
        before = probabilities.cumsum(-1) - probabilities
        probabilities.masked_fill_(before >= decoding.top_p, 0)  # the first always stays
        return order.gather(-1, torch.multinomial(probabilities, 1, generator=generator))[:, 0]

    return sample


# Rules.


class TokenRules:
    """The rules for the next token of one sequence: the grammar, no repetition, the end.

    Args:
        control: Ids of the control tokens.
        decoding: Which rules apply.
        prompt: The ids before the answer.
    """

    def __init__(self, control: ControlIds, decoding: Decoding, prompt: Sequence[int]) -> None:
        self.control, self.decoding = control, decoding
        self.ended = False
        self.grammar = None if decoding.released else Grammar(control, prompt)
        self.recent: list[int] = []  # ids since the last control token
        self.followers: dict[tuple[int, ...], set[int]] = defaultdict(set)  # no_repeat - 1 ids: what followed
        for token in prompt if decoding.released else ():
            self._remember(token)

    def candidates(self) -> range | None:
        """Return a range of ids that holds all tokens that may come next; None: the whole vocabulary."""
        return None if self.grammar is None else self.grammar.candidates()

    def restrict(self, scores: Tensor, first: int = 0) -> None:
        """Set the scores of tokens that may not come next to minus infinity, in place.

        Args:
            scores: (n,) the scores of n tokens, which include the candidates.
            first: The id of the first of them.
        """
        if self.ended:
            return
        if self.grammar is not None:
            self.grammar.restrict(scores, first)
        reach = self.decoding.no_repeat - 1
        if reach > 0 and len(self.recent) >= reach:
            for token in self.followers.get(tuple(self.recent[-reach:]), ()):
                scores[token - first] = -torch.inf

    def append(self, token: int) -> int | None:
        """Add the token that was chosen; return it, or None if the sequence has ended."""
        if self.ended:
            return None
        if token == self.control.end:
            self.ended = True
            return None
        self._remember(token)
        if self.grammar is not None:
            self.grammar.append(token)
        return token

    def continued(self, token: int) -> TokenRules:
        """Return the rules of a sequence that goes on with this token; these stay as they are."""
        fresh = copy(self)
        fresh.grammar, fresh.recent = copy(self.grammar), list(self.recent)
        fresh.followers = defaultdict(set, {ids: set(after) for ids, after in self.followers.items()})
        fresh.append(token)
        return fresh

    def _remember(self, token: int) -> None:
        """Note the token for the rule against repetition: words alone, or all tokens if `released`."""
        if self.grammar is not None and self.grammar.is_markup(token):
            self.recent.clear()
            return
        reach = self.decoding.no_repeat - 1
        if reach > 0 and len(self.recent) >= reach:
            self.followers[tuple(self.recent[-reach:])].add(token)
        self.recent.append(token)


class Grammar:
    """The grammar of grounded text: phrases that close, and boxes of two legal corners.

    Control tokens other than those of phrases and boxes, and the end, are never generated.

    Args:
        control: Ids of the control tokens.
        prompt: The ids before, which may end within a phrase or a box.
    """

    def __init__(self, control: ControlIds, prompt: Sequence[int] = ()) -> None:
        self.control = control
        self.in_phrase = False
        self.last: tuple[int, int] = (-1, -1)
        for token in prompt:
            self.append(token)

    def append(self, token: int) -> None:
        """Add a token to the text so far."""
        if token in (self.control.phrase, self.control.phrase_end):
            self.in_phrase = token == self.control.phrase
        self.last = (self.last[1], token)

    def is_markup(self, token: int) -> bool:
        """Return whether a token marks phrases or boxes."""
        control = self.control
        markup = (control.phrase, control.phrase_end, control.object, control.object_end, control.another)
        return token in markup or token in control.locations

    def candidates(self) -> range | None:
        """Return a range of ids that holds all tokens that may come next; None: words may come next."""
        if self._corner_is_next:
            return self.control.locations
        if self.last[1] in self.control.locations:
            after_box = self._after_box
            return range(after_box[0], after_box[-1] + 1)
        return None

    def restrict(self, scores: Tensor, first: int = 0) -> None:
        """Set the scores of tokens that may not come next to minus infinity, in place.

        Args:
            scores: (n,) the scores of n tokens, which include the candidates.
            first: The id of the first of them.
        """
        last = self.last[1]
        if self._corner_is_next:
            upper_left = last - self.control.location if last in self.control.locations else None
            _allow_locations(scores, first, self.control, upper_left)
        elif last in self.control.locations:
            _allow(scores, first, self._after_box)
        else:
            self._restrict_words(scores)

    @property
    def _corner_is_next(self) -> bool:
        """True if only a location token may come next."""
        control, (before, last) = self.control, self.last
        opening = (control.object, control.another)
        return last in opening or (last in control.locations and before in opening)

    @property
    def _after_box(self) -> list[int]:
        """The tokens that may come after the second corner of a box, in the order of their ids."""
        return sorted((self.control.another, self.control.object_end))

    def _restrict_words(self, scores: Tensor) -> None:
        """Outside of boxes: words, and the marks of phrases where they fit; `scores` has all tokens."""
        control = self.control
        scores[control.location : control.location + control.grid**2] = -torch.inf
        after_phrase, empty = self.last[1] == control.phrase_end, self.last[1] == control.phrase
        banned = _banned_marks(control, self.in_phrase, after_phrase, empty, scores.device)
        scores.index_fill_(0, banned, -torch.inf)


@lru_cache(maxsize=64)
def _banned_marks(
    control: ControlIds, in_phrase: bool, after_phrase: bool, empty: bool, device: torch.device
) -> Tensor:
    """Return the ids of control tokens, except locations, that may not come next outside of boxes.

    Args:
        control: Ids of the control tokens.
        in_phrase: A phrase is open.
        after_phrase: The last token ended a phrase.
        empty: The last token began a phrase.
        device: Where the scores are.
    """
    banned = [control.start, control.pad, control.unknown, control.image, control.image_end]
    banned += [control.grounding, control.another, control.object_end]
    if not after_phrase:
        banned.append(control.object)
    if in_phrase:
        banned += [control.phrase, control.end]
    if empty or not in_phrase:  # a phrase has words
        banned.append(control.phrase_end)
    return torch.tensor(banned, device=device)


def _allow(scores: Tensor, first: int, ids: Sequence[int]) -> None:
    """Set all scores to minus infinity, in place, except those of these ids, which are in order.

    Slices of fixed bounds, because a mask would have to be made on the host and copied to the device.
    """
    begin = 0
    for token in ids:
        scores[begin : token - first] = -torch.inf
        begin = token - first + 1
    scores[begin:] = -torch.inf


def _allow_locations(scores: Tensor, first: int, control: ControlIds, upper_left: int | None) -> None:
    """Allow location tokens alone; after an upper-left corner, those that make a box with it."""
    begin, grid = control.location - first, control.grid
    scores[:begin] = -torch.inf
    scores[begin + grid**2 :] = -torch.inf
    if upper_left is not None:
        top, left = divmod(upper_left, grid)
        cells = scores[begin : begin + grid**2].view(grid, grid)
        cells[:top] = -torch.inf
        cells[:, :left] = -torch.inf
