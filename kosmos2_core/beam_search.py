"""Beam search: the answer of most probability a token, among several that are followed at once.

The rules, as the peer has them: of each prompt's beams, the `2 * beams` likeliest continuations are
looked at; those among the first `beams` that end become answers, weighed by their length; of the others the
likeliest go on, until none of them can become better than the worst answer kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kosmos2_core.decoding import Decoding, TokenRules, decode_one
from kosmos2_core.model import Kosmos2, StaticCache
from kosmos2_core.tokenizer import ControlIds


@dataclass(frozen=True)
class _Beam:
    score: float  # log-probability
    ids: list[int]
    rules: TokenRules
    row: int  # of the cache, where its tokens are


@dataclass
class _Prompt:
    """The beams of one prompt and the answers it has so far: weighed score, ids, whether it ended."""

    running: list[_Beam]
    answers: list[tuple[float, list[int], bool]] = field(default_factory=list)
    open: bool = True

    def go_on(self, candidates: list[tuple[float, _Beam, int]], end: int, beams: int, last: bool) -> None:
        """Take the likeliest continuations (score, beam, id), best first."""
        length = len(self.running[0].ids) + 1
        for score, beam, number in candidates[:beams]:
            if (number == end or last) and self.open:
                ids = beam.ids if number == end else [*beam.ids, number]
                self.answers.append((score / length, ids, number == end))
        self.answers = sorted(self.answers, key=lambda answer: -answer[0])[:beams]
        self.running = [
            _Beam(score, [*beam.ids, number], beam.rules.then(number), beam.row)
            for score, beam, number in candidates
            if number != end
        ][:beams]
        full = len(self.answers) == beams
        hopeless = full and self.running[0].score / length <= self.answers[-1][0]
        self.open = self.open and not last and not hopeless


def beam_search(
    model: Kosmos2,
    cache: StaticCache,
    logits: Tensor,
    control: ControlIds,
    decoding: Decoding,
    prompts: Sequence[Sequence[int]],
) -> list[tuple[list[int], bool]]:
    """For each row of the cache, whose next token has these logits (B, V): the best answer's ids, and
    whether it ended before a limit."""
    beams = decoding.beams
    states = [
        _Prompt([_Beam(0.0, [], TokenRules(control, decoding, prompt), row)])
        for row, prompt in enumerate(prompts)
    ]
    cache = cache.copy(torch.arange(cache.rows, device=logits.device), 0)
    for step in range(decoding.max_new_tokens):
        late = decoding.deadline_s is not None and time.monotonic() >= decoding.deadline_s
        last = late or step + 1 == decoding.max_new_tokens
        scores = logits.float().log_softmax(-1)
        for state in states:
            candidates = _likeliest(state.running, scores, 2 * beams)
            state.go_on(candidates, control.end, beams, last)
        if not any(state.open for state in states):
            break
        running = [beam for state in states for beam in state.running]
        rows = torch.tensor([beam.row for beam in running], device=logits.device)
        next_ids = torch.tensor([beam.ids[-1] for beam in running], device=logits.device)
        cache = cache.copy(rows, 1)
        logits = decode_one(model, cache, next_ids)
        places = iter(range(len(running)))
        for state in states:
            state.running = [_Beam(b.score, b.ids, b.rules, next(places)) for b in state.running]
    return [(ids, ended) for _, ids, ended in (state.answers[0] for state in states)]


def _likeliest(running: list[_Beam], scores: Tensor, count: int) -> list[tuple[float, _Beam, int]]:
    """The best continuations of a prompt's beams, from the log-probabilities (rows, V) of the next token."""
    mine = scores[[beam.row for beam in running]]  # a copy: the rules change it
    for row, beam in zip(mine, running, strict=True):
        beam.rules.restrict(row)
    mine += torch.tensor([beam.score for beam in running], device=mine.device)[:, None]
    best = mine.flatten().topk(min(count, mine.numel()))
    vocabulary = mine.shape[1]
    return [
        (score, running[place // vocabulary], place % vocabulary)
        for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        if score > -torch.inf
    ]
