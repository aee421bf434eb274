"""What a clip shows, read from its pixels, and whether that is what a prompt asked for.

Objects come from `tracks`, their motion from `physics`, their class from `reader`, and the background from the
nearest of all drawn ones. The same reader reads real clips: what it gets wrong there is its own error, and the
ceiling of any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minisora.worlds import DIRECTIONS, SIZES, SPEEDS, Scene
from minisora.worlds.backgrounds import BACKGROUNDS, background
from minisora.worlds.captions import BACKGROUND_WORDS, DIRECTION_WORDS, SIZE_WORDS, SPEED_WORDS

from .motion import Motion, fit_motion, walls
from .reader import DigitReader, read_ink
from .tracks import Track, find_tracks, ink

ATTRIBUTES = ("count", "digit", "color", "size", "direction", "speed", "background")
ANGLE = 45.0  # degrees: a direction nearer than this to the one asked for is right
MARGIN = 1.0  # px that soft edges take from a box at half strength


@dataclass(frozen=True)
class SeenDigit:
    """One digit of a clip, as read. Direction and speed are empty if it is seen too briefly."""

    color: str
    label: int
    label_share: float  # share of the clear frames that, read alone, agree with `label`
    size: str
    motion: Motion | None

    @property
    def direction(self) -> str:
        """The nearest named direction of the first frame, empty if nothing moves."""
        if self.motion is None or self.motion.speed < 0.2:
            return ""
        return min(DIRECTIONS, key=lambda name: angle_between(self.motion, name))

    @property
    def speed(self) -> str:
        """The nearest named speed."""
        if self.motion is None:
            return ""
        pace = self.motion.speed
        return min(SPEEDS, key=lambda name: abs(np.log(max(pace, 0.1) / SPEEDS[name])))


@dataclass(frozen=True)
class Seen:
    """All that is read from a clip."""

    digits: tuple[SeenDigit, ...]
    background: str


def angle_between(motion: Motion | None, direction: str) -> float:
    """Degrees between a motion and a named direction; 180 if nothing moves."""
    if motion is None or motion.speed < 0.2:
        return 180.0
    cosine = np.dot(motion.velocity, DIRECTIONS[direction]) / motion.speed
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def read_clip(video: Tensor, reader: DigitReader, tracks: list[Track] | None = None) -> Seen:
    """Read a clip.

    Args:
        video: (3, T, H, W) in [0, 1].
        reader: tells digits apart, see `reader.load_reader`.
        tracks: its tracks, if they are at hand.
    """
    tracks = find_tracks(video) if tracks is None else tracks
    lasting = [t for t in tracks if 2 * t.present.sum() >= video.shape[1]]
    digits = [_read_digit(t, (video.shape[2], video.shape[3]), reader) for t in lasting]
    return Seen(tuple(digits), read_background(video))


def _read_digit(track: Track, size: tuple[int, int], reader: DigitReader) -> SeenDigit:
    frames = track.clear if track.clear.any() else track.present
    label, share = read_ink(track.masks[torch.from_numpy(frames)], reader)
    box = track.box[frames]
    longest = float(np.median(np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]))) + MARGIN
    low, high = walls(track, size)
    return SeenDigit(
        color=track.color,
        label=label,
        label_share=share,
        size=min(SIZES, key=lambda name: abs(SIZES[name] - longest)),
        motion=fit_motion(track, low, high),
    )


def read_background(video: Tensor) -> str:
    """The name of the background drawn nearest to the pixels (3, T, H, W) that no ink covers."""
    bare = ink(video).amax(dim=0) == 0  # where nothing ever passes
    if not bare.any():
        bare = torch.ones_like(bare)
    seen = video.mean(dim=1)[:, bare]  # (3, N)
    height, width = video.shape[2:]

    def distance(name: str) -> float:
        drawn = torch.tensor(background(name, height, width) / 255.0).permute(2, 0, 1)
        return float((drawn[:, bare] - seen).square().mean())

    return min(BACKGROUNDS, key=distance)


def compare(asked: Scene, seen: Seen) -> dict[str, bool]:
    """Whether each of `ATTRIBUTES` is as asked; digits are told apart by color.

    An attribute of digits is right if it is right for every digit asked for. One whose color is missing is
    compared with one that nobody asked for, if there is one: a wrong color does not make the class wrong.
    """
    found = {digit.color: digit for digit in reversed(seen.digits)}
    wanted = {digit.color for digit in asked.digits}
    spare = [digit for digit in seen.digits if digit.color not in wanted]
    pairs = [(d, found.get(d.color) or (spare.pop(0) if spare else None)) for d in asked.digits]
    moves = asked.frames > 1

    def every(right: list[bool]) -> bool:
        return len(right) == len(asked.digits) and all(right)

    met = [(d, s) for d, s in pairs if s is not None]
    return {
        "count": len(seen.digits) == len(asked.digits),
        "digit": every([d.label == s.label for d, s in met]),
        "color": every([d.color == s.color for d, s in met]),
        "size": every([d.size == s.size for d, s in met]),
        "direction": not moves
        or every([angle_between(s.motion, d.direction) < ANGLE for d, s in met]),
        "speed": not moves or every([d.speed == s.speed for d, s in met]),
        "background": asked.background == seen.background,
    }


def stated(caption: str) -> set[str]:
    """The `ATTRIBUTES` that a caption says something about. Count, digit and color are always said."""
    text = f" {caption.replace(',', '')} "
    said = {"count", "digit", "color"}
    if _mentions(text, SPEED_WORDS):
        said.add("speed")
    text = text.replace(" at medium speed ", " ")
    words: dict[str, Mapping[str, tuple[str, ...]]] = {
        "size": SIZE_WORDS,
        "direction": DIRECTION_WORDS,
    }
    said |= {name for name, phrases in words.items() if _mentions(text, phrases)}
    tints = ("black", "gray", "navy", "brown")
    backgrounds = [
        p.format(tint=tint)
        for phrases in BACKGROUND_WORDS.values()
        for p in phrases
        for tint in tints
    ]
    return said | ({"background"} if any(f" {p} " in text for p in backgrounds) else set())


def _mentions(text: str, phrases: Mapping[str, tuple[str, ...]]) -> bool:
    return any(f" {phrase} " in text for group in phrases.values() for phrase in group)
