"""The recipe ladder: from a plain DiT with DDPM to minisora's recipe, one change at a time, at equal wall-clock.

    python benchmarks/ladder.py [--seconds 600] [--clips 400]

Every rung trains on the same cached latents of 9x32x32 clips of one digit for the same seconds (counted while it
trains alone), then makes clips from the same prompts. Scores: the kernel distance of its clips to real ones, on a judge
trained for this size here, and the share of prompted digits, colors and directions. The two ends run with three seeds.
The learning rate of either end is the best of a sweep of a quarter of the time; rungs between take that of the end
whose network they share. Results go to `benchmarks/results/ladder.json` as
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
import tyro
from torch import nn
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.contestants import plain_fp32
from benchmarks.lab import GUIDANCE, PRESET, SIZE, Tools, prepare
from benchmarks.plain import Parts, PlainDiT, plain_denoiser, plain_objective
from minisora.config import TrainConfig
from minisora.flow import FlowConfig
from minisora.latents import LatentDataset
from minisora.model import MiniSora
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.patches import token_grid
from minisora.recipe import seeded
from minisora.train import Objective, Trainer
from minisora.worlds import VOCABULARY

SHARED = (1.0, 0.0, 0.0, 0.0)  # one level for all frames of a clip
RATES = (3e-4, 1e-3, 3e-3)
MOMENTS = 6  # times at which a run is scored
SEEDS = (0, 1, 2)  # of the two ends
SWEEP = 0.25  # share of the time that a rate is tried for


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

    seconds: float = 600.0
    """Training time of each run."""
    clips: int = 400
    """Clips that score a run at its end; a quarter of them on the way."""
    work: Path = Path("outputs/ladder")
    """Folder for latents and the judge."""
    out: Path = RESULTS / "ladder.json"
    """Where results go."""


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
    rung: Rung, lr: float, seed: int, data: LatentDataset, tools: Tools, clips: int, seconds: float
) -> dict[str, Any]:
    """Train one rung for the time given, and score it on the way and at its end."""
    batch = PRESET.train.batch
    pace = seconds_a_step(*build(rung, tools.model, data, batch, seed)[:2], rung, batch)
    net, objective, denoiser = build(rung, tools.model, data, batch, seed)
    steps = max(MOMENTS, round(seconds / pace))
    trainer = new_trainer(net, rung, lr, steps, batch, seed)
    moments = [round(steps * (i + 1) / MOMENTS) for i in range(MOMENTS)]
    curve, spent = [], 0.0
    for _ in tqdm(range(steps), desc=f"{rung.name} ({lr:g}, seed {seed})", leave=False):
        with nullcontext() if rung.bf16 else plain_fp32():
            spent += trainer.train_step(objective).seconds
        if trainer.step in moments:
            last = {k: v.clone() for k, v in net.state_dict().items()}
            net.load_state_dict(trainer.averaged())
            count = clips if trainer.step == steps else clips // 4
            curve.append({"step": trainer.step, "seconds": spent} | tools.score(denoiser, count))
            net.load_state_dict(last)
    return {"rung": rung.name, "lr": lr, "seed": seed, "steps": steps, "curve": curve}


def runs(best: dict[str, float]) -> Iterator[tuple[Rung, float, int, float]]:
    """(rung, rate, seed, share of the time) in order: a short sweep of rates at both ends, then all rungs, then
    more seeds of the ends."""
    ends = (RUNGS[0], RUNGS[-1])
    for rung in ends:
        for lr in RATES:
            yield rung, lr, 0, SWEEP
    for rung in RUNGS:
        yield rung, best[ends[rung.parts is None].name], 0, 1.0
    for rung in ends:
        for seed in SEEDS[1:]:
            yield rung, best[rung.name], seed, 1.0


def time_to_quality(known: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    """Seed by seed: when the first rung is at its best, and when the last rung first is as good."""
    found = {}
    for seed in SEEDS:
        plain, ours = (
            known[name_of(rung, best[rung.name], seed)]["curve"] for rung in (RUNGS[0], RUNGS[-1])
        )
        target = min(plain, key=lambda moment: moment["kernel_distance"])
        bar = target["kernel_distance"]
        reached = [m["seconds"] for m in ours if m["kernel_distance"] <= bar]
        found[f"seed {seed}"] = {
            "baseline": bar,
            "baseline_seconds": target["seconds"],
            "seconds": reached[0] if reached else None,
            "at_first_look": reached[:1] == [ours[0]["seconds"]],
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
    for rung, lr, seed, part in runs(best):
        key = name_of(rung, lr, seed, part)
        if key not in known:
            run = climb(rung, lr, seed, data, tools, settings.clips, part * settings.seconds)
            known[key] = run | {"share": part}
            about = {"seconds": settings.seconds, "clips": settings.clips, "machine": machine()}
            update_results(settings.out, {"about": about, "runs": known})
        if part < 1:
            tried = [r for r in known.values() if r["rung"] == rung.name and r["share"] < 1]
            best[rung.name] = min(tried, key=lambda r: r["curve"][-1]["kernel_distance"])["lr"]
        end = known[key]["curve"][-1]
        figures = ", ".join(f"{k} {end[k]:.3f}" for k in ("kernel_distance", "digit", "direction"))
        print(f"{time.perf_counter() - started:6.0f} s  {key:<70} {figures}", flush=True)
    names = [rung.name for rung in RUNGS]
    update_results(settings.out, {"rungs": names, "time_to_quality": time_to_quality(known, best)})
    print(f"Written to {settings.out}")


def name_of(rung: Rung, lr: float, seed: int, part: float = 1.0) -> str:
    """A run's key in the results."""
    return f"{rung.name} | {lr:g} | {seed} | {part:g}"


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
