"""Checkers of notebook 05, diffusion: each compares an answer with the definition, on random cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minisora.course.exercises import Wrong, exercise


def _tensor(got: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """`got` in float64, if it is a tensor of that shape with finite numbers."""
    if not isinstance(got, Tensor):
        raise Wrong(f"{what} must be a tensor of shape {shape}, you return {type(got).__name__}.")
    if got.shape != shape:
        raise Wrong(f"{what} must have shape {shape}, yours has {tuple(got.shape)}.")
    if not got.isfinite().all():
        raise Wrong(
            f"{what} must be finite, yours holds {int((~got.isfinite()).sum())} that are not."
        )
    return got.double()


def _far(got: Tensor, want: Tensor, tolerance: float = 1e-4) -> bool:
    return not torch.allclose(got, want, rtol=tolerance, atol=tolerance)


@exercise("05.1")
def from_ddpm(answer: Callable[[Tensor], Any]) -> None:
    """Noise clean data both ways and compare."""
    generator = torch.Generator().manual_seed(1)
    for n in (1, 5, 40):
        alpha_bar = 0.002 + 0.996 * torch.rand(n, generator=generator, dtype=torch.float64)
        got = answer(alpha_bar.clone())
        if not isinstance(got, tuple) or len(got) != 2:
            raise Wrong(
                f"return two tensors, the level t and the factor s, not {type(got).__name__}."
            )
        t, s = (_tensor(g, (n,), name) for g, name in zip(got, ("t", "s"), strict=True))
        _check_ddpm(alpha_bar, t, s)


def _check_ddpm(alpha_bar: Tensor, t: Tensor, s: Tensor) -> None:
    case = f"at alpha_bar = {alpha_bar[0]:.3f}"
    if (t < 0).any() or (t > 1).any():
        raise Wrong(f"a level lies between 0 and 1, {case} you give t = {t[0]:.3f}.")
    data, noise = s * alpha_bar.sqrt(), s * (1 - alpha_bar).sqrt()
    if _far(data + noise, torch.ones_like(data)):
        raise Wrong(
            f"{case} your s makes the factors of x and eps in s y {data[0]:.3f} and {noise[0]:.3f}; "
            "on the straight path they sum to 1."
        )
    if _far(noise, t):
        hint = "It is the factor of x." if not _far(data, t) else "Compare the factors of eps."
        raise Wrong(f"{case} s y holds {noise[0]:.3f} eps, but your t is {t[0]:.3f}. {hint}")


@exercise("05.2")
def clean_from_score(answer: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
    """Normal data, whose score and posterior mean are known in closed form."""
    generator = torch.Generator().manual_seed(2)
    for shape in ((1, 1, 1, 1, 1), (2, 3, 2, 1, 4), (3, 2, 5, 4, 2)):
        levels = 0.1 + 0.8 * torch.rand(shape[0], shape[2], generator=generator).double()
        z, mean, std = torch.randn(3, *shape, generator=generator).double()
        t = levels[:, None, :, None, None]
        var = (1 - t) ** 2 * std**2 + t**2
        score = -(z - (1 - t) * mean) / var
        want = mean + (1 - t) * std**2 / var * (z - (1 - t) * mean)
        got = _tensor(answer(z.clone(), score.clone(), levels.clone()), shape, "E[x | z]")
        if _far(got, want):
            raise Wrong(_score_hint(got, z, score, t, want))


def _score_hint(got: Tensor, z: Tensor, score: Tensor, t: Tensor, want: Tensor) -> str:
    """What a wrong mean suggests."""
    if not _far(got, z + t**2 * score):
        return "you found (1 - t) E[x | z]: z holds less than a whole x."
    if not _far(got, (z - t**2 * score) / (1 - t)):
        return "the sign is wrong: the score points towards data, the noise away from it."
    if not _far(got, (z + t * score) / (1 - t)):
        return "the score is not minus the mean noise: there is a factor between them that depends on t."
    return (
        f"for normal data, at z = {z.flatten()[0]:.3f}, t = {t.flatten()[0]:.3f} and score "
        f"{score.flatten()[0]:.3f}, the mean is {want.flatten()[0]:.3f}, you say {got.flatten()[0]:.3f}."
    )


@exercise("05.3")
def given_levels(answer: Callable[[Tensor, Tensor, Tensor, int], Any]) -> None:
    """Against a loop over clips and frames."""
    generator = torch.Generator().manual_seed(3)
    for clips, frames in ((7, 5), (6, 2), (12, 8), (1, 1)):
        t = 0.05 + 0.9 * torch.rand(clips, generator=generator)
        prefix = torch.randint(0, frames, (clips,), generator=generator)
        suffix = (torch.rand(clips, generator=generator) * (frames - prefix)).long()
        result = answer(t.clone(), prefix.clone(), suffix.clone(), frames)
        got = _tensor(result, (clips, frames), "levels")
        for i in range(clips):
            first, last = int(prefix[i]), int(suffix[i])
            row = [0.0] * first + [float(t[i])] * (frames - first - last) + [0.0] * last
            if _far(got[i], torch.tensor(row, dtype=torch.float64), 1e-6):
                raise Wrong(
                    f"{frames} frames, prefix {first}, suffix {last}, t = {row[first]:.2f}: the levels are "
                    f"{[round(v, 2) for v in row]}, you give {[round(v, 2) for v in got[i].tolist()]}."
                )


@exercise("05.4")
def min_snr_weight(answer: Callable[[Tensor, float], Any]) -> None:
    """The weighted error of v must be the weighted error of x, with random guesses."""
    generator = torch.Generator().manual_seed(4)
    for gamma in (1.0, 5.0, 0.3):
        t = torch.rand(50, generator=generator, dtype=torch.float64).clamp(0.01, 0.99)
        x, x_hat, eps = torch.randn(3, 50, generator=generator, dtype=torch.float64)
        z = (1 - t) * x + t * eps
        v_error = ((z - x_hat) / t - (eps - x)).square()
        target = (((1 - t) / t) ** 2).clamp(max=gamma) * (x_hat - x).square()
        got = _tensor(answer(t.clone(), gamma), (50,), "the weights")
        if _far(got * v_error, target):
            raise Wrong(_snr_hint(got, t, gamma, v_error, target))
        ends = _tensor(
            answer(torch.tensor([0.0, 1.0]), gamma), (2,), "the weights at t = 0 and t = 1"
        )
        if _far(ends, torch.zeros(2, dtype=torch.float64)):
            raise Wrong(f"at t = 0 and t = 1 the weight is 0 and 0, you give {ends.tolist()}.")


def _snr_hint(got: Tensor, t: Tensor, gamma: float, v_error: Tensor, target: Tensor) -> str:
    """What wrong weights suggest."""
    snr = ((1 - t) / t) ** 2
    if not _far(got, snr.clamp(max=gamma)):
        return (
            "that is the weight on the error of x; the error of v is already larger than that of x."
        )
    if not _far(got, ((1 - t) / t).clamp(max=gamma) * t**2):
        return "the signal-to-noise ratio is the square of the ratio of the two factors."
    if not _far(got, snr.clamp(min=gamma) * t**2):
        return f"min(SNR, gamma) is never above gamma = {gamma}: clamp at the other side."
    i = int((got * v_error - target).abs().argmax())
    return (
        f"at t = {t[i]:.3f} with gamma = {gamma} a squared error of v of {v_error[i]:.3f} must count "
        f"{target[i]:.4f}, with your weight it counts {(got * v_error)[i]:.4f}."
    )


@exercise("05.5")
def memorizer(answer: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
    """Against Bayes' rule, one point at a time in Python's own numbers; then levels that overflow."""
    generator = torch.Generator().manual_seed(5)
    for n, m, dims in ((1, 1, 1), (4, 3, 2), (7, 6, 3), (3, 8, 3)):
        data = torch.randn(m, dims, generator=generator)
        t = 0.25 + 0.75 * torch.rand(n, 1, generator=generator)
        t[0] = 1.0
        z = torch.randn(n, dims, generator=generator)
        got = _tensor(answer(z.clone(), t.clone(), data.clone()), (n, dims), "E[x | z]")
        for i in range(n):
            want = _bayes(z[i].tolist(), float(t[i]), data.tolist())
            if _far(got[i], torch.tensor(want, dtype=torch.float64), 1e-3):
                raise Wrong(
                    f"{m} training points in {dims} dimensions, t = {float(t[i]):.3f}: the mean is "
                    f"{[round(w, 3) for w in want]}, you say {[round(w, 3) for w in got[i].tolist()]}. "
                    f"{'At t = 1 all points are equally likely.' if t[i] == 1 else ''}"
                )
    _check_small_levels(answer, generator)


def _bayes(z: list[float], t: float, data: list[list[float]]) -> list[float]:
    """E[x | z] over equally likely points."""
    weights = [
        math.exp(-sum((a - (1 - t) * b) ** 2 for a, b in zip(z, x, strict=True)) / (2 * t * t))
        for x in data
    ]
    columns = zip(*data, strict=True)
    return [
        sum(w * c for w, c in zip(weights, column, strict=True)) / sum(weights)
        for column in columns
    ]


def _check_small_levels(answer: Callable[..., Any], generator: torch.Generator) -> None:
    data = 3 * torch.randn(20, 16, generator=generator)
    t = torch.full((20, 1), 0.01)
    z = (1 - t) * data + t * torch.randn(20, 16, generator=generator) + 0.2
    got = _tensor(answer(z, t, data), (20, 16), "at t = 0.01, far from every point, E[x | z]")
    if _far(got, data.double(), 1e-3):
        raise Wrong("at t = 0.01 the mean is the nearest training point; yours is another.")
