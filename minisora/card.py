"""The plan of a training on footage, and its dataset card: what is in the folder and what an epoch costs.

Stands on `footage` and `train`; `footage_recipe` trains by the plan. The card comes before the work, so that
a folder whose native sizes are too large for the machine is noticed in minutes, not in days.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from minisora.config import ClipSize
from minisora.footage import (
    Cut,
    CutConfig,
    Footage,
    captions_of,
    cut_file,
    read_captions,
    scan,
)
from minisora.footage_data import plan_digest
from minisora.network import ModelConfig, TextToLatent
from minisora.objectives import diffusion_objective
from minisora.patches import token_grid
from minisora.presets import Preset
from minisora.text import split_words
from minisora.train import Trainer

TOKENS = 8192  # video tokens of a step, about: a step of larger clips holds fewer of them
MOST_WORDS = 4000  # words that the tokenizer knows whole; rarer ones are spelled


@dataclass(frozen=True)
class Plan:
    """What a folder is trained on.

    Attributes:
        folder: of the videos.
        files: everything that was found, usable or not.
        cuts: the clips.
        config: how files were cut.
    """

    folder: Path
    files: tuple[Footage, ...]
    cuts: tuple[Cut, ...]
    config: CutConfig

    @property
    def used(self) -> list[str]:
        """Files with at least one clip."""
        return list(dict.fromkeys(cut.file for cut in self.cuts))

    @property
    def skipped(self) -> dict[str, str]:
        """Why each other file is left out."""
        used = set(self.used)
        small = "is smaller than a patch."
        return {f.file: f.problem or f"{f.file} {small}" for f in self.files if f.file not in used}

    @property
    def digest(self) -> str:
        """Changes with any cut, caption or rate."""
        return plan_digest(self.cuts, self.config)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words of the captions, without the rarest if they are too many."""
        words = Counter(w for cut in self.cuts for text in cut.captions for w in split_words(text))
        return tuple(sorted(word for word, _ in words.most_common(MOST_WORDS)))

    @property
    def sizes(self) -> Counter[ClipSize]:
        """How many clips have each size."""
        return Counter(cut.size for cut in self.cuts)


def make_plan(folder: Path, out: Path, config: CutConfig, preset: Preset) -> Iterator[Plan]:
    """Examine a folder file by file; yields the plan of what has been examined so far.

    Args:
        folder: of videos, see `footage`.
        out: folder of the training; what is found out is kept there, so that it is found out once.
        config: how files are cut.
        preset: its VAE and patch set the grid of sizes.

    Raises:
        ValueError: if no file is of use, or the captions cannot be read.
    """
    listed, _, *patch = read_captions(folder), *preset.dit.patch
    units = (preset.vae.spatial * patch[0], preset.vae.spatial * patch[1])
    plan = Plan(folder, (), (), config)
    for files in scan(folder, config.fps, out / "footage.json", leave_out=out):
        new = files[-1]
        cuts = [] if new.problem else cut_file(new, config, units, captions_of(folder, new, listed))
        plan = replace(plan, files=tuple(files), cuts=(*plan.cuts, *cuts))
        yield plan
    if not plan.cuts:
        raise ValueError(
            f"None of the {len(plan.files)} files in {folder} can be used, e.g.: "
            f"{next(iter(plan.skipped.values()))}"
        )


def model_config(plan: Plan, preset: Preset) -> ModelConfig:
    """The configuration of a model trained on the plan."""
    vae, text, dit, flow = preset.vae, preset.text, preset.dit, preset.flow
    return ModelConfig(vae, text, dit, flow, plan.vocabulary, plan.config.fps)


def tokens(size: ClipSize, preset: Preset) -> int:
    """Video tokens of a clip."""
    shape = preset.vae.latent_shape(size.frames, size.height, size.width)
    t, h, w = token_grid(shape[1:], preset.dit.patch)
    return t * h * w


def clips_a_step(plan: Plan, preset: Preset) -> int:
    """The preset's batch, or as many of the plan's clips as make about `TOKENS` tokens if that is fewer."""
    mean = sum(tokens(cut.size, preset) for cut in plan.cuts) / len(plan.cuts)
    return max(1, min(preset.train.batch, round(TOKENS / mean)))


class Blank:
    """Random latents of the plan's sizes with its captions, for timing alone."""

    def __init__(self, plan: Plan, preset: Preset) -> None:
        self.cuts, self.vae = plan.cuts, preset.vae

    def batch(
        self, batch: int, generator: torch.Generator, detailed: float = 0.65
    ) -> tuple[list[Tensor], list[str]]:
        """As `FootageLatents.batch`."""
        picks = torch.randint(len(self.cuts), (batch,), generator=generator).tolist()
        sizes = [self.cuts[pick].size for pick in picks]
        shapes = [self.vae.latent_shape(s.frames, s.height, s.width) for s in sizes]
        latents = [torch.randn(shape, generator=generator) for shape in shapes]
        return latents, [(*self.cuts[pick].captions, "")[0] for pick in picks]


def seconds_a_step(plan: Plan, preset: Preset, device: torch.device, steps: int = 2) -> float:
    """Measured time of a training step of the transformer, after one that is not counted."""
    batch = clips_a_step(plan, preset)
    with torch.random.fork_rng():
        net = TextToLatent(preset.text, preset.dit, plan.vocabulary).to(device)
    trainer = Trainer(net, replace(preset.train, batch=batch))
    objective = diffusion_objective(net, Blank(plan, preset), batch, preset.flow)
    trainer.train_step(objective)
    started = time.perf_counter()
    for _ in range(steps):
        trainer.train_step(objective)  # reads its loss, and so waits for the device
    return (time.perf_counter() - started) / steps


def describe(plan: Plan, preset: Preset, step_seconds: float, device: str) -> str:
    """The dataset card, as text."""
    clips, batch, steps = len(plan.cuts), clips_a_step(plan, preset), preset.train.steps
    each = {size: tokens(size, preset) for size in plan.sizes}
    total = sum(each[size] * count for size, count in plan.sizes.items())
    frames = [cut.size.frames for cut in plan.cuts]
    told = {cut.file for cut in plan.cuts if cut.captions}
    numbers = preset.vae.latent_channels * preset.dit.patch[1] * preset.dit.patch[2] * total
    epoch = clips / batch * step_seconds
    lines = [
        f"Dataset card of {plan.folder}",
        f"  files     {len(plan.used)} used, {len(plan.skipped)} skipped",
        *(f"            skipped: {why}" for why in plan.skipped.values()),
        f"  captions  of {len(told)} of {len(plan.used)} files, {len(plan.vocabulary)} words",
        f"  clips     {clips}, of {min(frames)} to {max(frames)} frames at {plan.config.fps:g} a second, "
        f"{sum(frames) / plan.config.fps:.1f} s in all",
        "  sizes     frames x height x width, clips, tokens a clip",
        *size_lines(plan.sizes, each),
        f"  tokens    {total:,} an epoch, {total / clips:,.0f} a clip on average",
        f"  latents   {2 * numbers / 1e6:.1f} MB on disk",
        f"  time      {batch} clips a step, {step_seconds:.2f} s a step of the transformer (measured, {device}): "
        f"{duration(epoch)} an epoch; {steps} steps are {steps * batch / clips:.0f} epochs, "
        f"{duration(steps * step_seconds)}",
    ]
    if steps * step_seconds > 24 * 3600:
        lines.append(
            "            That is long: --longest-side makes clips smaller, --steps the run shorter."
        )
    return "\n".join(lines)


def size_lines(
    sizes: Counter[ClipSize], each: dict[ClipSize, int], most: int = 12
) -> Sequence[str]:
    """A line for each of the most frequent sizes."""
    lines = [
        f"            {size!s:<14}{n:>6}{each[size]:>8}" for size, n in sizes.most_common(most)
    ]
    rest = sizes.total() - sum(n for _, n in sizes.most_common(most))
    return [*lines, f"            {len(sizes) - most} others{rest:>11}"] if rest else lines


def duration(seconds: float) -> str:
    """ "12 s", "3.5 min", "2.1 h"."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
