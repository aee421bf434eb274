"""The training of a preset from nothing to a model that `load` reads: VAE, latents, transformer; `legs` go on.

Each stage writes to its own place in one folder and goes on where it stopped, so the same call starts a run,
resumes it after a kill, and does nothing once all is done:

    *-state/                        the last two training states of each stage
    vae.safetensors                 the finished VAE, with its latent statistics
    latents/                        cached latents
    log-*.jsonl                     a line every few steps of each stage
    model/                          what `minisora.load` reads
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from minisora.checkpoint import load_weights, save_weights
from minisora.config import Phase
from minisora.flow import FlowConfig
from minisora.latents import LatentDataset, Writer, build_latents
from minisora.model import MiniSora
from minisora.network import ModelConfig, TextToLatent
from minisora.objectives import diffusion_objective, fit_latent_statistics, vae_objective
from minisora.presets import Preset
from minisora.recaption import BlendedCaptions, read_plan
from minisora.sealed import write_atomic
from minisora.train import Objective, Record, Trainer, fit
from minisora.vae import VideoVAE
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig, caption

VAE_WORLD, STATISTICS_WORLD, LATENT_WORLD = 1, 2, 100  # seeds
LOG_EVERY = 20  # steps averaged into one line of the log

Show = Callable[[Iterator[Any], int, str], Iterator[Any]]
"""(iterator, total, title) -> the same iterator, shown to the user, e.g. as a progress bar."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed` and leave the global generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def model_config(preset: Preset) -> ModelConfig:
    """The configuration that goes into the checkpoint of a preset once all its training is done."""
    return ModelConfig(preset.vae, preset.text, preset.dit, preset.flow, VOCABULARY)


def train_vae(preset: Preset, folder: Path, device: torch.device) -> Iterator[Record]:
    """Stage 1: the VAE, to `folder/vae.safetensors`. Yields a record a step; none if it is done."""
    final, config, size = folder / "vae.safetensors", preset.vae_train, preset.vae_size
    if final.exists():
        return
    with seeded(config.seed):
        vae = VideoVAE(preset.vae).to(device)
    world = MovingMNIST(WorldConfig(size.frames, size.height, size.width), seed=VAE_WORLD)
    facts = {"vae": asdict(preset.vae), "size": str(size), "crop": preset.vae_crop}
    trainer = Trainer(vae, config, facts)
    trainer.restore(folder / "vae-state")
    objective = vae_objective(vae, world, config.batch, config.steps, preset.vae_crop)
    yield from logged(
        fit(trainer, objective, folder / "vae-state"), folder / "log-vae.jsonl", trainer.step
    )
    vae.load_state_dict(trainer.averaged())
    statistics_world = MovingMNIST(
        WorldConfig(size.frames, size.height, size.width), seed=STATISTICS_WORLD
    )
    fit_latent_statistics(vae.eval(), statistics_world)
    save_weights(final, vae.state_dict(), {"vae": asdict(preset.vae), "steps": config.steps})


def load_vae(preset: Preset, path: Path, device: torch.device) -> VideoVAE:
    """The finished VAE of stage 1, frozen."""
    vae = VideoVAE(preset.vae)
    vae.load_state_dict(load_weights(path)[0])
    return vae.to(device).eval().requires_grad_(False)


def train_generator(preset: Preset, folder: Path, device: torch.device) -> Iterator[Record]:
    """Stage 3: text encoder and transformer on cached latents, to `folder/model`. Yields a record a step."""
    config = preset.train
    if (folder / "model" / "generator.safetensors").exists():
        return
    with seeded(config.seed):
        net = TextToLatent(preset.text, preset.first_dit, VOCABULARY).to(device)
    facts: dict[str, Any] = {
        "text": asdict(preset.text),
        "dit": asdict(preset.first_dit),
        "flow": asdict(preset.flow),
        "mix": {str(entry.size): entry.share for entry in preset.mix},
        "curriculum": [asdict(phase) for phase in preset.curriculum],
    }
    if plan := read_plan(folder / "latents"):
        facts["captions"] = plan  # `minisora recaption` was there: train on its blend
    trainer = Trainer(net, config, facts)
    trainer.restore(folder / "generator-state")
    objective = phased_objective(net, preset, folder / "latents")
    log = folder / "log-generator.jsonl"
    yield from logged(fit(trainer, objective, folder / "generator-state"), log, trainer.step)
    model = MiniSora(replace(model_config(preset), dit=preset.first_dit))
    model.vae.load_state_dict(load_vae(preset, folder / "vae.safetensors", device).state_dict())
    model.net.load_state_dict(trainer.averaged())
    seen = {entry.size: None for phase in preset.phases for entry in phase.mix}
    facts = {
        "steps": config.steps,
        "clips": sum(phase.steps * phase.batch for phase in preset.phases),
        "sizes": [[size.frames, size.height, size.width] for size in sorted(seen)],
    }
    model.save(folder / "model", dtype=torch.float16, **facts)


def phased_objective(net: TextToLatent, preset: Preset, latents: Path) -> Objective:
    """The diffusion objective of each phase of the preset, in its turn; on new captions where there are some."""
    ends = list(accumulate(phase.steps for phase in preset.phases))[:-1]
    objectives = [phase_objective(net, phase, preset.flow, latents) for phase in preset.phases]
    return lambda step, generator: objectives[bisect_right(ends, step)](step, generator)


def phase_objective(net: TextToLatent, phase: Phase, flow: FlowConfig, latents: Path) -> Objective:
    """The diffusion objective on one mix of sizes."""
    write: Writer = BlendedCaptions(latents) if read_plan(latents) else caption
    dataset = LatentDataset(latents, phase.mix, write)
    return diffusion_objective(net, dataset, phase.batch, flow, phase.detailed)


def build_all_latents(preset: Preset, vae: VideoVAE, folder: Path) -> Iterator[int]:
    """Stage 2: latents for each phase. Yields the number of clips done; a size is encoded only once."""
    single = preset.single_fraction
    for number, phase in enumerate(preset.phases):
        building = build_latents(
            vae, phase.mix, preset.latents, folder, LATENT_WORLD, single_fraction=single
        )
        for done in building:
            yield number * preset.latents + done


def train_all(preset: Preset, folder: Path, device: torch.device, show: Show) -> None:
    """All stages, each shown by `show`; resumes whatever was begun in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in show(train_vae(preset, folder, device), preset.vae_train.steps, "vae"):
        pass
    vae = load_vae(preset, folder / "vae.safetensors", device)
    latents = build_all_latents(preset, vae, folder / "latents")
    for _ in show(latents, preset.latents * len(preset.phases), "latents"):
        pass
    for _ in show(train_generator(preset, folder, device), preset.train.steps, "generator"):
        pass


def logged(records: Iterator[Record], path: Path, start: int) -> Iterator[Record]:
    """Pass records on, and append the mean of every `LOG_EVERY` steps to a JSON-lines file.

    Args:
        start: the step the run resumes from; later lines in the file are from before a kill and go.
    """
    kept = [line for line in read_log(path) if line["step"] <= start]
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
    window: list[Record] = []

    def append() -> None:
        with path.open("a") as file:
            file.write(json.dumps(summarize(window)) + "\n")
        window.clear()

    for record in records:
        window.append(record)
        if record.step % LOG_EVERY == 0:
            append()
        yield record
    if window:  # the last steps of a run whose length is no multiple
        append()


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log, up to one that a kill left half-written; none if there is no file."""
    lines: list[dict[str, float]] = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def summarize(window: list[Record]) -> dict[str, float]:
    """One line of the log: means over some steps, and the seconds they took together."""
    n = len(window)
    seconds = sum(r.seconds for r in window)
    clips = sum(r.clips_per_second * r.seconds for r in window)
    line: dict[str, float] = {
        "step": window[-1].step,
        "loss": sum(r.loss for r in window) / n,
        "lr": window[-1].lr,
        "grad_norm": sum(r.grad_norm for r in window) / n,
        "seconds": seconds,
        "clips_per_second": clips / seconds,
    }
    return line | {k: sum(r.parts[k] for r in window) / n for k in window[-1].parts}
