"""Moving-MNIST in color and in words: an endless world of clips, each a function of (seed, index).

Handwritten digits glide over a named background and bounce off the walls. The grey two-digit clips
of Srivastava et al. (2015, arXiv 1502.04681) are one setting of it, `MovingMNIST.classic()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from .backgrounds import BACKGROUNDS
from .captions import Level, caption, describe
from .digits import Split, load_digits
from .drawing import render
from .scene import COLORS, DIRECTIONS, HELD_OUT, SIZES, SPEEDS, DigitFacts, Scene

if TYPE_CHECKING:
    import torch

HeldOut = Literal["exclude", "only", "any"]
MIN_SIDE, MAX_SIDE, SIDE_STEP = 32, 128, 16  # px
CLEAR_STEPS, GOOD_STEPS, GOOD_SHARE = 5, 8, 0.6  # see _start

T = TypeVar("T")


@dataclass(frozen=True)
class WorldConfig:
    """What can happen in a world. One world makes clips of one size."""

    frames: int = 17  # 1 + 4k; 1 is an image
    height: int = 64  # px, a multiple of 16 from 32 to 128
    width: int = 64
    min_digits: int = 1
    max_digits: int = 2
    single_fraction: float = 0.6  # share of one-digit clips, where both are allowed
    split: Split = "train"  # which handwritten digits appear
    source: str = "mnist_5k"  # or "mnist", see digits.load_digits
    held_out: HeldOut = "exclude"  # pairs of scene.HELD_OUT: none of them, only them, any pair
    colors: tuple[str, ...] = tuple(COLORS)
    sizes: tuple[str, ...] = tuple(SIZES)
    speeds: tuple[str, ...] = tuple(SPEEDS)
    directions: tuple[str, ...] = tuple(DIRECTIONS)
    backgrounds: tuple[str, ...] = BACKGROUNDS

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            whole = isinstance(side, int) and side % SIDE_STEP == 0
            if not (whole and MIN_SIDE <= side <= MAX_SIDE):
                raise ValueError(
                    f"{name} is {side}; choose a multiple of {SIDE_STEP}"
                    f" from {MIN_SIDE} to {MAX_SIDE}."
                )
        if not isinstance(self.frames, int) or self.frames < 1 or self.frames % 4 != 1:
            raise ValueError(f"frames is {self.frames}; choose 1 + 4k: 1, 5, 9, 13, 17, ...")
        if not 1 <= self.min_digits <= self.max_digits <= 2:
            raise ValueError(
                f"min_digits is {self.min_digits} and max_digits {self.max_digits};"
                " choose 1 <= min_digits <= max_digits <= 2."
            )
        if not 0 <= self.single_fraction <= 1:
            raise ValueError(
                f"single_fraction is {self.single_fraction}; choose a share from 0 to 1."
            )
        for name, allowed in _CHOICES.items():
            value, many = getattr(self, name), isinstance(getattr(WorldConfig, name), tuple)
            chosen = value if many and isinstance(value, tuple) else (value,)
            if many != isinstance(value, tuple) or not chosen or not set(chosen) <= set(allowed):
                kind = "a tuple of some of" if many else "one of"
                raise ValueError(f"{name} is {value!r}; choose {kind} {', '.join(allowed)}.")


_CHOICES: dict[str, Sequence[str]] = {
    "split": ("train", "test"),
    "held_out": ("exclude", "only", "any"),
    "colors": tuple(COLORS),
    "sizes": tuple(SIZES),
    "speeds": tuple(SPEEDS),
    "directions": tuple(DIRECTIONS),
    "backgrounds": BACKGROUNDS,
}


@dataclass(frozen=True, eq=False)
class Clip:
    """A rendered clip, `pixels` uint8 (T, H, W, 3), with the `facts` it was drawn from."""

    pixels: np.ndarray
    facts: Scene

    @property
    def video(self) -> torch.Tensor:
        """The clip as float32 (3, T, H, W) in [0, 1]."""
        import torch  # not at the top: rendering in data workers needs no torch

        return torch.from_numpy(self.pixels).permute(3, 0, 1, 2).float().div(255).contiguous()

    @cached_property
    def caption(self) -> str:
        """The plain detailed caption."""
        return describe(self.facts)

    def captions(self, level: Level = "detailed", rng: np.random.Generator | None = None) -> str:
        """One caption at "detailed" or "short" level, its phrasing chosen by `rng`."""
        return caption(self.facts, level, rng)


class MovingMNIST:
    """An endless sequence of clips: `world[index]` is the same clip whenever it is asked for.

    Args:
        config: what can happen.
        seed: which world, 0 or more. Clips of other seeds are independent of this one's.

    Raises:
        DataError: the digits are missing or damaged.
    """

    def __init__(self, config: WorldConfig = WorldConfig(), seed: int = 0) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}; choose 0 or more.")
        self.config = config
        self.seed = seed
        self._digits = load_digits(config.split, config.source)

    @classmethod
    def classic(cls, seed: int = 0, **changes: Any) -> MovingMNIST:
        """The grey setting: two white digits of one size on black.

        Its 21 frames hold the usual task, 10 frames given and 10 to predict. `changes` are other
        values for fields of `WorldConfig`.
        """
        setting: dict[str, Any] = {
            "frames": 21,
            "min_digits": 2,
            "held_out": "any",
            "colors": ("white",),
            "sizes": ("medium",),
            "backgrounds": ("black",),
        }
        return cls(WorldConfig(**(setting | changes)), seed)

    def __getitem__(self, index: int) -> Clip:
        """Clip number `index`, 0 or more."""
        scene = self.scene(index)
        return Clip(self.render(scene), scene)

    def scene(self, index: int) -> Scene:
        """The facts of clip number `index`, without drawing it."""
        if index < 0:
            raise IndexError(f"index is {index}; a world is endless, choose 0 or more.")
        # Philox is counter-based: each key is a stream of its own, so no clip needs an earlier one.
        key = np.array([self.seed, index], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        config = self.config
        single = rng.random() < config.single_fraction
        count = config.min_digits if single else config.max_digits
        colors: list[str] = []
        for _ in range(count):
            # Two digits differ in color if they can, so that captions can tell them apart.
            unused = [color for color in config.colors if color not in colors]
            colors.append(_pick(rng, unused or config.colors))
        return Scene(
            height=config.height,
            width=config.width,
            frames=config.frames,
            background=_pick(rng, config.backgrounds),
            digits=tuple(self._draw_digit(rng, color) for color in colors),
            split=config.split,
            source=config.source,
        )

    def render(self, scene: Scene) -> np.ndarray:
        """Draw a scene of this world's split, uint8 (T, H, W, 3)."""
        return render(scene, self._digits)

    def _draw_digit(self, rng: np.random.Generator, color: str) -> DigitFacts:
        config = self.config
        label = _pick(rng, _labels(color, config.held_out))
        image_index = _pick(rng, self._digits.with_label(label))
        size = _pick(rng, config.sizes)
        height, width = _fit(self._digits.crop(image_index).shape, SIZES[size])
        direction, speed = _pick(rng, config.directions), _pick(rng, config.speeds)
        down, right = DIRECTIONS[direction]
        start = (
            _start(rng, config.height, height, SPEEDS[speed] * down),
            _start(rng, config.width, width, SPEEDS[speed] * right),
        )
        return DigitFacts(label, image_index, color, size, height, width, direction, speed, start)


def _fit(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Height and width of a box of that shape, scaled so that its longer side is `longest` px."""
    height, width = (max(1, round(side * longest / max(shape))) for side in shape)
    return height, width


def _start(rng: np.random.Generator, side: int, sprite: int, velocity: float) -> float:
    """Centre along one axis from which the digit moves CLEAR_STEPS frames without a bounce.

    Where the canvas is roomy it is up to GOOD_STEPS, so that the direction in the caption is the
    one seen; but that never costs more than GOOD_SHARE of the room, else starts would not vary.
    """
    room, step = side - sprite, abs(velocity)
    travel = min(max(CLEAR_STEPS * step, min(GOOD_STEPS * step, GOOD_SHARE * room)), room)
    behind = rng.random() * (room - travel)  # distance from the wall it moves away from
    return sprite / 2 + (behind if velocity >= 0 else room - behind)


def _labels(color: str, held_out: HeldOut) -> list[int]:
    wanted = {"any": (True, False), "exclude": (False,), "only": (True,)}[held_out]
    return [label for label in range(10) if (HELD_OUT[color] == label) in wanted]


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    # Only rng.random() is used: unlike choice(), its stream is the same in all versions of numpy.
    return options[int(rng.random() * len(options))]
