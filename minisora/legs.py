"""More training of a finished model, leg by leg: fresh clips, a fresh optimizer, a schedule of its own.

Stands on `recipe`, which makes the model from nothing. A leg begins with the averaged weights in `model/`, deepens
the network if it says so, and ends by replacing the model; its step size warms up anew and falls to zero:

    leg-N/latents/    clips that no other leg sees
    leg-N/state/      the last two training states
    model/            the model so far; its file says after how many steps

The same call starts a leg, resumes it after a kill, and goes on to the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from minisora.checkpoint import read_config
from minisora.config import Leg, Phase
from minisora.flow import FlowConfig
from minisora.latents import build_latents
from minisora.loading import checkpoint_folder, load
from minisora.model import MiniSora
from minisora.network import TextToLatent, deepen
from minisora.presets import Preset
from minisora.recipe import LATENT_WORLD, Show, logged, phase_objective
from minisora.train import Record, Trainer, fit

WEIGHTS = ("vae.safetensors", "generator.safetensors")
LOGS = ("log-vae.jsonl", "log-generator.jsonl")


def begin_from(start: str | Path, folder: Path) -> None:
    """Put a finished model and its logs into `folder`, for the preset's next leg; nothing if one is there already.

    Args:
        start: a shipped checkpoint, e.g. "moving-mnist", or a folder that `MiniSora.save` wrote.
    """
    if (folder / "model" / WEIGHTS[1]).exists():
        return
    source = checkpoint_folder(start)
    load(source)  # reads it whole: a damaged one is refused before anything is copied
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for name in WEIGHTS:
        shutil.copy(source / name, folder / "model" / name)
    for name in LOGS:
        for log in (
            source / name,
            source.parent / name,
        ):  # shipped with the weights, or beside `model/`
            if log.exists() and not (folder / name).exists():
                shutil.copy(log, folder / name)


def facts_of(folder: Path) -> dict[str, Any]:
    """What the model in `folder` says of its training: steps, clips, sizes."""
    return read_config(folder / "model" / WEIGHTS[1])["facts"]


def legs_done(preset: Preset, steps: int) -> int:
    """How many legs a model trained for `steps` has behind it.

    Raises:
        ValueError: if no leg of the preset begins or ends there.
    """
    ends = list(accumulate([preset.train.steps, *(leg.train.steps for leg in preset.legs)]))
    if steps not in ends:
        listed = ", ".join(map(str, ends))
        raise ValueError(
            f"A model trained for {steps} steps: legs of this preset begin or end at {listed}. "
            "Start from another model or add a leg to the preset."
        )
    return ends.index(steps)


def train_legs(preset: Preset, folder: Path, device: torch.device, show: Show) -> None:
    """All legs that the model in `folder` does not have behind it, each shown by `show`."""
    done = legs_done(preset, facts_of(folder)["steps"])
    for number in range(done, len(preset.legs)):
        leg, place = preset.legs[number], folder / f"leg-{number + 1}"
        model = load(folder / "model", device)
        building = build_latents(
            model.vae,
            leg.mix,
            leg.latents,
            place / "latents",
            LATENT_WORLD + number + 1,
            single_fraction=leg.single_fraction,
        )
        for _ in show(building, leg.latents, f"latents of leg {number + 1}"):
            pass
        end = facts_of(folder)["steps"] + leg.train.steps
        for _ in show(train_leg(preset, leg, model, folder, place), end, f"leg {number + 1}"):
            pass


def train_leg(
    preset: Preset, leg: Leg, model: MiniSora, folder: Path, place: Path
) -> Iterator[Record]:
    """One leg from the weights of `model`, to `folder/model`. Yields a record a step, counted over all training."""
    before = facts_of(folder)
    net = deepen(model.net, leg.deeper).train().requires_grad_(True)
    flow = flow_of(preset, leg)
    facts = {
        "flow": asdict(flow),
        "mix": {str(entry.size): entry.share for entry in leg.mix},
        "detailed": leg.detailed,
        "begun": before["steps"],
    }
    trainer = Trainer(net, leg.train, facts)
    trainer.restore(place / "state")
    phase = Phase(leg.train.steps, leg.train.batch, leg.mix, leg.detailed)
    objective = phase_objective(net, phase, flow, place / "latents")
    records = (
        replace(record, step=before["steps"] + record.step)
        for record in fit(trainer, objective, place / "state")
    )
    log, start = folder / "log-generator.jsonl", before["steps"] + trainer.step
    yield from logged(records, log, start)
    finish(preset, leg, model, net, trainer, folder)


def flow_of(preset: Preset, leg: Leg) -> FlowConfig:
    """How a leg draws noise levels."""
    return replace(preset.flow, pattern_weights=leg.pattern_weights or preset.flow.pattern_weights)


def finish(
    preset: Preset,
    leg: Leg,
    model: MiniSora,
    net: TextToLatent,
    trainer: Trainer,
    folder: Path,
) -> None:
    """Replace `folder/model` by the averaged weights of a leg."""
    before = facts_of(folder)
    net.load_state_dict(trainer.averaged())
    model.net = net
    model.config = replace(model.config, dit=net.dit.config, flow=flow_of(preset, leg))
    sizes = {tuple(size) for size in before["sizes"]}
    sizes |= {(e.size.frames, e.size.height, e.size.width) for e in leg.mix}
    facts = {
        "steps": before["steps"] + leg.train.steps,
        "clips": before["clips"] + leg.train.steps * leg.train.batch,
        "sizes": sorted(map(list, sizes)),
    }
    model.save(folder / "model", dtype=torch.float16, **facts)
