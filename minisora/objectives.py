"""What is learned: the VAE's objective and the diffusion objective, as functions for `train.fit`.

An objective maps (step, generator) to a loss and takes every random number from the generator. Stands on the
networks; clips for the VAE come from `worlds` or footage, cached latents from `latents` or `footage_data`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from minisora.flow import FlowConfig, add_noise, flow_loss, sample_frame_levels, sample_timesteps
from minisora.network import TextToLatent
from minisora.patches import pack, patchify, unpack_groups
from minisora.precision import autocast
from minisora.train import Objective
from minisora.vae import Posterior, VideoVAE


class Film(Protocol):
    """Anything with a video (3, T, H, W) in [0, 1]."""

    @property
    def video(self) -> Tensor:
        """Its pixels."""


class FilmSize(Protocol):
    """Anything that has a height and a width in px."""

    @property
    def height(self) -> int:
        """H."""

    @property
    def width(self) -> int:
        """W."""


class Films(Protocol):
    """Endless clips of one size, by number: `worlds.MovingMNIST`, `footage_data.CropPool`."""

    @property
    def config(self) -> FilmSize:
        """Their size."""

    def __getitem__(self, index: int) -> Film:
        """Clip number `index`."""


class Batches(Protocol):
    """Batches of clips with captions: `latents.LatentDataset`, `footage_data.FootageLatents`."""

    def batch(
        self, batch: int, generator: torch.Generator, detailed: float = 0.65
    ) -> tuple[list[Tensor], list[str]]:
        """As many latents (Z, t, h, w), of any sizes, and as many captions."""


def random_crops(
    world: Films,
    first: int,
    count: int,
    shape: tuple[int, int, int],
    grid: int,
    generator: torch.Generator,
) -> Tensor:
    """Random crops of consecutive clips of a world.

    Args:
        world: clips at least as large as a crop.
        first: index of the first clip.
        count: number of crops, one a clip.
        shape: (frames, height, width) of a crop.
        grid: crops start at multiples of this many pixels, as the latents of whole clips do.
        generator: picks the places.

    Returns:
        (count, 3, frames, height, width) in [0, 1].
    """
    crops = []
    for index in range(first, first + count):
        video = world[index].video  # 3 T H W
        starts = []
        for have, want, unit in zip(video.shape[1:], shape, (1, grid, grid), strict=True):
            places = (have - want) // unit + 1
            starts.append(unit * int(torch.randint(places, (), generator=generator)))
        windows = tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))
        crops.append(video[(slice(None), *windows)])
    return torch.stack(crops)


def vae_objective(
    vae: VideoVAE,
    world: Films,
    batch: int,
    steps: int,
    crop: tuple[int, int, int] = (9, 32, 32),
    whole: float = 0.15,
) -> Objective:
    """Reconstruction plus a weighted KL term, on small crops first and larger ones at the end.

    loss = mean (x - x_hat)^2 + 0.1 |x - x_hat| + kl_weight * KL, pixels scaled to [-1, 1] (1312.6114, eq. 10).

    Args:
        vae: the network to train.
        world: where clips come from; no clip is seen twice.
        batch: crops a step.
        steps: length of the run, which places the switch to larger crops.
        crop: (frames, height, width) of a training crop. Convolutions carry over to any size.
        whole: the last share of the run trains on crops of twice the side (or as large as the world's
            clips), of as many pixels in all, so that the network also knows positions far from a border.
    """
    device = vae.latent_mean.device
    frames, height, width = crop
    tall, wide = min(2 * height, world.config.height), min(2 * width, world.config.width)
    fewer = max(1, batch * height * width // (tall * wide))

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        late = step >= (1.0 - whole) * steps
        shape, count = ((frames, tall, wide), fewer) if late else (crop, batch)
        video = random_crops(world, step * batch, count, shape, vae.config.spatial, generator).to(
            device
        )
        with autocast(device):
            q = vae.posterior(video)
            noise = torch.randn(q.mean.shape, generator=generator).to(device)
            decoded = vae.decode(q.mean + torch.exp(0.5 * q.logvar) * noise)
        error = 2.0 * (decoded.float() - video)
        # In fp32: under bfloat16 the KL of a latent near N(0, 1) would be rounding error.
        kl = Posterior(q.mean.float(), q.logvar.float()).kl()
        mse = error.square().mean()
        loss = mse + 0.1 * error.abs().mean() + vae.config.kl_weight * kl
        psnr = -10.0 * torch.log10(mse.detach() / 4.0)
        return loss, {"psnr": psnr.item(), "kl": kl.item()}

    return objective


@torch.no_grad()
def fit_latent_statistics(vae: VideoVAE, world: Films, clips: int = 256) -> None:
    """Measure the mean and standard deviation of each latent channel over posterior means, and store them."""
    device = vae.latent_mean.device
    means = [
        vae.posterior(world[i].video[None].to(device)).mean[0].flatten(1) for i in range(clips)
    ]
    z = torch.cat(means, dim=1)  # Z, thw of all clips
    vae.set_latent_statistics(z.mean(dim=1), z.std(dim=1))


def diffusion_objective(
    net: TextToLatent, dataset: Batches, batch: int, flow: FlowConfig, detailed: float = 0.65
) -> Objective:
    """Rectified flow with x-prediction and v-loss on batches of mixed sizes (2511.13720).

    Every latent frame has its own noise level, drawn from the mix of patterns of `flow`; given frames
    (level 0) are seen but not scored.

    Args:
        net: text encoder and diffusion transformer.
        dataset: cached latents with captions.
        batch: clips a step, in all sizes together.
        flow: how noise levels are drawn.
        detailed: share of detailed captions; the rest are short.
    """
    device = next(net.parameters()).device
    patch = net.dit.config.patch

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        latents, texts = dataset.batch(batch, generator, detailed)
        clean = pack(latents, net.tokenize(texts), patch)
        timesteps = sample_timesteps(batch, generator, flow).split(
            [g.count for g in clean.layout.groups]
        )
        noisy, levels, givens = [], [], []
        groups = unpack_groups(clean.tokens, clean)
        for z, group, t in zip(groups, clean.layout.groups, timesteps, strict=True):
            level, given = sample_frame_levels(
                group.count, z.shape[2], group.video_len, flow, generator, timesteps=t
            )
            noisy.append(add_noise(z, torch.randn(z.shape, generator=generator), level))
            levels.append(level)
            givens.append(given)
        tokens = torch.cat([patchify(z, patch).flatten(0, 1) for z in noisy])
        packed_levels = torch.cat([level.flatten() for level in levels])
        with autocast(device):
            x_hat = net(
                tokens.to(device), packed_levels.to(device), clean.text_ids.to(device), clean.layout
            )
        losses = [
            flow_loss(guess, z.to(device), level.to(device), given.to(device), flow.t_min)
            for guess, z, level, given in zip(
                unpack_groups(x_hat.float(), clean), groups, levels, givens, strict=True
            )
        ]
        return torch.cat(losses).mean(), {
            "clips": float(batch),
            "tokens": float(clean.layout.num_tokens),
        }

    return objective
