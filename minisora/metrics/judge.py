"""The judge: a small video network whose features say how alike two sets of clips are.

It learns, from clips of its own world seeds, what a clip shows (digits, colors, sizes, background), how it moves
(direction and speed of each color) and whether its frames are in order. It never trains or guides a generator. A
distance is only as good as the judge's eyes: `corruptions` and `benchmarks/metric_validity.py` test them, and two
judges of different seeds must agree.

Features stand in for those of I3D in the Frechet video distance (1812.01717), which hardly sees time (2404.12391).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.checkpoint import load_weights, save_weights
from minisora.paths import data_file
from minisora.precision import autocast
from minisora.worlds import COLORS, DIRECTIONS, SIZES, SPEEDS, MovingMNIST, Scene, WorldConfig
from minisora.worlds.backgrounds import BACKGROUNDS

from .corruptions import STRENGTHS, freeze, reverse, shuffle

JUDGE_WORLD = 70_000  # world seed of judge 0; no generator and no benchmark draws from it
FEATURES = 128
DAMAGE = (freeze, shuffle, reverse)  # what "in order" is learned from
PRIOR = -3.5  # logit that most answers, being no, begin with (1708.02002, section 3.3)
BLOCK = 16  # clips that share a kind of order in training


@dataclass(frozen=True)
class JudgeConfig:
    """Widths of the four stages of `Judge`, and how it is trained."""

    widths: tuple[int, ...] = (24, 48, 96, 128)
    steps: int = 2000
    batch: int = 32
    lr: float = 3e-3


class Judge(nn.Module):
    """Video network: (B, 3, T, H, W) in [0, 1] -> features (B, 128) of unit variance, and answers.

    Four 3-D convolutions, each halving the frame and two of them time, then a mean over what is left; so it takes
    clips of any size and length from 16x16 and one frame up.
    """

    def __init__(self, config: JudgeConfig = JudgeConfig()) -> None:
        super().__init__()
        self.config = config
        widths, strides = (3, *config.widths), (1, 2, 1, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(a, b, 3, (time, 2, 2), padding=1, bias=False),
                nn.BatchNorm3d(b),
                nn.ReLU(),
            )
            for a, b, time in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.features = nn.Sequential(
            nn.Linear(2 * widths[-1], FEATURES), nn.BatchNorm1d(FEATURES, affine=False)
        )
        self.answers = nn.Linear(FEATURES, sum(ANSWERS.values()))
        nn.init.constant_(self.answers.bias, PRIOR)

    def forward(self, video: Tensor) -> Tensor:
        """Features (B, 128)."""
        x = 2.0 * video - 1.0
        for stage in self.stages:
            x = stage(x)
        pooled = torch.cat([x.mean(dim=(2, 3, 4)), x.amax(dim=(2, 3, 4))], dim=1)
        return self.features(pooled)

    @torch.inference_mode()
    def embed(self, videos: Sequence[Tensor] | Tensor, batch: int = 32) -> Tensor:
        """Features (N, 128) of videos (3, T, H, W) in [0, 1], all of one size."""
        parts = [
            self(torch.stack(list(videos[i : i + batch]))) for i in range(0, len(videos), batch)
        ]
        return torch.cat(parts)


ANSWERS: dict[str, int] = {
    "digit": 10,
    "color digit": 10 * len(COLORS),
    "color size": len(COLORS) * len(SIZES),
    "color direction": len(COLORS) * len(DIRECTIONS),
    "color speed": len(COLORS) * len(SPEEDS),
    "background": len(BACKGROUNDS),
    "disorder": 1 + len(DAMAGE),
}
"""What the judge is asked, and how many yes-or-no answers each question has."""


def truth(scene: Scene, disorder: int) -> Tensor:
    """The right answers about a clip as zeros and ones (sum of `ANSWERS`,). `disorder` 0 means in order."""
    answers = {name: np.zeros(size, np.float32) for name, size in ANSWERS.items()}
    for d in scene.digits:
        color = list(COLORS).index(d.color)
        answers["digit"][d.label] = 1
        answers["color digit"][color * 10 + d.label] = 1
        answers["color size"][color * len(SIZES) + list(SIZES).index(d.size)] = 1
        if not disorder:
            direction, speed = list(DIRECTIONS).index(d.direction), list(SPEEDS).index(d.speed)
            answers["color direction"][color * len(DIRECTIONS) + direction] = 1
            answers["color speed"][color * len(SPEEDS) + speed] = 1
    answers["background"][BACKGROUNDS.index(scene.background)] = 1
    answers["disorder"][disorder] = 1
    return torch.from_numpy(np.concatenate(list(answers.values())))


def example(world: MovingMNIST, index: int) -> tuple[Tensor, Tensor]:
    """Training clip number `index`, one in four out of order, with the answers about it."""
    rng = np.random.default_rng((world.seed, index))
    kind = int(rng.integers(1, 1 + len(DAMAGE))) if rng.random() < 0.25 else 0
    scene = world.scene(index)
    if not kind:
        return world[index].video, truth(scene, 0)
    return DAMAGE[kind - 1](scene, int(rng.choice(STRENGTHS)), rng), truth(scene, kind)


def judge_world(seed: int, size: tuple[int, int, int] = (17, 64, 64)) -> MovingMNIST:
    """The clips that judge number `seed` learns from: training digits, every pair of color and digit."""
    return MovingMNIST(WorldConfig(*size, held_out="any"), seed=JUDGE_WORLD + seed)


def train_judge(
    judge: Judge, seed: int = 0, size: tuple[int, int, int] = (17, 64, 64)
) -> Iterator[tuple[int, float, float]]:
    """Train on clips of one size, each seen once; yields (step, loss, share of clips with no wrong answer)."""
    config, world = judge.config, judge_world(seed, size)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps)
    judge.train()
    judge.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # thrice as fast
    for step in range(config.steps):
        first = step * config.batch
        clips = [example(world, i) for i in range(first, first + config.batch)]
        videos, answers = (torch.stack(part) for part in zip(*clips, strict=True))
        with autocast(videos.device):
            logits = judge.answers(judge(videos)).float()
        loss = F.binary_cross_entropy_with_logits(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right = ((logits > 0) == (answers > 0.5)).all(dim=1).float().mean().item()
        yield step + 1, loss.item(), right
    judge.eval()


def make_judge(seed: int, config: JudgeConfig = JudgeConfig()) -> Judge:
    """An untrained judge whose first weights come from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Judge(config)


def save_judge(judge: Judge, path: Path, **facts: object) -> None:
    """Write weights and facts, e.g. the seed and the accuracy."""
    widths = {"widths": judge.config.widths, "facts": facts}
    save_weights(path, judge.state_dict(), widths, dtype=torch.float16)


def load_judge(seed: int = 0) -> Judge:
    """The shipped judge number `seed`, 0 or 1.

    Raises:
        DataError: if there is no such judge.
        CheckpointError: if its file is damaged.
    """
    weights, config = load_weights(data_file(f"metrics/judge-{seed}.safetensors"))
    judge = Judge(JudgeConfig(widths=tuple(config["widths"])))
    judge.load_state_dict(weights)
    return judge.eval().requires_grad_(False)
