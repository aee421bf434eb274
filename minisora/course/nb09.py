"""Checkers of notebook 09, native sizes: each holds an answer against another way to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise, expect_shape

Box = tuple[int, int, int, int]
ShareInSquare = Callable[[Box, int, int], float]
BucketOf = Callable[[int, int, list[tuple[int, int]]], tuple[int, float]]
NTKTheta = Callable[[float, float, int], float]
SlowerNoise = Callable[[Tensor, int, torch.Generator], Tensor]


@exercise("09.1")
def share_in_square(answer: ShareInSquare) -> None:
    """Against counting pixels one by one, for boxes inside, across and outside of the square."""
    generator = torch.Generator().manual_seed(1)
    for height, width in ((4, 10), (10, 4), (7, 7), (5, 12), (13, 6), (32, 96)):
        for _ in range(12):
            top, bottom = _interval(height, generator)
            left, right = _interval(width, generator)
            case = f"the box ({top}, {left}, {bottom}, {right}) in a frame of {height}x{width}"
            found = _number(answer((top, left, bottom, right), height, width), case)
            side = min(height, width)
            rows = range((height - side) // 2, (height - side) // 2 + side)
            columns = range((width - side) // 2, (width - side) // 2 + side)
            pixels = [(y, x) for y in range(top, bottom) for x in range(left, right)]
            inside = sum(y in rows and x in columns for y, x in pixels)
            if abs(found - inside / len(pixels)) > 1e-6:
                raise Wrong(
                    f"for {case}, {inside} of its {len(pixels)} pixels lie in the middle square, a "
                    f"share of {inside / len(pixels):.3f}; you say {found:.3f}."
                )


def _interval(length: int, generator: torch.Generator) -> tuple[int, int]:
    """A random start and end, at least one apart, between 0 and `length`."""
    a, b = sorted(torch.randperm(length + 1, generator=generator)[:2].tolist())
    return int(a), int(b)


@exercise("09.2")
def bucket_of(answer: BucketOf) -> None:
    """Against a search for the nearest aspect, and a scale found by growing the clip until it covers."""
    usual = [(64, 64), (48, 80), (80, 48), (32, 128), (128, 32)]
    cases = [(64, 64, usual), (50, 90, usual), (100, 30, usual), (1080, 1920, usual)]
    cases += [(60, 60, [(80, 40), (40, 72)]), (480, 640, usual), (640, 480, usual[::-1])]
    cases += [(30, 110, [(16, 16), (96, 96), (64, 160)]), (256, 256, [(48, 80), (32, 32)])]
    for height, width, buckets in cases:
        case = f"a clip of {height}x{width} and the buckets {_sizes(buckets)}"
        found = answer(height, width, list(buckets))
        if not isinstance(found, tuple) or len(found) != 2:
            raise Wrong(f"for {case} you return {type(found).__name__}, not (number, share).")
        aspects = [abs(math.log(width * h / (height * w))) for h, w in buckets]
        right = min(range(len(buckets)), key=lambda n: aspects[n])
        if found[0] != right:
            raise Wrong(
                f"for {case} you choose number {found[0]}; the nearest aspect ratio has "
                f"{buckets[right][0]}x{buckets[right][1]}, number {right}."
            )
        _check_lost(_number(found[1], case), (height, width), buckets[right], case)


def _check_lost(found: float, clip: tuple[int, int], bucket: tuple[int, int], case: str) -> None:
    """The share lost, from the largest rectangle of the bucket's shape inside the clip."""
    (height, width), (h, w) = clip, bucket
    wide_enough = width * h >= height * w  # then all rows stay, and columns go
    kept = height * (height * w / h) if wide_enough else width * (width * h / w)
    lost = 1 - kept / (height * width)
    if abs(found - lost) > 1e-6:
        told = " (that is the share kept)" if abs(found - (1 - lost)) < 1e-6 else ""
        raise Wrong(
            f"for {case} the clip loses {lost:.3f} of its area in {h}x{w}; you say {found:.3f}{told}."
        )


@exercise("09.3")
def ntk_theta(answer: NTKTheta) -> None:
    """Every frequency of plain RoPE with the new theta against the scaled one of the old."""
    for theta in (100.0, 10_000.0, 50.0):
        for stretch in (1.0, 1.5, 2.0, 4.0, 10.0):
            for pairs in (2, 3, 8, 12, 32):
                case = f"theta = {theta:g}, s = {stretch:g} and n = {pairs}"
                found = _number(answer(theta, stretch, pairs), case)
                if found <= 0:
                    raise Wrong(f"for {case} you return {found:.4g}; theta' is positive.")
                for j in range(pairs):
                    wanted = theta ** (-j / pairs) * stretch ** (-j / (pairs - 1))
                    ours = found ** (-j / pairs)
                    if abs(ours / wanted - 1) > 1e-4:
                        raise Wrong(
                            f"for {case} your theta' = {found:.5g} gives pair {j} the frequency "
                            f"{ours:.4g}; scaled NTK-style it is {wanted:.4g}."
                        )


@exercise("09.4")
def slower_noise(answer: SlowerNoise) -> None:
    """Sums against a loop; whiteness by the covariance of thousands of grids; the generator is used."""
    for seed, (t, k, h, w) in enumerate(((1, 2, 2, 2), (3, 2, 1, 3), (2, 3, 2, 1), (4, 1, 2, 2))):
        noise = torch.randn(5, t, h, w, generator=torch.Generator().manual_seed(seed))
        case = f"{t} frames and k = {k}"
        found = answer(noise.clone(), k, torch.Generator().manual_seed(9))
        expect_shape(found, (5, k * t, h, w), case)
        for i in range(t):
            total = sum((found[:, k * i + n] for n in range(k)), torch.zeros(5, h, w))
            gap = (total / math.sqrt(k) - noise[:, i]).abs().max().item()
            if gap > 1e-3:
                raise Wrong(
                    f"for {case} frames {k * i} to {k * i + k - 1} sum to frame {i} times the root of "
                    f"k; yours are off by up to {gap:.2g}."
                )
    _check_white(answer)
    noise = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    first, again, other = (answer(noise, 2, torch.Generator().manual_seed(n)) for n in (1, 1, 2))
    if not torch.equal(first, again):
        raise Wrong("the same seed gives two results: draw with the generator that is given.")
    if torch.equal(first, other):
        raise Wrong("another seed gives the same result: what the sums do not fix must be fresh.")


def _check_white(answer: SlowerNoise) -> None:
    """All frames of 6000 pixels: variances are 1 and no two frames are alike."""
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(6000, 2, 1, 1, generator=generator)
    found = answer(noise, 3, generator)
    covariance = found.flatten(1).double().T.cov()  # (6, 6)
    for a in range(6):
        for b in range(a, 6):
            wanted, value = float(a == b), float(covariance[a, b])
            if abs(value - wanted) < 0.12:
                continue
            if a == b:
                raise Wrong(
                    f"for 2 frames and k = 3 the variance of frame {a} is {value:.2f}, not 1."
                )
            raise Wrong(
                f"for 2 frames and k = 3 frames {a} and {b} have covariance {value:.2f}; white noise "
                "has none."
            )


def _sizes(buckets: list[tuple[int, int]]) -> str:
    """The sizes of buckets as text."""
    return ", ".join(f"{h}x{w}" for h, w in buckets)


def _number(found: object, case: str) -> float:
    """A finite number as a float."""
    if isinstance(found, Tensor) and found.numel() == 1:
        found = found.item()
    if not isinstance(found, int | float) or not math.isfinite(found):
        raise Wrong(f"for {case} you return {found!r}, not a finite number.")
    return float(found)
