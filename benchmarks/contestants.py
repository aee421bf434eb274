"""What `throughput.py` times: training steps of minisora, of diffusers' Latte, and of minisora with padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch as replaced

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora import dit, objectives
from minisora.config import MixEntry, VAEConfig
from minisora.flow import FlowConfig, sample_frame_levels
from minisora.latents import LatentDataset, LatentGroup
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.patches import Grid, Group, Layout, patchify, token_grid
from minisora.presets import Preset
from minisora.recipe import seeded
from minisora.train import Objective, Trainer
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig

Step = Callable[[], None]
SCENES = 64  # kept for each size; only their captions matter to speed


class RandomLatents(LatentDataset):
    """A dataset of random latents with the captions of real scenes, for timing alone.

    Args:
        vae: gives the shape of latents.
        mix: sizes and their shares of a batch.
        clips: scenes of each size.
    """

    def __init__(self, vae: VAEConfig, mix: Sequence[MixEntry], clips: int = SCENES) -> None:
        self.shares = [entry.share / sum(e.share for e in mix) for entry in mix]
        self.groups = {}
        for number, entry in enumerate(mix):
            size = entry.size
            world = MovingMNIST(WorldConfig(size.frames, size.height, size.width), seed=number)
            shape = (clips, *vae.latent_shape(size.frames, size.height, size.width))
            latents = torch.randn(shape, generator=torch.Generator().manual_seed(number)).half()
            scenes = [world.scene(i) for i in range(clips)]
            self.groups[size] = LatentGroup(latents, scenes)


@contextmanager
def plain_fp32() -> Iterator[None]:
    """Training in fp32, also where minisora would choose bfloat16."""
    with replaced.object(objectives, "autocast", lambda device: nullcontext()):
        yield


def new_trainer(preset: Preset, batch: int) -> tuple[TextToLatent, Trainer]:
    """A freshly initialised network of the preset with its trainer."""
    with seeded(0):
        net = TextToLatent(preset.text, preset.dit, VOCABULARY)
    return net, Trainer(net, replace(preset.train, batch=batch))


def minisora_step(
    preset: Preset, dataset: LatentDataset, batch: int, shipped: bool = False
) -> Step:
    """minisora's own training step: packed, with everything that `Trainer.train_step` does.

    Args:
        shipped: in the precision that `minisora train` chooses on this machine; otherwise in fp32.
    """
    net, trainer = new_trainer(preset, batch)
    objective = diffusion_objective(net, dataset, batch, preset.flow)

    def step() -> None:
        with nullcontext() if shipped else plain_fp32():
            trainer.train_step(objective)

    return step


# ------------------------------------------------------------------------------------------ Latte


def latte_model(preset: Preset, pairs: int, clip: tuple[int, int, int, int]) -> Any:
    """Latte at the preset's width, heads and patch, for latents of shape `clip` (Z, t, h, w)."""
    from diffusers import LatteTransformer3DModel

    config, (channels, frames, side, _) = preset.dit, clip
    if config.patch[0] != 1 or config.patch[1] != config.patch[2] or side != clip[3]:
        raise ValueError(
            f"Patch {config.patch} of latents {clip}: Latte needs square ones, one frame deep."
        )
    with seeded(0):
        return LatteTransformer3DModel(
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            in_channels=channels,
            num_layers=pairs,
            cross_attention_dim=config.width,
            attention_bias=True,
            sample_size=side,
            patch_size=config.patch[1],
            activation_fn="gelu-approximate",
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            caption_channels=preset.text.width,
            video_length=frames,
        )


def latte_step(preset: Preset, dataset: LatentDataset, batch: int, model: nn.Module) -> Step:
    """A training step of Latte on the same clips and captions, in the manner of diffusers' scripts."""
    from diffusers.schedulers import DDPMScheduler

    tokenizer = TextToLatent(preset.text, preset.dit, VOCABULARY).tokenizer
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(tokenizer), preset.text.width, generator=generator)
    scheduler: Any = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def step() -> None:
        latents, texts = dataset.batch(batch, generator)
        clean = torch.stack(latents)  # (B, Z, t, h, w)
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(1000, (batch,), generator=generator)
        noisy = scheduler.add_noise(clean, noise, times)
        states = features[tokenizer.encode_batch(texts)]  # (B, l, text width)
        guess = model(noisy, times, states, return_dict=False)[0]
        F.mse_loss(guess, noise).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


# ---------------------------------------------------------------------------------------- padding


def pad_sequences(latents: Sequence[Tensor], patch: Grid) -> tuple[Tensor, Tensor, Grid]:
    """Latents (Z, t, h, w) as token sequences padded to the longest.

    Returns:
        tokens (B, Lv, P), a mask (B, Lv) that is true on real tokens, and the longest clip's grid.
    """
    sequences = [patchify(z[None], patch)[0] for z in latents]
    longest = max(latents, key=lambda z: z[0].numel())
    tokens = nn.utils.rnn.pad_sequence(sequences, batch_first=True)  # (B, Lv, P)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    real = torch.arange(tokens.shape[1]) < lengths[:, None]  # (B, Lv)
    return tokens, real, token_grid(longest.shape[1:], patch)


def pad_grids(latents: Sequence[Tensor], patch: Grid) -> tuple[Tensor, Tensor, Grid]:
    """As `pad_sequences`, but latents are stacked, padded to the largest t, h and w."""
    t, h, w = (max(z.shape[axis] for z in latents) for axis in (1, 2, 3))

    def pad(z: Tensor) -> Tensor:
        return F.pad(z, (0, w - z.shape[3], 0, h - z.shape[2], 0, t - z.shape[1]))

    tokens = patchify(torch.stack([pad(z) for z in latents]), patch)  # (B, Lv, P)
    inside = torch.stack([pad(torch.ones_like(z[:1])) for z in latents])
    return tokens, patchify(inside, patch)[..., 0] > 0, token_grid((t, h, w), patch)


Pad = Callable[[Sequence[Tensor], Grid], tuple[Tensor, Tensor, Grid]]
PADDINGS: dict[str, Pad] = {"sequence": pad_sequences, "grid": pad_grids}


def masked_attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout, bias: Tensor) -> Tensor:
    """`dit.attend` over one padded group: bias (B, 1, 1, S) is -inf on padding, else 0."""
    (group,) = zip(*(layout.split(x) for x in (q, k, v)), strict=True)
    q, k, v = (x.transpose(1, 2) for x in group)  # (B, H, S, head_dim)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return y.transpose(1, 2).flatten(2).flatten(0, 1)  # (B * S, D)


def padded_objective(
    net: TextToLatent, dataset: LatentDataset, batch: int, flow: FlowConfig, pad: Pad
) -> Objective:
    """`diffusion_objective` as a trainer without packing would compute it."""
    patch = net.dit.config.patch

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        latents, texts = dataset.batch(batch, generator)
        clean, real, grid = pad(latents, patch)
        ids = net.tokenizer.encode_batch(texts)
        layout = Layout((Group(batch, grid, ids.shape[1]),))
        levels, given = sample_frame_levels(batch, grid[0], clean.shape[1], flow, generator)
        level = levels.repeat_interleave(grid[1] * grid[2], dim=1)[..., None]  # (B, Lv, 1)
        noisy = torch.lerp(clean, torch.randn(clean.shape, generator=generator), level)
        seen = torch.cat([torch.ones_like(ids, dtype=torch.bool), real], dim=1)  # (B, S)
        bias = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)[:, None, None]
        with replaced.object(dit, "attend", partial(masked_attend, bias=bias)):
            guess = net(noisy.flatten(0, 1), levels.flatten(), ids.flatten(), layout)
        error = (guess.view_as(clean) - clean) / level.clamp(min=flow.t_min)
        wanted = real & ~given.repeat_interleave(grid[1] * grid[2], dim=1)  # (B, Lv)
        return (error.square().mean(dim=-1) * wanted).sum() / wanted.sum(), {}

    return objective


def padded_step(preset: Preset, dataset: LatentDataset, batch: int, pad: Pad) -> Step:
    """minisora's training step with padding in place of packing."""
    net, trainer = new_trainer(preset, batch)
    objective = padded_objective(net, dataset, batch, preset.flow, pad)

    def step() -> None:
        trainer.train_step(objective)

    return step
