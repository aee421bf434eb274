"""The elementwise work of a transformer block with hand-written gradients: fewer passes over memory.

Where it stands: below `text` and `dit`.

On a CPU a block's matrix products take about as long as a few dozen passes over its activations, and
plain autograd makes more than that. Each operation here stands twice: as one or two plain lines,
which say what it means, and as a `Function` that saves less and passes over memory less often. The
plain lines serve autocast, accelerators and `torch.compile` (which fuses them itself); the tests
hold both to the same values and gradients.

Legend: L packed tokens, R conditioning rows, D width, H heads, d head size, m hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from minisora.patches import Layout, row_of_token
from minisora.rope import rotate

EPS = 1e-6


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2)) over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467)."""
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, layout: Layout) -> Tensor:
    """rms(x) * (1 + scale) + shift, one row for each frame: (L, D), (R, D), (R, D) -> (L, D)."""
    if _plain(x, shift):
        row = row_of_token(layout, x.device)
        return rms_norm(x) * (1 + scale[row]) + shift[row]
    return _Modulate.apply(x, shift, scale, layout)


def gated_add(x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> Tensor:
    """x + gate * y, one row for each frame: (L, D), (L, D), (R, D) -> (L, D)."""
    if _plain(x, y, gate):
        return x + gate[row_of_token(layout, x.device)] * y
    return _GatedAdd.apply(x, y, gate, layout)


def silu_gate(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves: (..., 2 m) -> (..., m)."""
    if _plain(gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
    return _SiluGate.apply(gate_up)


def normalize_rotate(
    qkv: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """RMS-normalise queries and keys, scale them, rotate them; pass values through.

    Args:
        qkv: (L, 3, H, d).
        scale: (2, d), of queries and of keys.
        cos, sin: (L, 1, d / 2).

    Returns:
        q, k, v: (L, H, d) each, of qkv's dtype.
    """
    if _plain(qkv, scale):
        q, k, v = qkv.unbind(1)
        q = rotate(rms_norm(q) * scale[0], cos, sin)
        k = rotate(rms_norm(k) * scale[1], cos, sin)
        return q.type_as(v), k.type_as(v), v
    return _NormalizeRotate.apply(qkv, scale, cos, sin)


def _plain(*tensors: Tensor) -> bool:
    """Whether the plain lines serve: anything but eager float32 on a CPU."""
    fused = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)
    return not fused or torch.compiler.is_compiling()


def _segments(x: Tensor, layout: Layout) -> Iterator[Tensor]:
    """(L, D) -> views (n, 1, text_len, D), (n, t, h * w, D) of each group: tokens of one row."""
    for view, g in zip(layout.split(x), layout.groups, strict=True):
        yield view[:, None, : g.text_len]
        yield view[:, g.text_len :].unflatten(1, (g.grid[0], -1))


def _rows(x: Tensor, layout: Layout) -> Iterator[Tensor]:
    """(R, D) -> views (n, 1, 1, D), (n, t, 1, D) that broadcast to `_segments`."""
    for view in layout.split_rows(x):
        yield view[:, :1, None]
        yield view[:, 1:, None]


def _row_sums(x: Tensor, layout: Layout) -> Tensor:
    """(L, D) -> (R, D): sum over the tokens of each row."""
    sums = x.new_empty(layout.num_rows, x.shape[1])
    for row, segment in zip(_rows(sums, layout), _segments(x, layout), strict=True):
        torch.sum(segment, dim=2, keepdim=True, out=row)
    return sums


def _inverse_rms(x: Tensor) -> Tensor:
    """1 / sqrt(mean(x^2) + eps) over the last dimension, kept."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(EPS).rsqrt_()


class _Modulate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, layout: Layout) -> Tensor:
        inverse = _inverse_rms(x)
        out = x * inverse
        factor = 1 + scale
        parts = zip(
            _segments(out, layout), _rows(factor, layout), _rows(shift, layout), strict=True
        )
        for y, a, b in parts:
            torch.addcmul(b, y, a, out=y)
        ctx.save_for_backward(x, inverse, factor)
        ctx.layout = layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, inverse, factor = ctx.saved_tensors
        layout = ctx.layout
        normed = x * inverse
        d_scale = _row_sums(grad * normed, layout)
        d_normed = torch.empty_like(x)
        parts = zip(
            _segments(d_normed, layout), _segments(grad, layout), _rows(factor, layout), strict=True
        )
        for out, g, a in parts:
            torch.mul(g, a, out=out)
        # d rms(x) / dx removes the part along x, then divides by the norm.
        along = torch.linalg.vecdot(d_normed, normed).div_(-x.shape[1])[:, None]
        d_x = d_normed.addcmul_(normed, along).mul_(inverse)
        return d_x, _row_sums(grad, layout), d_scale, None


class _GatedAdd(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> Tensor:
        out = torch.empty_like(x)
        parts = (_segments(out, layout), _segments(x, layout), _segments(y, layout))
        for o, a, b, g in zip(*parts, _rows(gate, layout), strict=True):
            torch.addcmul(a, b, g, out=o)
        ctx.save_for_backward(y, gate)
        ctx.layout = layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        y, gate = ctx.saved_tensors
        d_y = grad * y
        d_gate = _row_sums(d_y, ctx.layout)
        parts = (_segments(d_y, ctx.layout), _segments(grad, ctx.layout))
        for out, g, a in zip(*parts, _rows(gate, ctx.layout), strict=True):
            torch.mul(g, a, out=out)
        return grad, d_y, d_gate, None


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
        sigmoid = torch.sigmoid(gate, out=d_up)
        silu = gate * sigmoid
        # d silu / d gate = sigmoid * (1 + gate - silu)
        torch.sub(gate, silu, out=d_gate).add_(1).mul_(sigmoid).mul_(up).mul_(grad)
        torch.mul(silu, grad, out=d_up)
        return d_gate_up


class _NormalizeRotate(Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = qkv[:, :2]  # (L, 2, H, d)
        inverse = _inverse_rms(x)
        a, b = x.chunk(2, dim=-1)
        first, second = scale[:, None].chunk(2, dim=-1)  # (2, 1, d / 2)
        cos4, sin4 = cos[:, None], sin[:, None]  # (L, 1, 1, d / 2)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        out_a, out_b = out.chunk(2, dim=-1)
        torch.mul(a, cos4 * first, out=out_a).addcmul_(b, sin4 * second, value=-1)
        torch.mul(b, cos4 * second, out=out_b).addcmul_(a, sin4 * first)
        q, k = out.mul_(inverse).unbind(1)
        ctx.save_for_backward(qkv, inverse, scale, cos4, sin4)
        return q, k, qkv[:, 2]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_q: Tensor, d_k: Tensor, d_v: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        qkv, inverse, scale, cos, sin = ctx.saved_tensors
        L, _, H, d = qkv.shape
        d_qkv, d_scale = torch.empty_like(qkv), torch.empty_like(scale)
        for i, grad in enumerate((d_q, d_k)):
            x, r, out = qkv[:, i], inverse[:, i], d_qkv[:, i]  # (L, H, d), (L, H, 1), (L, H, d)
            g_a, g_b = grad.chunk(2, dim=-1)
            back = grad.new_empty(L, H, d)  # the gradient turned back: rotation by minus the angle
            back_a, back_b = back.chunk(2, dim=-1)
            torch.mul(g_a, cos[:, 0], out=back_a).addcmul_(g_b, sin[:, 0])
            torch.mul(g_b, cos[:, 0], out=back_b).addcmul_(g_a, sin[:, 0], value=-1)
            product = (x * back).view(L * H, d)
            d_scale[i] = r.reshape(1, L * H).mm(product)[0]
            along = product.mv(scale[i]).view(L, H, 1).mul_(r.pow(3)).div_(-d)
            torch.mul(back, scale[i], out=out).mul_(r).addcmul_(x, along)
        d_qkv[:, 2] = d_v
        return d_qkv, d_scale, None, None
