"""Where and how gently videos can be joined; pixels alone, no model.

`edit` stands on it. Videos are (3, T, H, W) in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

BRIDGE = 24  # frames of a loop that are made to lead back
CLOSE = 8  # and those before the cut, if it went on until it was back by itself
GENTLE, LONGEST_FADE = 0.5, 96  # of a dissolve: ordinary steps a frame; frames


def ordinary_step(video: Tensor) -> float:
    """Mean absolute change of a pixel (3, T, H, W) from frame to frame."""
    return float(video.diff(dim=1).abs().mean())


def nearest_return(video: Tensor, start: Tensor, context: int) -> tuple[int, float]:
    """Where a video that begins with `start` looks most like its beginning again.

    Args:
        video, start: (3, T, H, W).
        context: frames compared.

    Returns:
        the frame at which to cut, so that frame 0 follows the one before it, and the mean difference of a pixel
        there; infinite if the video is too short to lead back.
    """
    cuts = range(start.shape[1] + CLOSE, video.shape[1] - context + 1)
    misses = [float((video[:, k : k + context] - start[:, :context]).abs().mean()) for k in cuts]
    return min(zip(cuts, misses, strict=True), key=lambda pair: pair[1], default=(0, float("inf")))


def gentle_length(a: Tensor, b: Tensor) -> int:
    """Frames of a dissolve from video a to video b that changes no frame by more than half an ordinary step.

    At most `LONGEST_FADE`; videos are (3, T, H, W).
    """
    gap = float((b[:, 0] - a[:, -1]).abs().mean())
    ordinary = (ordinary_step(a) + ordinary_step(b)) / 2
    return int(min(max(8.0, gap / max(ordinary, 1e-6) / GENTLE), LONGEST_FADE))
