"""A small language model with a prefix: what captioner and prompt expander are made of.

Where it stands: `patches` -> `rope`, `ops`, `layers`, `text` -> [language] -> `caption`, `expand`.

One stack of transformer blocks reads a prefix (the patches of a clip, or the words of a prompt) in both directions
and then writes text from left to right: every token sees the whole prefix and the text before it (prefix language
model, Raffel et al. 2020, arXiv 1910.10683). Prefix tokens have coordinates (t, h, w), text tokens a place in their
text: four axes of one RoPE. `Session` writes: it computes keys and values of the prefix once and keeps them.

Legend: n texts of one group, l tokens a text, Lt packed text tokens, Lv prefix tokens, L both, D width, V token ids,
H heads of size d.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.layers import Block, attend_densely, linear
from minisora.patches import Grid, Group, Layout, cached_by_layout
from minisora.rope import positions, rotary_table, text_positions
from minisora.vae import RMSNorm

BEGIN = 0  # the first register stands before the first word


@dataclass(frozen=True)
class LanguageConfig:
    """Size of a prefix language model.

    Args:
        width: D.
        depth: transformer blocks.
        num_heads: H; the head size d = D / H is a multiple of 8, a quarter for each axis of RoPE.
        max_length: longest text in tokens, its end included.
    """

    width: int = 128
    depth: int = 5
    num_heads: int = 4
    max_length: int = 64

    def __post_init__(self) -> None:
        if self.width % (8 * self.num_heads):
            raise ValueError(
                f"Width {self.width} does not divide into {self.num_heads} heads of a multiple of 8; "
                "choose a width that is a multiple of 8 * num_heads."
            )


@cached_by_layout
def prefix_positions(layout: Layout) -> Tensor:
    """(L, 4) int64: (t, h, w) of prefix tokens and the place in the text of text tokens, 0 elsewhere."""
    places = text_positions(layout)  # (Lt, 1)
    none = torch.zeros(layout.num_video, 1, dtype=places.dtype)
    return torch.cat([positions(layout), layout.join(places, none)], dim=1)


@lru_cache(maxsize=64)
def text_mask(text: int, prefix: int, device: torch.device) -> Tensor:
    """Bool (text, text + prefix): which keys a text token sees, itself and those before it and the whole prefix."""
    with torch.inference_mode(False):  # the cache outlives it
        before = torch.ones(text, text, dtype=torch.bool, device=device).tril()
        return torch.cat([before, before.new_ones(text, prefix)], dim=1)


def prefix_attention(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attention within each clip: the prefix sees itself, text sees the prefix and what stands before it.

    Args:
        q, k, v: (L, H, d), packed with the text of each clip before its prefix.

    Returns:
        (L, D).
    """
    outputs = []
    for group, *parts in zip(layout.groups, *(layout.split(x) for x in (q, k, v)), strict=True):
        texts = group.text_len
        qs, ks, vs = (x.transpose(1, 2) for x in parts)  # (n, H, l + S, d)
        mask = text_mask(texts, group.video_len, q.device)
        text = attend_densely(qs[:, :, :texts], ks, vs, mask)
        prefix = attend_densely(qs[:, :, texts:], ks[:, :, texts:], vs[:, :, texts:])
        y = torch.cat([text, prefix], dim=2)  # (n, H, l + S, d)
        outputs.append(y.transpose(1, 2).flatten(2).flatten(0, 1))  # (n * (l + S), D)
    return torch.cat(outputs)


class PrefixLM(nn.Module):
    """Text from a prefix, token by token.

    Args:
        config: its size.
        tokenizer_size: V, `len(tokenizer)`.
    """

    def __init__(self, config: LanguageConfig, tokenizer_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(tokenizer_size, config.width)
        nn.init.trunc_normal_(self.embedding.weight, std=1.0)
        blocks = (Block(config.width, config.num_heads) for _ in range(config.depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = RMSNorm(config.width)
        self.head = linear(config.width, tokenizer_size)

    def rope(self, places: Tensor) -> Tensor:
        """Rotations (L, d / 2, 2) of tokens at (L, 4)."""
        quarter = self.config.width // self.config.num_heads // 4
        return rotary_table(places, (quarter,) * 4, theta=100.0)

    def forward(
        self, prefix: Tensor, text_ids: Tensor, layout: Layout, hints: Tensor | float = 0.0
    ) -> Tensor:
        """Logits of the token after each.

        Args:
            prefix: (Lv, D).
            text_ids: (Lt,), each text beginning with `BEGIN`.
            layout: of both.
            hints: (Lt, D), added to the tokens' embeddings.

        Returns:
            (Lt, V).
        """
        x = layout.join((self.embedding(text_ids) + hints).type_as(prefix), prefix)  # (L, D)
        rope = self.rope(prefix_positions(layout, x.device))
        for block in self.blocks:
            x = block(x, rope, partial(prefix_attention, layout=layout))
        views = zip(layout.split(x), layout.groups, strict=True)
        text = torch.cat([view[:, : g.text_len].flatten(0, 1) for view, g in views])  # (Lt, D)
        return self.head(self.norm(text))


def shift_right(ids: Tensor) -> Tensor:
    """What the model reads where it is to write `ids` (n, l): `BEGIN`, then all but the last."""
    return torch.cat([torch.full_like(ids[:, :1], BEGIN), ids[:, :-1]], dim=1)


def next_token_loss(logits: Tensor, ids: Tensor, end_id: int) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy in nats a token, and the share of tokens guessed right.

    Args:
        logits: (Lt, V).
        ids: (Lt,) the tokens to write; registers, which fill texts up, are below `end_id` and do not count.
    """
    real = ids >= end_id
    logits, ids = logits[real].float(), ids[real]
    return F.cross_entropy(logits, ids), (logits.argmax(dim=1) == ids).float().mean()


class Hints(Protocol):
    """What is known of the next word besides the prefix and the words before."""

    def __call__(self, ids: Tensor) -> Tensor:
        """(n, l) tokens read -> (n, l, D), to be added to their embeddings."""

    def select(self, index: Tensor) -> Self:
        """For these texts, each as often as it is named; index: (m,)."""


class Session:
    """Texts being written, one for each of n prefixes of equal shape.

    Args:
        lm: the model.
        prefix: (n, S, D).
        grid: (t, h, w) of the prefix, t * h * w = S.
        hints: if the model was trained with them.

    Attributes:
        logits: (n, V) of the next token.
    """

    def __init__(
        self, lm: PrefixLM, prefix: Tensor, grid: Grid, hints: Hints | None = None
    ) -> None:
        self.lm, self.hints = lm, hints
        self.ids = torch.full((len(prefix), 1), BEGIN, device=prefix.device)  # (n, 1 + tokens)
        self.keys: list[Tensor] = []  # (n, H, S + tokens, d) of each block
        self.values: list[Tensor] = []
        layout = Layout((Group(len(prefix), grid, 1),))
        x = layout.join(self._embed(), prefix.flatten(0, 1))
        rope = lm.rope(prefix_positions(layout, x.device))
        for block in lm.blocks:
            x = block(x, rope, partial(self._fill, layout=layout))
        self.logits = self._read(layout.split(x)[0][:, 0])

    def step(self, ids: Tensor) -> None:
        """Append one token to each text; ids: (n,)."""
        self.ids = torch.cat([self.ids, ids[:, None]], dim=1)
        places = torch.zeros(len(ids), 4, device=ids.device)
        places[:, 3] = self.ids.shape[1] - 1
        x, rope = self._embed(), self.lm.rope(places)
        for i, block in enumerate(self.lm.blocks):
            x = block(x, rope, partial(self._append, i))
        self.logits = self._read(x)

    def reorder(self, index: Tensor) -> None:
        """Go on with these texts, each as often as it is named; index: (m,)."""
        self.keys = [k.index_select(0, index) for k in self.keys]
        self.values = [v.index_select(0, index) for v in self.values]
        self.logits, self.ids = (x.index_select(0, index) for x in (self.logits, self.ids))
        self.hints = self.hints and self.hints.select(index)

    def _embed(self) -> Tensor:
        """(n, D): the newest token of each text."""
        x: Tensor = self.lm.embedding(self.ids[:, -1])
        return x if self.hints is None else x + self.hints(self.ids)[:, -1]

    def _fill(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        self.keys.append(layout.split(k)[0].transpose(1, 2))
        self.values.append(layout.split(v)[0].transpose(1, 2))
        return prefix_attention(q, k, v, layout)

    def _append(self, i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One token a text against all that is kept; q, k, v: (n, H, d) -> (n, D)."""
        self.keys[i] = torch.cat([self.keys[i], k[:, :, None]], dim=2)
        self.values[i] = torch.cat([self.values[i], v[:, :, None]], dim=2)
        y = F.scaled_dot_product_attention(q[:, :, None], self.keys[i], self.values[i])
        return y.flatten(1)  # (n, H, 1, d) -> (n, D)

    def _read(self, x: Tensor) -> Tensor:
        return self.lm.head(self.lm.norm(x)).float()
