"""Optimizers and schedules: Muon for the hidden matrices, AdamW for the rest, EMA of the weights.

Used by `train`. `torch.optim.Muon` orthogonalises in bfloat16, which a CPU without bfloat16 units emulates
at great cost, so Muon stands here with the number type
as an argument; AdamW is torch's own.

Sources: Muon, Jordan et al. 2024 (kellerjordan.github.io/posts/muon); its scale against AdamW, Moonlight
(2502.16982, eq. 4); power-function EMA, Karras et al. 2024 (2312.02696, eq. 122).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(g: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearest semi-orthogonal matrices to g (N, rows, columns), by a quintic Newton-Schulz iteration.

    With G = U S V^T the result is about U V^T: singular values between 0.7 and 1.2, enough for a step direction.
    """
    a, b, c = NEWTON_SCHULZ
    x = g.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised: every direction of a weight matrix learns at one pace.

    Args:
        params: matrices (rows, columns), or convolutions, whose rows are their outputs.
        lr: step size, in AdamW's units: the update is scaled to AdamW's usual root mean square (2502.16982).
        momentum: of the Nesterov average of gradients.
        weight_decay: decoupled, as in AdamW.
        dtype: number type of the Newton-Schulz iteration: bfloat16 on a GPU, float32 on a CPU.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 2e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; equal shapes are orthogonalised in one batch."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                updates = torch.stack([self._momentum(p, group["momentum"]) for p in params])
                updates = orthogonalize(updates.flatten(2), dtype=self.dtype)
                scale = group["lr"] * 0.2 * max(updates.shape[1:]) ** 0.5
                for p, update in zip(params, updates, strict=True):
                    p.mul_(1.0 - group["lr"] * group["weight_decay"])
                    p.add_(update.view(shape), alpha=-scale)

    def _momentum(self, p: nn.Parameter, beta: float) -> Tensor:
        assert p.grad is not None
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1.0 - beta)
        return p.grad.lerp(state["momentum"], beta)  # Nesterov: look one step ahead


def make_optimizers(
    module: nn.Module, lr: float, weight_decay: float, muon: bool, convs: bool = False
) -> list[torch.optim.Optimizer]:
    """Muon for the 2-D weights inside blocks, AdamW for everything else (vectors, convolutions, both ends).

    Args:
        module: the module to train; its hidden layers live under a name with `blocks.` or `stages.`.
        lr: peak step size of both.
        weight_decay: decoupled decay of the matrices; vectors are not decayed.
        muon: False gives all parameters to AdamW.
        convs: the convolutions inside blocks are for Muon, too.
    """
    hidden: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        if p.ndim < 2 or not name.endswith("weight"):
            vectors.append(p)
        elif muon and (p.ndim == 2 or convs) and ("blocks." in name or "stages." in name):
            hidden.append(p)
        else:
            matrices.append(p)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.99), eps=1e-10
    )
    if not hidden:
        return [adam]
    dtype = torch.bfloat16 if hidden[0].is_cuda else torch.float32
    return [Muon(hidden, lr=lr, weight_decay=weight_decay, dtype=dtype), adam]


def learning_rate(step: int, steps: int, warmup: int, cooldown: float) -> float:
    """Factor on the peak rate at `step` (from 0): linear warm-up, constant, linear cool-down to zero.

    Args:
        steps: length of the whole run.
        warmup: steps of warm-up.
        cooldown: share of the run, in [0, 1], that the cool-down takes at the end.
    """
    rise = (step + 1) / max(1, warmup)
    fall = (steps - step) / max(1.0, cooldown * steps)
    return min(1.0, rise, fall)


class PowerEMA:
    """Exponential moving average whose width grows with the run (2312.02696): beta = (1 - 1/n)^(gamma + 1).

    It forgets the start by itself, so it needs no warm-up and no tuning to the length of a run.

    Args:
        module: the module to follow.
        gamma: 6.94 averages over about the last tenth of the run, 16.97 over the last twentieth.
    """

    def __init__(self, module: nn.Module, gamma: float = 6.94) -> None:
        self.gamma = gamma
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the weights after optimizer step number `step` (from 1)."""
        beta = (1.0 - 1.0 / step) ** (self.gamma + 1.0)
        for name, p in module.named_parameters():
            self.shadow[name].lerp_(p, 1.0 - beta)
