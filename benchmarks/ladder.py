"""The recipe ladder: from a plain DiT with DDPM to minisora's recipe, one change at a time, at equal wall-clock.

    python benchmarks/ladder.py [--seconds 180] [--clips 400]

Every rung trains on the same cached latents of 9x32x32 clips for the same seconds (counted while it trains alone), then
makes clips from the same prompts. Scores: the kernel distance of its clips to real ones, on a judge trained for this
size here, and the share of prompted digits, colors and directions. The two ends run with three seeds. The learning
rate of each optimizer is the best of a short sweep at the plain end. Results go to `benchmarks/results/ladder.json` as
they come, so an interrupted ladder goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.contestants import plain_fp32
from benchmarks.plain import Parts, PlainDiT, plain_denoiser, plain_objective
from minisora.config import TrainConfig
from minisora.flow import FlowConfig
from minisora.latents import LatentDataset
from minisora.metrics.distance import kernel_distance
from minisora.metrics.judge import Judge, JudgeConfig, make_judge, train_judge
from minisora.metrics.reader import load_reader
from minisora.metrics.reading import compare, read_clip
from minisora.model import MiniSora
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.patches import token_grid
from minisora.presets import TINY, mixture
from minisora.recipe import build_all_latents, load_vae, model_config, seeded, train_vae
from minisora.sample import dpmpp_2m, frame_schedule, sample, timesteps
from minisora.train import Objective, Trainer
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig

SIZE = (9, 32, 32)
PRESET = replace(TINY, mix=mixture((*SIZE, 1.0)), latents=8000)
SHARED = (1.0, 0.0, 0.0, 0.0)  # one level for all frames of a clip
RATES = (3e-4, 1e-3, 3e-3)
MOMENTS = 6  # times at which a run is scored
SEEDS = (0, 1, 2)  # of the two ends
GUIDANCE = 3.0


@dataclass(frozen=True)
class Rung:
    """One recipe.

    Attributes:
        name: what it changes.
        parts: switches of the plain network; None takes minisora's.
        pattern_weights: of `FlowConfig`, once there is a flow.
        muon, cooldown: of `TrainConfig`.
        bf16: train in bfloat16 where the machine is fast at it, as minisora does by default.
    """

    name: str
    parts: Parts | None
    pattern_weights: tuple[float, ...] = SHARED
    muon: bool = False
    cooldown: float = 0.0
    bf16: bool = False


OURS = Rung("+ a noise level for every frame", None, FlowConfig().pattern_weights)
RUNGS = (
    Rung("plain DiT, DDPM, AdamW", Parts()),
    Rung("+ rectified flow, x-prediction", Parts(flow=True)),
    Rung("+ text tokens in the sequence", Parts(flow=True, tokens=True)),
    Rung("+ 3-D RoPE", Parts(flow=True, tokens=True, rope=True)),
    Rung("+ RMSNorm, QK-norm, SwiGLU", Parts(True, True, True, True)),
    Rung("+ one adaLN for all blocks: minisora's DiT", None),
    OURS,
    replace(OURS, name="+ bfloat16", bf16=True),
    replace(OURS, name="+ cool-down", bf16=True, cooldown=0.4),
    replace(OURS, name="+ Muon", bf16=True, cooldown=0.4, muon=True),
)


@dataclass
class Settings:
    """Recipe ladder: which change to the plain recipe helps, and how much."""

    seconds: float = 180.0
    """Training time of each run."""
    clips: int = 400
    """Clips that score a run at its end; a quarter of them on the way."""
    work: Path = Path("outputs/ladder")
    """Folder for the VAE, latents and the judge."""
    out: Path = RESULTS / "ladder.json"
    """Where results go."""


@dataclass
class Tools:
    """What every run is scored with."""

    model: MiniSora
    judge: Judge
    reader: Any

    def score(self, denoiser: Callable[[list[str]], Any], clips: int) -> dict[str, Any]:
        """Kernel distance to real clips, and shares of clips that show what was asked for."""
        world = MovingMNIST(WorldConfig(*SIZE, split="test"), seed=9300)
        scenes = [world.scene(i) for i in range(clips)]
        videos = torch.cat(
            [self.make(denoiser, scenes[i : i + 50], i) for i in range(0, clips, 50)]
        )
        real = MovingMNIST(WorldConfig(*SIZE, split="test"), seed=9301)
        theirs = self.judge.embed([real[i].video for i in range(clips)])
        distance = kernel_distance(self.judge.embed(videos), theirs, 50)
        right = [compare(s, read_clip(v, self.reader)) for s, v in zip(scenes, videos, strict=True)]
        shares = {n: sum(r[n] for r in right) / clips for n in ("digit", "color", "direction")}
        return {
            "kernel_distance": distance.value,
            "low": distance.low,
            "high": distance.high,
        } | shares

    @torch.inference_mode()
    def make(self, denoiser: Callable[[list[str]], Any], scenes: list[Any], first: int) -> Tensor:
        """Clips (n, 3, T, H, W) for scenes, from the noise of seeds first, first + 1, ..."""
        from minisora.worlds import caption

        noise = torch.stack(
            [self.model.noise(SIZE[0], SIZE[1:], first + i) for i in range(len(scenes))]
        )
        times = timesteps(20, self.model.shift(noise.shape[2:]))
        schedule = frame_schedule(times, noise.shape[2])
        z = sample(dpmpp_2m, denoiser([caption(scene) for scene in scenes]), noise, schedule)
        return self.model.vae.decode(z).clamp(0, 1)


def build(
    rung: Rung, model: MiniSora, data: LatentDataset, batch: int, seed: int
) -> tuple[nn.Module, Objective, Callable[[list[str]], Any]]:
    """A rung's network from `seed`, its objective, and what makes a denoiser from prompts."""
    flow = replace(PRESET.flow, pattern_weights=rung.pattern_weights)
    with seeded(seed):
        if rung.parts is None:
            model.net = TextToLatent(PRESET.text, PRESET.dit, VOCABULARY)
            objective = diffusion_objective(model.net, data, batch, flow)
            return model.net, objective, lambda texts: model.denoiser(texts, GUIDANCE)
        latent = PRESET.vae.latent_shape(*SIZE)
        grid = token_grid(latent[1:], PRESET.dit.patch)
        net = PlainDiT(PRESET.dit, PRESET.text, VOCABULARY, grid, rung.parts)
    objective = plain_objective(net, data, batch, flow)
    return net, objective, lambda texts: plain_denoiser(net, texts, GUIDANCE)


def new_trainer(
    net: nn.Module, rung: Rung, lr: float, steps: int, batch: int, seed: int
) -> Trainer:
    """Trains `net` as the rung says, for `steps`."""
    config = TrainConfig(
        steps=steps,
        batch=batch,
        lr=lr,
        warmup=50,
        cooldown=rung.cooldown,
        muon=rung.muon,
        seed=seed,
    )
    return Trainer(net, config)


def seconds_a_step(net: nn.Module, objective: Objective, rung: Rung, batch: int) -> float:
    """Median time of a training step, after a warm-up; the network is left trained a little."""
    trainer = new_trainer(net, rung, 1e-4, 25, batch, 0)
    with nullcontext() if rung.bf16 else plain_fp32():
        times = [trainer.train_step(objective).seconds for _ in range(25)]
    return float(np.median(times[5:]))


def climb(
    rung: Rung, lr: float, seed: int, data: LatentDataset, tools: Tools, settings: Settings
) -> dict[str, Any]:
    """Train one rung for the time given, and score it on the way and at its end."""
    batch = PRESET.train.batch
    pace = seconds_a_step(*build(rung, tools.model, data, batch, seed)[:2], rung, batch)
    net, objective, denoiser = build(rung, tools.model, data, batch, seed)
    steps = max(MOMENTS, round(settings.seconds / pace))
    trainer = new_trainer(net, rung, lr, steps, batch, seed)
    moments = [round(steps * (i + 1) / MOMENTS) for i in range(MOMENTS)]
    curve, spent = [], 0.0
    for _ in tqdm(range(steps), desc=f"{rung.name} ({lr:g}, seed {seed})", leave=False):
        with nullcontext() if rung.bf16 else plain_fp32():
            spent += trainer.train_step(objective).seconds
        if trainer.step in moments:
            last = {k: v.clone() for k, v in net.state_dict().items()}
            net.load_state_dict(trainer.averaged())
            clips = settings.clips if trainer.step == steps else settings.clips // 4
            curve.append({"step": trainer.step, "seconds": spent} | tools.score(denoiser, clips))
            net.load_state_dict(last)
    return {"rung": rung.name, "lr": lr, "seed": seed, "steps": steps, "curve": curve}


def prepare(work: Path) -> tuple[LatentDataset, Tools]:
    """The VAE, latents and judge that all rungs share; what is there already is not made again."""
    device = torch.device("cpu")
    for _ in tqdm(train_vae(PRESET, work, device), desc="vae", total=PRESET.vae_train.steps):
        pass
    vae = load_vae(PRESET, work / "vae.safetensors", device)
    for _ in tqdm(build_all_latents(PRESET, vae, work / "latents"), desc="latents"):
        pass
    model = MiniSora(model_config(PRESET)).eval()
    model.vae.load_state_dict(vae.state_dict())
    data = LatentDataset(work / "latents", PRESET.mix)
    return data, Tools(model, small_judge(work), load_reader())


def small_judge(work: Path) -> Judge:
    """A judge of clips of `SIZE`, trained unless it is in `work` already."""
    judge = make_judge(0, JudgeConfig(widths=(16, 32, 64, 96), steps=600))
    path = work / "judge.pt"
    if path.exists():
        judge.load_state_dict(torch.load(path))
    else:
        for _ in tqdm(train_judge(judge, seed=5, size=SIZE), desc="judge", total=600):
            pass
        torch.save(judge.state_dict(), path)
    return judge.eval().requires_grad_(False)


def runs(best: dict[str, float]) -> Iterator[tuple[Rung, float, int]]:
    """All runs in order: the sweep of rates at both ends, then every rung, then more seeds of the ends."""
    for rung in (RUNGS[0], RUNGS[-1]):
        for lr in RATES:
            yield rung, lr, 0
    for rung in RUNGS[1:-1]:
        yield rung, best[RUNGS[-1].name if rung.parts is None else RUNGS[0].name], 0
    for rung in (RUNGS[0], RUNGS[-1]):
        for seed in SEEDS[1:]:
            yield rung, best[rung.name], seed


def time_to_quality(known: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    """Seed by seed: when the first rung is at its best, and when the last rung first is as good."""
    found = {}
    for seed in SEEDS:
        plain, ours = (
            known[f"{rung.name} | {best[rung.name]:g} | {seed}"]["curve"]
            for rung in (RUNGS[0], RUNGS[-1])
        )
        target = min(plain, key=lambda moment: moment["kernel_distance"])
        bar = target["kernel_distance"]
        reached = [m["seconds"] for m in ours if m["kernel_distance"] <= bar]
        found[f"seed {seed}"] = {
            "baseline": bar,
            "baseline_seconds": target["seconds"],
            "seconds": reached[0] if reached else None,
            "times_faster": target["seconds"] / reached[0] if reached else None,
        }
    return found


def main(settings: Settings) -> None:
    """Climb, and write after every run."""
    data, tools = prepare(settings.work)
    known: dict[str, Any] = {}
    if settings.out.exists():
        known = json.loads(settings.out.read_text()).get("runs", {})
    best: dict[str, float] = {}
    started = time.perf_counter()
    for rung, lr, seed in runs(best):
        key = f"{rung.name} | {lr:g} | {seed}"
        if key not in known:
            known[key] = climb(rung, lr, seed, data, tools, settings)
            about = {"seconds": settings.seconds, "clips": settings.clips, "machine": machine()}
            update_results(settings.out, {"about": about, "runs": known})
        mine = [run for run in known.values() if run["rung"] == rung.name and run["seed"] == 0]
        last = min(mine, key=lambda run: run["curve"][-1]["kernel_distance"])
        best[rung.name] = last["lr"]
        end = known[key]["curve"][-1]
        figures = ", ".join(f"{k} {end[k]:.3f}" for k in ("kernel_distance", "digit", "direction"))
        print(f"{time.perf_counter() - started:6.0f} s  {key:<60} {figures}")
    names = [rung.name for rung in RUNGS]
    update_results(settings.out, {"rungs": names, "time_to_quality": time_to_quality(known, best)})
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
