"""The law of the world, fitted to a track: straight ahead at one speed, and reflected by the walls.

Coordinates as in `tracks`; units are pixels and frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minisora.worlds.scene import reflect

from .tracks import Track

SURE = 5  # frames in which an object is whole that tell its motion better than all frames do
FASTEST = 4.0  # px per frame along an axis that a fit considers; the world's fastest is 2.5


@dataclass(frozen=True)
class Motion:
    """The law that fits a track best: from `start`, with `velocity`, reflected by the walls.

    Attributes:
        start: (y, x) of the centre of mass in the first frame, px.
        velocity: (y, x) in the first frame, px per frame.
        error: root mean square distance of the track from the law, px.
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    error: float

    @property
    def speed(self) -> float:
        """px per frame."""
        return float(np.hypot(*self.velocity))

    def positions(self, t: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Centres of mass (T, 2) at times t (T,), between the walls that `walls` found, px."""
        room, velocity = np.maximum(high - low, 1e-6), np.array(self.velocity)
        return reflect(np.array(self.start) - low, velocity, room, t[:, None], offset=low)[0]


def walls(track: Track, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest (y, x) its centre of mass can have while all of it is in the frame, px."""
    if not track.clear.any():
        return np.zeros(2), np.array(size, float)
    centre, box = track.centre[track.clear], track.box[track.clear]
    before = np.median(centre - box[:, :2], axis=0)
    after = np.median(box[:, 2:] - centre, axis=0)
    return before, np.maximum(np.array(size) - after, before)


def fit_motion(track: Track, low: np.ndarray, high: np.ndarray) -> Motion | None:
    """The reflected motion nearest to a track, by a search that narrows in three rounds.

    Frames in which it is partly hidden count only if there are too few others.
    """
    t = np.flatnonzero(track.clear if track.clear.sum() >= SURE else track.present)
    if len(t) < 3:
        return None
    fits = [_fit_axis(track.centre[t, a], t, low[a], high[a]) for a in (0, 1)]
    (y, vy, error_y), (x, vx, error_x) = fits
    return Motion((y, x), (vy, vx), float(np.sqrt(error_y + error_x)))


def _fit_axis(
    path: np.ndarray, t: np.ndarray, low: float, high: float
) -> tuple[float, float, float]:
    """Start, velocity and mean squared error along one axis."""
    start, velocity = float(np.clip(path[0], low, high)), 0.0
    reach_start, reach_velocity = 2.0 + FASTEST * float(t[0]), FASTEST
    best, room = (start, velocity, np.inf), np.maximum(high - low, 1e-6)
    for points in (81, 21, 21):
        starts = np.clip(start + reach_start * np.linspace(-1, 1, 33), low, high)
        velocities = velocity + reach_velocity * np.linspace(-1, 1, points)
        grid = [g.ravel() for g in np.meshgrid(starts, velocities)]
        paths, _ = reflect(grid[0][:, None] - low, grid[1][:, None], room, t, np.array(low))
        errors = np.square(paths - path).mean(axis=1)
        n = int(errors.argmin())
        start, velocity = float(grid[0][n]), float(grid[1][n])
        best = (start, velocity, float(errors[n]))
        reach_start, reach_velocity = reach_start / 8, reach_velocity * 2.5 / points
    return best
