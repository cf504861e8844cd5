"""Beam search: find the answer with the highest probability per token, following several at once.

The rules are those of `transformers`: of each prompt's beams, the `2 * beams` likeliest continuations are
considered. Those among the first `beams` that end become answers, scored by their mean log-probability. The
likeliest of the others go on, until none of them can become better than the worst answer that is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

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
    positions = model.config.text_config.max_position_embeddings
    steps = min(decoding.max_new_tokens, positions - cache.filled + 1)
    for step in range(steps):
        late = decoding.deadline_s is not None and time.monotonic() >= decoding.deadline_s
        going_on = [state for state in states if state.open]
        scores = model.decoder.logits(hidden).float().log_softmax(-1)  # over all: beams are compared by it
        for state, candidates in zip(going_on, _likeliest(going_on, scores, 2 * beams), strict=True):
            state.advance(candidates, control.end, beams, last=late or step + 1 == steps)
        running = [beam for state in going_on if state.open for beam in state.running]
        if not running:
            break
        rows = [beam.row for beam in running]
        if step:
            cache.reorder(rows)
        else:
            cache = cache.select(rows, steps - 1, batch=len(states) * beams)
        next_ids = torch.tensor([beam.ids[-1] for beam in running], device=hidden.device)
        hidden = decode_one(model, cache, next_ids)
        new_rows = iter(range(len(running)))
        for state in (state for state in going_on if state.open):
            state.running = [replace(beam, row=next(new_rows)) for beam in state.running]
    return [(ids, ended) for _, ids, ended in (state.answers[0] for state in states)]


def _likeliest(
    states: Sequence[_BeamState], scores: Tensor, count: int
) -> list[list[tuple[float, _Beam, int]]]:
    """Return the likeliest continuations of each prompt's beams: log-probability, beam and next id.

    Args:
        states: The prompts whose answers are open; the beams of each are side by side in `scores`.
        scores: Log-probabilities (B, V) of the next token of each beam; they are changed.
        count: How many continuations are wanted.
    """
    best = []
    for state in states:
        first = state.running[0].row
        of_prompt = scores[first : first + len(state.running)]
        for row, beam in zip(of_prompt, state.running, strict=True):
            beam.rules.restrict(row)
            row += beam.score
        best.append(of_prompt.flatten().topk(min(count, of_prompt.numel())))
    ranked = torch.cat([torch.stack([top.values.double(), top.indices.double()]) for top in best], 1)
    pairs = iter(ranked.T.tolist())  # one wait for the device, for all prompts
    return [
        [
            (score, state.running[int(index) // scores.shape[1]], int(index) % scores.shape[1])
            for score, index in islice(pairs, len(top.values))
            if score > -torch.inf
        ]
        for state, top in zip(states, best, strict=True)
    ]
