"""The whole training on a folder of videos, from nothing to a model that `load` reads: VAE, latents, transformer.

As `recipe`, on footage in place of a world. Each stage writes to its own place in one folder and goes on where it
stopped:

    footage.json, card.txt          what was found out about the files, and the dataset card
    crops/, latents/                shards of what the two networks are trained on
    *-state/, log-*.jsonl           the last two training states of each stage, and its log
    vae.safetensors, psnr.json      the finished VAE, and how well it reconstructs each file
    model/                          what `minisora.load` reads
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from minisora.card import Plan, clips_a_step, describe, make_plan, model_config, seconds_a_step
from minisora.checkpoint import read_config, save_weights
from minisora.footage import CutConfig, read_cut
from minisora.footage_data import (
    TILE,
    CropPool,
    FootageLatents,
    build_crops,
    build_footage_latents,
    crop_size,
    encode_frames,
)
from minisora.metrics.quality import psnr
from minisora.model import MiniSora
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective, fit_latent_statistics, vae_objective
from minisora.presets import Preset
from minisora.recipe import Show, load_vae, logged, seeded
from minisora.sealed import write_atomic
from minisora.tiling import decode_tiled
from minisora.train import Record, Trainer, fit
from minisora.vae import VideoVAE

Tell = Callable[[str], None]


def train_crops_vae(
    plan: Plan, preset: Preset, out: Path, device: torch.device
) -> Iterator[Record]:
    """The VAE on crops of the footage, to `out/vae.safetensors`. Yields a record a step; none if it is done."""
    final, config = out / "vae.safetensors", preset.vae_train
    if final.exists():
        if read_config(final).get("footage", plan.digest) != plan.digest:
            raise ValueError(
                f"{final} was trained on other videos, captions or cuts; use another output folder."
            )
        return
    size = crop_size(plan.cuts, preset.vae_crop)
    pool = CropPool(out / "crops", size, config.seed)
    frames, height, width = preset.vae_crop
    crop = (frames, min(height, size.height), min(width, size.width))
    with seeded(config.seed):
        vae = VideoVAE(preset.vae).to(device)
    facts: dict[str, Any] = {"vae": asdict(preset.vae), "footage": plan.digest, "crop": crop}
    trainer = Trainer(vae, config, facts)
    trainer.restore(out / "vae-state")
    objective = vae_objective(vae, pool, config.batch, config.steps, crop)
    records = fit(trainer, objective, out / "vae-state")
    yield from logged(records, out / "log-vae.jsonl", trainer.step)
    vae.load_state_dict(trainer.averaged())
    fit_latent_statistics(vae.eval(), pool, clips=min(256, len(pool)))
    facts = {"vae": asdict(preset.vae), "steps": config.steps, "footage": plan.digest}
    save_weights(final, vae.state_dict(), facts)


@torch.no_grad()
def reconstruct_files(vae: VideoVAE, plan: Plan) -> Iterator[tuple[str, float]]:
    """(file, PSNR in dB of its first clip through the VAE and back) for every file used."""
    first = {cut.file: cut for cut in reversed(plan.cuts)}
    for file in plan.used:
        video = read_cut(plan.folder, first[file], plan.config)[None].to(vae.latent_mean.device)
        latent = encode_frames(vae, video)
        large = max(latent.shape[-2:]) > TILE
        made = decode_tiled(vae, latent, TILE, TILE // 4) if large else vae.decode(latent)
        yield file, float(psnr(made.clamp(0, 1), video))


def train_transformer(
    plan: Plan, preset: Preset, out: Path, device: torch.device
) -> Iterator[Record]:
    """Text encoder and transformer on cached latents, to `out/model`. Yields a record a step."""
    config = replace(preset.train, batch=clips_a_step(plan, preset))
    if (out / "model" / "generator.safetensors").exists():
        return
    with seeded(config.seed):
        net = TextToLatent(preset.text, preset.dit, plan.vocabulary).to(device)
    facts: dict[str, Any] = {
        name: asdict(getattr(preset, name)) for name in ("text", "dit", "flow")
    }
    trainer = Trainer(net, config, facts | {"footage": plan.digest})
    trainer.restore(out / "generator-state")
    data = FootageLatents(out / "latents", plan.cuts)
    objective = diffusion_objective(net, data, config.batch, preset.flow)
    records = fit(trainer, objective, out / "generator-state")
    yield from logged(records, out / "log-generator.jsonl", trainer.step)
    model = MiniSora(model_config(plan, preset))
    model.vae.load_state_dict(load_vae(preset, out / "vae.safetensors", device).state_dict())
    model.net.load_state_dict(trainer.averaged())
    model.save(
        out / "model",
        dtype=torch.float16,
        steps=config.steps,
        clips=config.steps * config.batch,
        sizes=[[size.frames, size.height, size.width] for size in sorted(plan.sizes)],
    )


def train_on_folder(
    folder: Path,
    out: Path,
    preset: Preset,
    config: CutConfig,
    device: torch.device,
    show: Show,
    tell: Tell,
) -> None:
    """All stages, each shown by `show`; resumes whatever was begun in `out`.

    Args:
        folder: videos with captions, see `footage`.
        out: where everything goes.
        preset: sizes of the networks and schedules; its mix of sizes is not used.
        config: how files are cut into clips.
        device: to train on.
        show: passes an iterator on as a progress bar.
        tell: prints a text: the dataset card, what could not be read, the PSNR of each file.

    Raises:
        ValueError: if nothing in the folder is of use, or `out` holds a training on something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    plan = examine_folder(folder, out, config, preset, show)
    card = describe(plan, preset, seconds_a_step(plan, preset, device), device.type)
    write_atomic(out / "card.txt", f"{card}\n".encode())
    tell(card)
    size, total = crop_size(plan.cuts, preset.vae_crop), len(plan.cuts)
    if not (out / "vae.safetensors").exists():
        crops = build_crops(folder, plan.cuts, config, size, out / "crops", preset.vae_train.seed)
        run_through(show(crops, total, "crops"))
    steps = preset.vae_train.steps
    run_through(show(train_crops_vae(plan, preset, out, device), steps, "vae"))
    vae = load_vae(preset, out / "vae.safetensors", device)
    figures = dict(reconstruct_files(vae, plan))
    write_atomic(out / "psnr.json", json.dumps(figures, indent=1).encode())
    tell("\n".join(f"VAE: {value:.1f} dB PSNR on {file}" for file, value in figures.items()))
    latents = build_footage_latents(vae, folder, plan.cuts, config, out / "latents")
    run_through(show(latents, total, "latents"))
    for file, why in FootageLatents(out / "latents", plan.cuts).unread.items():
        tell(f"Left out after the scan: {file}: {why}")
    steps = preset.train.steps
    run_through(show(train_transformer(plan, preset, out, device), steps, "generator"))


def examine_folder(folder: Path, out: Path, config: CutConfig, preset: Preset, show: Show) -> Plan:
    """The plan of the whole folder; a bar counts the files."""
    plan: Plan | None = None

    def counted() -> Iterator[int]:
        nonlocal plan
        for plan in make_plan(folder, out, config, preset):
            yield len(plan.files)

    run_through(show(counted(), 0, "files"))
    assert plan is not None  # an empty folder is an error
    return plan


def run_through(items: Iterator[Any]) -> None:
    """Run an iterator to its end."""
    for _ in items:
        pass
