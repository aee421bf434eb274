"""Named, dark backgrounds: black, or one of three tints, plain or as gradient, stripes or checker.

Stripes and checkers start at the top-left corner with the same phase and period at every size, and
a gradient runs from the top to the bottom, so a name and a size say all there is to a background.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

PERIOD = 16  # px: one light and one dark band of 8 px each

TINTS: dict[str, tuple[int, int, int]] = {  # the lighter of a pattern's two colors
    "gray": (72, 72, 76),
    "navy": (20, 28, 88),
    "brown": (88, 54, 26),
}
PATTERNS: tuple[str, ...] = ("gradient", "stripes", "checker")
DARK, PLAIN = 0.45, 0.7  # share of the tint in a pattern's darker color, and in a plain background

BACKGROUNDS: tuple[str, ...] = (
    "black",
    *TINTS,
    *(f"{tint} {pattern}" for tint in TINTS for pattern in PATTERNS),
)


@lru_cache(maxsize=256)
def background(name: str, height: int, width: int) -> np.ndarray:
    """Draw a background: float32 (H, W, 3) in [0, 255], read-only since it is shared between calls.

    Args:
        name: one of `BACKGROUNDS`, for example "navy" or "gray stripes".
        height: H, px.
        width: W, px.
    """
    if name == "black":
        image = np.zeros((height, width, 3), np.float32)
    else:
        tint, _, pattern = name.partition(" ")
        strength = DARK + (1 - DARK) * _pattern(pattern, height, width)
        image = (strength[..., None] * np.array(TINTS[tint])).astype(np.float32)  # (H, W, 3)
    image.flags.writeable = False
    return image


def _pattern(pattern: str, height: int, width: int) -> np.ndarray:
    """Lightness (H, W) in [0, 1]: 0 is the dark color, 1 the tint itself."""
    y, x = np.mgrid[:height, :width]
    dark_column, dark_row = x % PERIOD >= PERIOD // 2, y % PERIOD >= PERIOD // 2
    match pattern:
        case "gradient":
            return y / (height - 1)  # dark at the top
        case "stripes":
            return 1.0 - dark_column  # upright
        case "checker":
            return 1.0 - (dark_row ^ dark_column)
        case _:
            return np.full((height, width), (PLAIN - DARK) / (1 - DARK))
