"""Checkers of notebook 00: the shape of a latent, the number of tokens, one step of the sampler.

Shapes are compared with those that the package's own VAE and patches give, on tensors without memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from minisora.config import VAEConfig
from minisora.course.exercises import Wrong, exercise
from minisora.patches import patchify
from minisora.vae import VideoVAE

SIZES = ((1, 64, 64), (5, 32, 32), (9, 48, 96), (17, 64, 64), (33, 96, 32), (21, 80, 48))


@lru_cache(maxsize=1)
def _latents() -> dict[tuple[int, int, int], Tensor]:
    """What the VAE makes of clips of `SIZES`: latents (1, Z, t, h, w) on the meta device."""
    with torch.device("meta"), torch.no_grad():
        vae = VideoVAE(VAEConfig())
        return {size: vae.encode(torch.empty(1, 3, *size)) for size in SIZES}


@exercise("00.1")
def check_latent_shape(answer: Callable[[int, int, int], Any]) -> None:
    """(Z, t, h, w), against what the VAE really gives."""
    for (frames, height, width), latent in _latents().items():
        found, what = answer(frames, height, width), f"A clip of {frames}x{height}x{width}"
        if not isinstance(found, (tuple, list, torch.Size)) or len(found) != 4:
            raise Wrong(f"{what}: the result is {found!r}; four whole numbers are asked for.")
        for name, mine, true in zip(("Z", "t", "h", "w"), found, latent.shape[1:], strict=True):
            if not isinstance(mine, int) or isinstance(mine, bool):
                raise Wrong(f"{what}: {name} is {mine!r}, which is not a whole number of type int.")
            if mine != true:
                way = "large" if mine > true else "small"
                raise Wrong(f"{what}: {name} = {mine} is too {way}.")


@exercise("00.2")
def check_count_tokens(answer: Callable[[int, int, int], Any]) -> None:
    """Video tokens, against those that `patchify` cuts."""
    for (frames, height, width), latent in _latents().items():
        true, found = patchify(latent, (1, 2, 2)).shape[1], answer(frames, height, width)
        what = f"A clip of {frames}x{height}x{width}"
        if not isinstance(found, int) or isinstance(found, bool):
            raise Wrong(f"{what}: the result is {found!r}; an int is asked for.")
        if found == 4 * true:
            raise Wrong(f"{what}: {found} counts the cells of the latent, not the patches.")
        if found != true:
            way = "many" if found > true else "few"
            raise Wrong(f"{what}: {found} tokens are too {way}.")


@exercise("00.3")
def check_euler_step(answer: Callable[[Tensor, Tensor, float, float], Any]) -> None:
    """Velocity and new latents, number by number, on lines whose noise is known."""
    generator = torch.Generator().manual_seed(0)
    for t, s in ((1.0, 0.5), (0.8, 0.75), (0.6, 0.0), (0.37, 0.11)):
        x, eps = torch.randn(2, 1, 3, 2, 5, 4, generator=generator, dtype=torch.float64)
        z = (1 - t) * x + t * eps  # then the velocity is eps - x, whatever the levels
        found = answer(z.clone(), x.clone(), t, s)
        if not isinstance(found, tuple) or len(found) != 2:
            raise Wrong(
                "The result is not a pair; the velocity and z_s are asked for, in this order."
            )
        for name, mine in zip(("velocity", "z_s"), found, strict=True):
            if not isinstance(mine, Tensor) or mine.shape != z.shape:
                raise Wrong(f"The {name} is not a tensor of the shape of z, {tuple(z.shape)}.")
        _compare_step(found, eps - x, (1 - s) * x + s * eps, f"from t = {t} to s = {s}")


def _compare_step(found: tuple[Tensor, Tensor], v: Tensor, z_s: Tensor, what: str) -> None:
    """Raise Wrong unless the pair is (v, z_s)."""
    velocity, moved = found
    if torch.allclose(velocity, z_s) and torch.allclose(moved, v):
        raise Wrong("The two results are swapped: the velocity comes first.")
    if torch.allclose(velocity, -v):
        raise Wrong(f"{what}: the velocity points to the data; it must point to the noise.")
    if not torch.allclose(velocity, v):
        gap = (velocity - v).abs().max().item()
        raise Wrong(
            f"{what}: the velocity is off by up to {gap:.2f}; the noise is not where z heads."
        )
    if not torch.allclose(moved, z_s):
        away = " It went towards the noise." if _noisier(moved, z_s, v) else ""
        raise Wrong(f"{what}: the velocity is right, z_s is not on its level.{away}")


def _noisier(moved: Tensor, z_s: Tensor, v: Tensor) -> bool:
    """Whether a step that ended in the wrong place went along the line, to too high a level."""
    along = ((moved - z_s) * v).sum() / v.square().sum()
    return bool(along > 0 and torch.allclose(moved, z_s + along * v))
