"""Training the prompt expander; it goes on where it stopped.

Stands on `train` beside `recipe` and `train_captioner`. Its pairs are written by the world without end: a prompt as
people write them, and a detailed caption that it could have meant.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minisora.config import TrainConfig
from minisora.expand import FILE, Expander, ExpanderConfig
from minisora.language import next_token_loss, shift_right
from minisora.precision import autocast
from minisora.recipe import Show, logged, seeded
from minisora.train import Objective, Trainer, fit
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig, caption
from minisora.worlds.alt_text import mention

EXPAND_WORLD = 201  # seed; no generator is trained or tested on it
IMAGES = 0.2  # share of captions that are of images


@dataclass(frozen=True)
class ExpanderPreset:
    """A prompt expander and how to train it."""

    config: ExpanderConfig
    train: TrainConfig


EXPANDER = ExpanderPreset(
    config=ExpanderConfig(VOCABULARY),
    train=TrainConfig(steps=4000, batch=64, lr=3e-3, warmup=100, cooldown=0.4),
)


def expander_pairs(
    world: MovingMNIST, first: int, count: int, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Prompts as people write them, short, vague or empty, each with a detailed caption it could have meant."""
    prompts, captions = [], []
    for index in range(first, first + count):
        scene = world.scene(index)
        if rng.random() < IMAGES:
            scene = replace(scene, frames=1)
        kind = rng.random()
        if kind < 0.3:
            prompts.append(caption(scene, "short", rng))
        else:
            prompts.append("" if kind > 0.95 else mention(scene, rng, missing=rng.random()))
        captions.append(caption(scene, "detailed", rng))
    return prompts, captions


def expander_objective(expander: Expander, batch: int) -> Objective:
    """Cross-entropy of the detailed caption's next word, given a prompt; no pair comes twice."""
    world, device = MovingMNIST(WorldConfig(), EXPAND_WORLD), expander.lm.head.weight.device

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        prompts, captions = expander_pairs(world, step * batch, batch, rng)
        ids = expander.tokenizer.encode_batch(captions).to(device)
        with autocast(device):
            logits = expander(expander.read(prompts).to(device), shift_right(ids))
        loss, right = next_token_loss(logits, ids.flatten(), expander.tokenizer.end_id)
        return loss, {"words_right": right.item(), "clips": float(batch)}

    return objective


def train_expander(preset: ExpanderPreset, folder: Path, device: torch.device, show: Show) -> None:
    """Train the prompt expander to `folder/expander.safetensors`; resumes if it was begun."""
    config = preset.train
    if (folder / FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with seeded(config.seed):
        expander = Expander(preset.config).to(device)
    trainer = Trainer(expander, config, {"expander": asdict(preset.config)})
    trainer.restore(folder / "expander-state")
    records = fit(trainer, expander_objective(expander, config.batch), folder / "expander-state")
    shown = logged(records, folder / "log-expander.jsonl", trainer.step)
    for _ in show(shown, config.steps, "expander"):
        pass
    expander.load_state_dict(trainer.averaged())
    expander.save(folder / FILE, steps=config.steps, pairs=config.steps * config.batch)
