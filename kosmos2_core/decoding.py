"""From prompts to ids: prefill, one step, and the loop of steps with its rules."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from kosmos2_core.errors import InputError, TooLongError
from kosmos2_core.model import Kosmos2, StaticCache, TokenSelection
from kosmos2_core.tokenizer import ControlIds


def make_cache(model: Kosmos2, rows: int, length: int) -> StaticCache:
    weight = model.decoder.embedding.weight
    check_length(model, length)
    return StaticCache(model.config.text_config, rows, length, weight.device, weight.dtype)


def check_length(model: Kosmos2, length: int) -> None:
    longest = model.config.text_config.max_position_embeddings
    if length > longest:
        raise TooLongError(
            f"{length} tokens are more than the model's {longest}: shorten the text or the answer."
        )


def extend(
    model: Kosmos2, cache: StaticCache, x: Tensor, real: Tensor | None = None, last: int = 1
) -> Tensor:
    """Take embeddings x (B, T, D), padded on the left where real (B, T) is false; hidden states
    (B, last, D) of the last ones."""
    if real is None:
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    positions, mask, causal = cache.place(real)
    rows, new = x.shape[:2]
    places = TokenSelection.last(last, rows, new, x.device) if last < new else None
    hidden: Tensor = model.decoder(x, positions, mask, causal, cache, places)
    cache.advance(new)
    return hidden.view(rows, last, -1)


def prefill(
    model: Kosmos2, cache: StaticCache, x: Tensor, real: Tensor | None = None, last: int = 1
) -> Tensor:
    """Take embeddings, as `extend`; logits (B, last, V) after each of the last ones."""
    return model.decoder.logits(extend(model, cache, x, real, last))


def decode_one(model: Kosmos2, cache: StaticCache, ids: Tensor) -> Tensor:
    """Take one id a row (B,), give the logits (B, V) after it."""
    return prefill(model, cache, model.embed(ids[:, None]))[:, 0]


def pad_left(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (B, T) of rows of different length, and where they are real."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=device)
    real = torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows], device=device)
    return ids, real


@dataclass(frozen=True)
class Decoding:
    """How answers are chosen. `released` decodes exactly as the release does: no grammar, and no three
    tokens twice, location tokens and the prompt among them, which forbids saying the same box again."""

    max_new_tokens: int = 256
    beams: int = 1  # answers followed at once
    temperature: float = 0.0  # 0: always the likeliest
    top_p: float = 1.0
    seed: int | None = None
    no_repeat: int = 3  # no n words twice; 0: no such rule
    released: bool = False
    scores: bool = True  # whether boxes that are said get scores, at the cost of one more pass over the text
    deadline_s: float | None = None  # on time.monotonic

    def __post_init__(self) -> None:
        for name, value, good, what in (
            ("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "at least 1"),
            ("temperature", self.temperature, 0 <= self.temperature <= 100, "from 0 to 100"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("beams", self.beams, 1 <= self.beams <= 32, "from 1 to 32"),
            ("no_repeat", self.no_repeat, self.no_repeat == 0 or self.no_repeat >= 2, "0, or at least 2"),
        ):
            if not good:
                raise InputError(f"{name} is {value}: it must be {what}.")
        if self.beams > 1 and self.temperature > 0:
            raise InputError("beams and a temperature exclude each other: beam search does not sample.")


def generate(
    model: Kosmos2,
    cache: StaticCache,
    logits: Tensor,
    control: ControlIds,
    decoding: Decoding,
    prompts: Sequence[Sequence[int]] | None = None,
) -> Iterator[list[int | None]]:
    """One id a row and step, None for rows that have ended, from the logits (B, V) after the prompt.

    prompts: the ids before, which the rules look at. Ends when all rows have, at the limit of tokens or
    of time, where the cache is full, or when the caller stops asking.
    """
    rows = [TokenRules(control, decoding, prompts[row] if prompts else ()) for row in range(cache.rows)]
    choose = _chooser(decoding, logits.device)
    for step in range(decoding.max_new_tokens):
        scores = logits.float()
        for row, state in enumerate(rows):
            state.restrict(scores[row])
        ids = choose(scores)
        chosen = ids.tolist()
        yield [state.take(number) for state, number in zip(rows, chosen, strict=True)]
        late = decoding.deadline_s is not None and time.monotonic() >= decoding.deadline_s
        last = step + 1 == decoding.max_new_tokens or cache.filled == cache.length
        if last or late or all(state.ended for state in rows):
            return
        logits = decode_one(model, cache, ids)


def _chooser(decoding: Decoding, device: torch.device) -> Callable[[Tensor], Tensor]:
    if decoding.temperature == 0:
        return lambda scores: scores.argmax(-1)
    generator = torch.Generator(device)
    if decoding.seed is not None:
        generator.manual_seed(decoding.seed)

    def sample(scores: Tensor) -> Tensor:
        shares, order = (scores / decoding.temperature).softmax(-1).sort(-1, descending=True)
        shares[shares.cumsum(-1) - shares >= decoding.top_p] = 0  # the first always stays
        return order.gather(-1, torch.multinomial(shares, 1, generator=generator))[:, 0]

    return sample


class TokenRules:
    """What one row has said, and what it may say next."""

    def __init__(self, control: ControlIds, decoding: Decoding, prompt: Sequence[int]) -> None:
        self.control, self.decoding = control, decoding
        self.ended = False
        self.grammar = None if decoding.released else Grammar(control, prompt)
        self.said: list[int] = []
        self.after: dict[tuple[int, ...], set[int]] = defaultdict(set)  # n - 1 ids: what followed them
        for number in prompt if decoding.released else ():
            self.remember(number)

    def restrict(self, scores: Tensor) -> None:
        """Make what may not come next impossible, in place."""
        if self.ended:
            return
        if self.grammar is not None:
            self.grammar.restrict(scores)
        reach = self.decoding.no_repeat - 1
        if reach > 0 and len(self.said) >= reach:
            banned = self.after.get(tuple(self.said[-reach:]), ())
            scores[list(banned)] = -torch.inf

    def take(self, number: int) -> int | None:
        if self.ended:
            return None
        if number == self.control.end:
            self.ended = True
            return None
        self.remember(number)
        if self.grammar is not None:
            self.grammar.take(number)
        return number

    def then(self, number: int) -> TokenRules:
        """The rules of a row that says this next; these stay as they are."""
        fresh = copy(self)
        fresh.grammar, fresh.said = copy(self.grammar), list(self.said)
        fresh.after = defaultdict(set, {ids: set(next_ids) for ids, next_ids in self.after.items()})
        fresh.take(number)
        return fresh

    def remember(self, number: int) -> None:
        """For the rule against repetition; outside `released` it is about words alone."""
        if not self.decoding.released and self.grammar is not None and self.grammar.is_control(number):
            self.said.clear()
            return
        reach = self.decoding.no_repeat - 1
        if reach > 0 and len(self.said) >= reach:
            self.after[tuple(self.said[-reach:])].add(number)
        self.said.append(number)


class Grammar:
    """What may follow what: phrases that close, boxes of two legal corners, nothing else of that kind.

    Control tokens other than those of phrases and boxes, and the end, are never said.
    """

    def __init__(self, control: ControlIds, prompt: Sequence[int] = ()) -> None:
        self.control = control
        self.open_phrase = False
        self.last: tuple[int, int] = (-1, -1)
        for number in prompt:
            self.take(number)

    def take(self, number: int) -> None:
        if number in (self.control.phrase, self.control.phrase_end):
            self.open_phrase = number == self.control.phrase
        self.last = (self.last[1], number)

    def is_control(self, number: int) -> bool:
        control = self.control
        marks = (control.phrase, control.phrase_end, control.object, control.object_end, control.another)
        return number in marks or number in control.locations

    def restrict(self, scores: Tensor) -> None:
        control, (before, last) = self.control, self.last
        opening = (control.object, control.another)
        if last in opening:
            _only(scores, control, None)
        elif last in control.locations and before in opening:
            _only(scores, control, last - control.location)
        elif last in control.locations:
            kept = scores[[control.another, control.object_end]].clone()
            scores.fill_(-torch.inf)
            scores[[control.another, control.object_end]] = kept
        else:
            self.restrict_words(scores)

    def restrict_words(self, scores: Tensor) -> None:
        control = self.control
        first = control.location
        scores[first : first + control.grid**2] = -torch.inf
        banned = [control.start, control.pad, control.unknown, control.image, control.image_end]
        banned += [control.grounding, control.another, control.object_end]
        if self.last[1] != control.phrase_end:
            banned.append(control.object)
        if self.open_phrase:
            banned += [control.phrase, control.end]
            if self.last[1] == control.phrase:
                banned.append(control.phrase_end)  # a phrase has words
        else:
            banned.append(control.phrase_end)
        scores[banned] = -torch.inf


def _only(scores: Tensor, control: ControlIds, upper_left: int | None) -> None:
    """Location tokens alone; of a lower-right corner, those not left of or above the upper-left."""
    first, last = control.location, control.location + control.grid**2
    kept = scores[first:last].clone()
    if upper_left is not None:
        kept[~legal_corners(control.grid, upper_left, scores.device)] = -torch.inf
    scores.fill_(-torch.inf)
    scores[first:last] = kept


def legal_corners(grid: int, upper_left: int, device: torch.device) -> Tensor:
    """Which cells (grid * grid,) can be the lower-right corner of a box that starts in this one."""
    top, left = divmod(upper_left, grid)
    along = torch.arange(grid, device=device)
    return ((along >= top)[:, None] & (along >= left)[None, :]).flatten()
