"""Training the captioner, stage by stage; every stage goes on where it stopped.

Stands on `train` beside `recipe`, whose habits it shares. The captioner's folder holds

    latents/                        clips of the world, encoded by the checkpoint's VAE
    eyes-state/, base-state/, ...   the last two training states of each stage
    eyes.safetensors                its eyes know words for what is at each place (stage 0)
    base.safetensors                from there, it writes alt-text (stage 1)
    captioner-short.safetensors     from there, on short captions of a few hundred clips (stage 2: SSC)
    captioner.safetensors           from the same base, on detailed captions of the same clips (stage 3: DSC)
    log-*.jsonl                     a line every few steps

The order is DALL-E 3's (Betker et al. 2023, section 2.1): alt-text is plentiful and poor, good captions are few. Its
captioner looks through CLIP, which learned from alt-text before and is left as it is. So do these eyes, in a simpler
way: they guess the words of a caption, in no order (Joulin et al. 2016, arXiv 1511.02251), phrase by phrase, each from
one place of the clip. Nobody says which place: that is learned with the words (multiple-instance learning; Fang et al.
2015, arXiv 1411.4952). They do not change any more when the language model learns to write, so its steps are cheap.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minisora.caption import FILES, Captioner, read_captioner
from minisora.captioner_preset import CaptionerPreset
from minisora.config import TrainConfig
from minisora.language import next_token_loss
from minisora.latents import LatentDataset, LatentGroup, build_latents, fingerprint
from minisora.loading import checkpoint_folder, load_vae
from minisora.patches import Packed
from minisora.precision import autocast
from minisora.recipe import Show, logged, seeded
from minisora.train import Objective, Record, Trainer, fit
from minisora.worlds import Scene, caption
from minisora.worlds.alt_text import alt_text
from minisora.worlds.captions import Level
from minisora.worlds.statements import phrases

CAPTION_WORLD = 200  # seed; no generator is trained or tested on it
EYES, BASE = "eyes.safetensors", "base.safetensors"

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


def first_clips(dataset: LatentDataset, count: int) -> LatentDataset:
    """The data set cut to its first `count` clips, in the shares of its sizes; it shares their memory."""
    few, groups = copy(dataset), {}
    for (size, group), share in zip(dataset.groups.items(), dataset.shares, strict=True):
        n = max(1, round(count * share))
        groups[size] = LatentGroup(group.latents[:n], group.scenes[:n])
    few.groups = groups
    return few


def noisy_batch(
    captioner: Captioner,
    dataset: LatentDataset,
    batch: int,
    noise: float,
    generator: torch.Generator,
) -> tuple[Packed, Tensor, list[str]]:
    """Clips of mixed sizes packed with their captions, the ids (Lt,) to write, and the captions in packed order."""
    latents, texts = dataset.batch(batch, generator, dropped=0.0)
    noisy = [z + noise * torch.randn(z.shape, generator=generator) for z in latents]
    packed, ids = captioner.pack_captions([z.to(captioner.device) for z in noisy], texts)
    return packed, ids, [texts[i] for i in packed.order]


def phrase_table(captioner: Captioner, texts: Sequence[str]) -> Tensor:
    """(n, J, V): how often each phrase of each text has each word; rows of zeros where a text has fewer than J."""
    split = [phrases(text) for text in texts]
    counts = torch.tensor([len(parts) for parts in split])
    ids = captioner.tokenizer.encode_batch([phrase for parts in split for phrase in parts])
    words = torch.zeros(len(ids), len(captioner.tokenizer))
    words.scatter_add_(1, ids, torch.ones(ids.shape))
    words[:, : captioner.tokenizer.end_id + 1] = 0.0
    most = int(counts.max())
    table = torch.zeros(len(texts), most, words.shape[1])
    table[torch.arange(most) < counts[:, None]] = words
    return table.to(captioner.device)


def phrase_loss(captioner: Captioner, seen: Sequence[Tensor], table: Tensor) -> Tensor:
    """Cross-entropy of phrases in nats a word; each is said whole by one place of the clip, nobody knows which.

    p(phrase) is the sum over all places of p(place) times the product of p(word | place), words in no order: a
    mixture. So a place that is to speak of a digit must know its color and its name and how it moves: which belongs
    to which. And a place that knows less learns to be silent (attention pooling: Ilse et al. 2018, arXiv 1802.04712).

    Args:
        captioner: whose eyes saw.
        seen: features (n, t, h, w, C) of each group of clips, from `look`.
        table: phrases of their captions, from `phrase_table`, in the same order.
    """
    logs = []
    for features, told in zip(seen, table.split([len(x) for x in seen]), strict=True):
        log_p = captioner.eyes.say(features).flatten(1, 3)  # (n, places, V)
        whole = told @ log_p.mT + captioner.eyes.voices(features)[:, None]  # (n, J, places)
        logs.append(whole.logsumexp(dim=2))
    return -torch.cat(logs).sum() / table.sum()


def phrase_objective(
    captioner: Captioner, dataset: LatentDataset, batch: int, noise: float = 0.0
) -> Objective:
    """`phrase_loss` on batches of mixed sizes; arguments as in `caption_objective`."""

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        packed, _, texts = noisy_batch(captioner, dataset, batch, noise, generator)
        with autocast(captioner.device):
            seen = captioner.look(packed)
        loss = phrase_loss(captioner, seen, phrase_table(captioner, texts))
        return loss, {"clips": float(batch)}

    return objective


def caption_objective(
    captioner: Captioner, dataset: LatentDataset, batch: int, noise: float = 0.0
) -> Objective:
    """Cross-entropy of the caption's next word, in nats; the eyes are only looked through.

    Args:
        captioner: to train.
        dataset: latents, with the captions that its `write` gives.
        batch: clips a step, in all sizes together.
        noise: standard deviation added to latents.
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
    clips = round(sum(entry.share for entry in preset.store))
    building = build_latents(vae, preset.store, clips, folder / "latents", CAPTION_WORLD)
    for _ in show(building, clips, "latents"):
        pass
    web = FixedCaptions(alt_text, CAPTION_WORLD)
    data = LatentDataset(folder / "latents", preset.mix, web)
    images = LatentDataset(folder / "latents", preset.glances, web)
    facts = {
        "captioner": asdict(preset.config),
        "mix": {str(entry.size): entry.share for entry in preset.mix},
        "clips": clips,
        "noise": preset.noise,
        "vae": key,
    }
    _stage(preset, images, folder, EYES, preset.look, facts, device, show)
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
    """One stage of the captioner, unless it is done: from the last that all share, if any, else from nothing."""
    if (folder / file).exists():
        return
    name = file.removesuffix(".safetensors")
    for before in (BASE, EYES):
        if (folder / before).exists():
            captioner = read_captioner(folder / before, device)[0].train().requires_grad_(True)
            break
    else:
        with seeded(config.seed):
            captioner = Captioner(preset.config).to(device)
    captioner.eyes.train(file == EYES)  # else normalized as it was then
    objective_of = phrase_objective if file == EYES else caption_objective
    objective = objective_of(captioner, data, config.batch, preset.noise)
    records = train_stage(captioner, objective, config, folder, name, facts)
    for _ in show(records, config.steps, name):
        pass
    captioner.save(
        folder / file, facts["vae"], steps=config.steps, clips=config.steps * config.batch
    )
