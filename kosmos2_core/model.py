"""The Kosmos-2 model: a vision tower, a connector, the Magneto decoder, and the decoder's cache.

The shapes in comments: B sequences, T new tokens, S tokens in the cache with them, D width, H heads, V
vocabulary; a selection has M tokens. Token ids go in and logits come out; the meaning of ids is not known
in this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.linear import linear, make_linear
from kosmos2_core.quantized import QuantizedEmbedding, QuantizedLinear


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 * x), by `silu`, which needs fewer passes over the gradient."""
    scaled = 1.702 * x
    if torch.is_grad_enabled():
        return F.silu(scaled) * (1 / 1.702)
    return F.silu(scaled, inplace=True).mul_(1 / 1.702)  # new memory costs more than the computation


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


class Embedding(nn.Embedding):
    """An embedding that is not initialised on the device `meta`."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:  # initialising these would import the compiler: two seconds
            super().reset_parameters()

    def logits(self, hidden: Tensor, ids: slice) -> Tensor:
        """Return the logits of these ids (..., ids) after hidden states (..., D)."""
        return linear(hidden, self.weight[ids])


def _normal_parameter(*shape: int) -> nn.Parameter:
    """Return a parameter with values from the standard normal distribution, except on the device `meta`."""
    parameter = nn.Parameter(torch.empty(shape))
    return parameter if parameter.is_meta else nn.Parameter(nn.init.normal_(parameter.data))


class PatchEmbedding(nn.Conv2d):
    """A convolution over patches that do not overlap, computed as one product, which is faster."""

    def __init__(self, config: VisionConfig) -> None:
        side = config.patch_size
        super().__init__(config.num_channels, config.hidden_size, side, stride=side, bias=False)

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, pixels: Tensor) -> Tensor:  # (B, channels, size, size) -> (B, patches, D)
        side = self.kernel_size[0]
        batch, channels, size, _ = pixels.shape
        count = size // side
        grid = pixels[:, :, : count * side, : count * side].reshape(batch, channels, count, side, count, side)
        patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, count * count, -1)
        return linear(patches.to(self.weight.dtype), self.weight.flatten(1))


class Cache(Protocol):
    """Keys and values of the tokens seen so far."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values of new tokens (B, H, T, D/H); return those of all tokens (B, H, S, D/H)."""
        ...


class StaticCache:
    """Keys and values of the tokens seen so far, in memory that is allocated once.

    The prefix of an image is computed once and copied to as many sequences as there are questions about it.
    Sequences of different length are padded on the left of the new tokens. Padding takes up room, but is
    never attended to and has no position.

    No method reads a value back from the device: the host would wait for all work before it.

    Args:
        config: Shape of the decoder.
        batch: Number of sequences.
        length: Number of tokens in each sequence that there is room for.
        device: Where to keep them.
        dtype: Their precision.
    """

    def __init__(
        self, config: TextConfig, batch: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.config = config
        heads = config.attention_heads
        shape = (config.layers, batch, heads, length, config.embed_dim // heads)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.real = torch.ones(batch, length, device=device, dtype=torch.bool)  # false at padding
        self.batch = batch  # `reorder` may leave some of the sequences unused
        self.filled = 0
        self.padded = False
        self.origins = [-1] * batch  # sequences of the same origin have the same first `shared` tokens
        self.shared = 0
        self._scratch = self.keys.new_empty(0)

    @property
    def length(self) -> int:
        """Number of tokens in each sequence that there is room for."""
        return self.real.shape[1]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values of new tokens (B, H, T, D/H); return those of all tokens (B, H, S, D/H)."""
        end = self.filled + keys.shape[2]
        self.keys[layer, : self.batch, :, self.filled : end] = keys
        self.values[layer, : self.batch, :, self.filled : end] = values
        return self.keys[layer, : self.batch, :, :end], self.values[layer, : self.batch, :, :end]

    def reserve(self, new: int, real: Tensor | None = None) -> tuple[Tensor, Tensor | None, bool]:
        """Make room for new tokens.

        Args:
            new: T, the number of new tokens in each sequence.
            real: (B, T), false at padding; None: there is none.

        Returns:
            Their positions (B, T), their mask (B, 1, T, S) or None, and whether the plain causal mask is
            the same.
        """
        begin, end = self.filled, self.filled + new
        seen, device = self.real[: self.batch, :end], self.real.device
        if real is not None:
            seen[:, begin:] = real
            self.padded = True
        if not self.padded:
            positions = torch.arange(begin, end, device=device).expand(self.batch, -1)
            if new == 1 or not begin:
                return positions, None, new > 1
        else:
            before = seen[:, :begin].sum(1, keepdim=True)
            positions = (before + seen[:, begin:].long().cumsum(1) - 1).clamp(min=0)
        if new == 1 and real is None:
            return positions, seen[:, None, None], False
        causal = torch.ones(new, end, dtype=torch.bool, device=device).tril(begin)
        diagonal = torch.zeros_like(causal)  # padding attends to itself: an empty softmax would be NaN
        diagonal.diagonal(begin).fill_(True)
        return positions, (causal & seen[:, None, None]) | diagonal, False

    def advance(self, new: int) -> None:
        """Count the new tokens as seen, after all layers stored them."""
        self.filled += new

    def select(self, sequences: Sequence[int], room: int, batch: int | None = None) -> StaticCache:
        """Return a copy with these sequences, any of them several times, and room for more tokens.

        Args:
            sequences: Numbers of sequences.
            room: Number of tokens that can follow.
            batch: Number of sequences that `reorder` may make of them; None: as many as there are.
        """
        count, device = len(sequences), self.keys.device
        fresh = StaticCache(self.config, batch or count, self.filled + room, device, self.keys.dtype)
        rows = torch.tensor(sequences, device=device)
        for source, target in ((self.keys, fresh.keys), (self.values, fresh.values)):
            seen = source[:, : self.batch, :, : self.filled]
            # A single sequence is broadcast, without an intermediate copy.
            target[:, :count, :, : self.filled] = seen if self.batch == 1 else seen.index_select(1, rows)
        fresh.real[:count, : self.filled] = self.real[:, : self.filled].index_select(0, rows)
        fresh.batch, fresh.filled, fresh.padded = count, self.filled, self.padded
        fresh.origins[:count], fresh.shared = sequences, self.filled
        return fresh

    def reorder(self, sequences: Sequence[int]) -> None:
        """Let sequences continue from the tokens of these sequences, in place.

        Only what may differ is moved: where all sequences continue from one of the same origin, the tokens
        after the shared ones.

        Args:
            sequences: For each sequence from now on, the number of the one that it continues from.
        """
        moved = [(source, target) for target, source in enumerate(sequences) if source != target]
        alike = all(self.origins[source] == self.origins[target] for source, target in moved)
        self.origins[: len(sequences)] = [self.origins[source] for source in sequences]
        self.batch = len(sequences)
        begin = self.shared if alike else 0
        if not moved or begin == self.filled:
            return
        sources, targets = torch.tensor(moved, device=self.keys.device).T.contiguous()
        for layer in (*self.keys, *self.values):
            tokens = layer[:, :, begin : self.filled]
            tokens.index_copy_(0, targets, self._gather(tokens, sources))
        if not alike:
            self.real.index_copy_(0, targets, self.real.index_select(0, sources))

    def _gather(self, tokens: Tensor, sources: Tensor) -> Tensor:
        """Return a copy of some sequences of one layer, in memory that is allocated once."""
        if not self._scratch.numel():
            self._scratch = torch.empty_like(self.keys[0]).flatten()
        shape = (len(sources), *tokens.shape[1:])
        return torch.index_select(tokens, 0, sources, out=self._scratch[: math.prod(shape)].view(shape))


class TokenSelection:
    """M tokens of B sequences, in any order, any number in each.

    The last block of the decoder computes hidden states of these tokens alone. Where they must stand side by
    side, as in attention, they are laid out as (B, W): W is the largest number in one sequence. It is read
    from `sequences`. So make selections on the CPU and move them with `to`: the host need not wait for the
    device then.

    Args:
        sequences: (M,) the sequence of each token.
        indices: (M,) the index of each token in its sequence; None: the first ones of each, in order.
        batch: B, the number of sequences.
    """

    def __init__(self, sequences: Tensor, indices: Tensor | None, batch: int) -> None:
        columns = _columns(sequences, batch)
        self.sequences, self.indices = sequences, columns if indices is None else indices
        self.batch, self.width = batch, int(columns.max()) + 1
        self._flat = sequences * self.width + columns

    @classmethod
    def last(cls, amount: int, batch: int, length: int) -> TokenSelection:
        """Select the last tokens of each of `batch` sequences of the same length."""
        sequences = torch.arange(batch).repeat_interleave(amount)
        return cls(sequences, torch.arange(length - amount, length).repeat(batch), batch)

    def to(self, device: torch.device) -> TokenSelection:
        """Return the same selection on another device."""
        fresh = copy(self)
        indices = torch.stack([self.sequences, self.indices, self._flat]).to(device)  # one transfer
        fresh.sequences, fresh.indices, fresh._flat = indices
        return fresh

    def select(self, x: Tensor) -> Tensor:
        """Return the values (M, ...) of the selected tokens in x (B, T, ...)."""
        return x.flatten(0, 1).index_select(0, self.sequences * x.shape[1] + self.indices)

    def lay_out(self, values: Tensor, empty: int = 0) -> Tensor:
        """Return values (M, ...) by sequence: (B, W, ...), filled up with `empty`."""
        out = values.new_full((self.batch * self.width, *values.shape[1:]), empty)
        return out.index_copy(0, self._flat, values).view(self.batch, self.width, *values.shape[1:])

    def collect(self, x: Tensor) -> Tensor:
        """Return the values (M, ...) of x (B, W, ...): the inverse of `lay_out`."""
        return x.flatten(0, 1).index_select(0, self._flat)

    def mask(self, mask: Tensor | None, length: int) -> Tensor:
        """Return the attention mask (B, 1, W, S) of the selected tokens.

        Args:
            mask: The mask (B or 1, 1, T, S) of all tokens; None: the causal one.
            length: Length of the sequences, for the causal mask.
        """
        indices = self.lay_out(self.indices)
        if mask is None:
            return (torch.arange(length, device=indices.device) <= indices[:, :, None])[:, None]
        mask = mask.expand(self.batch, -1, -1, -1)
        return mask.gather(2, indices[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))


def _columns(sequences: Tensor, batch: int) -> Tensor:
    """Number the tokens (M,) of each sequence from 0, in their order."""
    order = sequences.argsort(stable=True)
    counts = torch.bincount(sequences, minlength=batch)
    columns = torch.empty_like(order)
    begins = (counts.cumsum(0) - counts)[sequences[order]]
    columns[order] = torch.arange(len(order), device=sequences.device) - begins
    return columns


class Attention(nn.Module):
    """Multi-head attention; Magneto's has a LayerNorm before the output projection."""

    def __init__(self, width: int, heads: int, dropout: float, inner_norm_eps: float | None = None) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q = make_linear(width, width)
        self.k = make_linear(width, width)
        self.v = make_linear(width, width)
        self.qkv: QuantizedLinear | None = None
        self.out = make_linear(width, width)
        self.inner_norm = None if inner_norm_eps is None else nn.LayerNorm(width, eps=inner_norm_eps)

    def forward(
        self,
        x: Tensor,
        source: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: Cache | None = None,
        layer: int = 0,
        selection: TokenSelection | None = None,
    ) -> Tensor:
        """Attend from x to source.

        Args:
            x: (B, T, D), or (M, D) of the selected tokens.
            source: (B, T, D) where keys and values come from; None: x.
            mask: True where attention is allowed.
            causal: Use the plain causal mask instead.
            cache: Keys and values of earlier tokens, which are attended to as well.
            layer: Number of the layer in the cache.
            selection: The tokens of source that x holds; None: all.
        """
        q, k, v = map(self._split, self._project(x, x if source is None else source, selection))
        if cache is not None:
            k, v = cache.update(layer, k, v)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        y = y.transpose(1, 2).flatten(2)  # (B, T, D)
        if selection is not None:
            y = selection.collect(y)
        if self.inner_norm is not None:
            y = self.inner_norm(y)
        out: Tensor = self.out(y)
        return out

    def _project(self, x: Tensor, source: Tensor, selection: TokenSelection | None) -> tuple[Tensor, ...]:
        """Return queries, keys and values (B, T or W, D)."""
        if self.qkv is not None:
            q, k, v = self.qkv(source).chunk(3, dim=-1)
            q = q if selection is None else selection.select(q)
        else:
            q, k, v = self.q(x), self.k(source), self.v(source)
        return q if selection is None else selection.lay_out(q), k, v

    def fuse(self, qkv: QuantizedLinear) -> None:
        """Use one layer for queries, keys and values, which must all come from the same tokens."""
        self.qkv = qkv
        del self.q, self.k, self.v

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)  # (B, H, T, D/H)


class VisionBlock(nn.Module):
    """A transformer block of the vision tower."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, config.num_attention_heads, config.attention_dropout)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.fc1 = make_linear(width, config.intermediate_size)
        self.fc2 = make_linear(config.intermediate_size, width)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        out: Tensor = x + self.fc2(self.activation(self.fc1(self.mlp_norm(x))))
        return out


class VisionTower(nn.Module):
    """CLIP's ViT: from an image to one feature of unit length per patch, and one for the whole image."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.class_embedding = _normal_parameter(width)
        self.patches = PatchEmbedding(config)
        self.positions = Embedding(config.num_patches + 1, width)
        self.pre_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.num_hidden_layers))
        self.post_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:  # (B, 3, size, size) -> (B, patches + 1, D)
        x = self.patches(pixels)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positions.weight
        x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.post_norm(x), dim=-1)


class Connector(nn.Module):
    """Learned queries attend to an image's features and become the image's tokens in the decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        text = config.text_config
        self.dense = make_linear(config.vision_config.hidden_size, text.embed_dim)
        self.queries = _normal_parameter(config.latent_query_num, text.embed_dim)
        self.attention = Attention(text.embed_dim, text.attention_heads, text.attention_dropout)

    def forward(self, features: Tensor) -> Tensor:  # (B, patches + 1, D_vision) -> (B, queries, D)
        queries = self.queries.expand(len(features), -1, -1)
        out: Tensor = self.attention(queries, source=torch.cat([self.dense(features), queries], dim=1))
        return out


class DecoderBlock(nn.Module):
    """A transformer block with Magneto's two additional LayerNorms."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, eps = config.embed_dim, config.layer_norm_eps
        self.dropout, self.activation_dropout = config.dropout, config.activation_dropout
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(
            width, config.attention_heads, config.attention_dropout, inner_norm_eps=eps
        )
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.fc1 = make_linear(width, config.ffn_dim)
        self.inner_norm = nn.LayerNorm(config.ffn_dim, eps=eps)
        self.fc2 = make_linear(config.ffn_dim, width)
        self.activation = ACTIVATIONS[config.activation_function]

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        cache: Cache | None,
        layer: int,
        selection: TokenSelection | None = None,
    ) -> Tensor:
        """Return the next states (B, T, D); or (M, D) of a selection, whose mask is (B, 1, W, S)."""
        source = target = self.attention_norm(x)
        if selection is not None:
            x, target = selection.select(x), selection.select(source)
        attended = self.attention(target, source, mask, causal, cache, layer, selection)
        x = x + F.dropout(attended, self.dropout, self.training)
        y = self.activation(self.fc1(self.ffn_norm(x)))
        y = self.fc2(self.inner_norm(F.dropout(y, self.activation_dropout, self.training)))
        return x + F.dropout(y, self.dropout, self.training)


class Decoder(nn.Module):
    """From embeddings to hidden states; the output layer shares its weights with the embedding."""

    position_table: Tensor  # (positions, D)

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.pad_id, self.dropout = config.pad_token_id, config.dropout
        self.scale = math.sqrt(config.embed_dim) if config.scale_embedding else 1.0
        self.embedding: Embedding | QuantizedEmbedding = Embedding(config.vocab_size, config.embed_dim)
        table = torch.empty(config.max_position_embeddings + self.pad_id + 1, config.embed_dim)
        self.register_buffer("position_table", table, persistent=False)
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_eps)
        if not table.is_meta:
            self.fill_position_table()

    def fill_position_table(self) -> None:
        """Compute the position table, on the device and in the precision of the states."""
        weight = self.norm.weight
        self.position_table = sinusoids(*self.position_table.shape).to(weight.device, weight.dtype)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        causal: bool,
        cache: Cache | None,
        selection: TokenSelection | None = None,
    ) -> Tensor:
        """Run all blocks.

        Args:
            x: Unscaled embeddings (B, T, D).
            positions: (B, T), counted from 0 in each sequence, without padding.
            mask: (B, 1, T, S), true where attention is allowed.
            causal: Use the plain causal mask instead.
            cache: Keys and values of earlier tokens.
            selection: The tokens whose states are wanted: the last block computes no others.

        Returns:
            Hidden states (B, T, D), or (M, D) of the selection.
        """
        x = x * self.scale + self.position_table[positions + self.pad_id + 1]
        x = F.dropout(x, self.dropout, self.training)
        *blocks, last_block = self.blocks
        for layer, block in enumerate(blocks):
            x = block(x, mask, causal, cache, layer)
        if selection is not None:
            mask, causal = selection.mask(mask, x.shape[1]), False
        out: Tensor = self.norm(last_block(x, mask, causal, cache, len(blocks), selection))
        return out

    def logits(self, hidden: Tensor, ids: range | None = None) -> Tensor:
        """Return the logits (..., V) of hidden states (..., D).

        Args:
            hidden: Hidden states.
            ids: Compute the logits of these tokens alone, (..., len(ids)); None: of the whole vocabulary.
        """
        part = slice(None) if ids is None else slice(ids.start, ids.stop)
        out: Tensor = self.embedding.logits(hidden, part)
        return out


class Kosmos2(nn.Module):
    """The whole model. Built on the device `meta`, its weights are not initialised.

    Args:
        config: The model's shape.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config.vision_config)
        self.connector = Connector(config)
        self.decoder = Decoder(config.text_config)

    @property
    def device(self) -> torch.device:
        """The device that the model runs on."""
        return self.decoder.position_table.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of embeddings, states, and keys and values."""
        return self.decoder.position_table.dtype

    @property
    def precision(self) -> str:
        """The precision of the products, such as `float32` or `int8 (onednn)`."""
        embedding = self.decoder.embedding
        if isinstance(embedding, QuantizedEmbedding):
            return f"int8 ({embedding.kernel.name})"
        return str(self.dtype).removeprefix("torch.")

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the tokens (N, queries, D) of preprocessed images (N, 3, size, size)."""
        out: Tensor = self.connector(self.vision(pixels))
        return out

    def embed(self, ids: Tensor, images: Tensor | None = None, slots: Tensor | None = None) -> Tensor:
        """Return the embeddings (B, T, D) of ids (B, T).

        Args:
            ids: Token ids.
            images: Tokens of images (N, queries, D), written, in order, where `slots` is true.
            slots: (B, T).
        """
        x = self.decoder.embedding(ids)
        if images is not None and slots is not None:
            x = x.masked_scatter(slots.unsqueeze(-1), images.to(x.dtype))
        out: Tensor = x
        return out

    def forward(
        self,
        ids: Tensor,
        images: Tensor | None = None,
        slots: Tensor | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Return the logits (B, T, V) of whole sequences, without a cache.

        Args:
            ids: Token ids (B, T).
            images: Tokens of images, see `embed`.
            slots: Where they are written, see `embed`.
            real: (B, T), false at padding, on whichever side; None: there is no padding.
        """
        positions, mask = positions_and_mask(ids, real)
        x = self.embed(ids, images, slots)
        hidden = self.decoder(x, positions, mask, causal=mask is None, cache=None)
        out: Tensor = self.decoder.logits(hidden)
        return out


def positions_and_mask(ids: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return positions (B, T) that do not count padding, and the mask (B, 1, T, T) that hides it."""
    if real is None:
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids), None
    positions = (real.long().cumsum(1) - 1).clamp(min=0)
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    mask = causal & real[:, None, None, :]
    # Padding attends to itself: an empty softmax is NaN, which would spread.
    mask = mask | torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    return positions, mask


def sinusoids(length: int, width: int) -> Tensor:
    """Return the position table (length, width): sines of all frequencies, then cosines."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(length).float().unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
