"""Beam search: find the answer with the highest probability per token, following several at once.

The rules are those of `transformers`: of each prompt's beams, the `2 * beams` likeliest continuations are
considered. Those among the first `beams` that end become answers, scored by their mean log-probability. The
likeliest of the others go on, until none of them can become better than the worst answer that is kept.
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
    """An answer that is not finished."""

    score: float  # log-probability
    ids: list[int]
    rules: TokenRules
    row: int  # the sequence of the cache that holds its tokens


@dataclass
class _BeamState:
    """The beams of one prompt, and the answers so far: mean log-probability, ids, whether it ended itself."""

    running: list[_Beam]
    answers: list[tuple[float, list[int], bool]] = field(default_factory=list)
    open: bool = True

    def advance(self, candidates: list[tuple[float, _Beam, int]], end: int, beams: int, last: bool) -> None:
        """Continue with the likeliest candidates.

        Args:
            candidates: Log-probability, beam and next id, the likeliest first.
            end: The id that ends an answer.
            beams: How many beams and answers are kept.
            last: This is the last step: all answers end.
        """
        length = len(self.running[0].ids) + 1
        for score, beam, token in candidates[:beams]:
            if (token == end or last) and self.open:
                ids = beam.ids if token == end else [*beam.ids, token]
                self.answers.append((score / length, ids, token == end))
        self.answers = sorted(self.answers, key=lambda answer: -answer[0])[:beams]
        self.running = [
            _Beam(score, [*beam.ids, token], beam.rules.continued(token), beam.row)
            for score, beam, token in candidates
            if token != end
        ][:beams]
        full = len(self.answers) == beams
        hopeless = full and self.running[0].score / length <= self.answers[-1][0]
        self.open = self.open and not last and not hopeless


def beam_search(
    model: Kosmos2,
    cache: StaticCache,
    hidden: Tensor,
    control: ControlIds,
    decoding: Decoding,
    prompts: Sequence[Sequence[int]],
) -> list[tuple[list[int], bool]]:
    """Find the best answer to each prompt.

    Args:
        model: The model.
        cache: Keys and values of the prompts.
        hidden: (B, D) hidden states of the prompts' last tokens.
        control: Ids of the control tokens.
        decoding: Number of beams, limits and rules.
        prompts: The ids before, for the rules.

    Returns:
        For each prompt the ids of its answer, and whether it ended before a limit.
    """
    beams = decoding.beams
    rules = [TokenRules(control, decoding, prompt) for prompt in prompts]
    states = [_BeamState([_Beam(0.0, [], prompt_rules, row)]) for row, prompt_rules in enumerate(rules)]
    cache = cache.select(torch.arange(cache.batch, device=hidden.device), 0)
    for step in range(decoding.max_new_tokens):
        late = decoding.deadline_s is not None and time.monotonic() >= decoding.deadline_s
        last = late or step + 1 == decoding.max_new_tokens
        scores = model.decoder.logits(hidden).float().log_softmax(-1)  # over all: beams are compared by it
        for state in states:
            candidates = _likeliest(state.running, scores, 2 * beams)
            state.advance(candidates, control.end, beams, last)
        if not any(state.open for state in states):
            break
        running = [beam for state in states for beam in state.running]
        rows = torch.tensor([beam.row for beam in running], device=hidden.device)
        next_ids = torch.tensor([beam.ids[-1] for beam in running], device=hidden.device)
        cache = cache.select(rows, 1)
        hidden = decode_one(model, cache, next_ids)
        new_rows = iter(range(len(running)))
        for state in states:
            state.running = [
                _Beam(beam.score, beam.ids, beam.rules, next(new_rows)) for beam in state.running
            ]
    return [(ids, ended) for _, ids, ended in (state.answers[0] for state in states)]


def _likeliest(running: list[_Beam], scores: Tensor, count: int) -> list[tuple[float, _Beam, int]]:
    """Return the likeliest continuations of one prompt's beams: log-probability, beam and next id.

    Args:
        running: The beams.
        scores: Log-probabilities (B, V) of the next token of all sequences in the cache.
        count: How many continuations are wanted.
    """
    own_scores = scores[[beam.row for beam in running]]  # a copy: the rules change it
    for row, beam in zip(own_scores, running, strict=True):
        beam.rules.restrict(row)
    own_scores += torch.tensor([beam.score for beam in running], device=own_scores.device)[:, None]
    best = own_scores.flatten().topk(min(count, own_scores.numel()))
    vocabulary = own_scores.shape[1]
    return [
        (score, running[index // vocabulary], index % vocabulary)
        for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        if score > -torch.inf
    ]
