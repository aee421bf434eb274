"""Where and how gently videos can be joined; pixels alone, no model.

`edit` stands on it. Videos are (3, T, H, W) in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

GENTLE, LONGEST_FADE = 0.5, 96  # of a dissolve: ordinary steps a frame; frames
SHORTEST_FADE = 4  # frames


def ordinary_step(video: Tensor) -> float:
    """Mean absolute change of a pixel (3, T, H, W) from frame to frame."""
    return float(video.diff(dim=1).abs().mean())


def dissolve(future: Tensor, past: Tensor, pace: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """One video (3, T, H, W) that turns from the first of two of that shape into the second.

    Args:
        pace: how fast at its beginning and at its end, in any unit; it goes evenly from the one to the other.
    """
    first, last = (max(speed, 1e-6) for speed in pace)  # two still clips: evenly
    u = torch.linspace(0, 1, future.shape[1] + 2)[1:-1, None, None]
    weight = (
        u * (2 * first + (last - first) * u) / (first + last)
    )  # the integral of the pace, up to 1
    return torch.lerp(future, past, weight)


def meeting(future: Tensor, past: Tensor, step: float) -> tuple[int, int, int]:
    """Where a way out and a way back meet, so that the one can turn into the other.

    Any frame of the one may lead to any of the other, as in Schödl et al. 2000 (Video Textures). The shortest dissolve
    is taken that changes no frame by more than half an ordinary step, at the places where the two are most alike; where
    they never are alike enough, all of the one dissolves into all of the other.

    Args:
        future, past: (3, T, H, W), of one shape.
        step: an ordinary step, see `ordinary_step`.

    Returns:
        (i, j, n): frames i to i + n of `future` dissolve into frames j to j + n of `past`.
    """
    length = future.shape[1]
    gaps = torch.stack(
        [(past - frame[:, None]).abs().mean(dim=(0, 2, 3)) for frame in future.unbind(1)]
    )  # (frame of future, frame of past)
    for n in range(SHORTEST_FADE, length, SHORTEST_FADE):
        places = length - n + 1
        along = [gaps[k : k + places, k : k + places] for k in range(n)]
        misses = torch.stack(along).mean(dim=0)  # (i, j)
        if misses.min() <= GENTLE * step * (n + 1):
            i, j = divmod(int(misses.argmin()), places)
            return i, j, n
    return 0, 0, length


def gentle_length(a: Tensor, b: Tensor) -> int:
    """Frames of a dissolve from video a to video b that changes no frame by more than half an ordinary step.

    It is as fast as they are, see `dissolve`. At most `LONGEST_FADE`; videos are (3, T, H, W).
    """
    gap = float((b[:, 0] - a[:, -1]).abs().mean())
    ordinary = (ordinary_step(a) + ordinary_step(b)) / 2
    return int(min(max(8.0, gap / max(ordinary, 1e-6) / GENTLE), LONGEST_FADE))
