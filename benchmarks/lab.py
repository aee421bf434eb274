"""What small experiments share: clips of one digit in 9x32x32, the judge of that size, and how a model is scored.

`ladder`, `scaling` and `recaptioning` train their generators on such clips, encoded by the shipped VAE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minisora.latents import LatentDataset, build_latents
from minisora.loading import load
from minisora.metrics.distance import kernel_distance
from minisora.metrics.judge import Judge, JudgeConfig, make_judge, train_judge
from minisora.metrics.reader import load_reader
from minisora.metrics.reading import compare, read_clip
from minisora.model import MiniSora
from minisora.presets import PRESETS, TINY, mixture
from minisora.sample import dpmpp_2m, frame_schedule, sample, timesteps
from minisora.worlds import MovingMNIST, WorldConfig, caption

SIZE = (9, 32, 32)
DIGITS = 1  # in every clip; two would cover each other in so small a frame
SHIPPED = PRESETS["moving-mnist"]
PRESET = replace(TINY, vae=SHIPPED.vae, flow=SHIPPED.flow, mix=mixture((*SIZE, 1.0)), latents=8000)
TRAIN_WORLD, TEST_WORLD, REAL_WORLD = 501, 9300, 9301  # seeds
GUIDANCE = 3.0


@dataclass
class Tools:
    """What every run is scored with."""

    model: MiniSora
    judge: Judge
    reader: Any

    def score(self, denoiser: Callable[[list[str]], Any], clips: int) -> dict[str, Any]:
        """Kernel distance to real clips, and shares of clips that show what was asked for."""
        setting = WorldConfig(*SIZE, split="test", max_digits=DIGITS)
        world, real = MovingMNIST(setting, TEST_WORLD), MovingMNIST(setting, REAL_WORLD)
        scenes = [world.scene(i) for i in range(clips)]
        videos = torch.cat(
            [self.make(denoiser, scenes[i : i + 50], i) for i in range(0, clips, 50)]
        )
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
        noise = torch.stack(
            [self.model.noise(SIZE[0], SIZE[1:], first + i) for i in range(len(scenes))]
        )
        times = timesteps(20, self.model.shift(noise.shape[2:]))
        schedule = frame_schedule(times, noise.shape[2])
        z = sample(dpmpp_2m, denoiser([caption(scene) for scene in scenes]), noise, schedule)
        return self.model.vae.decode(z).clamp(0, 1)


def prepare(work: Path) -> tuple[LatentDataset, Tools]:
    """The latents and the judge that all rungs share; what is there already is not made again."""
    model = load("moving-mnist")
    building = build_latents(
        model.vae, PRESET.mix, PRESET.latents, work / "latents", TRAIN_WORLD, max_digits=DIGITS
    )
    for _ in tqdm(building, desc="latents", total=PRESET.latents):
        pass
    model.config = replace(model.config, text=PRESET.text, dit=PRESET.dit, flow=PRESET.flow)
    return LatentDataset(work / "latents", PRESET.mix), Tools(
        model, small_judge(work), load_reader()
    )


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
