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
from torch import Tensor

from minisora.metrics.reader import DigitReader, accuracy, normalize_digit, train_reader
from minisora.metrics.tracks import ink as ink_of
from minisora.worlds import COLORS, DIRECTIONS


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
