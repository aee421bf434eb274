"""Which sizes a model makes, and grids of noise of different sizes that show the same composition.

Beside `sample`: the size of a clip is the size of its grid of noise, so this is where sizes are
checked. A draft and the full-size clip come from related noise: the large grid, averaged down, is
the small one, and is still unit Gaussian noise, so a model treats it as any other. That alone ties
the two loosely. So the large clip also takes over from the finished draft at a high noise level,
where little is decided but where things are and where they go (compare Pyramidal Flow Matching,
2410.05954, which makes every clip so, and SDEdit, 2108.01073).

The small grid fixes what the large one is in the space spanned by the rows of a matrix A, and fresh
noise fills the rest: `big = eps + A^T (small - A eps)`. As A A^T = 1, `A big = small`, and big is
white if eps and small are. Legend: Z channels, t h w latent grid, H W a larger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DRAFT_LEVEL = 0.7
"""Noise level at which a large clip takes over from its draft (`benchmarks/sizes.py` measures what it keeps)."""


@lru_cache(maxsize=64)
def averager(small: int, big: int) -> Tensor:
    """The matrix A (small, big), A A^T = 1, that averages `big` cells of a line down to `small`.

    Where `big` is a multiple k of `small`, each row sums k neighbors over root k, which is their mean in
    units that keep noise at unit variance. Elsewhere cells are shared out by their overlap, and the rows
    made orthonormal by the smallest change (Loewdin: A = (D D^T)^(-1/2) D).

    Raises:
        ValueError: if `big` is smaller than `small`.
    """
    if not 1 <= small <= big:
        raise ValueError(f"A line of {big} cells cannot be averaged down to {small}; give more.")
    width = big / small
    edges = torch.arange(small, dtype=torch.float64)[:, None] * width
    cells = torch.arange(big, dtype=torch.float64)
    overlap = torch.minimum(edges + width, cells + 1) - torch.maximum(edges, cells)
    rows = overlap.clamp(min=0)  # (small, big)
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    return (vectors @ torch.diag(values.rsqrt()) @ vectors.T @ rows).float()


def average_noise(noise: Tensor, size: tuple[int, int]) -> Tensor:
    """Noise (..., H, W) averaged down to (..., h, w), of unit variance if it was."""
    rows, columns = (averager(s, b) for s, b in zip(size, noise.shape[-2:], strict=True))
    return rows.to(noise) @ noise @ columns.to(noise).T


def enlarge_noise(noise: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A larger grid of unit Gaussian noise that `average_noise` turns back into `noise`.

    Args:
        noise: (..., h, w), unit Gaussian.
        size: (H, W), neither smaller than h and w.
        generator: of the numbers that the small grid does not fix.

    Returns:
        (..., H, W).

    Raises:
        ValueError: if a side is smaller than the noise's.
    """
    rows, columns = (averager(s, b) for s, b in zip(noise.shape[-2:], size, strict=True))
    fresh = torch.randn((*noise.shape[:-2], *size), generator=generator)
    missing = noise - rows @ fresh @ columns.T
    return fresh + rows.T @ missing @ columns


def continue_draft(
    draft: Tensor, noise: Tensor, times: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """What a large clip starts from if it continues a draft: (z at `level`, the levels from there on).

    The finished draft, stretched to the large grid, takes the place of the clean clip in
    `z = (1 - t) x + t eps`. At a high level little of it is left but what is where and where it goes.

    Args:
        draft: (B, Z, t, h, w) latents of the small clips.
        noise: (B, Z, t, H, W) of the large ones.
        times: descending levels from 1 to 0.
        level: where to start, in (0, 1].
    """
    flat = F.interpolate(draft.flatten(1, 2), size=noise.shape[-2:], mode="bilinear")
    z = torch.lerp(flat.view_as(noise), noise, level)
    return z, torch.cat([times.new_tensor([level]), times[times < level]])


def nearest_multiples(side: int, unit: int, first: int = 0) -> list[int]:
    """The one or two numbers nearest to `side` of first + unit, first + 2 unit, ...; `first` itself if above 0."""
    low = first + (side - first) // unit * unit
    least = first or unit
    near = sorted({max(least, low), max(least, low + unit)}, key=lambda n: (abs(n - side), n))
    return [n for n in near if abs(n - side) == abs(near[0] - side)]


def check_size(size: Sequence[int], units: tuple[int, int], name: str = "size") -> None:
    """Raise ValueError, naming the nearest good ones, unless `size` is (height, width) in whole units of pixels."""
    if not isinstance(size, Sequence) or len(size) != 2 or not all(map(_whole, size)):
        raise ValueError(f"{name}={size}: give (height, width) in whole pixels, e.g. (64, 64).")
    choices = [nearest_multiples(side, unit) for side, unit in zip(size, units, strict=True)]
    near = list(product(*choices))
    if tuple(size) not in near:
        raise ValueError(
            f"{name}={tuple(size)}: height and width must be multiples of {units[0]} and {units[1]} "
            f"pixels; {_listed(near)}."
        )


def check_frames(frames: int, group: int) -> None:
    """Raise ValueError, naming the nearest good ones, unless `frames` is 1 + k * group."""
    if not _whole(frames):
        raise ValueError(f"frames={frames}: give a whole number, 1 + {group}k.")
    near = nearest_multiples(frames, group, first=1)
    if frames not in near:
        raise ValueError(f"frames={frames}: a clip has 1 + {group}k frames; {_listed(near)}.")


def check_draft(
    draft: Sequence[int], size: Sequence[int], units: tuple[int, int], level: float
) -> None:
    """Raise ValueError unless `draft` is a size, no side larger than that of `size`, and `level` a noise level."""
    check_size(draft, units, "draft")
    if not 0 < level <= 1:
        raise ValueError(f"draft_level={level}: give a noise level above 0 and at most 1.")
    if draft[0] > size[0] or draft[1] > size[1]:
        raise ValueError(
            f"draft={tuple(draft)} is larger than size={tuple(size)}; a draft is smaller on both sides, or as large."
        )


def _whole(number: object) -> bool:
    return isinstance(number, Integral)


def _listed(near: Sequence[Any]) -> str:
    """ "the nearest is 5", "the nearest are 5 and 9"."""
    names = [str(n) for n in sorted(near)]
    return f"the nearest {'is' if len(names) == 1 else 'are'} {' and '.join(names)}"
