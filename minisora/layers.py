"""Layers that the text encoder and the DiT share: linear, QK-norm with RoPE, attention, SwiGLU.

Where it stands: `patches` -> `rope`, `ops`, [layers] -> `text`, `dit`.

Legend: L packed tokens, n clips of one group, S tokens of a clip, D width, H heads of size d.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.ops import normalize_rotate, silu_gate
from minisora.patches import Layout

_SHORT = 512  # tokens
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q, k, v), each (L, H, d) -> (L, D)."""


def linear(inputs: int, outputs: int, *, bias: bool = True, zero: bool = False) -> nn.Linear:
    """A linear layer; weights zero or from a truncated normal of deviation 1 / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        std = 1 / math.sqrt(inputs)
        nn.init.trunc_normal_(layer.weight, std=std, a=-3 * std, b=3 * std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class QueryKeyValue(nn.Module):
    """Queries and keys, RMS-normalised with a learned scale, then rotated by RoPE; and values.

    QK-norm keeps attention logits bounded (Henry et al. 2020, arXiv 2010.04245; Dehghani et al.
    2023, arXiv 2302.05442).

    Args:
        width: D.
        num_heads: H; the head size is d = D / H.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.heads = num_heads
        self.linear = linear(width, 3 * width, bias=False)
        self.scale = nn.Parameter(torch.ones(2, width // num_heads))  # of queries, of keys

    def forward(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (L, D); table: (L, d / 2, 2) from `rotary_table` -> q, k, v: (L, H, d)."""
        qkv = self.linear(x).unflatten(1, (3, self.heads, -1))  # (L, 3, H, d)
        return normalize_rotate(qkv, self.scale, table)


def attend_densely(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: queries (..., S, d), keys and values (..., S', d) -> (..., S, d).

    PyTorch's kernel, but for short sequences in bfloat16 on a CPU: there, in PyTorch 2.13, the kernel with its
    gradient takes up to six times as long as the formula.

    Args:
        mask: (S, S') bool, true where a query sees a key; by default it sees all.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= _SHORT:
        logits = (q / math.sqrt(q.shape[-1])) @ k.mT
        if mask is not None:
            logits = logits.masked_fill(~mask, -math.inf)
        return torch.softmax(logits, dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    split: Callable[[Layout, Tensor], list[Tensor]] = Layout.split,
) -> Tensor:
    """Attention within each clip, or each text, of a packed sequence.

    One dense call for each group of equal clips: the same result as one attention over all L tokens
    under a block-diagonal mask, without computing the blocks that the mask would drop.

    Args:
        q, k, v: (L, H, d).
        layout: how the clips follow each other.
        split: `Layout.split`, or `Layout.split_text` if the tokens are text alone.

    Returns:
        (L, D).
    """
    outputs = []
    for group in zip(*(split(layout, x) for x in (q, k, v)), strict=True):
        q, k, v = (x.transpose(1, 2) for x in group)  # (n, H, S, d)
        y = attend_densely(q, k, v)
        outputs.append(y.transpose(1, 2).flatten(2).flatten(0, 1))  # (n * S, D)
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) with gate and up fused (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = linear(width, 2 * hidden)
        self.down = linear(hidden, width, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., D) -> (..., D)."""
        return self.down(silu_gate(self.gate_up(x)))


class Block(nn.Module):
    """Pre-norm transformer block whose attention is the caller's: who sees whom is not its business."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=1e-6)
        self.qkv = QueryKeyValue(width, num_heads)
        self.out = linear(width, width, zero=True)
        self.norm2 = nn.RMSNorm(width, eps=1e-6)
        self.mlp = SwiGLU(width, 2 * width)

    def forward(self, x: Tensor, rope: Tensor, attention: Attention) -> Tensor:
        """x: (L, D); rope: (L, d / 2, 2) -> (L, D)."""
        x = x + self.out(attention(*self.qkv(self.norm1(x), rope)))
        return x + self.mlp(self.norm2(x))
