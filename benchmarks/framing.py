"""Framing: is a model that was trained on square crops worse at keeping its subject in the picture? (Sora's report)

    python benchmarks/framing.py [--steps 1200] [--seeds 0 1 2] [--clips 100] [--figure outputs/framing.webp]

Two models of one size start from the same weights and train for as many steps on as many video tokens: `native` on
wide, tall and square clips as they are, `square` on the center squares of the same clips. Captions describe the whole
clip in both, as the captions of cropped videos do. Since crops have fewer tokens, the square model sees more clips a
step, which is in its favor. Both use the VAE of a checkpoint.

Clips of one digit are then made in all three shapes from captions of the test world. A prompted digit is *missing* if
no object of its color is there for half of the frames; it is *cut off* if one touches the frame's border in a third of
the frames in which it is there, since a digit that only bounces leaves it at once. The share of clips with a digit
missing or cut off is compared with that of real clips, by the same tracker. Beside it stands the share with several
objects of the digit's color, *in pieces*.

A run that was killed goes on where it stopped; each finished one is written to `benchmarks/results/framing.json`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.framing_data import MIX, MODES, FramingLatents, Mode, build, world_of
from minisora.loading import load
from minisora.metrics.intervals import share
from minisora.metrics.suite import PROMPT_SEED, EvaluationConfig, generated, real
from minisora.metrics.tracks import Track, find_tracks
from minisora.model import MiniSora
from minisora.network import ModelConfig, TextToLatent
from minisora.objectives import diffusion_objective
from minisora.presets import Preset, find_preset
from minisora.recipe import seeded
from minisora.train import Trainer, fit
from minisora.video import VideoClip, grid
from minisora.worlds import VOCABULARY, Scene, caption

SHAPES = {"wide": MIX[0].size, "tall": MIX[1].size, "square": MIX[2].size}
BORDER = 0.5  # px: a box nearer than this to the border touches it
TOUCHING = 1 / 3  # share of its frames in which a digit must touch to count as cut off


@dataclass
class Settings:
    """Native sizes against center squares, from scratch."""

    steps: int = 1200
    """Steps of each run."""
    batch: int = 32
    """Clips a step of the native model; the square one has as many tokens."""
    lr: float = 3e-3
    """Peak step size."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run of each model with each seed."""
    latents: int = 4000
    """Training clips, in all sizes together."""
    clips: int = 100
    """Clips made in each shape."""
    sampler_steps: int = 30
    """Sampler steps."""
    preset: str = "tiny"
    """Whose text encoder and transformer train."""
    checkpoint: str = "moving-mnist"
    """Whose VAE encodes."""
    work: Path = Path("outputs/framing")
    """Folder for latents and training states."""
    out: Path = RESULTS / "framing.json"
    """Where results go."""
    figure: Path | None = None
    """Where to draw clips of the first seed side by side, e.g. outputs/framing.webp; by default nowhere."""


# ---------------------------------------------------------------------------------------- training


def train(
    model: MiniSora, preset: Preset, mode: Mode, seed: int, settings: Settings
) -> dict[str, Any]:
    """Train the network of `model` anew, in place; goes on after a kill."""
    data = FramingLatents(model, mode, settings.work)
    batch = round(settings.batch * data.clips_per_native)
    config = replace(
        preset.train, steps=settings.steps, batch=batch, lr=settings.lr, seed=seed,
        warmup=min(100, settings.steps // 10), checkpoint_every=250,
    )  # fmt: skip
    with seeded(seed):
        model.net = TextToLatent(preset.text, preset.dit, VOCABULARY)
    model.net.train().requires_grad_(True)
    trainer = Trainer(model.net, config, {"mode": mode, "latents": settings.latents})
    folder = settings.work / f"{mode}-{seed}"
    trainer.restore(folder)
    objective = diffusion_objective(model.net, data, batch, preset.flow)
    records = fit(trainer, objective, folder)
    losses, tokens = [], []
    for record in tqdm(
        records, total=settings.steps, initial=trainer.step, desc=folder.name, leave=False
    ):
        losses.append(record.loss)
        tokens.append(record.parts["tokens"])
    model.net.load_state_dict(trainer.averaged())
    model.net.eval().requires_grad_(False)
    late = losses[-max(1, len(losses) // 10) :]
    return {"clips_a_step": batch, "tokens_a_step": mean_of(tokens), "last_loss": mean_of(late)}


def mean_of(values: list[float]) -> float | None:
    """Their mean; None if a run was resumed when nothing was left to do."""
    return float(np.mean(values)) if values else None


# ------------------------------------------------------------------------------------------ framing


def touches(track: Track, size: tuple[int, int]) -> float:
    """Share of its frames in which a track touches the border."""
    box = track.box[track.present]
    near = (
        (box[:, :2] < BORDER).any(1)
        | (box[:, 2] > size[0] - BORDER)
        | (box[:, 3] > size[1] - BORDER)
    )
    return float(near.mean())


def judge(scene: Scene, video: Tensor) -> dict[str, bool]:
    """Whether a digit that the scene has is missing from the clip (3, T, H, W), cut off by its border, or in pieces."""
    size, frames = (video.shape[2], video.shape[3]), video.shape[1]
    lasting = [t for t in find_tracks(video) if 2 * t.present.sum() >= frames]
    wanted = [[t for t in lasting if t.color == digit.color] for digit in scene.digits]
    missing = not all(wanted)
    cut = any(touches(track, size) >= TOUCHING for tracks in wanted for track in tracks)
    pieces = any(len(tracks) > 1 for tracks in wanted)
    return {"missing": missing, "cut_off": cut, "either": missing or cut, "in_pieces": pieces}


def measure(
    model: MiniSora, shape: str, source_name: str, settings: Settings
) -> tuple[dict[str, Any], list[Tensor]]:
    """Shares of clips of one shape with a digit missing or cut off, and the first clips."""
    size = SHAPES[shape]
    config = EvaluationConfig(settings.clips, (size.frames, size.height, size.width))
    world = world_of(size, "test", PROMPT_SEED)
    scenes = [world.scene(i) for i in range(settings.clips)]
    captions = [caption(s, "short", np.random.default_rng(i)) for i, s in enumerate(scenes)]
    source = (
        real
        if source_name == "real"
        else generated(model, config, 10, steps=settings.sampler_steps)
    )
    verdicts: list[dict[str, bool]] = []
    first: list[Tensor] = []
    for scene, video in zip(scenes, source(scenes, captions), strict=True):
        verdicts.append(judge(scene, video))
        first += [video] * (len(first) < 4)
    return {name: share([v[name] for v in verdicts]) for name in verdicts[0]}, first


def summary(runs: dict[str, Any]) -> dict[str, Any]:
    """Over all seeds: the share of each mode and shape, and how many times as often the square model fails."""
    rows: dict[str, Any] = {}
    for shape in SHAPES:
        values = {
            mode: [
                run["framing"][shape]["either"]["value"]
                for run in runs.values()
                if run["mode"] == mode
            ]
            for mode in MODES
        }
        if all(values.values()):
            native, square = (float(np.mean(values[mode])) for mode in MODES)
            rows[shape] = {"native": native, "square": square, "seeds": values}
            rows[shape]["ratio"] = (
                square / native if native else None
            )  # None: the native one never fails
    return rows


def draw(pictures: dict[str, list[Tensor]], out: Path) -> None:
    """Clips from the same prompts and noise side by side: a row for each mode and shape, left to right."""
    clips = [VideoClip(video) for row in pictures.values() for video in row]
    columns = max(len(row) for row in pictures.values())
    out.parent.mkdir(parents=True, exist_ok=True)
    grid(clips, columns=columns).save(out)
    print(f"Drawn to {out}, rows from top to bottom: {', '.join(pictures)}")


def finish(known: dict[str, Any], pictures: dict[str, list[Tensor]], settings: Settings) -> None:
    """Print the summary, and draw the figure if one is wanted."""
    for shape, row in known.get("summary", {}).items():
        print(
            f"{shape:<8} missing or cut off: native {row['native']:.1%}, square {row['square']:.1%}"
        )
    if settings.figure is not None:
        draw(pictures, settings.figure)
    print(f"Written to {settings.out}")


def main(settings: Settings) -> None:
    """Train and measure what is missing, and write each run as it ends."""
    model = load(settings.checkpoint)
    preset = find_preset(settings.preset)
    parts = (model.config.vae, preset.text, preset.dit, preset.flow, VOCABULARY)
    model.config = ModelConfig(*parts)
    told = ("steps", "batch", "lr", "latents", "clips", "sampler_steps", "preset", "checkpoint")
    about = {name: getattr(settings, name) for name in told}
    known = json.loads(settings.out.read_text()) if settings.out.exists() else {}
    if known and known["about"] != about:
        raise SystemExit(
            f"{settings.out} holds runs with other settings; give another --out and --work."
        )
    known = {"about": about, "machine": machine(), "runs": {}} | known
    if "real" not in known:
        known["real"] = {shape: measure(model, shape, "real", settings)[0] for shape in SHAPES}
        update_results(settings.out, known)
    pictures: dict[str, list[Tensor]] = {}
    for seed in settings.seeds:
        for mode in MODES:
            drawn = settings.figure is not None and seed == settings.seeds[0]
            if f"{mode}-{seed}" in known["runs"] and not drawn:
                continue
            for _ in tqdm(
                build(model.vae, mode, settings.latents, settings.work),
                total=settings.latents,
                desc=f"latents, {mode}",
            ):
                pass
            facts = {"mode": mode, "seed": seed} | train(model, preset, mode, seed, settings)
            framing = {}
            for shape in SHAPES:
                framing[shape], first = measure(model, shape, "made", settings)
                if drawn:
                    pictures[f"{mode}, {shape}"] = first
            known["runs"].setdefault(f"{mode}-{seed}", facts | {"framing": framing})
            known["summary"] = summary(known["runs"])
            update_results(settings.out, known)
    finish(known, pictures, settings)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
