"""Whether the objects of a clip obey the world's law: they keep their number, shape, color and speed, move
straight, bounce off the walls by reflection, and neither appear nor vanish.

Everything is measured on `tracks`, without knowledge of prompt or facts, so it holds for any clip of the world,
generated, extended, edited or real. Coordinates as in `tracks`; units are pixels and frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import Motion, fit_motion, walls
from .quality import grain, sharpness
from .tracks import Track, find_tracks

CONTACT = 0.5  # px: how well it is known where a wall is
TELEPORT = 4.0  # px: a step that is this much longer than the usual one is a jump
TRACE = 30.0  # px of ink that may be left to see of an object and yet be too little to track
BREAK = 0.4  # a shape that overlaps this much less than it usually does from frame to frame has become another
CUT = 0.15  # share of its ink that an object must lack to count as cut off by the frame


@dataclass(frozen=True)
class TrackPhysics:
    """What one object does. NaN where it does not show the thing, e.g. never bounces.

    Attributes:
        motion: the law nearest to its path; None if it is seen in fewer than 3 frames.
        speed_error: spread of its steps' lengths away from walls, over their mean.
        bend: root mean square distance from a straight line between bounces, px.
        bounce_error: length of the difference between its velocity after a bounce and the reflected one
            before it, over the speed.
        teleports: steps that jump.
        breaks: steps in which its shape turns into another. What comes after is taken as another object: motion,
            speed_error and bend are those of its longest part without a break.
        shape_change: 1 - overlap (intersection over union) of its ink in neighbouring frames, moved onto each
            other, averaged.
        color_change: largest distance of its color in a frame from its mean color.
        cut: share of frames in which the frame's border cuts off a part of it.
    """

    motion: Motion | None
    speed_error: float
    bend: float
    bounce_error: float
    teleports: int
    breaks: int
    shape_change: float
    color_change: float
    cut: float


@dataclass(frozen=True)
class Physics:
    """What all objects of a clip do together.

    Attributes:
        count: objects in a frame, by majority.
        count_constant: whether it is the same in all frames; one hidden behind another counts.
        appeared, vanished: objects that come from nothing, or go.
        tracks: of each object that is seen in at least half of the frames.
        sharpness, grain: of the pixels, see `quality`; no law of motion, but pictures must be sound as well.
    """

    count: int
    count_constant: bool
    appeared: int
    vanished: int
    tracks: tuple[TrackPhysics, ...]
    sharpness: float
    grain: float


def measure_physics(video: Tensor, tracks: list[Track] | None = None) -> Physics:
    """Track all objects of a clip and ask how they move.

    Args:
        video: (3, T, H, W) in [0, 1].
        tracks: its tracks, if they are at hand.
    """
    tracks = find_tracks(video) if tracks is None else tracks
    frames, size = video.shape[1], (video.shape[2], video.shape[3])
    there = np.zeros((len(tracks), frames), int)
    for n, track in enumerate(tracks):
        there[n] = _there(track, [o for o in tracks if o is not track], size)
    counts = there.sum(axis=0)
    count = int(np.bincount(counts).argmax())
    return Physics(
        count=count,
        count_constant=bool((counts == count).all()),
        appeared=int((there[:, 0] == 0).sum()),
        vanished=int((there[:, -1] == 0).sum()),
        tracks=tuple(
            track_physics(t, video, size) for t in tracks if 2 * t.present.sum() >= frames
        ),
        sharpness=sharpness(video),
        grain=grain(video),
    )


def _there(track: Track, others: list[Track], size: tuple[int, int]) -> np.ndarray:
    """(T,) whether the object is in the frame: seen, or where it should be others cover all but a trace of it."""
    there = track.present.copy()
    seen, missing = np.flatnonzero(there), np.flatnonzero(~there)
    law = fit_motion(track, *walls(track, size)) if len(missing) else None
    if law is None:
        return there
    path = law.positions(np.arange(len(there)), *walls(track, size))
    for t in missing:
        known = seen[np.abs(seen - t).argmin()]
        expected = move(track.masks[known][None], (path[t] - path[known])[None])[0]
        for other in others:
            expected = expected * (1 - other.masks[t])
        there[t] = float(expected.sum()) < TRACE
    return there


def track_physics(track: Track, video: Tensor, size: tuple[int, int]) -> TrackPhysics:
    """Measure one object of a clip (3, T, H, W) of frames (height, width)."""
    changes = shape_changes(track)
    known = changes[~np.isnan(changes)]
    broken = np.flatnonzero(changes > np.median(known) + BREAK) if len(known) else np.array([], int)
    ends = [0, *(broken + 1).tolist(), len(track.area)]
    flights = [flight(only(track, *ends[n : n + 2]), size) for n in range(len(ends) - 1)]
    longest = flights[int(np.argmax(np.diff(ends)))]
    bounces = [f.bounce_error for f in flights if not np.isnan(f.bounce_error)]
    return TrackPhysics(
        motion=longest.motion,
        speed_error=longest.speed_error,
        bend=longest.bend,
        bounce_error=float(np.mean(bounces)) if bounces else np.nan,
        teleports=sum(f.teleports for f in flights),
        breaks=len(broken),
        shape_change=float(known.mean()) if len(known) else np.nan,
        color_change=_color_change(track, video),
        cut=_cut(track, size),
    )


def only(track: Track, first: int, end: int) -> Track:
    """The track as if it were seen in frames first, ..., end - 1 alone."""
    frames = np.arange(len(track.area))
    inside = (frames >= first) & (frames < end)
    return replace(
        track,
        centre=np.where(inside[:, None], track.centre, np.nan),
        box=np.where(inside[:, None], track.box, np.nan),
        area=np.where(inside, track.area, 0),
        clear=track.clear & inside,
    )


@dataclass(frozen=True)
class Flight:
    """How an object moves while its shape stays the same; as in `TrackPhysics`."""

    motion: Motion | None
    speed_error: float
    bend: float
    bounce_error: float
    teleports: int


def flight(track: Track, size: tuple[int, int]) -> Flight:
    """The motion of a track in frames of (height, width)."""
    low, high = walls(track, size)
    steps, clear = np.diff(track.centre, axis=0), track.clear[:-1] & track.clear[1:]  # (T - 1, 2)
    # A bounce may fall between two frames, so what could reach the wall in one step counts as near.
    reach = CONTACT + (np.median(np.abs(steps[clear]), axis=0) if clear.any() else 0.0)
    near = (track.centre < low + reach) | (track.centre > high - reach)  # (T, 2)
    free = clear & ~near[:-1].any(1) & ~near[1:].any(1)
    lengths = np.hypot(*steps.T)
    usual = float(np.median(lengths[clear])) if clear.any() else np.nan
    speeds = lengths[free]
    enough = len(speeds) >= 2 and speeds.mean() > 0.1
    return Flight(
        motion=fit_motion(track, low, high),
        speed_error=float(speeds.std() / speeds.mean()) if enough else np.nan,
        bend=_bend(track.centre, free),
        bounce_error=_bounce_error(steps, clear, near),
        teleports=int((lengths[clear] > usual + TELEPORT).sum()),
    )


def _bend(centre: np.ndarray, free: np.ndarray) -> float:
    """Distance of free flights of 3 and more frames from straight lines, px."""
    deviations: list[np.ndarray] = []
    for flight in np.split(
        np.flatnonzero(free), np.flatnonzero(np.diff(np.flatnonzero(free)) > 1) + 1
    ):
        if len(flight) < 2:
            continue
        points = centre[flight[0] : flight[-1] + 2]
        points = points - points.mean(axis=0)
        across = np.linalg.svd(points, full_matrices=False)[2][1]
        deviations.append(points @ across)
    return float(np.sqrt(np.square(np.concatenate(deviations)).mean())) if deviations else np.nan


def _bounce_error(steps: np.ndarray, clear: np.ndarray, near: np.ndarray) -> float:
    """How far velocities after bounces are from the reflected ones before, over the speed."""
    errors = []
    for axis in (0, 1):
        turns = np.flatnonzero(steps[:-1, axis] * steps[1:, axis] < 0)
        for n in turns:
            # The turn may lie inside either step, so whole steps on both sides of it are compared.
            before, after = n - 1, n + 2
            if before < 0 or after >= len(steps) or not clear[before : after + 1].all():
                continue
            if not near[n : n + 3, axis].any() or near[n : n + 3, 1 - axis].any():
                continue  # no wall is near, or the object is in a corner
            mirrored = steps[before].copy()
            mirrored[axis] *= -1
            speed = max(float(np.hypot(*steps[before])), 0.1)
            errors.append(float(np.hypot(*(steps[after] - mirrored))) / speed)
    return float(np.mean(errors)) if errors else np.nan


def shape_changes(track: Track) -> np.ndarray:
    """(T - 1,) 1 - overlap of the ink of neighbouring clear frames, moved onto each other; NaN for others."""
    changes = np.full(len(track.area) - 1, np.nan)
    pairs = np.flatnonzero(track.clear[:-1] & track.clear[1:])
    if len(pairs):
        moved = move(track.masks[pairs], track.centre[pairs + 1] - track.centre[pairs])
        after = track.masks[pairs + 1]
        both = torch.minimum(moved, after).sum(dim=(1, 2))
        changes[pairs] = 1 - both / torch.maximum(moved, after).sum(dim=(1, 2))
    return changes


def move(images: Tensor, shift: np.ndarray) -> Tensor:
    """Move images (N, H, W) by (N, 2) pixels (y, x), to parts of a pixel."""
    height, width = images.shape[1:]
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    theta[:, 0, 2] = -torch.from_numpy(shift[:, 1]).float() * 2 / width
    theta[:, 1, 2] = -torch.from_numpy(shift[:, 0]).float() * 2 / height
    grid = F.affine_grid(theta, [len(images), 1, height, width], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def _color_change(track: Track, video: Tensor) -> float:
    """Largest distance of the color of a clear frame's solid ink from the mean one."""
    colors = [
        video[:, t][:, solid].median(dim=1).values
        for t in np.flatnonzero(track.clear)
        if (solid := track.masks[t] > 0.9).sum() >= 4
    ]
    if not colors:
        return float("nan")
    each = torch.stack(colors)
    return float((each - each.mean(dim=0)).norm(dim=1).max())


def _cut(track: Track, size: tuple[int, int]) -> float:
    """Share of clear frames in which ink touches the border and a part of the object is missing."""
    frames = np.flatnonzero(track.clear)
    if not len(frames):
        return float("nan")
    whole = np.quantile(track.area[frames], 0.75)
    box = track.box[frames]
    touches = (box[:, :2] < 0.5).any(1) | (box[:, 2] > size[0] - 0.5) | (box[:, 3] > size[1] - 0.5)
    return float((touches & (track.area[frames] < (1 - CUT) * whole)).mean())
