"""Rotary position embedding (RoPE) over any number of axes: time, height, width, or text position.

Where it stands: below `text` and `dit`, which rotate queries and keys with it.

RoPE (Su et al. 2021, arXiv 2104.09864) turns the pair i of a head's dimensions by the angle p * w_i,
so that the product of a query at p and a key at p' depends on p - p' alone. With several axes each
axis owns a share of the pairs: a head of 64 dimensions gives 16 to time, 24 to height, 24 to width.
Angles are computed for any coordinate, so a grid never trained on needs nothing special.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rotary_table(positions: Tensor, axes: Sequence[int], theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotation angles.

    Args:
        positions: (..., A) coordinates on A axes.
        axes: dimensions of a head owned by each axis; even, their sum is the head's size d.
        theta: ratio of the longest to the shortest wavelength; the shortest is 2 pi positions.

    Returns:
        cos, sin: (..., d / 2) float32.
    """
    angles = []
    for axis, size in enumerate(axes):
        exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
        angles.append(positions[..., axis, None].float() * theta**-exponents)
    angle = torch.cat(angles, dim=-1)  # (..., d / 2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (x_i, x_{i + d/2}): equation 34 of the paper with the halves as pairs.

    Args:
        x: (..., d).
        cos, sin: broadcastable to (..., d / 2).
    """
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
