"""The captioner's eyes: a small residual network over a latent, cut into patches only at its end.

Where it stands: `patches`, `layers`, `vae` -> [eyes] -> `caption`. Patches are cut at fixed places, so a digit that
moves is never cut twice alike, and a network that reads patches must learn each digit at each offset. A convolution
sees it the same wherever it stands (convolutions before a transformer: Xiao et al. 2021, arXiv 2106.14881). Its blocks
are those of He et al. (2016, arXiv 1603.05027): normalize, bend, convolve, twice, and add. Unlike the VAE's they look
at the frames after, too, and normalize over the whole batch, as nothing here has to stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.layers import linear
from minisora.patches import Grid, patchify
from minisora.vae import VideoVAE, conv_frames

LARGEST = 128  # px; the world's largest side, and so the largest the captioner learned


@dataclass(frozen=True)
class EyesConfig:
    """Size of `Eyes`.

    Args:
        latent_channels: Z.
        width: channels C.
        depth: residual blocks.
        patch: (pt, ph, pw) sides of a patch.
    """

    latent_channels: int = 8
    width: int = 128
    depth: int = 4
    patch: Grid = (1, 2, 2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization, then ReLU: each channel over all places of all clips, whatever their sizes."""

    def over(self, xs: list[Tensor]) -> list[Tensor]:
        """xs: one (B, t, h, w, C) for each size -> the same shapes."""
        flat = torch.cat([x.flatten(0, -2) for x in xs])  # (places, C)
        parts = F.relu(self(flat)).split([x[..., 0].numel() for x in xs])
        return [part.view(x.shape) for part, x in zip(parts, xs, strict=True)]


class ResidualBlock(nn.Module):
    """A 3x3 convolution in each frame, then a mixture of each place with itself one frame before and after."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_space, self.norm_time = BatchNorm(channels), BatchNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.mix = linear(3 * channels, channels)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """xs: one (B, t, h, w, C) for each size -> the same shapes."""
        space = [conv_frames(self.conv, x) for x in self.norm_space.over(xs)]
        time = [self.mix(beside(x)) for x in self.norm_time.over(space)]
        return [x + change for x, change in zip(xs, time, strict=True)]


def beside(x: Tensor) -> Tensor:
    """(B, t, h, w, C) -> (B, t, h, w, 3 C): each place with the frames before and after; zero beyond the ends."""
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 1))
    return torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=-1)


class Eyes(nn.Module):
    """Latents (B, Z, t, h, w) to features (B, t, h, w, C); these to words, or to tokens (B, Lv, D), one a patch.

    Args:
        config: its size.
        width: D of the tokens.
        words: V, how many it knows.
    """

    def __init__(self, config: EyesConfig, width: int, words: int) -> None:
        super().__init__()
        self.config = config
        pt, ph, pw = config.patch
        self.stem = nn.Conv2d(config.latent_channels, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.depth))
        self.norm = BatchNorm(config.width)
        self.words = linear(config.width, words)
        self.voice = linear(config.width, 1, zero=True)
        self.patches = linear(config.width * pt * ph * pw, width)

    def forward(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """One (B, Z, t, h, w) for each size -> as many (B, t, h, w, C)."""
        xs = [conv_frames(self.stem, z.movedim(1, -1)) for z in latents]
        for block in self.blocks:
            xs = block(xs)
        return self.norm.over(xs)

    def say(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, t, h, w, V): log p(word | place), of the words for what is there."""
        return F.log_softmax(self.words(features.float()).float(), dim=-1)

    def voices(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, P): log p(place), how much each of the P = t h w places has to say."""
        return F.log_softmax(self.voice(features.float()).float().flatten(1), dim=1)

    def tokens(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, Lv, D), one for each patch, ordered by t, then h, then w."""
        return self.patches(patchify(features.movedim(-1, 1), self.config.patch))


def fit_video(video: Tensor, vae: VideoVAE, patch: Grid) -> Tensor:
    """A video brought to what the VAE and the captioner take: 1 + 4k frames, sides of whole patches up to 128 px.

    The last frames beyond 1 + 4k are dropped; other sides are resampled to the nearest that fit, the shape kept as
    nearly as that allows; grey becomes RGB.

    Args:
        video: (1 or 3, T, H, W) in [0, 1].
    """
    config = vae.config
    frames, height, width = video.shape[1:]
    video = video.float()[:, : frames - (frames - 1) % config.temporal].expand(3, -1, -1, -1)
    scale = min(1.0, LARGEST / max(height, width))
    units = (config.spatial * patch[1], config.spatial * patch[2])
    sides = zip((height, width), units, strict=True)
    size = [max(unit, unit * round(side * scale / unit)) for side, unit in sides]
    if size != [height, width]:
        planes = video.transpose(0, 1)  # (T, 3, H, W)
        planes = F.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
        video = planes.transpose(0, 1).clamp(0, 1)
    return video.to(vae.latent_mean.device)
