"""Checkers of notebook 08, editing: each holds an answer against another way to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise

ExactLatents = Callable[[Tensor], Tensor]
Respaced = Callable[[int, float, float], Tensor]
Seam = Callable[[Tensor], tuple[float, float]]
Widen = Callable[[Tensor, int, int], tuple[Tensor, Tensor]]
Blend = Callable[[list[Tensor], list[int], int], Tensor]


@exercise("08.1")
def exact_latents(answer: ExactLatents) -> None:
    """Against a loop over latent frames and the frames they depend on, for random masks."""
    generator = torch.Generator().manual_seed(1)
    for trial in range(60):
        count = 1 + 4 * (trial % 5)
        known = torch.rand(count, generator=generator) < (0.5, 0.8, 0.95)[trial % 3]
        if trial % 2:
            known[: 1 + trial % count] = True  # so that some beginning is there
        found = answer(known.clone())
        case = f"the mask {_flags(known)}"
        _expect_shape(found, (1 + (count - 1) // 4,), case)
        for latent, exact in enumerate(found.tolist()):
            last = 4 * latent
            unknown = [n for n in range(last + 1) if not known[n]]
            if exact and unknown:
                raise Wrong(
                    f"for {case} you call latent frame {latent} exact, but it depends on frame "
                    f"{unknown[0]}, which is unknown."
                )
            if not exact and not unknown:
                raise Wrong(
                    f"for {case} all frames up to {last} are known, so latent frame {latent} is "
                    "exact; you say it is not."
                )


@exercise("08.2")
def respaced(answer: Respaced) -> None:
    """Against the inverse of the shift, found by halving: the levels must be even before it."""
    for steps in (1, 4, 7, 30):
        for strength in (1.0, 0.8, 0.35):
            for a in (1.0, 2.5, 4.0, 0.5):
                found = answer(steps, strength, a)
                case = f"{steps} steps, strength {strength:g} and shift {a:g}"
                _expect_shape(found, (steps + 1,), case)
                _check_levels(found.double().tolist(), strength, a, case)


def _check_levels(levels: list[float], strength: float, a: float, case: str) -> None:
    if abs(levels[0] - strength) > 1e-4 or abs(levels[-1]) > 1e-6:
        raise Wrong(
            f"for {case} the levels run from {levels[0]:.4f} to {levels[-1]:.4f}; they should run "
            f"from {strength:g} to 0."
        )
    steps = len(levels) - 1
    top = _before_shift(strength, a)
    for row, level in enumerate(levels):
        u, even = _before_shift(level, a), top * (steps - row) / steps
        if abs(u - even) > 1e-4:
            raise Wrong(
                f"for {case} level {row} is {level:.4f}, which the shift makes of u = {u:.4f}; even "
                f"spacing from {top:.4f} to 0 has u = {even:.4f} there."
            )


def _before_shift(t: float, a: float) -> float:
    """The u in [0, 1] that the shift takes to t, by halving the interval."""
    low, high = 0.0, 1.0
    for _ in range(60):
        u = (low + high) / 2
        low, high = (u, high) if a * u / (1 + (a - 1) * u) < t else (low, u)
    return (low + high) / 2


@exercise("08.3")
def seam(answer: Seam) -> None:
    """Against plain sums over the last and first two points, on smooth and broken loops."""
    generator = torch.Generator().manual_seed(3)
    angle = torch.arange(12, dtype=torch.float64) * 2 * math.pi / 12
    turning = 20 + 8 * torch.stack([angle.sin(), angle.cos()], dim=1)
    paths = {"a circle of 12 frames": turning}
    standing = torch.full((5, 2), 7.0, dtype=torch.float64)
    paths["a digit that stands still"] = standing
    for count in (2, 5, 8, 17):
        noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        paths[f"a random path of {count} frames"] = 30 + (2 * noise).cumsum(dim=0)
    for case, path in paths.items():
        found = answer(path.clone())
        if not isinstance(found, tuple) or len(found) != 2:
            raise Wrong(f"for {case} you return {type(found).__name__}, not a pair of two lengths.")
        _explain_seam([float(part) for part in found], path.tolist(), case)


def _explain_seam(found: list[float], p: list[list[float]], case: str) -> None:
    before = [p[-1][k] - p[-2][k] for k in (0, 1)]
    after = [p[1][k] - p[0][k] for k in (0, 1)]
    closing = [p[0][k] - p[-1][k] for k in (0, 1)]
    miss = math.hypot(*(closing[k] - (before[k] + after[k]) / 2 for k in (0, 1)))
    turn = math.hypot(*(after[k] - before[k] for k in (0, 1)))
    if abs(found[0] - miss) > 1e-4:
        whole = " (that is the whole closing step)" if _near(found[0], math.hypot(*closing)) else ""
        raise Wrong(
            f"for {case} the closing step misses the mean of its neighbors by {miss:.3f} px; you say "
            f"{found[0]:.3f}{whole}."
        )
    if abs(found[1] - turn) > 1e-4:
        raise Wrong(
            f"for {case} the steps before and after the seam differ by {turn:.3f} px; you say "
            f"{found[1]:.3f}."
        )


@exercise("08.4")
def widen(answer: Widen) -> None:
    """Against pixel by pixel copying, with margins even, odd and none."""
    generator = torch.Generator().manual_seed(4)
    sizes = ((4, 4, 8, 8), (4, 6, 4, 11), (5, 3, 10, 6), (2, 2, 7, 5), (6, 5, 6, 5))
    for h, w, height, width in sizes:
        video = 0.2 + 0.8 * torch.rand(3, 2, h, w, generator=generator)
        found = answer(video.clone(), height, width)
        case = f"a clip of {h}x{w} in a frame of {height}x{width}"
        if not isinstance(found, tuple) or len(found) != 2:
            raise Wrong(f"for {case} you return {type(found).__name__}, not (video, mask).")
        wide, known = found
        _expect_shape(wide, (3, 2, height, width), f"the video of {case}")
        _expect_shape(known, (height, width), f"the mask of {case}")
        _check_widened(video, wide, known.bool(), case)


def _check_widened(video: Tensor, wide: Tensor, known: Tensor, case: str) -> None:
    (h, w), (height, width) = video.shape[2:], wide.shape[2:]
    top, left = (height - h) // 2, (width - w) // 2
    for y, x in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
        inside = top <= y < top + h and left <= x < left + w
        if bool(known[y, x]) != inside:
            raise Wrong(
                f"for {case} the mask says {bool(known[y, x])} at row {y}, column {x}; that pixel is "
                f"{'of the clip' if inside else 'of the margin'}."
            )
        right = video[:, :, y - top, x - left] if inside else torch.zeros(3, 2)
        if not torch.equal(wide[:, :, y, x], right):
            what = f"the clip's row {y - top}, column {x - left}" if inside else "black"
            raise Wrong(f"for {case} row {y}, column {x} of the video should be {what}.")


@exercise("08.5")
def blend(answer: Blend) -> None:
    """Against a loop over the frames of the long latent and the windows that hold each."""
    cases = (([0], 5, 5), ([0, 3], 5, 8), ([0, 2, 4], 5, 9), ([0, 1, 5], 4, 9), ([0, 2], 3, 5))
    for seed, (starts, size, length) in enumerate(cases):
        generator = torch.Generator().manual_seed(50 + seed)
        shape = (len(starts), 2, size, 2, 3)
        windows = list(torch.randn(shape, generator=generator, dtype=torch.float64))
        found = answer([window.clone() for window in windows], list(starts), length)
        case = f"windows of {size} frames that begin at {', '.join(map(str, starts))}"
        _expect_shape(found, (2, length, 2, 3), case)
        for frame in range(length):
            _check_blended(found[:, frame], windows, starts, frame, f"{case}, frame {frame}")


def _check_blended(
    found: Tensor, windows: list[Tensor], starts: list[int], frame: int, case: str
) -> None:
    parts, weights = [], []
    for window, start in zip(windows, starts, strict=True):
        size, place = window.shape[1], frame - start
        if 0 <= place < size:
            parts.append(window[:, place])
            weights.append(min(place + 1, size - place))
    right = torch.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        right = right + part * weight / sum(weights)
    if torch.allclose(found.double(), right, atol=1e-5):
        return
    if len(parts) == 1:
        raise Wrong(
            f"for {case}, only one window holds it, so its guess should come back as it is."
        )
    plain = sum(parts, torch.zeros_like(right)) / len(parts)
    if torch.allclose(found.double(), plain, atol=1e-5):
        raise Wrong(f"for {case}, all windows count the same; their weights are {weights}.")
    gap = (found.double() - right).abs().max().item()
    raise Wrong(
        f"for {case}, {len(parts)} windows with weights {weights} should be averaged; you are "
        f"{gap:.2g} off."
    )


def _flags(known: Tensor) -> str:
    """A mask as a string of ones and zeros."""
    return "".join(str(int(flag)) for flag in known.tolist())


def _near(a: float, b: float) -> bool:
    return abs(a - b) < 1e-4


def _expect_shape(found: object, shape: tuple[int, ...], case: str) -> None:
    if not isinstance(found, Tensor):
        raise Wrong(f"for {case} you return {type(found).__name__}, not a tensor.")
    if tuple(found.shape) != shape:
        raise Wrong(f"for {case} the result has shape {tuple(found.shape)}; it should be {shape}.")
    if found.is_floating_point() and not torch.isfinite(found).all():
        raise Wrong(f"for {case} the result holds numbers that are not finite.")
