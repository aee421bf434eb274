"""Where a token is: rotary position embedding (RoPE) over any axes, and distances to the walls.

Where it stands: `patches` -> [rope], `ops`, `layers` -> `text`, `dit`.

RoPE (Su et al. 2021, arXiv 2104.09864) turns the pair i of a head's dimensions by the angle p * w_i
so that the product of a query at p and a key at p' depends on p - p' alone. With several axes each
axis owns a share of the pairs: a head of 64 dimensions gives 16 to time, 24 to height, 24 to width.
Angles are computed for any coordinate, so a grid never trained on needs nothing special.

Legend: L packed tokens, Lt text tokens among them, Lv video tokens of a clip, d head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from minisora.patches import Grid, Layout, cached_by_layout, coordinates


def rotary_table(positions: Tensor, axes: Sequence[int], theta: float) -> Tensor:
    """Cosines and sines of the rotation angles.

    Args:
        positions: (..., A) coordinates on A axes.
        axes: dimensions of a head owned by each axis; even, their sum is the head's size d.
        theta: ratio of the longest to the shortest wavelength; the shortest is 2 pi positions.

    Returns:
        (..., d / 2, 2) float32: cosine, sine.
    """
    angles = []
    for axis, size in enumerate(axes):
        exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
        angles.append(positions[..., axis, None].float() * theta**-exponents)
    angle = torch.cat(angles, dim=-1)  # (..., d / 2)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate the pairs (x_0, x_1), (x_2, x_3), ... (equation 34 of the paper).

    Args:
        x: (..., d).
        table: broadcastable to (..., d / 2, 2), from `rotary_table`.
    """
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)  # (..., d / 2)
    cos, sin = table.unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


@cached_by_layout
def positions(layout: Layout) -> Tensor:
    """(L, 3) int64 coordinates (t, h, w) for RoPE; text tokens are at (0, 0, 0)."""
    parts = []
    for g in layout.groups:
        clip = torch.cat([torch.zeros(g.text_len, 3, dtype=torch.long), coordinates(g.grid)])
        parts.append(clip.expand(g.count, -1, -1))
    return layout.merge(parts)


@cached_by_layout
def text_positions(layout: Layout) -> Tensor:
    """(Lt, 1) int64 place of each text token in its text."""
    places = (torch.arange(g.text_len)[None].expand(g.count, -1) for g in layout.groups)
    return layout.merge(list(places))[:, None]


def edge_distances(grid: Grid) -> Tensor:
    """Distances of one clip's tokens to the borders of its grid, in tokens.

    Returns:
        (Lv, 5) float32: to the start in time (first frame 0), and from the token's centre to the
        top, left, bottom and right wall (a token at a wall: 0.5).
    """
    t, h, w = coordinates(grid).float().unbind(1)
    _, height, width = grid
    return torch.stack([t, h + 0.5, w + 0.5, height - 0.5 - h, width - 0.5 - w], dim=1)
