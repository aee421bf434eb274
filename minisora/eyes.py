"""The captioner's eyes: a small residual network over a clip, cut into patches only at its end.

Where it stands: `patches`, `layers`, `vae` -> [eyes] -> `caption`. Patches are cut at fixed places, so a digit that
moves is never cut twice alike, and a network that reads patches must learn each digit at each offset. A convolution
sees it the same wherever it stands (convolutions before a transformer: Xiao et al. 2021, arXiv 2106.14881). Its blocks
are those of He et al. (2016, arXiv 1603.05027): normalize, bend, convolve, twice, and add. Unlike the VAE's they look
at the frames after, too, and normalize over the whole batch, as nothing here has to stream.

They look at latents or at pixels. A latent keeps what the decoder needs to draw a clip again, and that is not all that
a reader needs: a digit of 20 px is two or three of its places wide. Pixels are four frames deep, as latents are in time
(tubelets: Arnab et al. 2021, arXiv 2103.15691), and a few stages that each halve their sides come first.

Legend: B clips, T H W video, t h w places of what is looked at, C channels, Z of latents, V words, D width of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.layers import linear
from minisora.patches import Grid, patchify
from minisora.vae import conv_frames

LARGEST = 128  # px; the world's largest side, and so the largest the captioner learned


@dataclass(frozen=True)
class EyesConfig:
    """Size of `Eyes`.

    Args:
        channels: of what is looked at: Z of latents, or 3 for each of a tubelet's frames.
        width: channels C of the last stage.
        depth: its residual blocks.
        patch: (pt, ph, pw) sides of a patch, in places of the last stage.
        stages: before the last, (channels, residual blocks) of each; sides are halved before each and before the
            last. None for latents, which are small already.
        window: odd side, in places, of the square over which each place averages what is seen in its frame.
    """

    channels: int = 8
    width: int = 128
    depth: int = 4
    patch: Grid = (1, 2, 2)
    stages: tuple[tuple[int, int], ...] = ()
    window: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists
        object.__setattr__(self, "stages", tuple((int(c), int(n)) for c, n in self.stages))

    @property
    def sees_pixels(self) -> bool:
        """Whether it looks at tubelets of pixels rather than at latents."""
        return bool(self.stages)

    @property
    def footprint(self) -> Grid:
        """(t, h, w) of a patch, in places of what is looked at."""
        (pt, ph, pw), shrink = self.patch, 2 ** (len(self.stages) + 1) if self.stages else 1
        return pt, ph * shrink, pw * shrink


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization, then ReLU: each channel over all places of all clips, whatever their sizes."""

    def over(self, xs: list[Tensor]) -> list[Tensor]:
        """xs: one (B, t, h, w, C) for each size -> the same shapes."""
        flat = torch.cat([x.flatten(0, -2) for x in xs])  # (places, C)
        parts = F.relu(self(flat)).split([x[..., 0].numel() for x in xs])
        return [part.view(x.shape) for part, x in zip(parts, xs, strict=True)]


class ResidualBlock(nn.Module):
    """A 3x3 convolution in each frame, then a mixture of channels, with `reach` of the frames before and after, too.

    Args:
        channels: C.
        reach: 1, or 0 to keep to each frame.
    """

    def __init__(self, channels: int, reach: int = 1) -> None:
        super().__init__()
        self.reach = reach
        self.norm_space, self.norm_time = BatchNorm(channels), BatchNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.mix = linear((1 + 2 * reach) * channels, channels)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """xs: one (B, t, h, w, C) for each size -> the same shapes."""
        space = [conv_frames(self.conv, x) for x in self.norm_space.over(xs)]
        time = [self.mix(beside(x) if self.reach else x) for x in self.norm_time.over(space)]
        return [x + change for x, change in zip(xs, time, strict=True)]


def beside(x: Tensor) -> Tensor:
    """(B, t, h, w, C) -> (B, t, h, w, 3 C): each place with the frames before and after; zero beyond the ends."""
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 1))
    return torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=-1)


class Halving(nn.Module):
    """A strided convolution in each frame, residual blocks that keep to it, and a normalization: half the sides."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, reach=0) for _ in range(depth))
        self.norm = BatchNorm(width)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """xs: one (B, t, h, w, channels) for each size -> (B, t, h / 2, w / 2, width)."""
        xs = [conv_frames(self.conv, x) for x in xs]
        for block in self.blocks:
            xs = block(xs)
        return self.norm.over(xs)


class Eyes(nn.Module):
    """Latents or tubelets to features (B, t, h, w, C); these to words, or to tokens (B, Lv, D), one a patch.

    Args:
        config: its size.
        width: D of the tokens.
        words: V, how many it knows.
    """

    def __init__(self, config: EyesConfig, width: int, words: int) -> None:
        super().__init__()
        self.config = config
        pt, ph, pw = config.patch
        widths = [config.channels, *(width for width, _ in config.stages)]
        stages = zip(widths[:-1], config.stages, strict=True)
        self.stages = nn.ModuleList(Halving(before, *stage) for before, stage in stages)
        stride = 2 if config.stages else 1
        self.stem = nn.Conv2d(widths[-1], config.width, 3, stride=stride, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.depth))
        self.norm = BatchNorm(config.width)
        self.average = nn.AvgPool2d(config.window, 1, config.window // 2, count_include_pad=False)
        self.words = linear(config.width, words)
        self.voice = linear(config.width, 1, zero=True)
        self.patches = linear(config.width * pt * ph * pw, width)

    def forward(self, seen: Sequence[Tensor]) -> list[Tensor]:
        """One (B, channels, t, h, w) for each size -> as many (B, t, h, w, C), sides as many times halved."""
        xs = [x.movedim(1, -1) for x in seen]
        for stage in self.stages:
            xs = stage(xs)
        xs = [conv_frames(self.stem, x) for x in xs]
        for block in self.blocks:
            xs = block(xs)
        return [conv_frames(self.average, x) for x in self.norm.over(xs)]

    def say(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, t, h, w, V): log p(word | place), of the words for what is there."""
        return F.log_softmax(self.words(features.float()).float(), dim=-1)

    def voices(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, P): log p(place), how much each of the P = t h w places has to say."""
        return F.log_softmax(self.voice(features.float()).float().flatten(1), dim=1)

    def tokens(self, features: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, Lv, D), one for each patch, ordered by t, then h, then w."""
        return self.patches(patchify(features.movedim(-1, 1), self.config.patch))


def tubelets(videos: Tensor, depth: int) -> Tensor:
    """Videos (B, 3, 1 + depth k, H, W) in [0, 1] -> (B, 3 depth, 1 + k, H, W) in [-1, 1].

    The first tubelet is the first frame `depth` times, each other one the next `depth` frames.
    """
    still = videos[:, :, :1].expand(-1, -1, depth - 1, -1, -1)
    frames = torch.cat([still, videos], dim=2).unflatten(
        2, (-1, depth)
    )  # (B, 3, 1 + k, depth, H, W)
    return 2 * frames.transpose(2, 3).flatten(1, 2) - 1


def fit_video(video: Tensor, temporal: int, sides: tuple[int, int]) -> Tensor:
    """A video brought to what a captioner takes: 1 + `temporal` k frames, whole multiples of sides up to 128 px.

    The last frames beyond that are dropped; other sides are resampled to the nearest that fit, the shape kept as
    nearly as that allows; grey becomes RGB.

    Args:
        video: (1 or 3, T, H, W) in [0, 1].
        temporal: frames that are looked at together.
        sides: (height, width) in px that sides are multiples of.
    """
    frames, height, width = video.shape[1:]
    video = video.float()[:, : frames - (frames - 1) % temporal].expand(3, -1, -1, -1)
    scale = min(1.0, LARGEST / max(height, width))
    pairs = zip((height, width), sides, strict=True)
    size = [max(unit, unit * round(side * scale / unit)) for side, unit in pairs]
    if size != [height, width]:
        planes = video.transpose(0, 1)  # (T, 3, H, W)
        planes = F.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
        video = planes.transpose(0, 1).clamp(0, 1)
    return video
