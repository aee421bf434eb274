"""Hand-written gradients against the plain lines under autograd and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from minisora import ops
from minisora.layers import attend_densely
from minisora.patches import Group, Layout
from minisora.rope import positions, rotary_table

LAYOUT = Layout((Group(2, (2, 2, 1), 3), Group(1, (1, 1, 3), 2)))
L, R, D = LAYOUT.num_tokens, LAYOUT.num_rows, 8
TABLE = rotary_table(positions(LAYOUT), (2, 2, 4), 100.0)

CASES = {
    "modulate": (lambda *a: ops.modulate(*a, LAYOUT), [(L, D), (R, D), (R, D)]),
    "gated_add": (lambda *a: ops.gated_add(*a, LAYOUT), [(L, D), (L, D), (R, D)]),
    "silu_gate": (ops.silu_gate, [(L, 2 * D)]),
    "normalize_rotate": (
        lambda *a: ops.normalize_rotate(*a, TABLE.to(a[0].dtype)),
        [(L, 3, 2, 8), (2, 8)],
    ),
}


def run(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Outputs and, for fixed random gradients of them, the gradients of the inputs."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(*inputs)
    outs = list(out) if isinstance(out, tuple) else [out]
    seeded = torch.Generator().manual_seed(1)
    grads = [torch.randn(y.shape, generator=seeded).to(y.dtype) for y in outs]
    return [*outs, *torch.autograd.grad(outs, inputs, grads)]


def inputs_of(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("name", CASES)
def test_fused_equals_plain_in_double(name: str) -> None:
    """Double precision takes the plain lines, so this also compares with an exact answer."""
    function, shapes = CASES[name]
    inputs = inputs_of(shapes)
    for fused, plain in zip(
        run(function, inputs), run(function, [x.double() for x in inputs]), strict=True
    ):
        assert fused.dtype == torch.float32
        torch.testing.assert_close(fused.double(), plain, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_plain_lines_pass_finite_differences(name: str) -> None:
    function, shapes = CASES[name]
    inputs = [x.double().requires_grad_() for x in inputs_of(shapes)]
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("name", CASES)
def test_gradients_may_come_in_any_memory_order(name: str) -> None:
    function, shapes = CASES[name]

    def through_transpose(*inputs: Tensor) -> Tensor:
        out = function(*inputs)
        outs = out if isinstance(out, tuple) else (out,)
        total = torch.zeros(())
        for y in outs:  # the gradient of y is a transposed, then an expanded tensor
            weight = torch.arange(y.numel()).view(y.shape[::-1]).sin()
            total = total + (y.permute(*range(y.ndim)[::-1]) * weight).sum() + y.sum()
        return total

    inputs = inputs_of(shapes)
    fused = run(through_transpose, inputs)
    plain = run(through_transpose, [x.double() for x in inputs])
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(a.double(), b.double(), atol=3e-5, rtol=3e-5)


def test_modulate_of_nothing_is_rms_norm() -> None:
    x, zero = 5 * torch.randn(L, D), torch.zeros(R, D)
    expected = x / x.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(ops.modulate(x, zero, zero, LAYOUT), expected)
    assert not ops.modulate(torch.zeros(L, D), zero, zero, LAYOUT).any()  # no 0 / 0


# What autocast leaves in float32: the stream of tokens and what is learned; linear layers give bfloat16.
HALF = {"modulate": (), "gated_add": (1,), "silu_gate": (0,), "normalize_rotate": (0,)}


@pytest.mark.parametrize("name", CASES)
def test_under_autocast_it_is_as_exact_as_bfloat16_allows(name: str) -> None:
    function, shapes = CASES[name]
    inputs = [x.bfloat16() if i in HALF[name] else x for i, x in enumerate(inputs_of(shapes))]
    fused = run(function, inputs)
    plain = run(function, [x.double() for x in inputs])
    for given, gradient in zip(inputs, fused[-len(inputs) :], strict=True):
        assert gradient.dtype == given.dtype
    for a, b in zip(fused, plain, strict=True):
        assert (a.double() - b).norm() < 0.02 * b.norm()


@pytest.mark.parametrize("name", CASES)
def test_all_in_bfloat16_stays_finite(name: str) -> None:
    function, shapes = CASES[name]
    assert all(y.isfinite().all() for y in run(function, [x.bfloat16() for x in inputs_of(shapes)]))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tokens", [5, 600])  # by the formula, by PyTorch's kernel
def test_attention_in_bfloat16_equals_that_in_double(tokens: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, tokens, 8, generator=generator).bfloat16() for _ in range(3)]
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril() if masked else None
    attention = partial(attend_densely, mask=mask)
    half = run(attention, inputs)
    exact = run(attention, [x.double() for x in inputs])
    for a, b in zip(half, exact, strict=True):
        assert a.dtype == torch.bfloat16 and (a.double() - b).norm() < 0.02 * b.norm()
