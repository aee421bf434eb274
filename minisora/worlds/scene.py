"""What happens in a clip, as facts: which digits, where, how they move, and on what background.

A `Scene` is the truth from which pixels are drawn and captions are written, and against which
generated clips are judged. Positions follow from the facts in closed form, so nothing is simulated
or stored frame by frame.

Coordinates: y points down, x right, in pixels; pixel i covers [i, i + 1), so the canvas is
[0, H] x [0, W].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (240, 40, 40),
    "green": (50, 215, 70),
    "blue": (70, 130, 255),
    "yellow": (255, 235, 60),
    "cyan": (50, 225, 240),
    "magenta": (240, 60, 225),
    "orange": (255, 145, 20),
    "white": (250, 250, 250),
}
# The digit's longer side, px. A small one is as MNIST drew it: a smaller one would lose strokes.
SIZES: dict[str, int] = {"small": 20, "medium": 24, "large": 28}
SPEEDS: dict[str, float] = {"slow": 0.75, "medium": 1.5, "fast": 2.5}  # px per frame
_DIAGONAL = 0.5**0.5
DIRECTIONS: dict[str, tuple[float, float]] = {  # unit vectors (y, x)
    "up": (-1.0, 0.0),
    "down": (1.0, 0.0),
    "left": (0.0, -1.0),
    "right": (0.0, 1.0),
    "up-left": (-_DIAGONAL, -_DIAGONAL),
    "up-right": (-_DIAGONAL, _DIAGONAL),
    "down-left": (_DIAGONAL, -_DIAGONAL),
    "down-right": (_DIAGONAL, _DIAGONAL),
}

# Never trained, so that they measure composition: each color lacks one digit, no two the same.
HELD_OUT: dict[str, int] = {
    "red": 7,
    "green": 2,
    "blue": 4,
    "yellow": 9,
    "cyan": 3,
    "magenta": 6,
    "orange": 8,
    "white": 5,
}


@dataclass(frozen=True)
class DigitFacts:
    """One digit of a scene: who it is, how it looks, where it starts and how it moves."""

    label: int  # 0..9
    image_index: int  # which handwritten digit of the split
    color: str  # a key of COLORS
    size: str  # a key of SIZES
    height: int  # of its box, px
    width: int  # of its box, px
    direction: str  # a key of DIRECTIONS: the direction at the first frame
    speed: str  # a key of SPEEDS
    start: tuple[float, float]  # centre (y, x) of its box at the first frame, px

    @property
    def pixels(self) -> int:
        """The longer side of its box, px."""
        return max(self.height, self.width)

    @property
    def velocity(self) -> tuple[float, float]:
        """(y, x) at the first frame, px per frame."""
        speed = SPEEDS[self.speed]
        down, right = DIRECTIONS[self.direction]
        return speed * down, speed * right

    @property
    def held_out(self) -> bool:
        """Whether this color x digit pair is one that training never shows."""
        return HELD_OUT[self.color] == self.label


@dataclass(frozen=True)
class Scene:
    """All facts of a clip. `digits` run from back to front: a later one covers an earlier one."""

    height: int
    width: int
    frames: int
    background: str  # one of backgrounds.BACKGROUNDS
    digits: tuple[DigitFacts, ...]
    split: str = "train"  # the split and source that every image_index refers to
    source: str = "mnist_5k"

    def positions(self) -> np.ndarray:
        """Centre (y, x) of every digit's box in every frame, float64 (T, n, 2), px."""
        return self._motion()[0]

    def velocities(self) -> np.ndarray:
        """Velocity (y, x) of every digit in every frame, float64 (T, n, 2), px per frame.

        A bounce flips one component; on the wall itself the velocity is the outgoing one.
        """
        return self._motion()[1]

    def boxes(self) -> np.ndarray:
        """Every digit's box in every frame as (top, left, bottom, right), float64 (T, n, 4), px."""
        centres, half = self.positions(), self._half_sizes()
        return np.concatenate([centres - half, centres + half], axis=-1)  # (T, n, 4)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, ready for JSON."""
        facts = asdict(self)
        facts["digits"] = [{**digit, "start": list(digit["start"])} for digit in facts["digits"]]
        return facts

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Scene:
        """The scene that `to_dict` wrote."""
        digits = tuple(
            DigitFacts(**{**digit, "start": tuple(digit["start"])}) for digit in facts["digits"]
        )
        return cls(**{**facts, "digits": digits})

    def _half_sizes(self) -> np.ndarray:
        return np.array([(digit.height, digit.width) for digit in self.digits]) / 2  # (n, 2)

    def _motion(self) -> tuple[np.ndarray, np.ndarray]:
        start = np.array([digit.start for digit in self.digits])  # (n, 2)
        velocity = np.array([digit.velocity for digit in self.digits])  # (n, 2)
        half = self._half_sizes()
        span = np.array([self.height, self.width]) - 2 * half  # room between the walls
        time = np.arange(self.frames)[:, None, None]  # (T, 1, 1)
        return reflect(start - half, velocity, span, time, offset=half)


def reflect(
    start: np.ndarray, velocity: np.ndarray, span: np.ndarray, time: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Straight motion between two mirrors, at `offset` and `offset + span`, in closed form.

    Unfolded, the point runs straight on through mirrored copies of the room. Folding it back, by a
    triangle wave of period 2 * span, gives every bounce exactly: angle in = angle out, same speed.

    Args:
        start: distance from the lower mirror at time 0, in [0, span]; all arguments broadcast.
        velocity: at time 0, per unit of time.
        span: distance between the mirrors.
        time: any times, also negative or fractional.
        offset: position of the lower mirror.

    Returns:
        Position and velocity at each time.
    """
    unfolded = (start + velocity * time) % (2 * span)
    position = offset + span - np.abs(unfolded - span)
    # On a wall the velocity is already the outgoing one, whichever way the point came.
    mirrored = np.where(velocity > 0, unfolded >= span, (unfolded > span) | (unfolded == 0))
    return position, np.where(mirrored, -velocity, velocity)
