"""Scaling (Sora's report: base, 4x and 32x compute): model sizes times budgets, one recipe, one metric.

    python benchmarks/scaling.py [--sizes 4] [--clips 400]

Models of growing depth (and with it width, the one dial) are trained on 9x32x32 clips for 1x, 4x and 32x the base
number of clips, each from nothing with its own cool-down. Each makes the same clips from the same prompts and seeds.
The kernel distance to real clips, on a judge trained for this size, is drawn against training FLOPs in log-log
with a fitted line; beside it one prompt's clip as compute grows. Results go to `benchmarks/results/scaling.json`
as they come, so an interrupted run goes on where it stopped; the figure stands beside them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.lab import DIGITS, GUIDANCE, PRESET, SIZE, Tools, prepare
from minisora.config import TrainConfig
from minisora.dit import DiTConfig
from minisora.latents import LatentDataset
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective
from minisora.recipe import seeded
from minisora.train import Trainer
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig

SIZES = ((2, 64), (3, 96), (4, 128), (6, 192))  # depth, width
BUDGETS = (1, 4, 32)  # as in the report's figure
SHOWN = 9400  # seed of the world whose first scene every model is asked for


@dataclass
class Settings:
    """Scaling: fidelity against training compute."""

    base: int = 4096
    """Clips of the smallest budget."""
    sizes: int = len(SIZES)
    """How many of the model sizes, from the smallest."""
    clips: int = 400
    """Clips that score a model."""
    work: Path = Path("outputs/ladder")
    """Folder of the latents and the judge, shared with the recipe ladder."""
    out: Path = RESULTS / "scaling.json"
    """Where results go; the figure stands beside it."""


def network(depth: int, width: int) -> TextToLatent:
    """A generator of that size, from the preset's text encoder and a fixed seed."""
    heads = max(2, width // 32)
    dit: DiTConfig = replace(PRESET.dit, depth=depth, width=width, num_heads=heads)
    with seeded(0):
        return TextToLatent(PRESET.text, dit, VOCABULARY)


def flops_of_a_clip(net: TextToLatent, data: LatentDataset, batch: int) -> float:
    """Floating-point operations of training on one clip, forward and backward, counted on a batch."""
    objective = diffusion_objective(net, data, batch, PRESET.flow)
    with FlopCounterMode(display=False) as counter:
        loss, _ = objective(0, torch.Generator().manual_seed(0))
        loss.backward()
    net.zero_grad(set_to_none=True)
    return counter.get_total_flops() / batch


def train(
    size: tuple[int, int], budget: int, data: LatentDataset, tools: Tools, settings: Settings
) -> dict[str, Any]:
    """Train one model on `budget` times the base number of clips, and score it."""
    batch = PRESET.train.batch
    steps = settings.base * budget // batch
    net = network(*size)
    flops = flops_of_a_clip(net, data, batch) * steps * batch
    config = TrainConfig(
        steps=steps, batch=batch, lr=PRESET.train.lr, warmup=min(50, steps // 4), cooldown=0.4
    )
    trainer = Trainer(net, config)
    objective = diffusion_objective(net, data, batch, PRESET.flow)
    for _ in tqdm(range(steps), desc=f"depth {size[0]}, {budget}x", leave=False):
        trainer.train_step(objective)
    net.load_state_dict(trainer.averaged())
    tools.model.net = net
    scores = tools.score(lambda texts: tools.model.denoiser(texts, GUIDANCE), settings.clips)
    save_sample(tools, sample_path(settings.work, size, budget))
    parameters = sum(p.numel() for p in net.parameters())
    return {
        "depth": size[0],
        "width": size[1],
        "budget": budget,
        "clips": steps * batch,
        "parameters": parameters,
        "flops": flops,
    } | scores


def sample_path(work: Path, size: tuple[int, int], budget: int) -> Path:
    """Where the clip that stands in the figure is kept."""
    return work / f"scaling-{size[0]}-{budget}.pt"


def save_sample(tools: Tools, path: Path) -> None:
    """Keep the model's clip of the prompt that every model is asked for."""
    scene = MovingMNIST(WorldConfig(*SIZE, split="test", max_digits=DIGITS), seed=SHOWN).scene(0)
    torch.save(tools.make(lambda texts: tools.model.denoiser(texts, GUIDANCE), [scene], 0)[0], path)


def fit_line(flops: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of log10(distance) against log10(flops), by least squares; all distances > 0."""
    slope, intercept = np.polyfit(np.log10(flops), np.log10(distance), 1)
    return float(slope), float(intercept)


def frontier(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that no cheaper run beats."""
    best: list[dict[str, Any]] = []
    for run in sorted(runs, key=lambda run: run["flops"]):
        if not best or run["kernel_distance"] < best[-1]["kernel_distance"]:
            best.append(run)
    return best


def draw(runs: list[dict[str, Any]], fit: dict[str, float], settings: Settings) -> None:
    """The figure: distance against compute, and one prompt's frames as compute grows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for depth in sorted({run["depth"] for run in runs}):
        mine = [run for run in runs if run["depth"] == depth]
        values = [max(run["kernel_distance"], 1e-4) for run in mine]
        left.loglog([run["flops"] for run in mine], values, "o-", label=f"depth {depth}")
    flops = np.array(sorted(run["flops"] for run in runs))
    line = 10 ** fit["intercept"] * flops ** fit["slope"]
    left.loglog(flops, line, "k--", label=f"all runs: slope {fit['slope']:.2f}")
    left.set(xlabel="training FLOPs", ylabel="kernel distance to real clips")
    left.legend()
    rows = []
    for run in frontier(runs):
        clip: Tensor = torch.load(
            sample_path(settings.work, (run["depth"], run["width"]), run["budget"])
        )
        rows.append(clip[:, ::2].permute(0, 2, 1, 3).flatten(2))  # (3, H, T * W)
    right.imshow(torch.cat(rows, dim=1).permute(1, 2, 0).numpy(), interpolation="nearest")
    right.set_xticks([])
    height = SIZE[1]
    labels = [f"{run['flops']:.1e}" for run in frontier(runs)]
    right.set_yticks([height * (i + 0.5) for i in range(len(labels))], labels)
    right.set_title("same prompt, same seed; FLOPs at the left")
    figure.savefig(settings.out.with_suffix(".png"), dpi=120)


def main(settings: Settings) -> None:
    """Train what is not there yet, fit, draw."""
    data, tools = prepare(settings.work)
    known: dict[str, Any] = {}
    if settings.out.exists():
        known = json.loads(settings.out.read_text()).get("runs", {})
    for size in SIZES[: settings.sizes]:
        for budget in BUDGETS:
            key = f"depth {size[0]}, {budget}x"
            there = sample_path(settings.work, size, budget).exists()
            if key not in known or not there:
                known[key] = train(size, budget, data, tools, settings)
                about = {"base": settings.base, "clips": settings.clips, "machine": machine()}
                update_results(settings.out, {"about": about, "runs": known})
            print(
                f"{key:<16} {known[key]['flops']:.2e} FLOPs, kernel distance {known[key]['kernel_distance']:.4f}"
            )
    runs = list(known.values())
    positive = [run for run in runs if run["kernel_distance"] > 0]
    slope, intercept = fit_line(
        np.array([run["flops"] for run in positive]),
        np.array([run["kernel_distance"] for run in positive]),
    )
    fit = {"slope": slope, "intercept": intercept, "runs": len(positive)}
    update_results(settings.out, {"fit": fit})
    draw(runs, fit, settings)
    print(f"slope {slope:.3f}; written to {settings.out} and {settings.out.with_suffix('.png')}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
