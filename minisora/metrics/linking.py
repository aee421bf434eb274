"""From the ink of every color in every frame to the ink of every object: what belongs together in a frame, and what
goes on as what in the next. `tracks` measures the objects that are found here.

Shapes: ink (T, H, W) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_AREA = 12  # px of ink; less is a speck
GAP = 2  # px: strokes this near belong to one object
STRIDE = 6.0  # px: an object that changes its color in one step has moved less than this


@dataclass(eq=False)
class Piece:
    """An object while it keeps one color and is seen without a gap.

    Attributes:
        color: a key of `worlds.COLORS`.
        ink: (T, H, W) its ink; none outside of its frames.
        first, last: its frames.
        returns: the piece of the same color that is seen next where this one was, if any.
    """

    color: str
    ink: Tensor
    first: int
    last: int
    returns: Piece | None = None


def link(inks: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The objects of a clip.

    Args:
        inks: ink (T, H, W) of each color.

    Returns:
        (color, ink (T, H, W)) of each object. One that changes its color in its place stays one object, and has
        the color of most of its ink.
    """
    whole = sum(inks.values())
    pieces = [
        piece
        for color, ink in inks.items()
        for path in follow(blobs_of(ink, whole - ink), tuple(ink.shape))
        for piece in split(color, path)
    ]
    after = dict(recolored(pieces))
    for piece in pieces:
        if piece.returns and piece not in after and piece.returns not in after.values():
            after[piece] = piece.returns
    objects = []
    for piece in pieces:
        if piece in after.values():
            continue  # not the first of its object
        chain = [piece]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        most = max(chain, key=lambda p: float(p.ink.sum()))
        objects.append((most.color, torch.stack([p.ink for p in chain]).sum(dim=0)))
    return objects


def label_blobs(masks: Tensor) -> Tensor:
    """Number the connected regions of boolean frames (T, H, W), from 1 up within a frame; 0 is empty.

    Every pixel starts with a number of its own and takes the largest of its neighbours' until nothing changes.
    """
    _, height, width = masks.shape
    own = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)
    labels = own * masks
    while True:
        spread = F.max_pool2d(labels[:, None], 3, stride=1, padding=1)[:, 0] * masks
        if spread.equal(labels):
            return labels.long()
        labels = spread


def blobs_of(strength: Tensor, others: Tensor) -> list[list[Tensor]]:
    """Objects of one color in each frame: for each frame their inks (H, W), largest first.

    Args:
        strength: (T, H, W) ink of the color.
        others: (T, H, W) ink of all other colors. It bridges gaps: what it cuts in two by passing in front is
            still one object.
    """
    reach = 2 * (GAP // 2) + 1
    drawn = torch.maximum(strength, others) > 0.5
    grown = F.max_pool2d(drawn.float()[:, None], reach, stride=1, padding=reach // 2)[:, 0] > 0
    frames = []
    for frame, numbers in zip(strength, label_blobs(grown), strict=True):
        parts = [frame * (numbers == n) for n in numbers[frame > 0.5].unique().tolist() if n]
        parts = [p for p in parts if p.sum() >= LEAST_AREA]
        frames.append(sorted(parts, key=lambda p: -float(p.sum())))
    return frames


def follow(frames: list[list[Tensor]], shape: tuple[int, ...]) -> list[Tensor]:
    """Follow the objects of one color from frame to frame, each to the nearest: inks (T, H, W) of each object."""
    paths: list[Tensor] = []
    last: list[np.ndarray] = []  # where each path was seen last
    for t, blobs in enumerate(frames):
        centres = [centre_of(blob) for blob in blobs]
        free = set(range(len(paths)))
        for blob, centre in zip(blobs, centres, strict=True):
            if free:
                nearest = min(free, key=lambda n: float(np.hypot(*(last[n] - centre))))
                free.discard(nearest)
            else:
                nearest = len(paths)
                paths.append(torch.zeros(shape))
                last.append(centre)
            paths[nearest][t], last[nearest] = blob, centre
    return paths


def split(color: str, path: Tensor) -> list[Piece]:
    """The ink (T, H, W) of one path, cut where it is not seen."""
    seen = np.flatnonzero(path.sum(dim=(1, 2)).numpy())
    pieces = []
    for frames in np.split(seen, np.flatnonzero(np.diff(seen) > 1) + 1):
        ink = torch.zeros_like(path)
        ink[frames] = path[frames]
        pieces.append(Piece(color, ink, int(frames[0]), int(frames[-1])))
    for one, other in pairwise(pieces):
        one.returns = other
    return pieces


def recolored(pieces: list[Piece]) -> Iterator[tuple[Piece, Piece]]:
    """Pairs of pieces of different colors of which the second begins when and where the first ends, nearest first."""
    pairs = [
        (math.dist(centre_of(one.ink[one.last]), centre_of(other.ink[other.first])), one, other)
        for one in pieces
        for other in pieces
        if other.first == one.last + 1 and other.color != one.color
    ]
    ended, begun = set(), set()
    for distance, one, other in sorted(pairs, key=lambda pair: pair[0]):
        if distance < STRIDE and one not in ended and other not in begun:
            ended.add(one)
            begun.add(other)
            yield one, other


def centre_of(mask: Tensor) -> np.ndarray:
    """Centre of mass (y, x) of an ink (H, W), px."""
    rows, columns = torch.arange(mask.shape[0]) + 0.5, torch.arange(mask.shape[1]) + 0.5
    total = mask.sum()
    return torch.stack([mask.sum(1) @ rows, mask.sum(0) @ columns]).div(total).numpy()
