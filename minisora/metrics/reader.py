"""The digit reader: a small classifier of handwritten digits, trained on the real training digits alone.

It never sees a generated frame or a colored clip. What it is shown is cut out and centred as MNIST's own digits
are, so size and place do not matter to it.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisora.checkpoint import load_weights, save_weights
from minisora.paths import data_file
from minisora.worlds import load_digits
from minisora.worlds.digits import Split


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


def normalized_split(split: Split) -> tuple[Tensor, Tensor]:
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


@torch.no_grad()
def read_ink(masks: Tensor, reader: DigitReader) -> tuple[int, float]:
    """The digit that an object's ink (T, H, W) shows, and the share of frames that, read alone, agree.

    The digit is that of the mean probability over frames; (-1, 0.0) if there is no frame.
    """
    if not len(masks):
        return -1, 0.0
    frames = torch.stack([normalize_digit(mask) for mask in masks])[:, None]
    probabilities = reader(frames).softmax(1)
    label = int(probabilities.mean(0).argmax())
    return label, (probabilities.argmax(1) == label).float().mean().item()


def save_reader(reader: DigitReader, path: Path, **facts: object) -> None:
    """Write weights and facts, e.g. the accuracy on test digits."""
    save_weights(path, reader.state_dict(), {"facts": facts}, dtype=torch.float16)


def load_reader() -> DigitReader:
    """The shipped reader.

    Raises:
        DataError: if it is not there.
        CheckpointError: if its file is damaged.
    """
    reader = DigitReader()
    reader.load_state_dict(load_weights(data_file("metrics/reader.safetensors"))[0])
    return reader.eval().requires_grad_(False)
