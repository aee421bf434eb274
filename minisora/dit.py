"""The diffusion transformer: noisy patches and text in, clean patches out.

Where it stands: `worlds -> video -> vae -> patches -> text -> [dit] -> flow -> sample`.

A DiT (Peebles and Xie 2022, arXiv 2212.09748) over a packed sequence of clips of any size
(NaViT, arXiv 2307.06304). Each latent frame has its own noise level; text tokens stand in the same
sequence. For a token x with the conditioning row c of its frame (or of its clip's text):

    (shift1, scale1, gate1, shift2, scale2, gate2) = W silu(c) + b_block     adaLN-single
    x <- x + gate1 * attention(rms(x) * (1 + scale1) + shift1)               within its clip
    x <- x + gate2 * swiglu(rms(x) * (1 + scale2) + shift2)

W is shared by all blocks and b_block is a block's own (PixArt-alpha, arXiv 2310.00426). Queries and
keys are RMS-normalised (arXiv 2010.04245), then rotated by 3-D RoPE (arXiv 2104.09864); the MLP is
SwiGLU (arXiv 2002.05202). A block starts as the identity: its last projections are zero while its
gates start at 1. (Both at zero would be a trap: each is the other's gradient.)

Legend: L packed tokens, Lv video tokens, Lt text tokens, F packed latent frames, R rows (one a
frame and one a clip's text), n clips of one group, P patch dimension, D width, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.layers import QueryKeyValue, SwiGLU, attend, linear
from minisora.ops import gated_add, modulate
from minisora.patches import Grid, Layout
from minisora.rope import RopeScaling, edge_distances, positions, rotary_table, scaled_table

_LEVEL_FEATURES = 256
_EDGE_OCTAVES = 8
_EDGE_AXES = (0, 1, 2, 1, 2)  # of each of `edge_distances`: start, top, left, bottom, right


@dataclass(frozen=True)
class DiTConfig:
    """Size of the DiT. `DiTConfig.from_depth` derives it from one dial.

    Args:
        depth: blocks.
        width: D.
        num_heads: attention heads; width / num_heads is a multiple of 8.
        patch: (pt, ph, pw) latent cells a token.
        latent_channels: Z.
        mlp_ratio: hidden size of the SwiGLU over D, rounded to a multiple of 32.
        text_width: width of the text states.
        rope_axes: dimensions of a head for (t, h, w), even, summing to width / num_heads; None
            gives 1/4, 3/8, 3/8.
        rope_theta: ratio of the longest to the shortest RoPE wavelength. 100 spans 6 to 600
            tokens, enough for grids of up to some hundred tokens a side.
    """

    depth: int = 6
    width: int = 256
    num_heads: int = 4
    patch: Grid = (1, 2, 2)
    latent_channels: int = 8
    mlp_ratio: float = 2.0
    text_width: int = 128
    rope_axes: Grid | None = None
    rope_theta: float = 100.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists
        if self.rope_axes is not None:
            object.__setattr__(self, "rope_axes", tuple(self.rope_axes))
        if self.width % (8 * self.num_heads):
            raise ValueError(
                f"Width {self.width} with {self.num_heads} heads is not allowed; width / num_heads "
                "must be a whole multiple of 8, e.g. 256 with 4."
            )
        if any(a < 0 or a % 2 for a in self.axes) or sum(self.axes) != self.head_dim:
            raise ValueError(
                f"rope_axes {self.axes} are not allowed; give three even sizes that sum to the "
                f"head's {self.head_dim}."
            )

    @classmethod
    def from_depth(cls, depth: int, **overrides: Any) -> DiTConfig:
        """The ladder: width = 64 * round(2 / 3 depth), heads of 64 (32 below width 192)."""
        width = overrides.pop("width", 64 * max(1, round(2 * depth / 3)))
        heads = overrides.pop("num_heads", width // (64 if width >= 192 else 32))
        return cls(depth=depth, width=width, num_heads=heads, **overrides)

    @property
    def head_dim(self) -> int:
        """d = D / H."""
        return self.width // self.num_heads

    @property
    def axes(self) -> Grid:
        """Dimensions of a head for (t, h, w)."""
        if self.rope_axes is not None:
            return self.rope_axes
        space = 2 * round(3 * self.head_dim / 16)
        return self.head_dim - 2 * space, space, space

    @property
    def hidden(self) -> int:
        """Hidden size of the SwiGLU."""
        return 32 * round(self.mlp_ratio * self.width / 32)

    @property
    def middle(self) -> range:
        """The third of the blocks that follows the first half."""
        return range(self.depth // 2, self.depth // 2 + max(1, self.depth // 3))

    @property
    def patch_dim(self) -> int:
        """P = Z * pt * ph * pw."""
        return self.latent_channels * math.prod(self.patch)


def level_features(levels: Tensor, features: int = _LEVEL_FEATURES) -> Tensor:
    """Sines and cosines of noise levels (DiT's timestep embedding with 1000 t).

    Args:
        levels: (...,) noise levels in [0, 1].

    Returns:
        (..., features) float32.
    """
    half = features // 2
    steps = torch.arange(half, device=levels.device, dtype=torch.float32) / half
    angle = 1000 * levels.float()[..., None] * torch.exp(-math.log(10_000) * steps)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


@lru_cache(maxsize=256)
def edge_features(grid: Grid, device: torch.device, scaling: RopeScaling | None = None) -> Tensor:
    """(Lv, 10 * octaves) sines and cosines of `edge_distances` at wavelengths 4, 8, 16, ... tokens.

    RoPE is relative: without these the network could not know where the walls are. They are scaled
    as RoPE is, since two notions of one distance would contradict each other.
    """
    with torch.inference_mode(False):  # the cache outlives an inference-mode caller
        rates = math.pi / 2 * 0.5 ** torch.arange(_EDGE_OCTAVES)
        if scaling is not None:
            slower = [scaling.factors(grid, axis, _EDGE_OCTAVES) for axis in _EDGE_AXES]
            rates = rates * torch.stack(slower)  # (5, octaves)
        angle = (edge_distances(grid)[:, :, None] * rates).flatten(1)  # (Lv, 5 * octaves)
        return torch.cat([angle.cos(), angle.sin()], dim=1).to(device)


@lru_cache(maxsize=16)
def rope_table(
    layout: Layout,
    axes: Grid,
    theta: float,
    device: torch.device,
    scaling: RopeScaling | None = None,
) -> Tensor:
    """(L, head_dim / 2, 2) cosines and sines of a packed sequence's rotations."""
    with torch.inference_mode(False):  # the cache outlives an inference-mode caller
        if scaling is not None:
            return scaled_table(layout, axes, theta, scaling).to(device)
        return rotary_table(positions(layout, device), axes, theta)


class Block(nn.Module):
    """Attention within the clip, then a SwiGLU; both modulated and gated by the row."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        D = config.width
        self.bias = nn.Parameter(torch.zeros(6, D))
        with torch.no_grad():
            self.bias[2] = self.bias[5] = 1.0  # gates: open, as the projections they gate are zero
        self.qkv = QueryKeyValue(D, config.num_heads)
        self.out = linear(D, D, zero=True)
        self.mlp = SwiGLU(D, config.hidden)

    def forward(
        self, x: Tensor, rows: Tensor, rope: Tensor, layout: Layout, blind: bool = False
    ) -> Tensor:
        """x: (L, D); rows: (R, 6, D) shared modulation; rope: (L, head_dim / 2, 2); blind: see only oneself."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (rows + self.bias).unbind(1)
        q, k, v = self.qkv(modulate(x, shift1, scale1, layout), rope)  # (L, H, head_dim) each
        mixed = v.flatten(1) if blind else attend(q, k, v, layout)  # (L, D)
        x = gated_add(x, self.out(mixed), gate1, layout)
        return gated_add(x, self.mlp(modulate(x, shift2, scale2, layout)), gate2, layout)


class DiT(nn.Module):
    """The denoiser: predicts clean patches from noisy ones.

    Args:
        config: its size.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        D = config.width
        self.config = config
        self.patch_in = linear(config.patch_dim, D)
        self.edges_in = linear(10 * _EDGE_OCTAVES, D, bias=False)
        self.text_in = linear(config.text_width, D)  # its bias is the type embedding of text
        self.level_in = nn.Sequential(linear(_LEVEL_FEATURES, D), nn.SiLU(), linear(D, D))
        self.pooled_in = linear(config.text_width, D)
        self.modulation = linear(D, 6 * D, zero=True)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_modulation = linear(D, 2 * D, zero=True)
        self.final = linear(D, config.patch_dim, zero=True)

    def forward(
        self,
        tokens: Tensor,
        levels: Tensor,
        text: Tensor,
        layout: Layout,
        scaling: RopeScaling | None = None,
        blind: bool = False,
    ) -> Tensor:
        """Predict clean patches.

        Args:
            tokens: (Lv, P) noisy patches of all clips.
            levels: (F,) noise level in [0, 1] of each latent frame, in packed order.
            text: (Lt, text_width) states of the text encoder.
            layout: how the clips follow each other.
            scaling: for grids larger than any trained on; None extrapolates.
            blind: in the middle blocks (`DiTConfig.middle`) no token sees another. What is then predicted has
                the looks of a clip but not its shapes: guidance away from it mends shapes, see `guidance.steady`.

        Returns:
            (Lv, P) clean patches x_hat.

        Raises:
            ValueError: a length does not fit the layout.
        """
        self._check(tokens, levels, text, layout)
        silu_rows = F.silu(self._rows(levels, text, layout))  # (R, D)
        rows = self.modulation(silu_rows).unflatten(1, (6, -1))  # (R, 6, D)
        axes, theta = self.config.axes, self.config.rope_theta
        rope = rope_table(layout, axes, theta, tokens.device, scaling)
        x = layout.join(self.text_in(text), self._embed(tokens, layout, scaling))  # (L, D)
        for i, block in enumerate(self.blocks):
            x = block(x, rows, rope, layout, blind and i in self.config.middle)
        shift, scale = self.final_modulation(silu_rows).chunk(2, dim=1)  # (R, D) each
        return self.final(layout.video(modulate(x, shift, scale, layout)))

    def _rows(self, levels: Tensor, text: Tensor, layout: Layout) -> Tensor:
        """(R, D) conditioning: noise level of the frame (text: 0) + pooled text of the clip."""
        frames = layout.split_frames(levels)
        rows = self.level_in(level_features(layout.merge([F.pad(t, (1, 0)) for t in frames])))
        pooled = [self.pooled_in(t.mean(dim=1, keepdim=True)) for t in layout.split_text(text)]
        pairs = zip(layout.split_rows(rows), pooled, strict=True)
        return layout.merge([row + clip for row, clip in pairs])

    def _embed(self, tokens: Tensor, layout: Layout, scaling: RopeScaling | None) -> Tensor:
        """(Lv, P) patches -> (Lv, D), with the distances to the walls and to the first frame."""
        views = zip(layout.split_video(self.patch_in(tokens)), layout.groups, strict=True)
        return layout.merge(
            [
                view + self.edges_in(edge_features(g.grid, tokens.device, scaling))
                for view, g in views
            ]
        )

    def _check(self, tokens: Tensor, levels: Tensor, text: Tensor, layout: Layout) -> None:
        given = (tuple(tokens.shape), tuple(levels.shape), tuple(text.shape))
        allowed = (
            (layout.num_video, self.config.patch_dim),
            (layout.num_frames,),
            (layout.num_text, self.config.text_width),
        )
        if given != allowed:
            raise ValueError(
                f"Tokens, levels and text have shapes {given}, the layout needs {allowed}; "
                "build all three from the same `pack`."
            )


def flops(config: DiTConfig, layout: Layout) -> int:
    """Floating-point operations of one forward pass, matrix products only (a multiply-add is 2)."""
    D, text = config.width, config.text_width
    token = config.depth * (4 * D * D + 3 * D * config.hidden)
    row = (_LEVEL_FEATURES + 9 * D) * D
    attention = config.depth * sum(2 * D * g.count * g.clip_len**2 for g in layout.groups)
    video = layout.num_video * 2 * config.patch_dim * D
    edges = sum(g.video_len for g in layout.groups) * 10 * _EDGE_OCTAVES * D
    words = (layout.num_text + layout.num_clips) * text * D
    products = layout.num_tokens * token + layout.num_rows * row
    return 2 * (products + attention + video + edges + words)


def num_parameters(config: DiTConfig) -> int:
    """Parameters of a DiT of this size, counted without allocating them."""
    with torch.device("meta"):
        return sum(p.numel() for p in DiT(config).parameters())
