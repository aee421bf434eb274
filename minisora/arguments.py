"""What people type on the command line, as values: sizes, boxes, devices. Errors are one sentence."""

from __future__ import annotations

from typing import Any

SMALLEST, LARGEST = 32, 128  # sides of a clip in pixels that the world has, and so the model knows


def parse_size(text: str) -> tuple[int, int]:
    """ "64x96" -> (64, 96), height first."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() for p in parts):
        raise ValueError(f"size {text!r}: write HEIGHTxWIDTH in pixels, e.g. 64x96.")
    return int(parts[0]), int(parts[1])


def pick_device(name: str) -> Any:
    """The torch device called `name`; "auto" takes the fastest there is."""
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, usable in there.items() if usable)
    if not there.get(name.split(":")[0], False):
        usable = ", ".join(kind for kind, usable in there.items() if usable)
        raise ValueError(f"Device {name!r} is not usable here; choose one of auto, {usable}.")
    return torch.device(name)


def nearest_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) nearest to `size` in shape that the world has: sides of 32 to 128, by 16."""
    scale = min(1.0, LARGEST / max(size))
    height, width = (min(LARGEST, max(SMALLEST, 16 * round(side * scale / 16))) for side in size)
    return height, width


def parse_box(text: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """ "8,8,40,40" -> top, left, bottom, right, checked against the clip's size."""
    parts = text.replace(" ", "").split(",")
    height, width = size
    if len(parts) == 4 and all(part.isdigit() for part in parts):
        top, left, bottom, right = map(int, parts)
        if top < bottom <= height and left < right <= width:
            return top, left, bottom, right
    raise ValueError(
        f"box {text!r}: write TOP,LEFT,BOTTOM,RIGHT in pixels inside {height}x{width}, e.g. 8,8,40,40."
    )
