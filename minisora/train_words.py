"""Training captioner and prompt expander, stage by stage; every stage goes on where it stopped.

Stands on `train` beside `recipe`, whose habits it shares. The captioner's folder holds

    latents/                        clips of the world, encoded by the checkpoint's VAE
    base-state/, short-state/, ...  the last two training states of each stage
    base.safetensors                trained on alt-text (stage 1)
    captioner-short.safetensors     from there, on short captions of a few hundred clips (stage 2: SSC)
    captioner.safetensors           from the same base, on detailed captions of the same clips (stage 3: DSC)
    log-*.jsonl                     a line every few steps

The order is DALL-E 3's (Betker et al. 2023, section 2.1): alt-text is plentiful and poor, good captions are few.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minisora.caption import FILES, Captioner, CaptionerConfig, read_captioner
from minisora.config import MixEntry, TrainConfig
from minisora.expand import FILE, Expander, ExpanderConfig
from minisora.language import next_token_loss, shift_right
from minisora.latents import LatentDataset, LatentGroup, build_latents, fingerprint
from minisora.loading import checkpoint_folder, load_vae
from minisora.presets import mixture
from minisora.recipe import Show, logged, seeded
from minisora.train import Objective, Record, Trainer, autocast, fit
from minisora.worlds import VOCABULARY, MovingMNIST, Scene, WorldConfig, caption
from minisora.worlds.alt_text import alt_text, mention
from minisora.worlds.captions import Level

CAPTION_WORLD, EXPAND_WORLD = 200, 201  # seeds; no generator is trained or tested on these
IMAGES = 0.2  # share of the expander's captions that are of images
BASE = "base.safetensors"

Make = Callable[[Scene, np.random.Generator], str]


@dataclass(frozen=True)
class CaptionerPreset:
    """A captioner and how to train it.

    Attributes:
        config: its size.
        mix: sizes of clips and their shares of every batch.
        clips: encoded, with alt-text.
        labelled: the first of them, which also have good captions.
        noise: standard deviation of what is added to latents (of unit variance) in training, so that clips that
            are not quite real, such as generated ones, are read as well.
        pretrain, tune: schedules of stage 1, and of stages 2 and 3 each.
    """

    config: CaptionerConfig
    mix: tuple[MixEntry, ...]
    clips: int
    labelled: int
    noise: float
    pretrain: TrainConfig
    tune: TrainConfig


@dataclass(frozen=True)
class ExpanderPreset:
    """A prompt expander and how to train it."""

    config: ExpanderConfig
    train: TrainConfig


CAPTIONER = CaptionerPreset(
    config=CaptionerConfig(VOCABULARY),
    mix=mixture(
        (17, 64, 64, 0.30),
        (1, 64, 64, 0.40),
        (1, 32, 32, 0.05),
        (9, 32, 32, 0.05),
        (9, 48, 48, 0.08),
        (17, 48, 96, 0.04),
        (17, 96, 48, 0.04),
        (33, 64, 64, 0.04),
    ),
    clips=12_000,
    labelled=500,
    noise=0.1,
    pretrain=TrainConfig(steps=1600, batch=64, lr=3e-3, warmup=100, cooldown=0.4),
    tune=TrainConfig(steps=200, batch=64, lr=5e-4, warmup=20, cooldown=0.8, checkpoint_every=50),
)
EXPANDER = ExpanderPreset(
    config=ExpanderConfig(VOCABULARY),
    train=TrainConfig(steps=4000, batch=64, lr=3e-3, warmup=100, cooldown=0.4),
)


class FixedCaptions:
    """One caption for each clip, the same whenever the clip is drawn, as a collected data set has.

    Args:
        make: writes it.
        seed: which of all possible data sets.
    """

    def __init__(self, make: Make, seed: int) -> None:
        self.make, self.seed = make, seed
        self.table: dict[Scene, str] = {}

    def __call__(self, scene: Scene, level: Level, rng: np.random.Generator) -> str:
        """The clip's caption; `level` and `rng` change nothing."""
        if scene not in self.table:
            digest = zlib.crc32(json.dumps(scene.to_dict()).encode())
            self.table[scene] = self.make(scene, np.random.default_rng((self.seed, digest)))
        return self.table[scene]


def labelled_as(style: Level) -> Make:
    """Writes careful captions, as a person would who is asked to."""
    return lambda scene, rng: caption(scene, style, rng)


def first_clips(dataset: LatentDataset, count: int) -> LatentDataset:
    """The data set cut to its first `count` clips, in the shares of its sizes; it shares their memory."""
    few, groups = copy(dataset), {}
    for (size, group), share in zip(dataset.groups.items(), dataset.shares, strict=True):
        n = max(1, round(count * share))
        groups[size] = LatentGroup(group.latents[:n], group.scenes[:n])
    few.groups = groups
    return few


def caption_objective(
    captioner: Captioner, dataset: LatentDataset, batch: int, noise: float = 0.0
) -> Objective:
    """Cross-entropy of the next word, in nats, on batches of mixed sizes.

    Args:
        captioner: to train.
        dataset: latents, with the captions that its `write` gives.
        batch: clips a step, in all sizes together.
        noise: standard deviation added to latents.
    """

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        latents, texts = dataset.batch(batch, generator, dropped=0.0)
        noisy = [z + noise * torch.randn(z.shape, generator=generator) for z in latents]
        packed, ids = captioner.pack_captions(noisy, texts)
        device = captioner.lm.head.weight.device
        moved = replace(
            packed, tokens=packed.tokens.to(device), text_ids=packed.text_ids.to(device)
        )
        with autocast(device):
            logits = captioner(moved)
        loss, right = next_token_loss(logits, ids.to(device), captioner.tokenizer.end_id)
        return loss, {"words_right": right.item(), "clips": float(batch)}

    return objective


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


def train_stage(
    captioner: Captioner,
    objective: Objective,
    config: TrainConfig,
    folder: Path,
    name: str,
    facts: dict[str, Any],
) -> Iterator[Record]:
    """Train `captioner` in place, ending with its averaged weights; yields a record a step."""
    trainer = Trainer(captioner, config, facts)
    trainer.restore(folder / f"{name}-state")
    records = fit(trainer, objective, folder / f"{name}-state")
    yield from logged(records, folder / f"log-{name}.jsonl", trainer.step)
    captioner.load_state_dict(trainer.averaged())


def train_captioner(
    preset: CaptionerPreset, checkpoint: str | Path, folder: Path, device: torch.device, show: Show
) -> None:
    """All stages, each shown by `show`; resumes whatever was begun in `folder`.

    Args:
        preset: size and schedules.
        checkpoint: whose VAE encodes clips; the captioner will read its latents only.
        folder: where everything goes.
        device: of the weights.
        show: see `recipe.Show`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vae = load_vae(checkpoint_folder(checkpoint), device)
    key = fingerprint(vae)
    building = build_latents(vae, preset.mix, preset.clips, folder / "latents", CAPTION_WORLD)
    for _ in show(building, preset.clips, "latents"):
        pass
    data = LatentDataset(folder / "latents", preset.mix, FixedCaptions(alt_text, CAPTION_WORLD))
    facts = {
        "captioner": asdict(preset.config),
        "mix": {str(entry.size): entry.share for entry in preset.mix},
        "clips": preset.clips,
        "noise": preset.noise,
        "vae": key,
    }
    _stage(preset, data, folder, BASE, preset.pretrain, facts, device, show)
    for style in ("short", "detailed"):
        few = first_clips(data, preset.labelled)
        few.write = FixedCaptions(labelled_as(style), CAPTION_WORLD + 1)  # type: ignore[arg-type]
        told = facts | {"labelled": preset.labelled, "style": style}
        _stage(preset, few, folder, FILES[style], preset.tune, told, device, show)


def _stage(
    preset: CaptionerPreset,
    data: LatentDataset,
    folder: Path,
    file: str,
    config: TrainConfig,
    facts: dict[str, Any],
    device: torch.device,
    show: Show,
) -> None:
    """One stage of the captioner, unless it is done: from the base if there is one, else from nothing."""
    if (folder / file).exists():
        return
    name = file.removesuffix(".safetensors")
    if (folder / BASE).exists():
        captioner = read_captioner(folder / BASE, device)[0].train().requires_grad_(True)
    else:
        with seeded(config.seed):
            captioner = Captioner(preset.config).to(device)
    objective = caption_objective(captioner, data, config.batch, preset.noise)
    records = train_stage(captioner, objective, config, folder, name, facts)
    for _ in show(records, config.steps, name):
        pass
    captioner.save(
        folder / file, facts["vae"], steps=config.steps, clips=config.steps * config.batch
    )


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
