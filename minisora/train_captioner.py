"""Training the captioner, stage by stage; every stage goes on where it stopped.

Stands on `train` beside `recipe`, whose habits it shares. The captioner's folder holds

    eyes-0-state/, base-state/, ... the last two training states of each stage
    eyes-0.safetensors, ...         its eyes know words for what is at each place (stage 0, in several looks)
    base.safetensors                from there, it writes alt-text (stage 1)
    captioner-short.safetensors     from there, on short captions of a few hundred clips (stage 2: SSC)
    captioner.safetensors           from the same base, on detailed captions of the same clips (stage 3: DSC)
    log-*.jsonl                     a line every few steps

The order is DALL-E 3's (Betker et al. 2023, section 2.1): alt-text is plentiful and poor, good captions are few. Its
captioner looks through CLIP, which learned from alt-text before and is left as it is. So do these eyes, in a simpler
way, see `train_eyes`. They do not change any more when the language model learns to write, so its steps are cheap.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from minisora.caption import FILES
from minisora.captioner import Captioner, read_captioner
from minisora.captioner_preset import CaptionerPreset, Look
from minisora.config import MixEntry, TrainConfig
from minisora.language import next_token_loss
from minisora.latents import Group, MixedDataset
from minisora.precision import autocast
from minisora.recipe import Show, logged, seeded
from minisora.rendered import RenderedDataset
from minisora.train import Objective, Record, Trainer, fit
from minisora.train_eyes import in_turn, noisy_batch, phrase_objective, word_weights
from minisora.worlds import MovingMNIST, Scene, WorldConfig, caption
from minisora.worlds.alt_text import alt_text
from minisora.worlds.captions import Level

CAPTION_WORLD = 200  # seed; no generator is trained or tested on it
EYES, BASE = "eyes-{}.safetensors", "base.safetensors"
WEIGHED = 4000  # alt-texts by which words are weighed

G = TypeVar("G", bound=Group)

Make = Callable[[Scene, np.random.Generator], str]


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


def first_clips(dataset: MixedDataset[G], count: int) -> MixedDataset[G]:
    """The data set cut to its first `count` clips, in the shares of its sizes; it shares their memory."""
    few = copy(dataset)
    few.groups = {
        size: group.first(max(1, round(count * share)))
        for (size, group), share in zip(dataset.groups.items(), dataset.shares, strict=True)
    }
    return few


def caption_objective(
    captioner: Captioner, dataset: MixedDataset[Any], batch: int, noise: float = 0.0
) -> Objective:
    """Cross-entropy of the caption's next word, in nats; the eyes are only looked through.

    Args:
        captioner: to train.
        dataset: what it looks at, with the captions that its `write` gives.
        batch: clips a step, in all sizes together.
        noise: standard deviation added to what it looks at.
    """
    end = captioner.tokenizer.end_id

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        packed, ids, _ = noisy_batch(captioner, dataset, batch, noise, generator)
        with autocast(captioner.device):
            with torch.no_grad():
                seen = captioner.look(packed)
            logits = captioner(packed, seen)
        loss, right = next_token_loss(logits, ids, end)
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
    preset: CaptionerPreset, folder: Path, device: torch.device, show: Show
) -> None:
    """All stages, each shown by `show`; resumes whatever was begun in `folder`.

    Args:
        preset: size and schedules.
        folder: where everything goes.
        device: of the weights.
        show: see `recipe.Show`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    web = FixedCaptions(alt_text, CAPTION_WORLD)

    def speak(data: MixedDataset[Any]) -> Callable[[Captioner], Objective]:
        return lambda captioner: caption_objective(captioner, data, preset.batch, preset.noise)

    facts = {
        "captioner": asdict(preset.config),
        "clips": preset.clips,
        "noise": preset.noise,
    }
    run = partial(_stage, preset, folder, device=device, show=show)
    seen = ""
    for i, look in enumerate(preset.looks):
        told = facts | {"glances": asdict(look)["glances"], "single_fraction": look.single_fraction}
        before, seen = seen, EYES.format(i)
        run(seen, before, look.train, partial(_look, preset, look, web), told)
    facts |= {
        "mix": {str(entry.size): entry.share for entry in preset.mix},
        "batch": preset.batch,
        "single_fraction": preset.single_fraction,
    }
    clips = partial(_clips, preset, preset.mix, preset.single_fraction)
    run(BASE, seen, preset.pretrain, speak(clips(web)), facts)
    for style in ("short", "detailed"):
        careful = FixedCaptions(labelled_as(style), CAPTION_WORLD + 1)  # type: ignore[arg-type]
        few = first_clips(clips(careful), preset.labelled)
        told = facts | {"labelled": preset.labelled, "style": style}
        run(FILES[style], BASE, preset.tune, speak(few), told)


def _clips(
    preset: CaptionerPreset, mix: tuple[MixEntry, ...], single: float, write: FixedCaptions
) -> RenderedDataset:
    depth = preset.config.eyes.channels // 3
    return RenderedDataset(mix, preset.clips, depth, CAPTION_WORLD, write, single_fraction=single)


def _look(
    preset: CaptionerPreset, look: Look, web: FixedCaptions, captioner: Captioner
) -> Objective:
    """What the eyes learn in one look, glance after glance."""
    world = MovingMNIST(WorldConfig(), CAPTION_WORLD)
    texts = [alt_text(world.scene(i), np.random.default_rng(i)) for i in range(WEIGHED)]
    objectives = [
        phrase_objective(
            captioner,
            _clips(preset, glance.mix, look.single_fraction, web),
            glance.batch,
            preset.noise,
            word_weights(captioner, texts, glance.rarity),
        )
        for glance in look.glances
    ]
    return in_turn(look.glances, objectives)


def _stage(
    preset: CaptionerPreset,
    folder: Path,
    file: str,
    before: str,
    config: TrainConfig,
    objective_of: Callable[[Captioner], Objective],
    facts: dict[str, Any],
    device: torch.device,
    show: Show,
) -> None:
    """One stage of the captioner, unless it is done: from the file of the stage before, if any, else from nothing."""
    if (folder / file).exists():
        return
    name = file.removesuffix(".safetensors")
    if before:
        captioner = read_captioner(folder / before, device)[0].train().requires_grad_(True)
    else:
        with seeded(config.seed):
            captioner = Captioner(preset.config).to(device)
    captioner.eyes.train(name.startswith("eyes"))  # else normalized as it was then
    records = train_stage(captioner, objective_of(captioner), config, folder, name, facts)
    for _ in show(records, config.steps, name):
        pass
    captioner.save(folder / file, steps=config.steps)
