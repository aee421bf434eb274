"""Where a token is: rotary position embedding (RoPE) over any axes, and distances to the walls.

Where it stands: `patches` -> [rope], `ops`, `layers` -> `text`, `dit`.

RoPE (Su et al. 2021, arXiv 2104.09864) turns the pair i of a head's dimensions by the angle p * w_i
so that the product of a query at p and a key at p' depends on p - p' alone. With several axes each
axis owns a share of the pairs: a head of 64 dimensions gives 16 to time, 24 to height, 24 to width.
Angles are computed for any coordinate, so a grid never trained on needs nothing special; where it is
larger than all that were trained on, `RopeScaling` can bring its coordinates back into their range.

Legend: L packed tokens, Lt text tokens among them, Lv video tokens of a clip, d head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from minisora.patches import Grid, Layout, cached_by_layout, coordinates

Kind = Literal["interpolate", "ntk"]


@dataclass(frozen=True)
class RopeScaling:
    """How coordinates are slowed down on axes that are longer than any trained on.

    With s = (length of the axis) / (longest trained), and s = 1 where that is below 1:

    - "interpolate" divides every coordinate by s, so that none is larger than in training, but
      neighbors come nearer to each other (Chen et al. 2023, arXiv 2306.15595);
    - "ntk" slows the j-th of n frequencies down by s^(j / (n - 1)): the fastest, which tell
      neighbors apart, stay as they are, the slowest is interpolated. It is RoPE with its theta
      raised to theta * s^(n / (n - 1)) (Peng et al. 2023, arXiv 2309.00071, section 3.2).

    Without it, coordinates are extrapolated.

    Args:
        kind: "interpolate" or "ntk".
        trained: longest (t, h, w) trained on, in tokens.

    Raises:
        ValueError: for another kind or an empty grid.
    """

    kind: Kind
    trained: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "trained", tuple(self.trained))  # JSON gives lists
        if self.kind not in get_args(Kind):
            raise ValueError(f"RoPE scaling {self.kind!r}: choose {' or '.join(get_args(Kind))}.")
        if len(self.trained) != 3 or min(self.trained) < 1:
            raise ValueError(f"trained={self.trained}: give (t, h, w) in tokens, each 1 or more.")

    def factors(self, grid: Grid, axis: int, count: int) -> Tensor:
        """What `count` frequencies of an axis (0 t, 1 h, 2 w), fastest first, are multiplied by: (count,)."""
        stretch = max(1.0, grid[axis] / self.trained[axis])
        if self.kind == "interpolate":
            return torch.full((count,), 1 / stretch)
        return stretch ** -(torch.arange(count) / max(1, count - 1))


def rotary_table(
    positions: Tensor, axes: Sequence[int], theta: float, factors: Sequence[Tensor] | None = None
) -> Tensor:
    """Cosines and sines of the rotation angles.

    Args:
        positions: (..., A) coordinates on A axes.
        axes: dimensions of a head owned by each axis; even, their sum is the head's size d.
        theta: ratio of the longest to the shortest wavelength; the shortest is 2 pi positions.
        factors: for each axis, what its frequencies are multiplied by, each (size / 2,); None
            leaves them.

    Returns:
        (..., d / 2, 2) float32: cosine, sine.
    """
    angles = []
    for axis, size in enumerate(axes):
        exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
        rates = theta**-exponents
        if factors is not None:
            rates = rates * factors[axis].to(rates)
        angles.append(positions[..., axis, None].float() * rates)
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


def scaled_table(layout: Layout, axes: Grid, theta: float, scaling: RopeScaling) -> Tensor:
    """The rotations (L, d / 2, 2) of a packed sequence whose clips' coordinates are each scaled to fit."""
    parts = []
    for g in layout.groups:
        place = torch.cat([torch.zeros(g.text_len, 3, dtype=torch.long), coordinates(g.grid)])
        factors = [scaling.factors(g.grid, axis, size // 2) for axis, size in enumerate(axes)]
        parts.append(rotary_table(place, axes, theta, factors).expand(g.count, -1, -1, -1))
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
