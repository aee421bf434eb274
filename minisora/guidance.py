"""What steadies shapes and motion beside classifier-free guidance, which is `sample.guide`.

Stands on `sample`; `model` uses `steady` and `contrast`, and `complete` `with_history`. Sources: perturbed attention,
Ahn et al. 2403.17377; projection, Sadat et al. 2410.02416; contrastive guidance, Wu and De la Torre 2402.13490;
history guidance, Song et al. 2502.06764.
"""

import torch
from torch import Tensor

from minisora.flow import add_noise, expand_levels
from minisora.sample import Denoiser, in_interval

# Chosen on prompts of their own, see `benchmarks/guidance.py`. Guidance where nearly all is
# noise draws digits too large, so it begins a little below (2404.07724).
GUIDANCE_SCALE, PAG_SCALE, CONTRAST_SCALE = 4.0, 1.0, 2.5
GUIDANCE_INTERVAL = (0.2, 0.95)
# How large things are and which belong together is settled early, so contrast saves its passes later.
CONTRAST_FROM = 0.5  # lowest level at which contrast acts


def steady(
    x_guided: Tensor,
    x_cond: Tensor,
    x_blind: Tensor,
    levels: Tensor,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Go away from a guess whose shapes fall apart.

    Of `x_cond - x_blind` only the part across x_cond acts. The part along it, which would turn contrasts up and so
    draw strokes fat and digits large, is left out, as adaptive projected guidance does (2410.02416); here at every
    position by itself, since in a whole clip the background has most to say about what "along" is.

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
    away = x_cond - x_blind
    power = x_cond.square().sum(dim=1, keepdim=True).clamp(min=1e-12)  # B 1 t h w
    share = (away * x_cond).sum(dim=1, keepdim=True) / power
    steadied = x_guided + scale * (away - share * x_cond)
    return torch.where(expand_levels(in_interval(levels, interval), x_guided), steadied, x_guided)


def contrast(
    x_guided: Tensor,
    x_prompt: Tensor,
    x_negative: Tensor,
    levels: Tensor,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Go away from what another prompt says: `x_guided + scale (x_prompt - x_negative)`.

    Classifier-free guidance makes all that a prompt says stronger at once. A negative prompt that differs from it in
    few words singles out what these say, and everything else cancels: both draw strokes as bright at the same place.

    Args:
        x_guided: what to change, (B, Z, t, h, w).
        x_prompt, x_negative: predictions with the prompt and with the negative one, of the same shape.
        levels: noise levels (B, t).
        scale: 0 leaves x_guided as it is.
        interval: levels (low, high) to act at, both included; frames outside keep x_guided exactly.

    Returns:
        Changed prediction of the same shape.
    """
    changed = x_guided + scale * (x_prompt - x_negative)
    return torch.where(expand_levels(in_interval(levels, interval), x_guided), changed, x_guided)


def with_history(denoise: Denoiser, context_noise: float, scale: float) -> Denoiser:
    """A denoiser that believes given frames, those at level 0, less or more than it would.

    Args:
        denoise: what to ask.
        context_noise: level at which given frames are shown, in [0, 1). A little hides what the last window got
            wrong, so that it is not copied on and on (drift).
        scale: of history guidance: the guess goes on from the one that does not see the given frames (they are at
            level 1) to the one that does, and beyond. 1 is no guidance, and costs nothing.
    """
    noise: Tensor | None = None  # the same in every step

    def guess(z: Tensor, levels: Tensor) -> Tensor:
        nonlocal noise
        given = levels == 0
        if given.all() or not given.any():
            return denoise(z, levels)
        if noise is None:
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z)
        frames = expand_levels(given, z)
        shown = torch.where(frames, add_noise(z, noise, levels.new_tensor(context_noise)), z)
        seen = denoise(shown, levels.masked_fill(given, context_noise))
        if scale != 1.0:
            unseen = denoise(torch.where(frames, noise, z), levels.masked_fill(given, 1.0))
            seen = torch.lerp(unseen, seen, scale)
        return torch.where(frames, z, seen)

    return guess
