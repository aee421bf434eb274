"""Causal video VAE: pixels <-> latents.

Stands between `worlds`/`video` (pixels) and `patches` (tokens): everything after it sees only latents.
A clip of 1 + 4k frames becomes 1 + k latent frames at 1/8 of the height and width. The first frame is
encoded alone, so an image is a 1-frame video, and no layer looks into the future, so a clip of any
length can be streamed through in constant memory.

How time is kept causal: frame 0 is repeated until it fills a group (`temporal` frames), every later
group of `temporal` frames becomes one latent frame, and frames of different groups meet only in
`CausalMix`, which looks at the present and two past positions.

Legend: B clips, C channels, T frames, H W pixels; Z latent channels, t h w latent grid. Video is float in
[0, 1]. Inside, activations are (B, T, H, W, C): channels last, the layout in which CPUs convolve fastest.

Sources: VAE, Kingma & Welling 2013 (1312.6114); latent diffusion, Rombach et al. 2021 (2112.10752);
1 + 4k frames and streaming with carried features, Wan 2025 (2503.20314).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.config import VAEConfig

Cache = dict[nn.Module, Tensor]  # what each CausalMix remembers of the frames before this chunk


@dataclass(frozen=True)
class Posterior:
    """q(z | video), a diagonal Gaussian. `mean` and `logvar` are (B, Z, t, h, w)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw z = mean + sigma * eps, (B, Z, t, h, w)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) in nats, averaged over every latent number; a scalar (1312.6114, app. B)."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar).mean()


class CausalMix(nn.Module):
    """Mix each position with the two before it in time: (B, T, H, W, C) -> (B, T, H, W, C).

    Equal to a causal convolution with a kernel of 3 x 1 x 1. Before the first frame stands a copy of
    it; in a stream, `cache` supplies the true past instead.
    """

    past = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear((self.past + 1) * channels, channels)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (B, T, H, W, C); `cache` holds this layer's past and is filled in place."""
        before = cache.get(self) if cache is not None else None
        if before is None:
            before = x[:, :1].expand(-1, self.past, -1, -1, -1)
        x = torch.cat([before, x], dim=1)  # B T+2 H W C
        if cache is not None:
            cache[self] = (
                x[:, -self.past :].detach().clone()
            )  # clone: a view would keep the chunk alive
        frames = x.shape[1] - self.past
        shifted = [x[:, i : i + frames] for i in range(self.past + 1)]
        return self.linear(torch.cat(shifted, dim=-1))


class RMSNorm(nn.RMSNorm):
    """RMSNorm in the precision of what comes in: under autocast mixed precisions have no fused kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=torch.finfo(torch.float32).eps)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., channels) -> the same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight.type_as(x), self.eps)


class Block(nn.Module):
    """Residual block: 3x3 convolution inside each frame, then causal mixing across frames.

    RMSNorm acts on the channels of one position alone. A GroupNorm would average over frames and
    thereby look into the future, which breaks streaming.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_space = RMSNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.project = nn.Linear(channels, channels)
        self.norm_time = RMSNorm(channels)
        self.mix = CausalMix(channels)
        nn.init.normal_(
            self.project.weight, std=0.1 * channels**-0.5
        )  # start close to the identity
        nn.init.normal_(self.mix.linear.weight, std=0.1 * channels**-0.5)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (B, T, H, W, C) -> the same shape."""
        x = x + self.project(F.silu(conv_frames(self.conv, self.norm_space(x))))
        return x + self.mix(F.silu(self.norm_time(x)), cache)


class Blocks(nn.ModuleList):
    """Blocks in a row, each with its own part of the cache."""

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (B, T, H, W, C) -> the same shape."""
        for block in self:
            x = block(x, cache)
        return x


def conv_frames(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a 2-D convolution, or the like, to every frame of x (B, T, H, W, C)."""
    batch, frames = x.shape[:2]
    y = conv(x.flatten(0, 1).permute(0, 3, 1, 2))  # BT C H W, a channels-last view
    return y.permute(0, 2, 3, 1).unflatten(0, (batch, frames))


def fold(x: Tensor, time: int, space: int) -> Tensor:
    """Move neighbouring positions into channels: (B, T, H, W, C) -> (B, T/time, H/space, W/space, C*time*space^2)."""
    b, t, h, w, c = x.shape
    x = x.reshape(b, t // time, time, h // space, space, w // space, space, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)


def unfold(x: Tensor, time: int, space: int) -> Tensor:
    """Inverse of `fold`: (B, T, H, W, C) -> (B, T*time, H*space, W*space, C/(time*space^2))."""
    b, t, h, w, _ = x.shape
    x = x.reshape(b, t, h, w, time, space, space, -1)  # B T H W | time space space C
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, t * time, h * space, w * space, -1)


class Encoder(nn.Module):
    """(B, T, H, W, 3), T a multiple of `temporal` -> (B, t, h, w, 2Z): mean and log-variance."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.folds = config.folds
        widths, depths = config.encoder_widths, config.encoder_depths
        sizes = [time * space**2 for time, space in self.folds]
        inputs = [3, *widths[:-1]]
        self.reduce = nn.ModuleList(
            nn.Linear(c * n, w) for c, n, w in zip(inputs, sizes, widths, strict=True)
        )
        self.stages = nn.ModuleList(
            Blocks(Block(w) for _ in range(n)) for w, n in zip(widths, depths, strict=True)
        )
        self.norm = RMSNorm(widths[-1])
        self.head = nn.Linear(widths[-1], 2 * config.latent_channels)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (B, T, H, W, 3) in [-1, 1] -> (B, t, h, w, 2Z)."""
        for (time, space), reduce, blocks in zip(self.folds, self.reduce, self.stages, strict=True):
            x = blocks(reduce(fold(x, time, space)), cache)
        return self.head(self.norm(x))


class Decoder(nn.Module):
    """(B, t, h, w, Z) -> (B, t * temporal, H, W, 3): the encoder's stages in reverse."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.folds = config.folds[::-1]
        widths, depths = config.decoder_widths[::-1], config.decoder_depths[::-1]
        sizes = [time * space**2 for time, space in self.folds]
        outputs = [*widths[1:], 3]
        self.stem = nn.Linear(config.latent_channels, widths[0])
        self.stages = nn.ModuleList(
            Blocks(Block(w) for _ in range(n)) for w, n in zip(widths, depths, strict=True)
        )
        self.norms = nn.ModuleList(RMSNorm(w) for w in widths)
        self.expand = nn.ModuleList(
            nn.Linear(w, c * n) for w, n, c in zip(widths, sizes, outputs, strict=True)
        )

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """z: (B, t, h, w, Z) -> (B, t * temporal, H, W, 3), about in [-1, 1]."""
        x = self.stem(z)
        stages = zip(self.folds, self.stages, self.norms, self.expand, strict=True)
        for (time, space), blocks, norm, expand in stages:
            x = unfold(expand(norm(blocks(x, cache))), time, space)
        return x


class VideoVAE(nn.Module):
    """Video (B, 3, T, H, W) in [0, 1] <-> latents (B, Z, t, h, w) of about zero mean and unit variance.

    `encode` and `decode` speak normalised latents; the statistics are buffers and so travel with the
    weights. They are the identity until `set_latent_statistics` fixes them at the end of training.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Fix the per-channel mean and standard deviation, each (Z,), that make latents unit-sized."""
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    # ------------------------------------------------------------------ pixels -> latents
    def posterior(self, video: Tensor, cache: Cache | None = None) -> Posterior:
        """q(z | video) before normalisation.

        Args:
            video: (B, 3, T, H, W) in [0, 1]; T = 1 + 4k, H and W multiples of 8. A later chunk of a
                stream (a filled `cache`) holds 4k frames instead.
            cache: the state of a stream; filled in place. None encodes a whole clip.

        Raises:
            ValueError: if the size does not fit the grid.
        """
        first = not cache  # an empty cache: the stream begins here
        self.config.check_video(tuple(video.shape), first=first)
        x = (2.0 * video - 1.0).permute(0, 2, 3, 4, 1)  # B T H W C
        if first and (missing := self.config.temporal - 1):
            x = torch.cat([x[:, :1].expand(-1, missing, -1, -1, -1), x], dim=1)
        mean, logvar = self.encoder(x, cache).permute(0, 4, 1, 2, 3).chunk(2, dim=1)  # B Z t h w
        return Posterior(mean, logvar.clamp(-12.0, 4.0))

    def encode(self, video: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised latents (B, Z, t, h, w): the posterior mean, or a draw if a generator is given."""
        q = self.posterior(video)
        return self.normalize(q.mean if generator is None else q.sample(generator))

    def normalize(self, z: Tensor) -> Tensor:
        """Raw latents (B, Z, t, h, w) to zero mean and unit variance per channel."""
        return (z - per_channel(self.latent_mean)) / per_channel(self.latent_std)

    def denormalize(self, latent: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return latent * per_channel(self.latent_std) + per_channel(self.latent_mean)

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode a long video piece by piece; memory does not grow with its length.

        Args:
            chunks: tensors (B, 3, n, H, W); the first has n = 1 + 4k frames, every later one n = 4k.

        Yields:
            the latents (B, Z, m, h, w) of each chunk; joined in time they equal `encode` of the whole.
        """
        cache: Cache = {}
        for chunk in chunks:
            yield self.normalize(self.posterior(chunk, cache).mean)

    # ------------------------------------------------------------------ latents -> pixels
    def decode(self, latent: Tensor, cache: Cache | None = None) -> Tensor:
        """Video (B, 3, T, H, W), about in [0, 1] (not clamped), from latents (B, Z, t, h, w)."""
        first = not cache
        x = self.decoder(self.denormalize(latent).permute(0, 2, 3, 4, 1), cache)  # B T H W C
        if first:
            x = x[:, self.config.temporal - 1 :]  # the repeats of frame 0
        return x.permute(0, 4, 1, 2, 3) * 0.5 + 0.5

    def decode_stream(self, latents: Iterable[Tensor]) -> Iterator[Tensor]:
        """Decode latents (B, Z, n, h, w) piece by piece: 1 + 4(n-1) frames first, then 4n a chunk."""
        cache: Cache = {}
        for latent in latents:
            yield self.decode(latent, cache)

    def reconstruct(self, video: Tensor) -> Tensor:
        """`decode(encode(video))`, clamped to [0, 1]."""
        return self.decode(self.encode(video)).clamp(0.0, 1.0)


def per_channel(values: Tensor) -> Tensor:
    """(Z,) -> (Z, 1, 1, 1), to broadcast against latents (B, Z, t, h, w)."""
    return values[:, None, None, None]
