"""An independent reader of clips: which digit, which colour, which way. No part of minisora's networks.

The digit classifier is trained here, on the real training digits, and never sees a generated frame; colour
and motion are read from pixels. Run as a script it trains, prints the accuracy on the real test digits, and
stores the weights: `python -m tests.reader`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.worlds import COLORS, DIRECTIONS, load_digits

FOREGROUND = 0.55  # every digit colour has a channel above 0.8, every background stays below 0.4


class DigitReader(nn.Sequential):
    """Small convolutional classifier: (N, 1, 28, 28) in [0, 1] -> (N, 10) logits."""

    def __init__(self) -> None:
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]

        super().__init__(
            *block(1, 24), *block(24, 24), nn.MaxPool2d(2),
            *block(24, 48), *block(48, 48), nn.MaxPool2d(2),
            *block(48, 96), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, 10),
        )  # fmt: skip


def normalize_digit(image: Tensor) -> Tensor:
    """Crop ink (H, W) in [0, 1] to its box and centre it, longer side 20, on (28, 28), as MNIST does.

    An image without ink comes back as zeros.
    """
    ink = image > 0.5
    if not ink.any():
        return torch.zeros(28, 28)
    rows, columns = ink.any(1).nonzero().flatten(), ink.any(0).nonzero().flatten()
    top, bottom, left, right = (
        int(v) for v in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    )
    crop = image[top:bottom, left:right]
    scale = 20.0 / max(crop.shape)
    size = [max(1, round(side * scale)) for side in crop.shape]
    crop = F.interpolate(
        crop[None, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0, 0]
    out = torch.zeros(28, 28)
    y, x = (28 - size[0]) // 2, (28 - size[1]) // 2
    out[y : y + size[0], x : x + size[1]] = crop
    return out


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random small rotation, shear, scale, shift and blur of images (N, 1, 28, 28)."""
    n = len(images)

    def uniform(spread: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * spread

    angle, scale, shear = uniform(0.2), 1 + uniform(0.12), uniform(0.15)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * scale, -angle.sin() + shear
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos() * scale
    theta[:, :, 2] = torch.stack([uniform(0.1), uniform(0.1)], dim=1)
    moved = F.grid_sample(
        images, F.affine_grid(theta, list(images.shape), align_corners=False), align_corners=False
    )
    blurred = F.avg_pool2d(moved, 3, stride=1, padding=1)
    mix = torch.rand(n, 1, 1, 1, generator=generator) * 0.8
    return (1 - mix) * moved + mix * blurred


def normalized_split(split: str) -> tuple[Tensor, Tensor]:
    """Digits of a split, each passed through `normalize_digit`: ((N, 1, 28, 28), (N,) labels)."""
    digits = load_digits(split)
    images = torch.from_numpy(digits.images.copy()).float() / 255
    return torch.stack([normalize_digit(i) for i in images])[:, None], torch.from_numpy(
        digits.labels.copy()
    ).long()


def train_reader(epochs: int = 14, seed: int = 0) -> DigitReader:
    """Train a reader on the real training digits, about a minute on two cores."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = DigitReader()
    generator = torch.Generator().manual_seed(seed)
    images, labels = normalized_split("train")
    batch = 100
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    reader.train()
    for _ in range(epochs):
        for picks in torch.randperm(len(images), generator=generator).split(batch):
            logits = reader(jitter(images[picks], generator))
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[picks], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    return reader.eval()


@torch.no_grad()
def accuracy(reader: DigitReader) -> float:
    """Share of the real test digits that the reader reads right."""
    images, labels = normalized_split("test")
    return (reader(images).argmax(1) == labels).float().mean().item()


def cached_reader(path: Path) -> DigitReader:
    """The reader stored at `path`; trained and stored there first if need be."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(train_reader().state_dict(), path)
    reader = DigitReader()
    reader.load_state_dict(torch.load(path, weights_only=True))
    return reader.eval()


@dataclass(frozen=True)
class Reading:
    """What the reader sees in a one-digit clip. A clip in which it finds no ink has label -1 and no colour."""

    label: int  # from the mean probability over frames
    label_share: float  # share of frames that, read alone, agree with `label`
    color: str
    displacement: tuple[float, float]  # (y, x), px, from the first frame to frame `span`
    frames_seen: float  # share of frames with ink

    def angle_error(self, direction: str) -> float:
        """Degrees between the motion and a named direction; 180 if nothing moves."""
        y, x = self.displacement
        if self.label < 0 or math.hypot(y, x) < 0.5:
            return 180.0
        down, right = DIRECTIONS[direction]
        cosine = (y * down + x * right) / math.hypot(y, x) / math.hypot(down, right)
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def ink_of(video: Tensor) -> Tensor:
    """(T, H, W) ink in [0, 1] of video (3, T, H, W): how far the brightest channel is above any background."""
    return ((video.amax(0) - 0.4) / 0.4).clamp(0, 1)


@torch.no_grad()
def read_clip(video: Tensor, reader: DigitReader, span: int = 5) -> Reading:
    """Read a clip (3, T, H, W) in [0, 1] that should show one digit.

    Args:
        span: frames over which the first direction is measured; the world holds it at least that long.
    """
    ink = ink_of(video)
    seen = (ink > 0.5).flatten(1).sum(1) >= 8
    if not seen.any():
        return Reading(-1, 0.0, "", (0.0, 0.0), 0.0)
    frames = torch.stack([normalize_digit(i) for i in ink[seen]])[:, None]
    probabilities = reader(frames).softmax(1)
    label = int(probabilities.mean(0).argmax())
    solid = video[:, ink > 0.9] if (ink > 0.9).any() else video[:, ink > 0.5]  # 3 N
    names = list(COLORS)
    palette = torch.tensor(np.array([COLORS[n] for n in names]) / 255.0, dtype=torch.float32)
    color = names[int((palette - solid.median(1).values).square().sum(1).argmin())]
    rows, columns = torch.arange(ink.shape[1]) + 0.5, torch.arange(ink.shape[2]) + 0.5
    mass = ink.sum((1, 2)).clamp_min(1e-6)
    centre = torch.stack([(ink.sum(2) @ rows) / mass, (ink.sum(1) @ columns) / mass], dim=1)  # T 2
    last = min(span, len(centre) - 1)
    moved = centre[last] - centre[0]
    share = (probabilities.argmax(1) == label).float().mean().item()
    return Reading(
        label, share, color, (moved[0].item(), moved[1].item()), seen.float().mean().item()
    )


if __name__ == "__main__":
    path = Path("outputs/reader.pt")
    print(
        f"{accuracy(cached_reader(path)):.1%} of the real test digits read right; weights in {path}"
    )
