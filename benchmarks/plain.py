"""The plain baseline of the recipe ladder: a DiT trained with DDPM, as in 2022, and switches for its parts.

With no switch on, `PlainDiT` is DiT (2212.09748): LayerNorm, GELU, sin-cos positions, a projection of the conditioning
in every block, and the text pooled into it as a class would be; it predicts the noise of DDPM's linear schedule
(2006.11239). Each switch of `Parts` replaces one thing by what minisora does. It works on batches of one size.

Legend: B clips, t latent frames, N video tokens, l text tokens, P patch dimension, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.dit import DiTConfig, level_features
from minisora.flow import FlowConfig, add_noise, flow_loss, sample_frame_levels
from minisora.latents import LatentDataset
from minisora.layers import SwiGLU, linear
from minisora.patches import Grid, coordinates, patchify, token_grid, unpatchify
from minisora.rope import rotary_table, rotate
from minisora.sample import Denoiser
from minisora.text import TextConfig, TextEncoder, Tokenizer
from minisora.train import Objective

DDPM_STEPS = 1000


@dataclass(frozen=True)
class Parts:
    """What is replaced by minisora's way.

    Attributes:
        flow: rectified flow, x-prediction and v-loss in place of DDPM's noise prediction.
        tokens: text tokens in the sequence, beside the pooled text.
        rope: 3-D RoPE in place of added sin-cos positions.
        modern: RMSNorm, QK-norm and SwiGLU in place of LayerNorm and GELU.
    """

    flow: bool = False
    tokens: bool = False
    rope: bool = False
    modern: bool = False


def alpha_bar(t: Tensor) -> Tensor:
    """Share of the data's variance left at DDPM's time t in [0, 1]; betas rise from 1e-4 to 0.02."""
    betas = torch.linspace(1e-4, 0.02, DDPM_STEPS, dtype=torch.float64)
    table = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    return table[(t * DDPM_STEPS).round().long()].float()


class PlainBlock(nn.Module):
    """A DiT block with adaLN-zero of its own."""

    def __init__(self, config: DiTConfig, parts: Parts) -> None:
        super().__init__()
        D, self.heads, self.parts = config.width, config.num_heads, parts
        self.modulation = linear(D, 6 * D, zero=True)
        self.qkv, self.out = linear(D, 3 * D), linear(D, D)
        self.scale = nn.Parameter(torch.ones(2, config.head_dim)) if parts.modern else None
        # 4 D wide, as published; SwiGLU has three matrices, so that 2 D is the nearest in work.
        self.mlp = (
            SwiGLU(D, config.hidden)
            if parts.modern
            else nn.Sequential(linear(D, 4 * D), nn.GELU("tanh"), linear(4 * D, D))
        )

    def norm(self, x: Tensor) -> Tensor:
        """Over channels, without learned parameters."""
        if self.parts.modern:
            return F.rms_norm(x, x.shape[-1:])
        return F.layer_norm(x, x.shape[-1:])

    def forward(self, x: Tensor, c: Tensor, rope: Tensor | None) -> Tensor:
        """x: (B, L, D); c: (B, 1 or L, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(c)).chunk(6, dim=-1)
        h = self.qkv(self.norm(x) * (1 + scale1) + shift1).unflatten(-1, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in h.unbind(2))  # (B, H, L, d)
        if self.scale is not None:
            q, k = (
                F.rms_norm(p, p.shape[-1:]) * s for p, s in zip((q, k), self.scale, strict=True)
            )
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate1 * self.out(y)
        return x + gate2 * self.mlp(self.norm(x) * (1 + scale2) + shift2)


class PlainDiT(nn.Module):
    """Text encoder and DiT for batches of one size: (latents, levels, texts) -> prediction of their shape.

    Args:
        config, text: sizes, as the package's model has them.
        vocabulary: words of the tokenizer.
        grid: (t, h, w) tokens of a clip.
        parts: what is replaced.
    """

    sines: Tensor
    places: Tensor

    def __init__(
        self,
        config: DiTConfig,
        text: TextConfig,
        vocabulary: tuple[str, ...],
        grid: Grid,
        parts: Parts,
    ) -> None:
        super().__init__()
        D, self.config, self.parts = config.width, config, parts
        self.tokenizer = Tokenizer(vocabulary, multiple=text.multiple, max_length=text.max_length)
        self.text = TextEncoder(text, len(self.tokenizer))
        self.patch_in, self.level_in = linear(config.patch_dim, D), linear(256, D)
        self.pooled_in, self.text_in = linear(text.width, D), linear(text.width, D)
        self.blocks = nn.ModuleList(PlainBlock(config, parts) for _ in range(config.depth))
        self.final_modulation = linear(D, 2 * D, zero=True)
        self.final = linear(D, config.patch_dim, zero=True)
        places = coordinates(grid)  # (N, 3)
        self.register_buffer("sines", sincos(places, D))
        self.register_buffer("places", places)

    def forward(self, z: Tensor, levels: Tensor, texts: list[str]) -> Tensor:
        """z: (B, Z, t, h, w); levels: (B, t) in [0, 1], one value a clip."""
        ids = self.tokenizer.encode_batch(texts)
        states = self.text(ids)  # (B, l, text width)
        c = self.level_in(level_features(levels[:, 0])) + self.pooled_in(states.mean(dim=1))
        x = self.patch_in(patchify(z, self.config.patch))  # (B, N, D)
        places = self.places
        if not self.parts.rope:
            x = x + self.sines
        if self.parts.tokens:
            x = torch.cat([self.text_in(states), x], dim=1)
            places = F.pad(places, (0, 0, states.shape[1], 0))
        rope = None
        if self.parts.rope:
            rope = rotary_table(places, self.config.axes, self.config.rope_theta)
        for block in self.blocks:
            x = block(x, c[:, None], rope)
        shift, scale = self.final_modulation(F.silu(c))[:, None].chunk(2, dim=-1)
        x = x[:, -z[0, 0].numel() // math.prod(self.config.patch) :]  # the video tokens
        x = self.final(self.blocks[0].norm(x) * (1 + scale) + shift)  # type: ignore[operator]
        grid = token_grid(tuple(z.shape[2:]), self.config.patch)
        return unpatchify(x, grid, self.config.patch, z.shape[1])


def sincos(places: Tensor, width: int) -> Tensor:
    """(N, width) sines and cosines of (t, h, w), a third of the width each, as DiT has them for (h, w)."""
    size = 2 * (width // 6)
    rates = 10_000 ** -(torch.arange(0, size, 2) / size)
    angle = places[:, :, None].float() * rates  # (N, 3, size / 2)
    table = torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(1)
    return F.pad(table, (0, width - table.shape[1]))


def plain_objective(
    net: PlainDiT, dataset: LatentDataset, batch: int, flow: FlowConfig
) -> Objective:
    """DDPM's noise prediction, or, with `Parts.flow`, rectified flow with one level a clip."""

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        latents, texts = dataset.batch(batch, generator)
        x = torch.stack(latents)
        eps = torch.randn(x.shape, generator=generator)
        if net.parts.flow:
            tokens = x[0, 0].numel() // math.prod(net.config.patch)
            levels, _ = sample_frame_levels(batch, x.shape[2], tokens, flow, generator)
            guess = net(add_noise(x, eps, levels), levels, texts)
            return flow_loss(guess, x, levels, t_min=flow.t_min).mean(), {"clips": float(batch)}
        t = torch.randint(1, DDPM_STEPS + 1, (batch,), generator=generator) / DDPM_STEPS
        keep = alpha_bar(t)[:, None, None, None, None]
        noisy = keep.sqrt() * x + (1 - keep).sqrt() * eps
        guess = net(noisy, t[:, None].expand(-1, x.shape[2]), texts)
        return F.mse_loss(guess, eps), {"clips": float(batch)}

    return objective


def plain_denoiser(net: PlainDiT, texts: list[str], scale: float) -> Denoiser:
    """A guided denoiser for the package's samplers: (z, levels of the straight path) -> clean latents.

    A network of DDPM's noise knows other mixtures, sqrt(a) x + sqrt(1 - a) eps; every point of the straight path is
    one of them but for its length, so each level is translated to the time of equal signal-to-noise ratio.
    """
    call = (lambda z, t, words: net(z, t, words)) if net.parts.flow else ddpm_as_flow(net)

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        prompted, empty = call(z, levels, texts), call(z, levels, [""] * len(texts))
        return empty + scale * (prompted - empty)

    return denoise


def ddpm_as_flow(net: PlainDiT) -> Callable[[Tensor, Tensor, list[str]], Tensor]:
    """A noise-predicting network as a function (z, levels of the straight path, texts) -> clean latents."""
    times = torch.arange(1, DDPM_STEPS + 1) / DDPM_STEPS
    keep = alpha_bar(times)
    known = (1 - keep).sqrt() / (
        (1 - keep).sqrt() + keep.sqrt()
    )  # straight-path level of each time

    def call(z: Tensor, levels: Tensor, texts: list[str]) -> Tensor:
        index = torch.searchsorted(known, levels[:, 0].contiguous()).clamp(max=DDPM_STEPS - 1)
        t, a, level = times[index], keep[index], levels[:, 0]
        level, a = (value[:, None, None, None, None] for value in (level, a))
        noisy = z / ((1 - level).square() + level.square()).sqrt()
        eps = net(noisy, t[:, None].expand(-1, z.shape[2]), texts)
        return (noisy - (1 - a).sqrt() * eps) / a.sqrt()

    return call
