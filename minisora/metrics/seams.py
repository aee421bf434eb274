"""Where parts of a clip were joined: does it go on there as anywhere else?

Measured on `tracks`, as in `physics`; units are pixels and frames.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .tracks import find_tracks

BEAT = 3  # frames on either side of a joint over which a velocity is taken


def joint_change(video: Tensor, joint: int) -> float:
    """Length of the change of velocity from before frame `joint` of (3, T, H, W) to after it.

    Returns:
        px per frame; NaN unless exactly one object is seen in the `BEAT` + 1 frames on either side, all the time.
    """
    tracks = [
        t for t in find_tracks(video[:, joint - BEAT - 1 : joint + BEAT + 1]) if t.present.all()
    ]
    if len(tracks) != 1:
        return float("nan")
    place = tracks[0].centre
    return float(np.hypot(*((place[-1] - place[BEAT + 1]) - (place[BEAT] - place[0])) / BEAT))


def seam_error(video: Tensor) -> tuple[float, float]:
    """How badly a clip (3, T, H, W) loops, by its worst object; in a perfect loop the seam is a step like all others.

    Only what is near the seam is looked at, as it is seen when the clip is played round and round.

    Returns:
        what the step over the seam misses in position, px, and how much the velocities on its two sides differ,
        px per frame; infinite if an object is on one side and not on the other, or on neither is any.
    """
    position, velocity, n = 0.0, 0.0, min(BEAT + 1, video.shape[1])
    near = slice(n - 2, n + 2)  # two frames on either side
    around = find_tracks(torch.cat([video[:, -n:], video[:, :n]], dim=1))
    ends = [track for track in around if track.present[near].any()]
    if not ends or not all(track.present[near].all() for track in ends):
        return float("inf"), float("inf")
    for track in ends:
        last_but_one, last, first, second = track.centre[near]
        before, after = last - last_but_one, second - first
        position = max(position, float(np.hypot(*(first - last - (before + after) / 2))))
        velocity = max(velocity, float(np.hypot(*(after - before))))
    return position, velocity
