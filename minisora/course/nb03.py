"""Checkers of notebook 03, spacetime patches: each compares an answer with naive loops on random cases."""

from __future__ import annotations

import cmath
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise

Grid = tuple[int, int, int]


@exercise("03.1")
def count_tokens(answer: Callable[[int, int, int], Any]) -> None:
    """Tokens of clips of random sizes, counted patch by patch."""
    rng = random.Random(1)
    sizes = [(1, 64, 64), (17, 64, 64), (17, 32, 96), (5, 16, 16)]
    for _ in range(5):
        frames, height, width = (rng.randint(1, 9) for _ in range(3))
        sizes.append((1 + 4 * frames, 16 * height, 16 * width))
    for frames, height, width in sizes:
        chunks = [0, *range(1, frames, 4)]  # the frame at which each latent frame begins
        squares = itertools.product(range(0, height, 16), range(0, width, 16))
        want, got = len(chunks) * len(list(squares)), answer(frames, height, width)
        if got != want:
            raise Wrong(
                f"a clip of {frames}x{height}x{width} (frames, height, width) has {want} tokens, "
                f"you count {got}. {_token_hint(got, want, frames)}"
            )
        if not isinstance(got, int):
            raise Wrong(f"the number is right, but {got!r} is not an int: divide whole numbers.")


def _token_hint(got: Any, want: int, frames: int) -> str:
    """What a wrong count suggests."""
    if got == 4 * want:
        return "Exactly four times too many: did you leave out the patch?"
    if frames == 1:
        return "Even an image, a single frame, is one latent frame."
    return "Check how many latent frames there are, then the squares of a frame."


@exercise("03.2")
def place(answer: Callable[[int, Grid], Any]) -> None:
    """Every token of several grids, listed by nested counting."""
    for grid in ((2, 2, 2), (1, 4, 5), (3, 2, 5), (4, 3, 1), (2, 7, 3)):
        listed = itertools.product(*(range(side) for side in grid))
        for index, want in enumerate(listed):
            got = answer(index, grid)
            if isinstance(got, Tensor):
                got = got.tolist()
            if not isinstance(got, Sequence) or len(got) != 3:
                raise Wrong(f"a place is three numbers (t, h, w), you return {got!r}.")
            if tuple(got) != want:
                raise Wrong(
                    f"in a grid {grid} token {index} stands at {want}, you say {tuple(got)}. "
                    f"{_place_hint(tuple(got), grid)}"
                )


def _place_hint(got: tuple[Any, ...], grid: Grid) -> str:
    """What a wrong place suggests."""
    if any(not 0 <= p < side for p, side in zip(got, grid, strict=True)):
        return "That lies outside the grid."
    return "Which axis runs fastest, and how many tokens pass before the next one moves on?"


@exercise("03.3")
def rotate_halves(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Against complex numbers, one pair at a time; then the property that makes it RoPE."""
    generator = torch.Generator().manual_seed(3)
    for length, size, theta in ((1, 2, 100.0), (5, 8, 100.0), (4, 6, 10.0), (3, 32, 10_000.0)):
        x = torch.randn(length, size, generator=generator)
        positions = torch.randint(0, 40, (length,), generator=generator)
        got = answer(x.clone(), positions, theta)
        if not isinstance(got, Tensor) or got.shape != x.shape:
            shape = tuple(got.shape) if isinstance(got, Tensor) else got
            raise Wrong(
                f"for x of shape {tuple(x.shape)} the result has to have it too, not {shape}."
            )
        want = _halves(x, positions.tolist(), theta)
        if not torch.allclose(got.float(), want, atol=1e-3):
            raise Wrong(_halves_hint(x, got.float(), positions, theta))


def _halves(x: Tensor, positions: Sequence[int], theta: float, sign: int = 1) -> Tensor:
    """Naive rotation: multiply complex numbers x_i + i x_{i + d/2}."""
    half, turned = x.shape[1] // 2, x.clone()
    for row, p in enumerate(positions):
        for i in range(half):
            value = complex(float(x[row, i]), float(x[row, i + half]))
            value *= cmath.exp(sign * 1j * p * theta ** (-i / half))
            turned[row, i], turned[row, i + half] = value.real, value.imag
    return turned


def _halves_hint(x: Tensor, got: Tensor, positions: Tensor, theta: float) -> str:
    """What a wrong rotation suggests."""
    length, size = x.shape
    case = f"x of shape ({length}, {size}), positions {positions.tolist()}, theta {theta:g}"
    if torch.allclose(got, _halves(x, positions.tolist(), theta, sign=-1), atol=1e-3):
        return f"for {case} you turn the wrong way round: check the signs of the sines."
    if not torch.allclose(got.norm(dim=1), x.norm(dim=1), rtol=1e-3):
        return f"for {case} the length of a row changes, and a rotation never changes a length."
    neighbors = x.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1)  # pairs of neighbors as halves
    turned = _halves(neighbors, positions.tolist(), theta).unflatten(1, (2, -1))
    if torch.allclose(got, turned.transpose(1, 2).flatten(1), atol=1e-3):
        return f"for {case} you turn neighbors (x_0, x_1); here a pair is (x_i, x_(i + d/2))."
    return (
        f"for {case} lengths are kept, but the angles or the pairs are wrong: the first pair turns "
        "by p, the last by almost p / theta."
    )


@exercise("03.4")
def frame_causal_mask(answer: Callable[[list[Grid]], Tensor]) -> None:
    """Every query and key of a few batches, one by one."""
    batches: list[list[Grid]] = [
        [(2, 1, 2)],
        [(1, 2, 2), (1, 2, 2)],
        [(2, 1, 2), (3, 2, 1), (1, 1, 3)],
        [(3, 2, 2), (2, 3, 1)],
    ]
    for grids in batches:
        owner = [
            (c, t) for c, g in enumerate(grids) for t in range(g[0]) for _ in range(g[1] * g[2])
        ]
        got = answer(list(grids))
        size = (len(owner), len(owner))
        if not isinstance(got, Tensor) or got.shape != size:
            shape = tuple(got.shape) if isinstance(got, Tensor) else got
            raise Wrong(f"for grids {grids} the mask has shape {size}, yours is {shape}.")
        if got.dtype != torch.bool:
            raise Wrong(f"the mask has to be bool, yours is {got.dtype}.")
        for i, j in itertools.product(range(len(owner)), repeat=2):
            _check_pair(grids, owner[i], owner[j], bool(got[i, j]))


def _check_pair(grids: list[Grid], query: tuple[int, int], key: tuple[int, int], got: bool) -> None:
    """One entry of the mask; query and key are (clip, frame)."""
    want = query[0] == key[0] and key[1] <= query[1]
    if got == want:
        return
    verb = "may not" if got else "may"
    if query == key:
        why = "they share a frame, all of which is seen at once"
    elif query[0] != key[0]:
        why = "they are of different clips"
    else:
        why = f"the key's frame is {'earlier' if key[1] < query[1] else 'later'}"
    raise Wrong(
        f"for grids {grids} a query in frame {query[1]} of clip {query[0]} {verb} look at a key in "
        f"frame {key[1]} of clip {key[0]}: {why}."
    )


@exercise("03.5")
def first_fit(answer: Callable[[list[int], int], Any]) -> None:
    """Structure first, then the greedy rule itself, on fixed and random lengths."""
    rng = random.Random(5)
    cases = [([4], 4), ([3, 3, 1, 2], 4), ([5, 4, 3, 2, 1], 6), ([2, 7, 2, 5, 3], 9)]
    for _ in range(20):
        capacity = rng.randint(8, 20)
        cases.append(([rng.randint(1, capacity) for _ in range(rng.randint(1, 12))], capacity))
    for lengths, capacity in cases:
        got = [list(sequence) for sequence in answer(list(lengths), capacity)]
        case = f"for lengths {lengths} and capacity {capacity}"
        if sorted(i for sequence in got for i in sequence) != list(range(len(lengths))):
            raise Wrong(f"{case} every clip index has to stand exactly once, you return {got}.")
        for sequence in got:
            if (used := sum(lengths[i] for i in sequence)) > capacity:
                raise Wrong(f"{case} the sequence {sequence} holds {used} tokens, too many.")
        _check_first(case, lengths, capacity, got)


def _check_first(case: str, lengths: list[int], capacity: int, got: list[list[int]]) -> None:
    """Whether every clip, in order, went into the first sequence that had room for it."""
    home = {i: s for s, sequence in enumerate(got) for i in sequence}
    used = [0] * len(got)
    opened = 0
    for i, n in enumerate(lengths):
        first = next((s for s in range(opened) if used[s] + n <= capacity), opened)
        if home[i] != first:
            where = (
                "a new sequence" if first == opened else f"sequence {first}, the first with room"
            )
            raise Wrong(f"{case} clip {i} of {n} tokens belongs in {where}, you return {got}.")
        used[first] += n
        opened = max(opened, first + 1)
    if any(sequence != sorted(sequence) for sequence in got):
        raise Wrong(f"{case} clips stand in the order in which they came, you return {got}.")
