"""Many short prompts about one image in one sequence: each token sees what all share and its own branch.

    image, <grounding>, <phrase> | the mug</phrase><object> | the red bowl</phrase><object> | ...

What is shared is computed once, and neither padded nor copied for each prompt. A branch's positions go on
from the shared part, so that nothing differs from a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kosmos2_core.batch import MAX_ROWS, Row, Starter, shared_length
from kosmos2_core.cache import StaticCache
from kosmos2_core.decoding import check_length
from kosmos2_core.model import Kosmos2
from kosmos2_core.places import Places

LAST = 2  # tokens of each branch whose logits are wanted
SHARED, PADDING = -1, -2  # whose a token is, besides a branch's


@dataclass(frozen=True, eq=False)
class Branches:
    """Prompts, taken in. B sequences, each of a view; N branches in all."""

    places: list[int]  # (N) of the prompts, among all that were asked
    model: Kosmos2
    cache: StaticCache
    owners: Tensor  # (B, T) each token's branch, SHARED or PADDING
    sequences: Tensor  # (N) the sequence that each branch is in
    lengths: Tensor  # (N) tokens from the start to the branch's end
    logits: Tensor  # (N, LAST, V) after each branch's last tokens

    def step(self, branches: Tensor, ids: Tensor) -> Tensor:
        """Logits (n, V) after one more token on each of these branches (n,), any of them several times. The
        tokens are not kept, and do not see each other."""
        sequences = self.sequences[branches]
        new = Places(sequences, None, len(self.owners))
        owners = new.spread(branches, PADDING)
        seen = (self.owners[:, None] == SHARED) | (self.owners[:, None] == owners[:, :, None])
        itself = torch.eye(new.width, dtype=torch.bool, device=ids.device).expand(new.count, -1, -1)
        mask = torch.cat([seen, itself], dim=2)[:, None]
        x = self.model.embed(new.spread(ids))
        hidden = self.model.decoder(x, new.spread(self.lengths[branches]), mask, False, self.cache, new)
        return self.model.decoder.logits(hidden)


def start_branches(starter: Starter, rows: Sequence[Row], more: int, at_once: int) -> Iterator[Branches]:
    """Take prompts in, so many at a time, with room for steps of `more` tokens on each branch, but never
    more than `at_once`."""
    keys = [(row.shared, row.leading) for row in rows]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    # As they were given: in the order of memory, as the keys are, sums would be rounded anew each time.
    order = sorted(range(len(rows)), key=lambda place: first[keys[place]])
    for start in range(0, len(rows), MAX_ROWS):
        places = order[start : start + MAX_ROWS]
        yield _take_in(starter, places, [rows[place] for place in places], more, at_once)


def _take_in(starter: Starter, places: list[int], rows: Sequence[Row], more: int, at_once: int) -> Branches:
    groups: dict[tuple[object, int], list[int]] = {}
    for branch, row in enumerate(rows):
        groups.setdefault((row.shared, row.leading), []).append(branch)
    trunks = [_Trunk.of(starter, [rows[branch] for branch in group]) for group in groups.values()]
    x, _ = starter.embed([trunk.ids for trunk in trunks], [one for trunk in trunks for one in trunk.images])

    longest, device = x.shape[1], x.device
    owners = torch.full((len(trunks), longest), PADDING)
    positions = torch.zeros(len(trunks), longest, dtype=torch.long)
    sequences, ends, lengths = (torch.empty(len(rows), dtype=torch.long) for _ in range(3))
    for sequence, (trunk, group) in enumerate(zip(trunks, groups.values(), strict=True)):
        at = longest - len(trunk.ids)
        owners[sequence, at : at + trunk.shared] = SHARED
        positions[sequence, at : at + trunk.shared] = torch.arange(trunk.shared)
        at += trunk.shared
        for branch, length in zip(group, trunk.branches, strict=True):
            owners[sequence, at : at + length] = branch
            positions[sequence, at : at + length] = torch.arange(length) + trunk.shared
            at += length
            sequences[branch], ends[branch], lengths[branch] = sequence, at, trunk.shared + length
    check_length(starter.model, int(lengths.max()) + 1)
    owners, positions, sequences, ends, lengths = (
        one.to(device) for one in (owners, positions, sequences, ends, lengths)
    )

    room = longest + min(more * max(map(len, groups.values())), at_once)
    cache = StaticCache(starter.model.config.text_config, len(trunks), room, device, x.dtype)
    seen = (owners[:, None] == SHARED) | (owners[:, None] == owners[:, :, None])
    last = ends[:, None] + torch.arange(-LAST, 0, device=device)
    ending = Places(sequences.repeat_interleave(LAST), last.flatten(), len(trunks))
    hidden = starter.model.decoder(x, positions, seen.tril()[:, None], False, cache, ending)
    cache.advance(longest)
    logits = starter.model.decoder.logits(hidden.view(*last.shape, -1))
    return Branches(places, starter.model, cache, owners, sequences, lengths, logits)


@dataclass(frozen=True, eq=False)
class _Trunk:
    """Prompts about one view in one sequence."""

    ids: list[int]
    images: list[Tensor]
    shared: int  # ids that all prompts begin with
    branches: list[int]  # how many ids each has besides

    @classmethod
    def of(cls, starter: Starter, rows: Sequence[Row]) -> _Trunk:
        first, control = rows[0], starter.control
        whole = [starter.spell_row(row) for row in rows]
        shared = shared_length(whole, LAST)
        while whole[0][:shared].count(control.image) > whole[0][:shared].count(control.image_end):
            shared -= 1  # not within an image
        in_shared = whole[0][:shared].count(control.image)
        images = [*first.images[:in_shared], *(one for row in rows for one in row.images[in_shared:])]
        ends = [ids[shared:] for ids in whole]
        return cls(
            [*whole[0][:shared], *(i for ids in ends for i in ids)], images, shared, list(map(len, ends))
        )
