"""Miniature models for the tests: every part of the real ones, in sizes that run in milliseconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minisora.config import Phase, TrainConfig, VAEConfig
from minisora.dit import DiTConfig
from minisora.flow import FlowConfig
from minisora.model import MiniSora
from minisora.network import ModelConfig
from minisora.presets import Preset, mixture
from minisora.text import TextConfig
from minisora.train import Trainer
from minisora.vae import VideoVAE
from minisora.worlds import VOCABULARY

VAE = VAEConfig(
    latent_channels=4,
    encoder_widths=(8, 8, 16),
    encoder_depths=(1, 1, 1),
    decoder_widths=(8, 8, 16),
    decoder_depths=(1, 1, 1),
)
TEXT = TextConfig(width=32, depth=1, num_heads=2)
DIT = DiTConfig(depth=2, width=32, num_heads=2, latent_channels=4, text_width=32)

MINI = Preset(
    vae=VAE,
    text=TEXT,
    dit=DIT,
    mix=mixture((5, 32, 32, 0.6), (1, 32, 48, 0.4)),
    curriculum=(Phase(steps=3, batch=8, mix=mixture((1, 32, 32, 1.0)), detailed=0.3),),
    latents=50,
    vae_train=TrainConfig(steps=8, batch=4, lr=2e-3, warmup=2, checkpoint_every=3),
    train=TrainConfig(steps=9, batch=6, lr=2e-3, warmup=2, checkpoint_every=2),
    vae_size=dataclasses.replace(Preset().vae_size, frames=5, height=48, width=48),
    vae_crop=(5, 32, 32),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters anew, so that nothing is zero or nearly the identity as at the start."""
    g = generator(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if name.endswith("bias"):
                p.copy_(0.1 * noise if p.ndim == 1 else p + 0.1 * noise)  # a DiT's gates stay open
            elif p.ndim < 2 or name.endswith("scale"):
                p.copy_(1 + 0.1 * noise)
            else:
                p.copy_(noise * p[0].numel() ** -0.5)
    return module


def tiny_vae(seed: int = 0, **changes: object) -> VideoVAE:
    """A random VAE in which every input matters, with latent statistics that are not the identity."""
    vae = VideoVAE(dataclasses.replace(VAE, **changes))
    randomize(vae, seed)
    channels = vae.config.latent_channels
    g = generator(seed + 1)
    vae.set_latent_statistics(
        torch.randn(channels, generator=g), 0.5 + torch.rand(channels, generator=g)
    )
    return vae.eval().requires_grad_(False)


def tiny_model(seed: int = 0) -> MiniSora:
    """A random model in which prompt, noise level and every weight matter."""
    model = MiniSora(ModelConfig(VAE, TEXT, DIT, FlowConfig(), VOCABULARY, fps=8.0))
    randomize(model, seed)
    return model.eval().requires_grad_(False)


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    """Everything a run carries from step to step, as flat named tensors."""
    tensors = {f"model.{k}": v.clone() for k, v in trainer.module.state_dict().items()}
    tensors |= {f"ema.{k}": v.clone() for k, v in trainer.ema.shadow.items()}
    for i, optimizer in enumerate(trainer.optimizers):
        for key, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimizer{i}.{key}.{name}"] = torch.as_tensor(value).clone()
    return tensors


def assert_same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different


Run = Callable[..., tuple[int, str, str]]
"""Runs `minisora ARGUMENTS`: exit status, output, messages."""


def assert_one_sentence(result: tuple[int, str, str], says: str) -> None:
    status, _, messages = result
    lines = [line for line in messages.splitlines() if line.strip()]
    assert status == 2 and len(lines) == 1, messages
    assert lines[0].startswith("minisora: ") and says in lines[0], messages
