"""The elementwise work of a transformer block with hand-written gradients: few passes over memory.

Where it stands: `patches` -> `rope`, [ops], `layers` -> `text`, `dit`.

On a CPU a block spends as long on some dozens of passes over its activations as on a third of its
matrix products, and plain autograd makes that many. So each operation stands here twice: as a few
plain lines, which say what it means, and as a `Function` that passes over memory less often, in
float32 also where autocast hands it bfloat16. The plain lines serve accelerators and
`torch.compile` (which fuses them itself); the tests hold both to the same values and gradients.

Legend: L packed tokens, R conditioning rows, D width, H heads, d head size, m hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from minisora.patches import Layout, cached_by_layout
from minisora.rope import rotate

EPS = 1e-6
_FUSED = (torch.float32, torch.bfloat16)


@cached_by_layout
def row_of_token(layout: Layout) -> Tensor:
    """(L,) int64 index of each token's conditioning row; rows as in `patches`."""
    parts = []
    every = torch.arange(layout.num_rows)
    for rows, g in zip(layout.split_rows(every), layout.groups, strict=True):
        _, h, w = g.grid
        text = rows[:, :1].expand(-1, g.text_len)
        parts.append(torch.cat([text, rows[:, 1:].repeat_interleave(h * w, dim=1)], dim=1))
    return layout.merge(parts)


@cached_by_layout
def row_starts(layout: Layout) -> Tensor:
    """(R,) int64 index of each row's first token; the tokens of a row are neighbours."""
    row = row_of_token(layout)
    return torch.searchsorted(row, torch.arange(layout.num_rows))


@cached_by_layout
def clip_of_token(layout: Layout) -> Tensor:
    """(L,) int64 index of each token's clip, in packed order."""
    lengths = torch.tensor([g.clip_len for g in layout.groups for _ in range(g.count)])
    return torch.arange(layout.num_clips).repeat_interleave(lengths)


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2)) over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467)."""
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, layout: Layout) -> Tensor:
    """rms(x) * (1 + scale) + shift, one row for each frame: (L, D), (R, D), (R, D) -> (L, D)."""
    if _plain(x, shift):
        return rms_norm(x) * _Spread.apply(1 + scale, layout) + _Spread.apply(shift, layout)
    return _Modulate.apply(x, shift.float(), scale.float(), layout)


def gated_add(x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> Tensor:
    """x + gate * y, one row for each frame: (L, D), (L, D), (R, D) -> (L, D)."""
    if _plain(x, y, gate):
        return x + _Spread.apply(gate, layout) * y
    return _GatedAdd.apply(x, y, gate.float(), layout)


def silu_gate(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves: (..., 2 m) -> (..., m)."""
    if _plain(gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
    return _SiluGate.apply(gate_up)


def normalize_rotate(qkv: Tensor, scale: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RMS-normalise queries and keys, scale them, rotate them; pass values through.

    Args:
        qkv: (L, 3, H, d).
        scale: (2, d), of queries and of keys.
        table: (L, d / 2, 2) from `rope.rotary_table`.

    Returns:
        q, k, v: (L, H, d) each, of qkv's dtype.
    """
    if _plain(qkv, scale):
        q, k, v = qkv.unbind(1)
        q = rotate(rms_norm(q) * scale[0], table[:, None])
        k = rotate(rms_norm(k) * scale[1], table[:, None])
        return q.type_as(v), k.type_as(v), v
    return _NormalizeRotate.apply(qkv, scale.float(), table.float())


def _plain(*tensors: Tensor) -> bool:
    """Whether the plain lines serve: anything but eager float32, or bfloat16 of autocast, on a CPU."""
    fused = all(x.device.type == "cpu" and x.dtype in _FUSED for x in tensors)
    return not fused or torch.compiler.is_compiling()


def _spread(rows: Tensor, layout: Layout) -> Tensor:
    """(R, D) -> (L, D): give each token its row."""
    return rows.index_select(0, row_of_token(layout, rows.device))


def _gather(tokens: Tensor, layout: Layout) -> Tensor:
    """(L, D) -> (R, D): sum over the tokens of each row."""
    every = torch.arange(len(tokens), device=tokens.device)
    return F.embedding_bag(every, tokens, row_starts(layout, tokens.device), mode="sum")


class _Spread(Function):
    """`_spread` with `_gather` as its gradient.

    The tokens of a row are neighbours, so the gradient is a sum over the bags of an embedding: ten
    times as fast on a CPU as autograd's scatter, and deterministic on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return _spread(rows, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _gather(grad, ctx.layout), None

    @staticmethod
    def jvp(ctx: Any, rows: Tensor, _: None) -> Tensor:
        return _spread(rows, ctx.layout)


def _inverse_rms(x: Tensor) -> Tensor:
    """1 / sqrt(mean(x^2) + eps) over the last dimension, kept."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().div_(x.shape[-1]).add_(EPS).rsqrt_()


class _Modulate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, layout: Layout) -> Tensor:
        inverse = _inverse_rms(x)
        ctx.save_for_backward(x, inverse, scale)
        ctx.layout = layout
        out = x * inverse
        return torch.addcmul(_spread(shift, layout), out, _spread(1 + scale, layout), out=out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, inverse, scale = ctx.saved_tensors
        normed = x * inverse
        factor = _spread(1 + scale, ctx.layout)
        product = grad * normed
        d_scale = _gather(product, ctx.layout)
        # The gradient of rms(x) loses its part along x, then is divided by the norm.
        along = product.mul_(factor).sum(1, keepdim=True).div_(-x.shape[1])
        d_x = factor.mul_(grad).addcmul_(normed, along).mul_(inverse)
        return d_x, _gather(grad, ctx.layout), d_scale, None


class _GatedAdd(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> Tensor:
        ctx.save_for_backward(y, gate)
        ctx.layout = layout
        out = _spread(gate, layout)
        return torch.addcmul(x, y, out, out=out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        y, gate = ctx.saved_tensors
        d_y = _spread(gate, ctx.layout).mul_(grad).to(y.dtype)
        return grad, d_y, _gather(grad * y, ctx.layout), None


class _SiluGate(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2, dim=-1)
        torch.mul(F.silu(gate), grad, out=d_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=d_gate)
        return d_gate_up


class _NormalizeRotate(Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, scale: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        qk = qkv[:, :2]  # (L, 2, H, d)
        inverse = _inverse_rms(qk)  # (L, 2, H, 1)
        ctx.save_for_backward(qkv, inverse, scale, table)
        out = torch.empty(qk.shape)  # empty_like would copy the gaps of the values
        torch.mul(qk, inverse, out=out).mul_(scale[:, None])
        _turn_(out, table[:, None])
        q, k = out.to(qkv.dtype).unbind(1)
        return q, k, qkv[:, 2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_q: Tensor, d_k: Tensor, d_v: Tensor) -> tuple[Tensor, Tensor, None]:
        qkv, inverse, scale, table = ctx.saved_tensors
        L, _, H, d = qkv.shape
        d_qkv, d_scale = torch.empty_like(qkv), torch.empty_like(scale)
        backward = table * torch.tensor([1.0, -1.0])
        for i, grad in enumerate((d_q, d_k)):
            x, r = qkv[:, i].float(), inverse[:, i]  # (L, H, d), (L, H, 1)
            back = grad.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
            _turn_(back, backward)
            product = (x * back).view(L * H, d)
            d_scale[i] = r.reshape(1, L * H).mm(product)[0]
            along = product.mv(scale[i]).view(L, H, 1).mul_(r.pow(3)).div_(-d)
            d_qkv[:, i] = back.mul_(r).mul_(scale[i]).addcmul_(x, along)
        d_qkv[:, 2] = d_v
        return d_qkv, d_scale, None


def _turn_(x: Tensor, table: Tensor) -> None:
    """Rotate in place: pairs are complex numbers. x: (L, ..., H, d); table: (L, ..., d / 2, 2)."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))  # (L, ..., H, d / 2)
    pairs.mul_(torch.view_as_complex(table).unsqueeze(-2))
