"""Where every digit of a clip is, frame by frame, from its pixels alone: no network, no knowledge of the facts.

All colors of digits have a channel above 0.8 and all backgrounds stay below 0.4, so what is bright is ink. Ink is
told apart by color and then by place (`linking`). `physics` asks
these tracks whether they move as the world's law says.

Shapes: video (3, T, H, W) in [0, 1]; y points down, x right, in pixels; pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.worlds import COLORS

from .linking import LEAST_AREA, centre_of, link

BACKGROUND, FULL = (
    0.4,
    0.8,
)  # brightest channel of the lightest background, and of the darkest digit
STROKE = 3  # px of 3 x 3 that a stroke fills, at least
APART = 2  # px around a color's ink without ink of another, where no edges can have mixed
NEAR = 2  # px: objects this near may cover each other
WHOLE = 0.95  # share of its largest area that an object near another shows if nothing hides it


@dataclass(frozen=True)
class Track:
    """One object through a clip. Frames in which it is not there hold NaN.

    Attributes:
        color: a key of `worlds.COLORS`, that of most of its ink.
        centre: (T, 2) centre of mass of its ink (y, x), px; where it is partly hidden, that of its whole shape
            laid over what is left to see.
        box: (T, 4) top, left, bottom, right of its ink at half strength, px.
        area: (T,) ink, px; 0 where it is not there.
        clear: (T,) whether it is there and whole: no other object is near, or it lacks nothing.
        masks: (T, H, W) its ink in [0, 1].
    """

    color: str
    centre: np.ndarray
    box: np.ndarray
    area: np.ndarray
    clear: np.ndarray
    masks: Tensor

    @property
    def present(self) -> np.ndarray:
        """(T,) whether it is there."""
        return self.area > 0


def ink(video: Tensor) -> Tensor:
    """(T, H, W) ink in [0, 1]: how far the brightest channel stands above every background."""
    return ((video.amax(dim=0) - BACKGROUND) / (FULL - BACKGROUND)).clamp(0, 1)


def palette() -> Tensor:
    """(8, 3) colors of digits, scaled so that the brightest channel is 1: blending with the dark changes little."""
    colors = torch.tensor(list(COLORS.values()), dtype=torch.float32)
    return colors / colors.amax(dim=1, keepdim=True)


def color_of(pixels: Tensor) -> Tensor:
    """Index of the nearest color of `COLORS` for pixels (3, N): (N,)."""
    scaled = pixels / pixels.amax(dim=0, keepdim=True).clamp(min=1e-3)
    return torch.cdist(scaled.T, palette()).argmin(dim=1)


def split_by_color(video: Tensor) -> dict[str, Tensor]:
    """Ink of each color that the clip really has, {color: (T, H, W) in [0, 1]}.

    Where two digits overlap, their edges mix and look like a third color; so a color counts only if two frames
    (of an image its only one) show it `APART` from all others, and in strokes, not in grains. All ink goes to the
    nearest of the colors that count.
    """
    strength = ink(video)
    drawn = strength > 0.5
    index = torch.full(strength.shape, -1)
    index[drawn] = color_of(video[:, drawn])
    mine = torch.stack([index == number for number in range(len(COLORS))])  # 8 T H W
    foreign = (drawn & ~mine).float()
    alone = mine & (F.max_pool2d(foreign, 2 * APART + 1, stride=1, padding=APART) == 0)
    alone &= 9 * F.avg_pool2d(mine.float(), 3, stride=1, padding=1) > STROKE - 0.5
    shown = alone.sum(dim=(2, 3)) >= LEAST_AREA  # 8 T
    there = (shown.sum(dim=1) >= min(2, video.shape[1])).nonzero().flatten()
    if not len(there):
        return {}
    wet = strength > 0
    scaled = video[:, wet] / video[:, wet].amax(dim=0, keepdim=True)
    nearest = torch.full(strength.shape, -1)
    nearest[wet] = there[torch.cdist(scaled.T, palette()[there]).argmin(dim=1)]
    names = list(COLORS)
    return {names[n]: strength * (nearest == n) for n in there.tolist()}


def find_tracks(video: Tensor) -> list[Track]:
    """All objects of a clip, the longest-lived first.

    Args:
        video: (3, T, H, W) in [0, 1].

    Returns:
        tracks. An object that vanishes and returns where it was is one track with a hole; one that jumps is one
        track, too, as long as its color has no other object to confuse it with; so is one that changes its color
        in its place.
    """
    inks = split_by_color(video)
    whole = sum(inks.values())  # every pixel's ink has one color
    tracks = [_measure(color, masks) for color, masks in link(inks)]
    tracks = [_mark_clear(track, [o for o in tracks if o is not track]) for track in tracks]
    tracks = [_place_hidden(track, whole - track.masks) for track in tracks]
    return sorted(tracks, key=lambda track: -int(track.present.sum()))


def _measure(color: str, masks: Tensor) -> Track:
    """A track from an object's ink (T, H, W)."""
    count = len(masks)
    centre, box = np.full((count, 2), np.nan), np.full((count, 4), np.nan)
    area = masks.sum(dim=(1, 2)).numpy()
    for t in np.flatnonzero(area):
        centre[t] = centre_of(masks[t])
        box[t] = _box(masks[t])
    return Track(color, centre, box, area, area > 0, masks)


def _box(mask: Tensor) -> tuple[float, float, float, float]:
    """Top, left, bottom, right of an ink (H, W), to parts of a pixel: where its profile crosses one half."""
    edges = []
    for profile in (mask.amax(dim=1), mask.amax(dim=0)):
        drawn = (profile > 0.5).nonzero().flatten().tolist() or [0]
        first, last = drawn[0], drawn[-1]
        before = float(profile[first - 1]) if first else 0.0
        after = float(profile[last + 1]) if last + 1 < len(profile) else 0.0
        edges.append((first - before, last + 1 + after))
    (top, bottom), (left, right) = edges
    return top, left, bottom, right


def _mark_clear(track: Track, others: list[Track]) -> Track:
    """The track, with the frames marked in which it is whole."""
    near = np.zeros(len(track.area), bool)
    for other in others:
        both = track.present & other.present
        a, b = track.box[both], other.box[both]
        apart = (
            (a[:, 2] + NEAR < b[:, 0]) | (b[:, 2] + NEAR < a[:, 0])
            | (a[:, 3] + NEAR < b[:, 1]) | (b[:, 3] + NEAR < a[:, 1])
        )  # fmt: skip
        near[np.flatnonzero(both)[~apart]] = True
    largest = np.quantile(track.area[track.present], 0.9)
    return replace(track, clear=track.present & (~near | (track.area >= WHOLE * largest)))


def _place_hidden(track: Track, others: Tensor) -> Track:
    """The track, with the centre of each partly hidden frame found from its shape in the nearest clear one.

    The shape is laid everywhere over the frame, and the place of least squared error counts; pixels that ink of
    others (T, H, W) covers could hold anything and do not count.
    """
    clear = np.flatnonzero(track.clear)
    centre = track.centre.copy()
    for t in np.flatnonzero(track.present & ~track.clear):
        known = clear[np.abs(clear - t).argmin()]
        top, left, bottom, right = track.box[known].round().astype(int)
        shape = track.masks[known][max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1]
        open_ = (others[t] < 0.1).float()
        place = best_place(shape, track.masks[t], open_)
        centre[t] = centre[known] - (max(0, top - 1), max(0, left - 1)) + place
    return replace(track, centre=centre)


def best_place(shape: Tensor, image: Tensor, counts: Tensor) -> np.ndarray:
    """Top-left corner (y, x), to parts of a pixel, at which a shape (h, w) fits an image (H, W) best.

    Args:
        shape: what is looked for; nothing surrounds it.
        image: where.
        counts: (H, W) 1 on pixels that count and 0 on others.
    """
    pad = (shape.shape[1], shape.shape[1], shape.shape[0], shape.shape[0])
    seen, open_ = F.pad(image * counts, pad)[None, None], F.pad(counts, pad)[None, None]
    kernel = shape[None, None]
    error = F.conv2d(open_, kernel.square()) - 2 * F.conv2d(seen, kernel)  # + a constant
    flat = int(error.argmin())
    y, x = divmod(flat, error.shape[3])
    grid = error[0, 0]
    offset = [_vertex(grid[:, x], y), _vertex(grid[y], x)]
    return np.array([y - shape.shape[0] + offset[0], x - shape.shape[1] + offset[1]])


def _vertex(line: Tensor, n: int) -> float:
    """Where between its neighbours the minimum of a parabola through points n - 1, n, n + 1 lies, -0.5 to 0.5."""
    if n == 0 or n == len(line) - 1:
        return 0.0
    before, here, after = line[n - 1 : n + 2].tolist()
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend > 1e-9 else 0.0
