"""Training that draws itself: one figure that is redrawn while the steps go by, and stays when they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from minisora.course.pictures import Picture

Step = TypeVar("Step")


def watch(
    steps: Iterable[Step],
    draw: Callable[[list[Step]], Picture],
    *,
    every: float = 5.0,
) -> list[Step]:
    """Run through `steps`, redrawing a figure of those seen so far; return them all.

    A person at the notebook sees the curve grow. Where nobody watches, only the last figure is kept.

    Args:
        steps: a generator such as `minisora.train.fit` or any part of it.
        draw: the records so far -> a picture made with `show`.
        every: seconds between two drawings, so that drawing costs little of the training time.
    """
    from IPython.display import display

    seen: list[Step] = []
    handle: Any = None
    drawn = time.monotonic()
    for step in steps:
        seen.append(step)
        if time.monotonic() - drawn > every:
            handle = _draw(handle, draw(seen), display)
            drawn = time.monotonic()
    if seen:
        _draw(handle, draw(seen), display)
    return seen


def _draw(handle: Any, picture: Picture, display: Callable[..., Any]) -> Any:
    if handle is None:
        return display(picture, display_id=True)
    handle.update(picture)
    return handle
