"""Prompts as tensors: images in their slots, padding, and many prompts about one image in one sequence.

Prompts about the same images are computed together in one of two ways:

- Phrases to locate need one or two tokens after a short prompt. They are packed into one sequence: a shared
  prefix, then what is particular to each prompt. Each token attends to the shared prefix and to its own
  prompt, and positions go on from the prefix, so nothing differs from a sequence of its own.

      image, <grounding>, <phrase> | the mug</phrase><object> | the red bowl</phrase><object> | ...

  A blind prompt, which does not see the image, stands in the same sequence: it attends to itself alone.

- Prompts that are answered token by token get a sequence each; the shared prefix is computed once and its
  keys and values are copied.

Training packs what is said about an image in the same way (`pack`). The shapes in comments: B sequences, T
tokens, N packed prompts, D width.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import Tensor

from kosmos2_core.decoding import check_length, extend, make_cache, pad_left
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_core.model import Kosmos2, StaticCache, TokenSelection
from kosmos2_core.prompts import IMAGE, Prompt
from kosmos2_core.tokenizer import ControlIds

MAX_PROMPTS = 64  # in one batch; bounds the memory for keys and values
LAST = 2  # tokens of a packed prompt whose hidden states are computed, unless another number is given
SHARED, PADDING = -1, -2  # owners of tokens that belong to no single prompt
BLIND = -3  # the owner of the first blind prompt; that of the prompt with number n is BLIND - n


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images and their tokens in the decoder.

    Args:
        images: The images, RGB.
        features: (queries, D) for each image.
    """

    images: tuple[Pixels, ...]
    features: tuple[Tensor, ...]


# Packing.


@dataclass(frozen=True, eq=False)
class PackedIds:
    """N prompts in B sequences, padded on the right to T tokens.

    Args:
        ids: (B, T) token ids.
        positions: (B, T) the position of each token in its prompt.
        owners: (B, T) the number of each token's prompt, SHARED or PADDING; see BLIND for blind prompts.
        sequences: (N,) the sequence of each prompt.
        begins: (N,) the index where each prompt begins, after the shared prefix.
        ends: (N,) the index after its last token.
        lengths: (N,) the number of its tokens with the prefix.
    """

    ids: Tensor
    positions: Tensor
    owners: Tensor
    sequences: Tensor
    begins: Tensor
    ends: Tensor
    lengths: Tensor


def pack(
    sequences: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], pad: int, blind: Container[int] = ()
) -> PackedIds:
    """Pack prompts that share a prefix into one sequence.

    Args:
        sequences: For each sequence the shared prefix, and the rest of each of its prompts.
        pad: The id that padding has.
        blind: The numbers of the prompts that do not attend to the prefix; what is given of them is whole.
    """
    longest = max(len(prefix) + sum(map(len, rests)) for prefix, rests in sequences)
    ids, positions, owners = [], [], []
    prompts: list[tuple[int, int, int, int]] = []  # sequence, begin, end, length
    for sequence, (prefix, rests) in enumerate(sequences):
        shared = len(prefix)
        row_ids, row_positions, row_owners = list(prefix), list(range(shared)), [SHARED] * shared
        for rest in rests:
            number = len(prompts)
            first = 0 if number in blind else shared
            begin, length = len(row_ids), first + len(rest)
            row_ids += rest
            row_positions += range(first, length)
            row_owners += [BLIND - number if number in blind else number] * len(rest)
            prompts.append((sequence, begin, len(row_ids), length))
        padding = longest - len(row_ids)
        ids.append(row_ids + [pad] * padding)
        positions.append(row_positions + [0] * padding)
        owners.append(row_owners + [PADDING] * padding)
    table = torch.tensor(prompts, dtype=torch.long).view(-1, 4)
    return PackedIds(torch.tensor(ids), torch.tensor(positions), torch.tensor(owners), *table.unbind(1))


def packed_mask(owners: Tensor) -> Tensor:
    """Return the attention mask (B, 1, T, T) of packed prompts, from the owners (B, T) of the tokens."""
    return _may_attend(owners, owners).tril()[:, None]


def _may_attend(owners: Tensor, targets: Tensor) -> Tensor:
    """Return whether tokens with owners `targets` (B, W) may attend to those with `owners`: (B, W, T)."""
    shared = (owners[:, None] == SHARED) & (targets[:, :, None] > BLIND)
    return shared | (owners[:, None] == targets[:, :, None])


def image_ids(control: ControlIds, queries: int) -> list[int]:
    """Return the ids of an image in a prompt; those between the first and the last are overwritten."""
    first = control.unknown + 1  # the same ids as in `transformers`
    return [control.image, *range(first, first + queries), control.image_end]


def image_slots(ids: Tensor, control: ControlIds) -> Tensor:
    """Return the mask (B, T) of the ids that are overwritten with tokens of images."""
    begins, ends = ids == control.image, ids == control.image_end
    return (begins.long().cumsum(1) > ends.long().cumsum(1)) & ~begins


# Prefilling.


@dataclass(frozen=True, eq=False)
class PrefilledBatch:
    """Prompts in a sequence each, taken in up to where their answers begin.

    Args:
        indices: The prompts' indices among all that were given.
        cache: Keys and values, with room for the answers.
        hidden: (B, last, D) hidden states of the last tokens.
        prompts: The ids of each prompt.
    """

    indices: list[int]
    cache: StaticCache
    hidden: Tensor
    prompts: list[list[int]]


@dataclass(frozen=True, eq=False)
class PackedPrompts:
    """N prompts in B sequences, taken in up to where their answers begin.

    Args:
        indices: (N) the prompts' indices among all that were given.
        model: The model.
        cache: Keys and values, with room for the tokens of a step.
        owners: (B, T) the number of each token's prompt, SHARED or PADDING.
        sequences: (N,) the sequence of each prompt, on the CPU.
        lengths: (N,) the number of its tokens with the prefix, on the CPU.
        hidden: (last, D) for each prompt: hidden states of its last tokens.
    """

    indices: list[int]
    model: Kosmos2
    cache: StaticCache
    owners: Tensor
    sequences: Tensor
    lengths: Tensor
    hidden: Sequence[Tensor]

    def step(self, prompts: Tensor, ids: Tensor) -> Tensor:
        """Return the hidden states (n, D) of one more token on each of these prompts.

        The tokens are not kept, and do not attend to each other.

        Args:
            prompts: (n,) numbers of prompts, any of them several times, on the CPU.
            ids: (n,) the token on each, on the CPU.
        """
        device = self.owners.device
        new = TokenSelection(self.sequences[prompts], None, len(self.owners))
        laid_out = new.lay_out(prompts, PADDING), new.lay_out(ids), new.lay_out(self.lengths[prompts])
        targets, new_ids, positions = torch.stack(laid_out).to(device)  # one transfer
        visible = _may_attend(self.owners, targets)
        diagonal = torch.eye(new.width, dtype=torch.bool, device=device).expand(new.batch, -1, -1)
        mask = torch.cat([visible, diagonal], dim=2)[:, None]
        x = self.model.embed(new_ids)
        hidden: Tensor = self.model.decoder(x, positions, mask, False, self.cache, new.to(device))
        return hidden


@dataclass(frozen=True)
class Prefiller:
    """Takes prompts in, in batches, up to where their answers begin.

    Args:
        model: The model.
        control: The control tokens of its tokenizer.
    """

    model: Kosmos2
    control: ControlIds

    def prefill(
        self, prompts: Sequence[Prompt], room: int, last: int = 1, at_most: int = MAX_PROMPTS
    ) -> Iterator[PrefilledBatch]:
        """Take prompts in, each in a sequence of its own.

        Args:
            prompts: The prompts. Those in one batch have the same number of leading images.
            room: Number of tokens that can follow.
            last: For how many of the last tokens hidden states are computed.
            at_most: Number of prompts in one batch, at most.
        """
        _check_images(prompts)
        order = sorted(range(len(prompts)), key=lambda index: prompts[index].leading)
        for leading, group in groupby(order, key=lambda index: prompts[index].leading):
            alike = list(group)
            for start in range(0, len(alike), at_most):
                indices = alike[start : start + at_most]
                yield self._prefill(indices, [prompts[index] for index in indices], leading, room, last)

    def prefill_packed(
        self, prompts: Sequence[Prompt], room: int, at_most: int, last: Sequence[int] | None = None
    ) -> Iterator[PackedPrompts]:
        """Take prompts in, packed into one sequence for each view. Those about a view keep their order.

        Args:
            prompts: The prompts.
            room: Number of tokens that a step can have on each prompt.
            at_most: Number of tokens that a step can have on all prompts of a sequence.
            last: For how many of the last tokens of each prompt hidden states are computed; None: LAST.
        """
        _check_images(prompts)
        lasts = last or [LAST] * len(prompts)
        views = [(prompt.view, prompt.leading) for prompt in prompts]
        first = {view: index for index, view in reversed(list(enumerate(views)))}
        # In the order given: in that of memory, which the keys have, sums would round differently each time.
        order = sorted(range(len(prompts)), key=lambda index: first[views[index]])
        for start in range(0, len(prompts), MAX_PROMPTS):
            indices = order[start : start + MAX_PROMPTS]
            groups = groupby(indices, key=lambda index: views[index])
            by_view = [[(prompts[index], lasts[index]) for index in group] for _, group in groups]
            yield self._prefill_packed(indices, by_view, room, at_most)

    def expand_prompt(self, prompt: Prompt) -> list[int]:
        """Return all ids of a prompt, those of its leading images first unless it is blind."""
        leading = 0 if prompt.blind else prompt.leading
        return self.expand([IMAGE] * leading + prompt.ids, start=True)

    def expand(self, ids: Sequence[int], start: bool = False) -> list[int]:
        """Return the ids with each IMAGE replaced by the ids of an image, after `<s>` if `start`."""
        image = image_ids(self.control, self.model.config.latent_query_num)
        expanded = [self.control.start] if start else []
        for token in ids:
            expanded += image if token == IMAGE else [token]
        return expanded

    def embed(self, prompts: Sequence[list[int]], images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Embed prompts, padded on the left, with images in their slots.

        Returns:
            Embeddings (B, T, D), and the mask (B, T) that is false at padding, None without padding.
        """
        ids, real = pad_left(prompts, self.control.pad, self.model.device)
        return self._embed(ids, images), real

    def _embed(self, ids: Tensor, images: Sequence[Tensor]) -> Tensor:
        if not images:
            return self.model.embed(ids)
        return self.model.embed(ids, torch.stack(list(images)), image_slots(ids, self.control))

    def _prefill(
        self, indices: list[int], prompts: Sequence[Prompt], leading: int, room: int, last: int
    ) -> PrefilledBatch:
        views = list({prompt.view: prompt.images for prompt in prompts}.items())
        begin = self.expand([IMAGE] * leading, start=True)
        ends = [self.expand(prompt.ids) for prompt in prompts]
        if len(views) == len(prompts):  # nothing to share: one pass
            whole = [begin + end for end in ends]
            x, real = self.embed(whole, [image for prompt in prompts for image in prompt.images])
            cache = make_cache(self.model, len(prompts), x.shape[1] + room)
            return PrefilledBatch(indices, cache, extend(self.model, cache, x, real, last), whole)

        placed = [image for prompt in prompts for image in prompt.images[leading:]]
        common = 0 if placed else shared_length(ends, last)
        prefix, ends = begin + ends[0][:common], [end[common:] for end in ends]
        first = [image for _, images in views for image in images[:leading]]
        shared = make_cache(self.model, len(views), len(prefix))
        extend(self.model, shared, self.embed([prefix] * len(views), first)[0])

        x, real = self.embed(ends, placed)
        check_length(self.model, len(prefix) + x.shape[1] + room)
        numbers = {view: number for number, (view, _) in enumerate(views)}
        cache = shared.select([numbers[prompt.view] for prompt in prompts], x.shape[1] + room)
        hidden = extend(self.model, cache, x, real, last)
        return PrefilledBatch(indices, cache, hidden, [prefix + end for end in ends])

    def _prefill_packed(
        self, indices: list[int], by_view: Sequence[Sequence[tuple[Prompt, int]]], room: int, at_most: int
    ) -> PackedPrompts:
        shares = [self._share(prompts) for prompts in by_view]
        in_order = list(chain.from_iterable(by_view))
        blind = {number for number, (prompt, _) in enumerate(in_order) if prompt.blind}
        packed = pack([sequence for sequence, _ in shares], self.control.pad, blind)
        check_length(self.model, int(packed.lengths.max()) + 1)
        device = self.model.device
        ids, positions, owners = (x.to(device) for x in (packed.ids, packed.positions, packed.owners))

        x = self._embed(ids, [image for _, images in shares for image in images])
        batch, longest = ids.shape
        width = longest + min(room * max(map(len, by_view)), at_most)
        cache = StaticCache(self.model.config.text_config, batch, width, device, x.dtype)
        lasts = [last for _, last in in_order]
        ends = packed.ends.tolist()
        wanted = [torch.arange(end - last, end) for end, last in zip(ends, lasts, strict=True)]
        sequences = packed.sequences.repeat_interleave(torch.tensor(lasts))
        selection = TokenSelection(sequences, torch.cat(wanted), batch).to(device)
        hidden = self.model.decoder(x, positions, packed_mask(owners), False, cache, selection)
        cache.advance(longest)
        of_prompts = torch.split(hidden, lasts)
        return PackedPrompts(indices, self.model, cache, owners, packed.sequences, packed.lengths, of_prompts)

    def _share(
        self, prompts: Sequence[tuple[Prompt, int]]
    ) -> tuple[tuple[list[int], list[list[int]]], list[Tensor]]:
        """Return the shared prefix of prompts about one view, the rest of each, and the images in order.

        The tokens whose hidden states are wanted are not in the prefix. A blind prompt shares nothing.
        """
        whole = [self.expand_prompt(prompt) for prompt, _ in prompts]
        seeing = [
            (prompt, ids, last)
            for (prompt, last), ids in zip(prompts, whole, strict=True)
            if not prompt.blind
        ]
        if not seeing:
            return ([], whole), []
        shared = shared_length([ids[: len(ids) - last] for _, ids, last in seeing])
        first, ids, _ = seeing[0]
        while ids[:shared].count(self.control.image) > ids[:shared].count(self.control.image_end):
            shared -= 1  # not within an image
        in_prefix = ids[:shared].count(self.control.image)
        images = list(first.images[:in_prefix])
        images += [image for prompt, _, _ in seeing for image in prompt.images[in_prefix:]]
        rests = [
            ids if prompt.blind else ids[shared:] for (prompt, _), ids in zip(prompts, whole, strict=True)
        ]
        return (ids[:shared], rests), images


def shared_length(prompts: Sequence[Sequence[int]], rest: int = 0) -> int:
    """Return how many ids all prompts begin with alike, leaving at least `rest` ids of each."""
    longest = max(min(map(len, prompts)) - rest, 0)
    return next((index for index in range(longest) if len({ids[index] for ids in prompts}) > 1), longest)


def distinct(keys: Iterable[Hashable]) -> tuple[list[int], list[int]]:
    """Number keys so that equal keys have the same number, to compute what they stand for once.

    Returns:
        The index of the first key with each number, and the number of each key.
    """
    numbers: dict[Hashable, int] = {}
    numbered = [numbers.setdefault(key, len(numbers)) for key in keys]
    first = {number: index for index, number in reversed(list(enumerate(numbered)))}
    return [first[number] for number in range(len(numbers))], numbered


def _check_images(prompts: Sequence[Prompt]) -> None:
    if any(prompt.leading < 0 for prompt in prompts):
        raise InputError("the prompt has more places for images than there are images: give one each.")
