"""Optimizers and schedules: Newton-Schulz against the SVD, Muon against a naive loop and torch's own,
the averaged weights against their closed form, and who trains which parameter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import generator
from torch import Tensor, nn

from minisora.network import TextToLatent
from minisora.optim import Muon, PowerEMA, learning_rate, make_optimizers, orthogonalize
from minisora.presets import TINY
from minisora.vae import VideoVAE
from minisora.worlds import VOCABULARY

# ---- Newton-Schulz ----


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 7, 96)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_orthogonalize_keeps_singular_vectors_and_evens_out_the_values(
    shape: tuple[int, int, int], scale: float
) -> None:
    g = scale * torch.randn(shape, generator=generator(), dtype=torch.float64)
    out = orthogonalize(g, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    inner = u.mT @ out @ vh.mT  # diagonal if both have the same singular vectors
    values = inner.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(inner, torch.diag_embed(values), rtol=0, atol=1e-6)
    assert (values > 0.65).all() and (values < 1.25).all()
    assert out.dtype == g.dtype and out.shape == g.shape


def test_orthogonalize_is_one_matrix_at_a_time_and_survives_a_zero() -> None:
    g = torch.randn(3, 8, 12, generator=generator())
    g[1] = 0
    out = orthogonalize(g)
    assert (out[1] == 0).all() and out.isfinite().all()
    for one, whole in zip(g, out, strict=True):
        torch.testing.assert_close(orthogonalize(one[None])[0], whole, rtol=1e-4, atol=1e-5)


def test_orthogonalize_in_bfloat16_is_close_and_comes_back_in_its_own_type() -> None:
    g = torch.randn(1, 16, 40, generator=generator())
    out = orthogonalize(g, dtype=torch.bfloat16)
    assert out.dtype == torch.float32
    assert (out - orthogonalize(g)).norm() < 0.05 * out.norm()


# ---- Muon ----


def naive_muon(
    weights: list[Tensor],
    gradients: list[list[Tensor | None]],
    lr: float,
    beta: float,
    decay: float,
) -> list[Tensor]:
    """Jordan's algorithm, one matrix after the other, in the scale of 2502.16982, eq. 4."""
    out = []
    for i, start in enumerate(weights):
        w, m = start.clone(), torch.zeros_like(start)
        for step in gradients:
            g = step[i]
            if g is None:
                continue
            m = beta * m + (1 - beta) * g
            x = (1 - beta) * g + beta * m
            x = x / x.norm()
            transposed = x.shape[0] > x.shape[1]
            x = x.T if transposed else x
            for _ in range(5):
                a = x @ x.T
                x = 3.4445 * x - 4.7750 * a @ x + 2.0315 * a @ a @ x
            x = x.T if transposed else x
            w = w - lr * decay * w - lr * 0.2 * math.sqrt(max(w.shape)) * x
        out.append(w)
    return out


def test_muon_equals_a_naive_loop() -> None:
    shapes = [(6, 10), (6, 10), (10, 6), (5, 5), (6, 10)]  # equal shapes go in one batch
    g = generator()
    start = [torch.randn(s, generator=g, dtype=torch.float64) for s in shapes]
    gradients: list[list[Tensor | None]] = [
        [torch.randn(s, generator=g, dtype=torch.float64) for s in shapes] for _ in range(4)
    ]
    gradients[0][1] = gradients[2][3] = None  # a matrix without a gradient is left alone
    params = [nn.Parameter(w.clone()) for w in start]
    optimizer = Muon(params, lr=0.03, momentum=0.9, weight_decay=0.1, dtype=torch.float64)
    for step in gradients:
        for p, gradient in zip(params, step, strict=True):
            p.grad = gradient
        optimizer.step()
    wanted = naive_muon(start, gradients, lr=0.03, beta=0.9, decay=0.1)
    for p, w in zip(params, wanted, strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 64), (64, 24)])
def test_muon_goes_where_torchs_muon_goes(shape: tuple[int, int]) -> None:
    theirs_class = pytest.importorskip("torch.optim").Muon
    start = torch.randn(shape, generator=generator())
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    a = Muon([ours], lr=0.01, weight_decay=0.1)
    b = theirs_class([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradient = torch.randn(shape, generator=generator(step + 1))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    moved, wanted = (ours - start).detach().flatten(), (theirs - start).detach().flatten()
    assert torch.cosine_similarity(moved, wanted, dim=0) > 0.99  # theirs iterates in bfloat16
    assert 0.95 < moved.norm() / wanted.norm() < 1.05


# ---- schedule ----


def test_schedule_rises_stays_and_falls() -> None:
    factors = [learning_rate(step, 100, 10, 0.3) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10:70] == [1.0] * 60
    assert factors[70:] == pytest.approx([(100 - i) / 30 for i in range(70, 100)])


@given(
    steps=st.integers(1, 300), warmup=st.integers(0, 400), cooldown=st.floats(0, 1, allow_nan=False)
)
@settings(max_examples=60, deadline=None)
def test_schedule_is_positive_and_has_one_hill(steps: int, warmup: int, cooldown: float) -> None:
    factors = [learning_rate(step, steps, warmup, cooldown) for step in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[:top] == sorted(factors[:top])
    assert factors[top:] == sorted(factors[top:], reverse=True)


# ---- averaged weights ----


@pytest.mark.parametrize("gamma", [6.94, 16.97])
def test_average_equals_its_closed_form(gamma: float) -> None:
    """After n steps theta_i weighs (i^(gamma+1) - (i-1)^(gamma+1)) / n^(gamma+1): a power of time."""
    module = nn.Linear(3, 2).double()
    ema, history, n = PowerEMA(module, gamma), [], 60
    for step in range(1, n + 1):
        with torch.no_grad():
            module.weight.copy_(torch.randn(2, 3, generator=generator(step), dtype=torch.float64))
        history.append(module.weight.detach().clone())
        ema.update(module, step)
    i = torch.arange(n + 1, dtype=torch.float64)
    weights = ((i / n) ** (gamma + 1)).diff()
    wanted = (weights[:, None, None] * torch.stack(history)).sum(0)
    assert weights.sum() == pytest.approx(1.0)
    torch.testing.assert_close(ema.shadow["weight"], wanted, rtol=0, atol=1e-12)
    assert ema.shadow["bias"].equal(module.bias)


def test_the_first_average_is_the_first_weights() -> None:
    module = nn.Linear(3, 2)
    ema = PowerEMA(module)
    with torch.no_grad():
        module.weight.add_(1.0)
    assert not ema.shadow["weight"].equal(module.weight)  # a copy, not a view
    ema.update(module, 1)
    assert ema.shadow["weight"].equal(module.weight)


# ---- who trains what ----


def names_by_kind(module: nn.Module, muon: bool) -> dict[str, set[str]]:
    """Names of the parameters under Muon, under AdamW with decay, and under AdamW without."""
    names = {id(p): name for name, p in module.named_parameters()}
    kinds: dict[str, set[str]] = {"muon": set(), "decayed": set(), "plain": set()}
    seen = []
    for optimizer in make_optimizers(module, lr=1e-3, weight_decay=0.1, muon=muon):
        for group in optimizer.param_groups:
            kind = "decayed" if group["weight_decay"] else "plain"
            kind = "muon" if isinstance(optimizer, Muon) else kind
            kinds[kind] |= {names[id(p)] for p in group["params"]}
            seen += [id(p) for p in group["params"]]
            assert group["lr"] == 1e-3
            assert kind != "muon" or group["weight_decay"] == 0.1
    assert sorted(seen) == sorted(names)  # every parameter once
    return kinds


def test_division_of_the_vae() -> None:
    module = VideoVAE(TINY.vae)
    kinds = names_by_kind(module, muon=True)
    shapes = {name: p.ndim for name, p in module.named_parameters()}
    assert all(shapes[n] == 2 and ".stages." in n for n in kinds["muon"])
    assert {n.split(".", 4)[4] for n in kinds["muon"]} == {"project.weight", "mix.linear.weight"}
    convolutions = {n for n, ndim in shapes.items() if ndim == 4}
    ends = {"encoder.head.weight", "decoder.stem.weight", "encoder.reduce.0.weight"}
    assert convolutions and convolutions | ends <= kinds["decayed"]
    assert all(shapes[n] == 1 for n in kinds["plain"])


def test_division_of_the_transformer() -> None:
    module = TextToLatent(TINY.text, TINY.dit, VOCABULARY)
    kinds = names_by_kind(module, muon=True)
    shapes = {name: p.ndim for name, p in module.named_parameters()}
    assert all(shapes[n] == 2 and "blocks." in n for n in kinds["muon"])
    assert {"dit.blocks.0.qkv.linear.weight", "text.blocks.0.mlp.down.weight"} <= kinds["muon"]
    assert {"text.embedding.weight", "dit.final.weight", "dit.modulation.weight"} <= kinds[
        "decayed"
    ]
    # A block's bias and its scales of queries and keys have two dimensions and yet are vectors.
    assert {"dit.blocks.0.bias", "dit.blocks.0.qkv.scale", "dit.patch_in.bias"} <= kinds["plain"]


def test_without_muon_and_without_gradients() -> None:
    module = VideoVAE(TINY.vae)
    assert not names_by_kind(module, muon=False)["muon"]
    module.encoder.requires_grad_(False)
    optimizers = make_optimizers(module, 1e-3, 0.1, muon=True)
    trained = {id(p) for o in optimizers for g in o.param_groups for p in g["params"]}
    assert trained == {id(p) for p in module.decoder.parameters()}
    assert len(make_optimizers(nn.Linear(2, 2), 1e-3, 0.1, muon=True)) == 1
