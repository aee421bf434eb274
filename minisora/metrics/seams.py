"""Where parts of a clip were joined: does it go on there as anywhere else?

Measured on `tracks`, as in `physics`; units are pixels and frames.
"""

from __future__ import annotations

import numpy as np
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

    Returns:
        what the step over the seam misses in position, px, and how much the velocities on its two sides differ,
        px per frame; infinite if an object is at one end and not at the other, or at neither is any.
    """
    position, velocity = 0.0, 0.0
    ends = [track for track in find_tracks(video) if track.present[[0, 1, -2, -1]].any()]
    if not ends or not all(track.present[[0, 1, -2, -1]].all() for track in ends):
        return float("inf"), float("inf")
    for track in ends:
        before, after = (track.centre[n + 1] - track.centre[n] for n in (-2, 0))
        miss = track.centre[0] - (track.centre[-1] + (before + after) / 2)
        position = max(position, float(np.hypot(*miss)))
        velocity = max(velocity, float(np.hypot(*(after - before))))
    return position, velocity
