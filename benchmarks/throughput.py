"""How fast minisora trains: against diffusers' Latte, and packed batches against padded ones.

    python benchmarks/throughput.py [--what latte|packing|all] [--rounds 3] [--batch 32] [--steps 10]

Every figure is clips a second of whole training steps, in one process, in eager mode. A round runs
`steps` steps of each contestant in turn; the ratio is taken within each round, and the median over rounds
counts. Steps before the first round are not timed. Results go to `benchmarks/results/throughput.json`.

**latte.** Clips of 17x64x64, as latents, with the dataset's captions; both sides draw them from the same
dataset within the step.

- minisora's step is `Trainer.train_step` on the preset: captions tokenized and encoded by the text encoder,
  which is trained too; noise levels for each frame, forward, loss, backward, gradient clipping, the
  preset's optimizer, averaged weights. Its sequence holds the text tokens as well. `minisora` is this step as
  `minisora train` runs it: under bfloat16 autocast where the CPU has instructions for it. `minisora_fp32` is
  the same without autocast.
- diffusers' step, in fp32 as its training scripts run on a CPU, is `LatteTransformer3DModel` with the
  published Latte-1's options at our width, heads, patch side and video tokens, with cross-attention to text
  states of our text width: DDPM noise, forward, mean squared error, backward, gradient clipping, AdamW. It is
  given what makes it faster: text states read from a table (as a user's cached text features), only as long
  as the longest caption of the batch and without a mask; no averaged weights; no learned variance.

Latte counts its layers in pairs of a spatial and a temporal block. `equal_blocks`, the headline and the
stricter reading of equal depth, gives it depth / 2 pairs, so that both networks have as many blocks as the
preset's depth; `equal_layers` gives it `num_layers` = depth, which is twice the blocks.

**packing.** The preset's mix of sizes and lengths. Packed training is minisora's own step. Padded training
is the same network, optimizer and loss, but every clip of the batch is padded to the largest one and the
padding is masked in attention and loss; short captions are filled with register tokens, which the network
knows. Largest is read in two ways:

- `sequence`, the headline and the stricter: clips become token sequences, padded to the longest sequence.
  (Rows and positions are then those of the longest clip: its cost, which is what is measured here.)
- `grid`: clips are stacked into one tensor, padded to the most frames, rows and columns of the batch.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import nn
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.contestants import (
    PADDINGS,
    RandomLatents,
    Step,
    latte_model,
    latte_step,
    minisora_step,
    new_trainer,
    padded_step,
)
from minisora.latents import LatentDataset
from minisora.network import TextToLatent
from minisora.patches import patchify, token_grid
from minisora.precision import autocast
from minisora.presets import Preset, find_preset
from minisora.worlds import VOCABULARY


@dataclass
class Settings:
    """Training throughput of a preset against diffusers' Latte, and packed against padded."""

    what: Literal["latte", "packing", "all"] = "all"
    """Which comparison to run."""
    rounds: int = 3
    """Rounds; each runs every contestant once."""
    batch: int = 0
    """Clips a step; 0 takes the preset's."""
    steps: int = 10
    """Timed steps of each contestant in a round."""
    warmup: int = 2
    """Steps of each contestant before the first round."""
    preset: str = "moving-mnist"
    """Which preset trains."""
    out: Path = RESULTS / "throughput.json"
    """Where results go."""


def compare_with_latte(preset: Preset, settings: Settings, batch: int) -> dict[str, Any]:
    """The section `latte` of the results."""
    size = preset.mix[0].size
    dataset = RandomLatents(preset.vae, preset.mix[:1])
    clip = preset.vae.latent_shape(size.frames, size.height, size.width)
    depth = preset.dit.depth
    pairs = {"equal_blocks": depth // 2, "equal_layers": depth}
    models = {name: latte_model(preset, n, clip) for name, n in pairs.items()}
    steps = {
        "minisora": minisora_step(preset, dataset, batch, shipped=True),
        "minisora_fp32": minisora_step(preset, dataset, batch),
    } | {name: latte_step(preset, dataset, batch, model) for name, model in models.items()}
    speeds = race(steps, settings, batch)
    network, _ = new_trainer(preset, batch)
    grid = token_grid(clip[1:], preset.dit.patch)
    ours, fp32 = speeds.pop("minisora"), speeds.pop("minisora_fp32")
    facts: dict[str, Any] = {
        "counted": "whole eager training steps; minisora with its text encoder and averaged"
        " weights, Latte in fp32 with text states given and AdamW",
        "clip": str(size),
        "batch": batch,
        "video_tokens": grid[0] * grid[1] * grid[2],
        "width": preset.dit.width,
        "minisora": {
            "blocks": depth,
            "parameters": count(network),
            "precision": precision(),
            "clips_per_second": ours,
        },
        "minisora_fp32": {"clips_per_second": fp32},
    }
    for name, theirs in speeds.items():
        facts[name] = {
            "latte_num_layers": pairs[name],
            "latte_blocks": 2 * pairs[name],
            "parameters": count(models[name]),
            "clips_per_second": theirs,
            "ratio": ratio(ours, theirs),
            "ratio_fp32": ratio(fp32, theirs),
        }
    return facts | {"headline": "equal_blocks", "ratio": facts["equal_blocks"]["ratio"]["median"]}


def precision() -> str:
    """In what `minisora train` multiplies on this machine."""
    return "fp32" if isinstance(autocast(torch.device("cpu")), nullcontext) else "bfloat16"


def padding_shares(
    preset: Preset, dataset: LatentDataset, batch: int, batches: int = 50
) -> dict[str, float]:
    """Share of all tokens, text and video, that are padding, for each way to pad."""
    tokenizer = TextToLatent(preset.text, preset.dit, VOCABULARY).tokenizer
    generator = torch.Generator().manual_seed(0)
    real_tokens, tokens = 0, dict.fromkeys(PADDINGS, 0)
    for _ in range(batches):
        latents, texts = dataset.batch(batch, generator)
        real_tokens += sum(len(tokenizer.encode(text)) for text in texts)
        real_tokens += sum(patchify(z[None], preset.dit.patch).shape[1] for z in latents)
        text_tokens = tokenizer.encode_batch(texts).numel()
        for name, pad in PADDINGS.items():
            tokens[name] += text_tokens + pad(latents, preset.dit.patch)[1].numel()
    return {name: 1 - real_tokens / total for name, total in tokens.items()}


def compare_with_padding(preset: Preset, settings: Settings, batch: int) -> dict[str, Any]:
    """The section `packing` of the results."""
    dataset = RandomLatents(preset.vae, preset.mix)
    steps = {"packed": minisora_step(preset, dataset, batch)} | {
        name: padded_step(preset, dataset, batch, pad) for name, pad in PADDINGS.items()
    }
    speeds = race(steps, settings, batch)
    shares = padding_shares(preset, dataset, batch)
    facts: dict[str, Any] = {
        "counted": "whole fp32 eager training steps of one network on the preset's mix of sizes",
        "mix": {str(entry.size): entry.share for entry in preset.mix},
        "batch": batch,
        "packed": {"clips_per_second": speeds["packed"]},
    }
    for name in PADDINGS:
        facts[name] = {
            "padding_share": shares[name],
            "clips_per_second": speeds[name],
            "ratio": ratio(speeds["packed"], speeds[name]),
        }
    return facts | {"headline": "sequence", "ratio": facts["sequence"]["ratio"]["median"]}


def race(steps: dict[str, Step], settings: Settings, batch: int) -> dict[str, list[float]]:
    """Clips a second of each contestant in each round; they take turns within a round."""
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    with tqdm(total=len(steps) * settings.rounds, leave=False) as bar:
        for step in steps.values():
            for _ in range(settings.warmup):
                step()
        for _ in range(settings.rounds):
            for name, step in steps.items():
                bar.set_description(name)
                started = time.perf_counter()
                for _ in range(settings.steps):
                    step()
                seconds = time.perf_counter() - started
                speeds[name].append(batch * settings.steps / seconds)
                bar.update()
    return speeds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Ratio of speeds in each round, and the median."""
    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"rounds": rounds, "median": statistics.median(rounds)}


def count(module: nn.Module) -> int:
    """Trained parameters."""
    return sum(p.numel() for p in module.parameters())


def show(title: str, facts: dict[str, Any], base: str, others: Sequence[str]) -> None:
    """Print one section as a table."""
    print(f"\n{title}, {facts['batch']} clips a step")
    fastest = statistics.median(facts[base]["clips_per_second"])
    print(f"  {base:<14}{fastest:>9.2f} clips/s")
    for name in others:
        part = facts[name]
        speed, times = statistics.median(part["clips_per_second"]), part["ratio"]
        extra = f"{part['padding_share']:.0%} padding" if "padding_share" in part else ""
        extra = extra or f"Latte with num_layers={part['latte_num_layers']}"
        if "ratio_fp32" in part:
            extra += f"; both in fp32 {part['ratio_fp32']['median']:.2f}"
        each = ", ".join(f"{r:.2f}" for r in times["rounds"])
        print(f"  {name:<14}{speed:>9.2f} clips/s   ratio {times['median']:.2f} ({each})  {extra}")


def main(settings: Settings) -> None:
    """Run what is asked, print it, and write it."""
    preset = find_preset(settings.preset)
    batch = settings.batch or preset.train.batch
    about: dict[str, Any] = {
        "machine": machine(),
        "preset": settings.preset,
        "steps": settings.steps,
    }
    about |= {"dit": asdict(preset.dit), "text": asdict(preset.text)}
    if settings.what in ("latte", "all"):
        facts = compare_with_latte(preset, settings, batch)
        show("Against diffusers' Latte", facts, "minisora", ("equal_blocks", "equal_layers"))
        update_results(settings.out, {"latte": about | facts})
    if settings.what in ("packing", "all"):
        facts = compare_with_padding(preset, settings, batch)
        show("Packed against padded to the largest", facts, "packed", tuple(PADDINGS))
        update_results(settings.out, {"packing": about | facts})
    print(f"\nWritten to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
