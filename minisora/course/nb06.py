"""Checkers of notebook 06, sampling: each holds an answer against another way to compute it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minisora import sample as package
from minisora.course.exercises import Wrong, exercise, expect_shape

Level = Callable[[Tensor, float], Tensor]
GivenSchedule = Callable[[Tensor, Tensor], Tensor]
MidpointStep = Callable[[Level, Tensor, float, float], Tensor]
Passes = Callable[[list[float], bool, float, tuple[float, float]], int]
NoisyStep = Callable[[Tensor, Tensor, float, float, float, Tensor], Tensor]
RescaledGuide = Callable[[Tensor, Tensor, float, float], Tensor]
SHAPES = ((1, 2, 1, 2, 2), (2, 3, 4, 2, 4), (3, 1, 5, 3, 1))


@exercise("06.1")
def given_schedule(answer: GivenSchedule) -> None:
    """Against a loop over steps, clips and frames, with counts even and odd."""
    generator = torch.Generator().manual_seed(1)
    for steps, clips, frames in ((1, 1, 2), (4, 2, 3), (7, 3, 6), (12, 5, 1)):
        times = torch.linspace(1, 0, steps + 1) ** 0.7
        given = torch.rand(clips, frames, generator=generator) < 0.5
        found = answer(times.clone(), given.clone())
        case = f"{steps} steps, {clips} clips and {frames} latent frames"
        expect_shape(found, (steps + 1, clips, frames), case)
        for row, clip, frame in torch.cartesian_prod(
            *(torch.arange(n) for n in (steps + 1, clips, frames))
        ).tolist():
            level, kept = float(found[row, clip, frame]), bool(given[clip, frame])
            right = 0.0 if kept else float(times[row])
            if abs(level - right) > 1e-6:
                kind = "given" if kept else "wanted"
                raise Wrong(
                    f"for {case}, frame {frame} of clip {clip} is {kind}, but its level in row {row} "
                    f"is {level:.3f}; a {kind} frame has {right:.3f} there."
                )


@exercise("06.2")
def midpoint_step(answer: MidpointStep) -> None:
    """Against the formula in double precision, on nonlinear denoisers; the levels asked at are noted."""
    for seed, (t, s) in enumerate(((1.0, 0.5), (0.8, 0.3), (0.37, 0.36), (0.6, 0.0))):
        z, a, b = _noise(3, *SHAPES[seed % 3], seed=seed).unbind(0)
        asked: list[float] = []

        def denoise(
            z: Tensor, level: float, a: Tensor = a, b: Tensor = b, asked: list[float] = asked
        ) -> Tensor:
            asked.append(float(level))
            return torch.tanh(a * z) * (1 - level / 2) + b

        found = answer(denoise, z.clone(), t, s)
        case = f"the step from t = {t} to s = {s}"
        if len(asked) != 2:
            raise Wrong(f"{case} asked the denoiser {len(asked)} times; the method asks twice.")
        if abs(asked[1] - (t + s) / 2) > 1e-9 or abs(asked[0] - t) > 1e-9:
            raise Wrong(
                f"{case} asked the denoiser at levels {asked[0]:g} and {asked[1]:g}; ask at the start "
                "and half-way."
            )
        v_start = (z - denoise(z, t)) / t
        middle = z + (s - t) / 2 * v_start
        v_middle = (middle - denoise(middle, (t + s) / 2)) / ((t + s) / 2)
        _explain_midpoint(found, (z, middle, v_start, v_middle), (t, s), case)


def _explain_midpoint(
    found: Tensor,
    known: tuple[Tensor, Tensor, Tensor, Tensor],
    levels: tuple[float, float],
    case: str,
) -> None:
    z, middle, v_start, v_middle = known
    t, s = levels
    expect_shape(found, tuple(z.shape), case)
    if _close(found, z + (s - t) * v_middle):
        return
    if _close(found, z + (s - t) * v_start):
        raise Wrong(f"{case} is Euler's: the velocity half-way was asked for and not used.")
    if _close(found, middle + (s - t) / 2 * v_middle):
        raise Wrong(
            f"{case} follows the old velocity for its first half; the velocity half-way is meant "
            "for the whole step."
        )
    if _close(found, middle + (s - t) * v_middle):
        raise Wrong(f"{case} goes one and a half times too far: where does the whole step start?")
    raise Wrong(
        f"{case} ends {_gap(found, z + (s - t) * v_middle):.2g} away from the midpoint step. At which "
        "level and which z do you take the second velocity?"
    )


@exercise("06.3")
def passes(answer: Passes) -> None:
    """Against the package's samplers with a network that counts."""
    intervals = ((0.0, 1.0), (0.2, 1.0), (0.25, 0.75), (0.9, 1.0), (0.0, 0.05))
    for steps in (1, 2, 5, 8):
        for heun in (False, True):
            for scale in (1.0, 3.0):
                for interval in intervals:
                    times = torch.linspace(1, 0, steps + 1).tolist()
                    right = _count(times, heun, scale, interval)
                    found = answer(list(times), heun, scale, interval)
                    if found == right:
                        continue
                    name = "Heun" if heun else "a sampler of one call a step"
                    raise Wrong(
                        f"{name}, {steps} steps from 1 to 0, scale {scale:g}, interval {interval}: you "
                        f"count {found}, and {right} pass{'es' if right > 1 else ''} went through the "
                        "network."
                    )


def _count(times: list[float], heun: bool, scale: float, interval: tuple[float, float]) -> int:
    """Passes of a real run."""
    calls = 0

    def network(z: Tensor, levels: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return z / 2

    denoise = package.guided(network, network, scale, interval)
    sampler = package.heun if heun else package.euler
    package.sample(sampler, denoise, torch.ones(1, 1, 1, 1, 1), torch.tensor(times)[:, None])
    return calls


@exercise("06.4")
def noisy_step(answer: NoisyStep) -> None:
    """Against Euler's step at eta = 0, pure fresh noise at eta = 1, and the formula between."""
    for seed, (t, s) in enumerate(((1.0, 0.7), (0.8, 0.35), (0.45, 0.4), (0.3, 0.0))):
        z, x_hat, eps = _noise(3, *SHAPES[seed % 3], seed=seed).unbind(0)
        straight = x_hat + s / t * (z - x_hat)
        for eta in (0.0, 1.0, 0.6, 0.28):
            found = answer(z.clone(), x_hat.clone(), t, s, eta, eps.clone())
            case = f"the step from t = {t} to s = {s} with eta = {eta:g}"
            expect_shape(found, tuple(z.shape), case)
            guessed = (straight - (1 - s) * x_hat) / s if s else torch.zeros_like(z)
            right = (1 - s) * x_hat + s * ((1 - eta**2) ** 0.5 * guessed + eta * eps)
            if _close(found, right):
                continue
            gap = _gap(found, right)
            if s == 0:
                raise Wrong(
                    f"{case} should end on x_hat, as no noise is left; it is {gap:.2g} off."
                )
            if eta == 0:
                raise Wrong(f"{case} should be Euler's step and is {gap:.2g} off.")
            if eta == 1:
                raise Wrong(
                    f"{case} should replace all noise by eps, at strength s, and is {gap:.2g} off."
                )
            raise Wrong(
                f"{case} is {gap:.2g} off, though eta = 0 and 1 are right: do the squares of the two "
                "shares of noise sum to 1?"
            )


@exercise("06.5")
def rescaled_guide(answer: RescaledGuide) -> None:
    """Against a loop over clips, with the two ends of phi first."""
    for seed, shape in enumerate((SHAPES[1], (4, 2, 3, 3, 2), SHAPES[2], (1, 4, 1, 4, 4))):
        x_cond, x_empty = _noise(2, *shape, seed=seed).unbind(0)
        growth = 1 + torch.arange(shape[0], dtype=torch.float64).view(-1, 1, 1, 1, 1)
        x_cond = x_cond * growth + 2.0  # clips of unlike contrast, and no mean of zero
        for scale, phi in ((3.0, 0.0), (3.0, 1.0), (1.0, 1.0), (6.0, 0.7), (2.0, 0.25)):
            found = answer(x_cond.clone(), x_empty.clone(), scale, phi)
            case = f"{shape[0]} clips, scale {scale:g} and phi {phi:g}"
            expect_shape(found, shape, case)
            for clip, (cond, empty) in enumerate(zip(x_cond, x_empty, strict=True)):
                plain = empty + scale * (cond - empty)
                scaled = plain / plain.flatten().std() * cond.flatten().std()
                right = phi * scaled + (1 - phi) * plain
                if not _close(found[clip], right):
                    _explain_rescaled(found[clip], cond, plain, phi, f"{case}, clip {clip}")


def _explain_rescaled(found: Tensor, cond: Tensor, plain: Tensor, phi: float, case: str) -> None:
    if phi == 0:
        raise Wrong(f"for {case} the plain guided guess should come back, and it does not.")
    if phi == 1:
        raise Wrong(
            f"for {case} the standard deviation should be that of its prompted guess, "
            f"{cond.std().item():.3f}, reached by multiplying alone; yours is {found.std().item():.3f} "
            f"and its mean {found.mean().item():.3f} (guided: {plain.mean().item():.3f})."
        )
    raise Wrong(f"for {case} the mix is wrong, though both ends are right.")


def _noise(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a.double(), b.double(), atol=1e-6, rtol=1e-5))


def _gap(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()
