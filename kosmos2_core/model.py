"""The Kosmos-2 model: a vision tower, a connector, and the Magneto decoder.

The shapes in comments: B sequences, T new tokens, S tokens seen so far with them, D width, H heads.
Token ids in, logits out; what the ids mean is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.linear import linear, make_linear


def quick_gelu(x: Tensor) -> Tensor:
    return F.silu(1.702 * x) * (1 / 1.702)  # x * sigmoid(1.702 * x): fewer passes over the gradient


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


class Cache(Protocol):
    """Keys and values of the tokens seen so far."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take the new tokens' (B, H, T, D/H), give all tokens' (B, H, S, D/H)."""
        ...


class Attention(nn.Module):
    """Multi-head attention; Magneto's has a LayerNorm before the output projection."""

    def __init__(self, width: int, heads: int, dropout: float, inner_norm_eps: float | None = None) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q = make_linear(width, width)
        self.k = make_linear(width, width)
        self.v = make_linear(width, width)
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
        places: TokenSelection | None = None,
    ) -> Tensor:
        """places: those in source that x (M, D) is of."""
        source = x if source is None else source
        q = self.q(x) if places is None else places.spread(self.q(x))
        q, k, v = self._split(q), self._split(self.k(source)), self._split(self.v(source))
        if cache is not None:
            k, v = cache.update(layer, k, v)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        y = y.transpose(1, 2).flatten(2)  # (B, T, D)
        if places is not None:
            y = places.gather(y)
        if self.inner_norm is not None:
            y = self.inner_norm(y)
        out: Tensor = self.out(y)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)  # (B, H, T, D/H)


class VisionBlock(nn.Module):
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
    """CLIP's ViT: an image to one feature per patch, and one for the whole, each of length 1."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.whole = nn.Parameter(torch.randn(width))
        self.patches = nn.Conv2d(config.num_channels, width, patch, stride=patch, bias=False)
        self.positions = nn.Embedding(config.num_patches + 1, width)
        self.pre_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.num_hidden_layers))
        self.post_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:  # (B, 3, size, size) -> (B, patches + 1, D)
        x = linear(self._cut(pixels.to(self.patches.weight.dtype)), self.patches.weight.flatten(1))
        x = torch.cat([self.whole.expand(len(x), 1, -1), x], dim=1) + self.positions.weight
        x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.post_norm(x), dim=-1)

    def _cut(self, pixels: Tensor) -> Tensor:
        """Patches (B, patches, 3 * side * side): they do not overlap, so that the convolution is a product,
        which is faster."""
        side = self.patches.kernel_size[0]
        batch, channels, size, _ = pixels.shape
        count = size // side
        grid = pixels[:, :, : count * side, : count * side].reshape(batch, channels, count, side, count, side)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, count * count, -1)


class Connector(nn.Module):
    """Learned queries look at an image's features and become its tokens in the decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        text = config.text_config
        self.dense = make_linear(config.vision_config.hidden_size, text.embed_dim)
        self.queries = nn.Parameter(torch.randn(config.latent_query_num, text.embed_dim))
        self.attention = Attention(text.embed_dim, text.attention_heads, text.attention_dropout)

    def forward(self, features: Tensor) -> Tensor:  # (B, patches + 1, D_vision) -> (B, queries, D)
        queries = self.queries.expand(len(features), -1, -1)
        out: Tensor = self.attention(queries, source=torch.cat([self.dense(features), queries], dim=1))
        return out


class DecoderBlock(nn.Module):
    """A transformer block with Magneto's two extra LayerNorms."""

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
        places: TokenSelection | None = None,
    ) -> Tensor:
        """places: whose states (M, D) alone are computed; the mask is what they see (B, 1, W, S)."""
        source = asking = self.attention_norm(x)
        if places is not None:
            x, asking = places.of(x), places.of(source)
        attended = self.attention(asking, source, mask, causal, cache, layer, places)
        x = x + F.dropout(attended, self.dropout, self.training)
        y = self.activation(self.fc1(self.ffn_norm(x)))
        y = self.fc2(self.inner_norm(F.dropout(y, self.activation_dropout, self.training)))
        return x + F.dropout(y, self.dropout, self.training)


class Decoder(nn.Module):
    """Embeddings in, hidden states out; the embedding is the output layer too."""

    position_table: Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.pad_id, self.dropout = config.pad_token_id, config.dropout
        self.scale = math.sqrt(config.embed_dim) if config.scale_embedding else 1.0
        self.embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        table = sinusoids(config.max_position_embeddings + self.pad_id + 1, config.embed_dim)
        self.register_buffer("position_table", table, persistent=False)
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_eps)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        causal: bool,
        cache: Cache | None,
        places: TokenSelection | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of unscaled embeddings x (B, T, D); or (M, D), at places: the last block
        computes no others.

        positions (B, T) count a sequence's tokens from 0, padding not counted.
        """
        x = x * self.scale + self.position_table[positions + self.pad_id + 1]
        x = F.dropout(x, self.dropout, self.training)
        *blocks, ending = self.blocks
        for layer, block in enumerate(blocks):
            x = block(x, mask, causal, cache, layer)
        if places is not None:
            mask, causal = places.seen(mask, x.shape[1]), False
        out: Tensor = self.norm(ending(x, mask, causal, cache, len(blocks), places))
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        return linear(hidden, self.embedding.weight)


class Kosmos2(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config.vision_config)
        self.connector = Connector(config)
        self.decoder = Decoder(config.text_config)

    def encode(self, pixels: Tensor) -> Tensor:
        """The tokens of images: (N, 3, size, size) -> (N, queries, D)."""
        out: Tensor = self.connector(self.vision(pixels))
        return out

    def embed(self, ids: Tensor, images: Tensor | None = None, slots: Tensor | None = None) -> Tensor:
        """Embeddings (B, T, D) of ids (B, T), with images (N, queries, D) written, in order, where slots
        (B, T) is true."""
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
        """Logits (B, T, V) of whole sequences, without a cache: training, scoring, comparison.

        real (B, T) is false at padding, on whichever side; None: there is none.
        """
        positions, mask = layout(ids, real)
        x = self.embed(ids, images, slots)
        hidden = self.decoder(x, positions, mask, causal=mask is None, cache=None)
        out: Tensor = self.decoder.logits(hidden)
        return out


def layout(ids: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Positions (B, T) that do not count padding, and the mask (B, 1, T, T) that hides it."""
    if real is None:
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids), None
    positions = (real.long().cumsum(1) - 1).clamp(min=0)
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    mask = causal & real[:, None, None, :]
    # A padding row sees itself: a row that sees nothing is undefined, and its NaN would spread.
    mask = mask | torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    return positions, mask


def sinusoids(length: int, width: int) -> Tensor:
    """The position table (length, width): sines of all frequencies, then cosines."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(length).float().unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class StaticCache:
    """Room for `length` tokens in each of `rows` sequences."""

    def __init__(self, config: TextConfig, rows: int, length: int, device: torch.device, dtype: torch.dtype):
        self.config = config
        heads = config.attention_heads
        shape = (config.layers, rows, heads, length, config.embed_dim // heads)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.real = torch.zeros(rows, length, device=device, dtype=torch.bool)
        self.filled = 0
        self.padded = False

    @property
    def rows(self) -> int:
        return self.real.shape[0]

    @property
    def length(self) -> int:
        return self.real.shape[1]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take the new tokens' (B, H, T, D/H), give all tokens' (B, H, S, D/H)."""
        end = self.filled + keys.shape[2]
        self.keys[layer, :, :, self.filled : end] = keys
        self.values[layer, :, :, self.filled : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def place(self, real: Tensor) -> tuple[Tensor, Tensor | None, bool]:
        """Where new tokens (B, T) go: their positions, the mask (B, 1, T, S), and whether the plain causal
        mask is the same. real is false at padding."""
        new = real.shape[1]
        end = self.filled + new
        before = self.real[:, : self.filled].sum(1, keepdim=True)
        positions = (before + real.long().cumsum(1) - 1).clamp(min=0)
        self.real[:, self.filled : end] = real
        self.padded = self.padded or not bool(real.all())
        if not self.padded and (new == 1 or not self.filled):
            return positions, None, new > 1
        causal = torch.ones(new, end, dtype=torch.bool, device=real.device).tril(self.filled)
        itself = torch.zeros_like(causal)  # padding sees itself: to see nothing is undefined
        itself.diagonal(self.filled).fill_(True)
        return positions, (causal & self.real[:, None, None, :end]) | itself, False

    def advance(self, new: int) -> None:
        self.filled += new

    def copy(self, rows: Tensor, more: int) -> StaticCache:
        """A cache of these rows, any of them several times, with room for `more` tokens."""
        fresh = StaticCache(
            self.config, len(rows), self.filled + more, device=self.keys.device, dtype=self.keys.dtype
        )
        for mine, theirs in ((self.keys, fresh.keys), (self.values, fresh.values)):
            seen = mine[:, :, :, : self.filled]  # of one row: copied to all without another copy between
            theirs[:, :, :, : self.filled] = seen if self.rows == 1 else seen.index_select(1, rows)
        fresh.real[:, : self.filled] = self.real[rows, : self.filled]
        fresh.filled, fresh.padded = self.filled, self.padded
        return fresh


class TokenSelection:
    def __init__(self, rows: Tensor, tokens: Tensor | None, count: int) -> None:
        """Of tokens (M,) in rows (M,) of `count` sequences; None: each row's first ones, in order."""
        columns = _columns(rows, count)
        self.rows, self.tokens, self.count = rows, columns if tokens is None else tokens, count
        self.width = int(columns.max()) + 1
        self._spread = rows * self.width + columns

    @classmethod
    def last(cls, amount: int, count: int, length: int, device: torch.device) -> TokenSelection:
        """The last ones of each sequence."""
        rows = torch.arange(count, device=device).repeat_interleave(amount)
        return cls(rows, torch.arange(length - amount, length, device=device).repeat(count), count)

    def of(self, x: Tensor) -> Tensor:
        """(M, ...) of x (B, T, ...)."""
        return x.flatten(0, 1).index_select(0, self.rows * x.shape[1] + self.tokens)

    def spread(self, values: Tensor, empty: int = 0) -> Tensor:
        """Values (M, ...) of the places by their sequences (B, W, ...)."""
        out = values.new_full((self.count * self.width, *values.shape[1:]), empty)
        return out.index_copy(0, self._spread, values).view(self.count, self.width, *values.shape[1:])

    def gather(self, x: Tensor) -> Tensor:
        """(M, ...) of what was spread (B, W, ...)."""
        return x.flatten(0, 1).index_select(0, self._spread)

    def seen(self, mask: Tensor | None, length: int) -> Tensor:
        """What they see (B, 1, W, S): of a mask (B or 1, 1, T, S); or, without, all up to themselves of a
        sequence of this length. Empty columns see what the first token sees."""
        tokens = self.spread(self.tokens)
        if mask is None:
            return (torch.arange(length, device=tokens.device) <= tokens[:, :, None])[:, None]
        mask = mask.expand(self.count, -1, -1, -1)
        return mask.gather(2, tokens[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))


def _columns(rows: Tensor, count: int) -> Tensor:
    """Each one's number among those in the same one of `count` rows, in their order."""
    order = rows.argsort(stable=True)
    counts = torch.bincount(rows, minlength=count)
    columns = torch.empty_like(order)
    begins = (counts.cumsum(0) - counts)[rows[order]]
    columns[order] = torch.arange(len(order), device=rows.device) - begins
    return columns
