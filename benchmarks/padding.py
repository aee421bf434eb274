"""What `packing.py` trains: the diffusion objective on clips that are padded to one size, exactly as if packed.

Clips lie in the corner of the largest grid of their batch, each with its own coordinates, distances to its own
walls, noise levels and number of tokens; what is left over is masked in attention and does not count in the loss. So a
padded clip has the loss of the packed one, and what differs is the time. (`contestants.py` measures time alone, and
gives every clip the coordinates of the largest.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from unittest.mock import patch as replaced

import torch
from torch import Tensor

from benchmarks.contestants import masked_attend, pad_grids
from minisora import dit
from minisora.flow import FlowConfig, sample_frame_levels, sample_timesteps
from minisora.network import TextToLatent
from minisora.patches import Grid, Group, Layout, token_grid
from minisora.rope import RopeScaling
from minisora.train import Objective

Draw = Callable[[torch.Generator], tuple[list[Tensor], list[str]]]
"""generator -> latents (Z, t, h, w) and captions of one batch."""


def padded_edges(
    grids: Sequence[Grid], inside: Tensor, own: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """A stand-in for `dit.edge_features` that gives each padded clip the features of its own grid: (B, Lv, F)."""

    def features(grid: Grid, device: torch.device, scaling: RopeScaling | None = None) -> Tensor:
        parts = [own(g, device, scaling) for g in grids]
        out = parts[0].new_zeros(*inside.shape, parts[0].shape[1])
        out[inside] = torch.cat(parts)
        return out

    return features


def padded_levels(
    grids: Sequence[Grid], frames: int, flow: FlowConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Levels (B, frames) of clips, drawn for their own grids, and which frames count; padding is at 0 and does not."""
    times = sample_timesteps(len(grids), generator, flow)
    levels = torch.zeros(len(grids), frames)
    counts = torch.zeros(len(grids), frames, dtype=torch.bool)
    for t, h, w in dict.fromkeys(grids):
        mine = torch.tensor([grid == (t, h, w) for grid in grids])
        n = int(mine.sum())
        level, given = sample_frame_levels(n, t, t * h * w, flow, generator, times[mine])
        levels[mine, :t], counts[mine, :t] = level, ~given
    return levels, counts


def predict_padded(
    net: TextToLatent,
    tokens: Tensor,
    levels: Tensor,
    ids: Tensor,
    inside: Tensor,
    grids: Sequence[Grid],
    grid: Grid,
) -> Tensor:
    """The network on padded clips: noisy tokens (B, Lv, P), levels (B, t), text ids (B, l) -> x_hat (B, Lv, P)."""
    layout = Layout((Group(len(grids), grid, ids.shape[1]),))
    seen = torch.cat([torch.ones_like(ids, dtype=torch.bool), inside], dim=1)  # (B, S)
    bias = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)[:, None, None]
    with (
        replaced.object(dit, "attend", partial(masked_attend, bias=bias)),
        replaced.object(dit, "edge_features", padded_edges(grids, inside, dit.edge_features)),
    ):
        return net(tokens.flatten(0, 1), levels.flatten(), ids.flatten(), layout).view_as(tokens)


def padded_objective(net: TextToLatent, draw: Draw, flow: FlowConfig) -> Objective:
    """The diffusion objective on batches padded to their largest frames, rows and columns.

    Its parts say how many of its tokens are padding, text registers beyond a clip's own among them.
    """
    patch = net.dit.config.patch

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        latents, texts = draw(generator)
        grids = [token_grid(z.shape[1:], patch) for z in latents]
        clean, inside, grid = pad_grids(latents, patch)
        ids = net.tokenizer.encode_batch(texts)
        levels, counts = padded_levels(grids, grid[0], flow, generator)
        level, wanted = (x.repeat_interleave(grid[1] * grid[2], dim=1) for x in (levels, counts))
        wanted = wanted & inside  # (B, Lv)
        noisy = torch.lerp(clean, torch.randn(clean.shape, generator=generator), level[..., None])
        guess = predict_padded(net, noisy, levels, ids, inside, grids, grid)
        error = ((guess - clean) / level[..., None].clamp(min=flow.t_min)).square().mean(dim=-1)
        loss = ((error * wanted).sum(dim=1) / wanted.sum(dim=1)).mean()
        own = sum(len(net.tokenizer.encode(text)) for text in texts) + int(inside.sum())
        total = ids.numel() + inside.numel()
        return loss, {
            "clips": float(len(texts)),
            "tokens": float(own),
            "padding": float(total - own),
        }

    return objective
