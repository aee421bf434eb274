"""Spatial tiling: run the VAE on frames too large for memory, tile by tile, without seams.

Stands on `vae`. Neighbouring tiles overlap; where they do, their results are blended with linear
ramps that sum to one. Tiles are placed and blended in latent units in both directions: blending
decoded pixels over a span that is no multiple of the latent grid misplaces the ramps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minisora.vae import VideoVAE


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Start of each tile along one side of `length` (latent units); the last tile ends at the edge."""
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, tile - overlap))
    return [*starts, length - tile]


def ramp(length: int, overlap: int, at_start: bool, at_end: bool) -> Tensor:
    """(length,) blending weights: rise over `overlap` positions unless the tile touches the border."""
    weights = torch.ones(length)
    rise = (torch.arange(overlap) + 0.5) / overlap
    if not at_start:
        weights[:overlap] = rise
    if not at_end:
        weights[length - overlap :] = torch.minimum(weights[length - overlap :], rise.flip(0))
    return weights


def blend_tiles(
    run: Callable[[int, int, int, int], Tensor],
    grid: tuple[int, int],
    tile: int,
    overlap: int,
    scale: int,
) -> Tensor:
    """Blend `run(top, left, height, width)` (latent units) -> (B, C, T, scale*height, scale*width) into one."""
    height, width = grid
    total = weight = None
    for top in tile_starts(height, tile, overlap):
        for left in tile_starts(width, tile, overlap):
            h, w = min(tile, height), min(tile, width)
            piece = run(top, left, h, w)
            rows = ramp(h * scale, overlap * scale, top == 0, top + h == height)
            columns = ramp(w * scale, overlap * scale, left == 0, left + w == width)
            mask = (rows[:, None] * columns[None, :]).to(piece)
            if total is None or weight is None:
                total = piece.new_zeros(*piece.shape[:3], height * scale, width * scale)
                weight = piece.new_zeros(height * scale, width * scale)
            window = (
                slice(top * scale, (top + h) * scale),
                slice(left * scale, (left + w) * scale),
            )
            total[..., window[0], window[1]] += piece * mask
            weight[window] += mask
    assert total is not None and weight is not None
    return total / weight


def check_tile(tile: int, overlap: int) -> None:
    """Raise ValueError unless 0 < overlap <= tile / 2 (both in latent units)."""
    if not 0 < overlap <= tile // 2:
        raise ValueError(
            f"tile={tile}, overlap={overlap} (latent units): the overlap must be at least 1 and at most half a tile."
        )


def encode_tiled(vae: VideoVAE, video: Tensor, tile: int = 16, overlap: int = 4) -> Tensor:
    """`vae.encode` of video (B, 3, T, H, W) in tiles of `tile` x `tile` latent positions."""
    check_tile(tile, overlap)
    vae.config.check_video(tuple(video.shape))
    s = vae.config.spatial
    grid = (video.shape[-2] // s, video.shape[-1] // s)

    def run(top: int, left: int, h: int, w: int) -> Tensor:
        return vae.encode(video[..., top * s : (top + h) * s, left * s : (left + w) * s])

    return blend_tiles(run, grid, tile, overlap, scale=1)


def decode_tiled(vae: VideoVAE, latent: Tensor, tile: int = 16, overlap: int = 4) -> Tensor:
    """`vae.decode` of latents (B, Z, t, h, w) in tiles of `tile` x `tile` latent positions."""
    check_tile(tile, overlap)
    grid = (latent.shape[-2], latent.shape[-1])

    def run(top: int, left: int, h: int, w: int) -> Tensor:
        return vae.decode(latent[..., top : top + h, left : left + w])

    return blend_tiles(run, grid, tile, overlap, scale=vae.config.spatial)
