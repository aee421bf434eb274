"""Perturbed-attention guidance: what steadies shapes beside classifier-free guidance, which is `sample.guide`.

Stands on `sample`; `model` uses it. Sources: perturbed attention, Ahn et al. 2403.17377; projection, Sadat et al.
2410.02416.
"""

import torch
from torch import Tensor

from minisora.flow import expand_levels
from minisora.sample import in_interval


def steady(
    x_guided: Tensor,
    x_cond: Tensor,
    x_blind: Tensor,
    levels: Tensor,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Go away from a guess whose shapes fall apart.

    Of `x_cond - x_blind` only the part across x_cond acts. The part along it, which would turn all contrasts up and
    so draw strokes fat and digits large, is left out of every clip, as adaptive projected guidance does (2410.02416).

    Args:
        x_guided: what to steady, (B, Z, t, h, w).
        x_cond: prediction with the prompt, of the same shape.
        x_blind: prediction with the prompt by a network whose tokens do not see each other, of the same shape.
        levels: noise levels (B, t).
        scale: 0 leaves x_guided as it is.
        interval: levels (low, high) to act at, both included; frames outside keep x_guided exactly.

    Returns:
        Steadied prediction of the same shape.
    """
    away, clip = x_cond - x_blind, (1, 2, 3, 4)
    power = x_cond.square().sum(clip, keepdim=True).clamp(min=1e-12)
    share = (away * x_cond).sum(clip, keepdim=True) / power
    steadied = x_guided + scale * (away - share * x_cond)
    return torch.where(expand_levels(in_interval(levels, interval), x_guided), steadied, x_guided)
