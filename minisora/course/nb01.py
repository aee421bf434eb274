"""Checkers of notebook 01: pixels, frame rates, walls, buckets, and a clip played backwards.

Each compares an answer with an independent computation (loops, exact fractions, the world's own drawing) on
several cases, and says with the first case that differs what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise
from minisora.worlds import MovingMNIST, Scene, WorldConfig, render

Shape = tuple[int, int, int]


@exercise("01.1")
def check_to_pixels(answer: Callable[[Tensor], Any]) -> None:
    """Float (3, T, H, W) to uint8 (T, H, W, 3), against plain numpy on videos that leave [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    for frames, height, width in ((4, 5, 7), (1, 6, 3), (3, 3, 8)):
        video = torch.rand(3, frames, height, width, generator=generator) * 1.2 - 0.1
        before = video.clone()
        found = answer(video)
        if not torch.equal(video, before):
            raise Wrong("Your function changes the video it was given; work on a copy.")
        if not isinstance(found, Tensor) or found.dtype != torch.uint8:
            raise Wrong(f"The result is {_kind(found)}; a uint8 tensor is asked for.")
        if tuple(found.shape) != (frames, height, width, 3):
            raise Wrong(
                f"A video (3, {frames}, {height}, {width}) became {tuple(found.shape)}; "
                f"({frames}, {height}, {width}, 3) is asked for."
            )
        _compare_levels(found.numpy(), video.numpy())


def _compare_levels(found: np.ndarray, video: np.ndarray) -> None:
    """Raise Wrong with the first pixel that is not on the nearest level."""
    for (channel, t, y, x), value in np.ndenumerate(video):
        level, wanted = int(found[t, y, x, channel]), min(255, max(0, round(float(value) * 255)))
        if level == wanted:
            continue
        place = f"at channel {channel}, frame {t}, row {y}, column {x} the value {value:.4f}"
        if not 0 <= value <= 1:
            raise Wrong(f"Values outside [0, 1] go wrong: {place} became {level}.")
        if level == int(value * 255):
            raise Wrong(f"Not the nearest level: {place} became {level}, a cut-off fraction.")
        raise Wrong(f"A pixel is not where it was, or has another brightness: {place} is {level}.")


@exercise("01.2")
def check_resample(answer: Callable[[int, int, int], Any]) -> None:
    """Indices of the nearest stored frames, against exact fractions; a tie may go either way."""
    cases = [(17, 8, 8), (17, 8, 4), (17, 8, 16), (33, 8, 30), (10, 24, 7), (1, 8, 24), (9, 30, 12)]
    for count, stored, wanted in cases:
        found = [int(i) for i in answer(count, stored, wanted)]
        what = f"{count} frames of {stored} fps at {wanted} fps"
        times = _times(count, stored, wanted)
        if len(found) != len(times):
            raise Wrong(
                f"{what}: you give {len(found)} frames; {len(times)} of the new times lie before the end."
            )
        for k, (index, time) in enumerate(zip(found, times, strict=True)):
            if not 0 <= index < count:
                raise Wrong(f"{what}: frame {k} is to show stored frame {index}, there is none.")
            gaps = [abs(Fraction(i, stored) - time) for i in range(count)]
            if gaps[index] != min(gaps):
                raise Wrong(
                    f"{what}: frame {k}, at {float(time):.3f} s, shows the stored frame of "
                    f"{index / stored:.3f} s; another one is nearer."
                )


def _times(count: int, stored: int, wanted: int) -> list[Fraction]:
    """The new times k / wanted before the end of the clip, found one by one."""
    times: list[Fraction] = []
    while Fraction(len(times), wanted) < Fraction(count, stored):
        times.append(Fraction(len(times), wanted))
    return times


@exercise("01.3")
def check_count_bounces(answer: Callable[[float, float, float, float], Any]) -> None:
    """Walls met, against a walk from wall to wall."""
    rng = np.random.default_rng(0)
    cases = [(3.0, 0.0, 40.0, 50.0), (3.0, 2.5, 40.0, 0.0), (10.0, 1.0, 40.0, 12.0)]
    cases += [(30.0, -1.0, 40.0, 12.0), (10.0, 1.0, 40.0, 33.5), (10.0, -1.0, 40.0, 12.5)]
    for _ in range(40):
        room = float(rng.uniform(5, 60))
        start, velocity = float(rng.uniform(0.1, 0.9)) * room, float(rng.uniform(-9, 9))
        cases.append((start, velocity, room, float(rng.uniform(0, 60))))
    for start, velocity, room, time in cases:
        found, true = answer(start, velocity, room, time), _walk(start, velocity, room, time)
        what = f"start {start:.1f}, velocity {velocity:.2f}, room {room:.1f}, {time:.1f} frames"
        if isinstance(found, bool) or not isinstance(found, (int, np.integer)):
            raise Wrong(f"{what}: the result is {_kind(found)}; an int is asked for.")
        if found < 0:
            raise Wrong(f"{what}: you count {found} walls; nobody meets fewer than none.")
        if found != true:
            way = "many" if found > true else "few"
            head = "to the left" if velocity < 0 else "to the right"
            raise Wrong(f"Too {way} walls, moving {head}: {what}: you count {found}, not {true}.")


def _walk(start: float, velocity: float, room: float, time: float) -> int:
    """Go from wall to wall and count."""
    count, place, left = 0, start, time
    while velocity:
        until = ((room - place) if velocity > 0 else place) / abs(velocity)
        if until > left:
            break
        count, left = count + 1, left - until
        place, velocity = (room if velocity > 0 else 0.0), -velocity
    return count


@exercise("01.4")
def check_buckets(answer: Callable[[list[Shape], int], Any]) -> None:
    """Batches of one shape each: every clip once, none too large, as few as can be."""
    rng = np.random.default_rng(0)
    kinds: list[Shape] = [(17, 64, 64), (17, 48, 96), (17, 96, 48), (1, 64, 64), (33, 64, 64)]
    for count, most in ((7, 3), (12, 4), (25, 1), (40, 8), (1, 5), (0, 2)):
        shapes = [kinds[i] for i in rng.integers(len(kinds), size=count)]
        given = list(shapes)
        batches = [[int(i) for i in batch] for batch in answer(shapes, most)]
        what = f"{count} clips, at most {most} a batch"
        if shapes != given:
            raise Wrong("Your function changes the list of shapes it was given.")
        _check_batches(batches, shapes, most, what)


def _check_batches(batches: list[list[int]], shapes: list[Shape], most: int, what: str) -> None:
    """Raise Wrong unless the batches keep the four rules."""
    used = Counter(i for batch in batches for i in batch)
    if foreign := sorted(set(used) - set(range(len(shapes)))):
        raise Wrong(f"{what}: clip {foreign[0]} does not exist.")
    for i in range(len(shapes)):
        if used[i] != 1:
            raise Wrong(f"{what}: clip {i} of shape {shapes[i]} is used {used[i]} times, not once.")
    for batch in batches:
        if not batch:
            raise Wrong(f"{what}: one of your batches is empty.")
        if len({shapes[i] for i in batch}) > 1:
            names = ", ".join(str(shape) for shape in sorted({shapes[i] for i in batch}))
            raise Wrong(f"{what}: a batch mixes the shapes {names}.")
        if len(batch) > most:
            raise Wrong(f"{what}: a batch holds {len(batch)} clips, which is too many.")
    fewest = sum(-(-n // most) for n in Counter(shapes).values())
    if len(batches) > fewest:
        raise Wrong(f"{what}: you make {len(batches)} batches; fewer would do.")


@exercise("01.5")
def check_backwards(answer: Callable[[Scene], Any]) -> None:
    """The facts of a reversed clip, against the clip's own positions and pixels in reverse."""
    for size in ((17, 64, 64), (33, 48, 96), (65, 64, 32)):
        world = MovingMNIST(WorldConfig(*size), seed=5)
        for index in range(12):
            scene = world.scene(index)
            found = answer(scene)
            if not isinstance(found, Scene):
                raise Wrong(f"The result is {_kind(found)}; a Scene is asked for.")
            _compare_scenes(scene, found, f"clip {index} of {'x'.join(map(str, size))}")
        drawn, wanted = render(answer(world.scene(0))), render(world.scene(0))[::-1]
        if np.abs(drawn.astype(int) - wanted.astype(int)).max() > 1:
            raise Wrong("The facts fit, yet the pixels drawn from them are not the clip reversed.")


def _compare_scenes(scene: Scene, found: Scene, what: str) -> None:
    """Raise Wrong unless `found` runs along the path of `scene`, the other way."""
    if len(found.digits) != len(scene.digits):
        raise Wrong(f"{what}: the scene has {len(found.digits)} digits, not {len(scene.digits)}.")
    same = ("label", "image_index", "color", "size", "height", "width", "speed")
    for name in same:
        if any(getattr(a, name) != getattr(b, name) for a, b in _pairs(scene, found)):
            raise Wrong(
                f"{what}: the {name} of a digit has changed, or digits changed their order."
            )
    for name in ("height", "width", "frames", "background", "split", "source"):
        if getattr(scene, name) != getattr(found, name):
            raise Wrong(f"{what}: the scene's {name} has changed.")
    wanted, path = scene.positions()[::-1], found.positions()
    for n, digit in enumerate(found.digits):
        gap = np.abs(path[:, n] - wanted[:, n]).max(axis=1)
        if gap[0] > 1e-6:
            raise Wrong(f"{what}: digit {n} starts {gap[0]:.1f} px from where the clip ended.")
        if gap.max() > 1e-6:
            bounced = not np.array_equal(scene.velocities()[0, n], scene.velocities()[-1, n])
            hint = " (it had bounced)" if bounced else ""
            raise Wrong(f"{what}: heading {digit.direction}, digit {n} leaves the path{hint}.")


def _pairs(scene: Scene, found: Scene) -> list[tuple[Any, Any]]:
    return list(zip(scene.digits, found.digits, strict=True))


def _kind(value: Any) -> str:
    """What a value is, for a message."""
    return (
        f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    )
