"""Samplers: from noise to a latent clip, as small functions of a denoiser and a schedule.

Stands on `flow` and knows nothing of the network: a denoiser is any function from (z, levels) to
x_hat. A schedule is a table of levels with one row per step and one column per latent frame,
(steps + 1, t), or (steps + 1, B, t) where clips differ. Columns never rise; apart from that they
are free, and the task is in the table:

- every column from 1 to 0: a clip from text alone (`frame_schedule`);
- columns of zeros: given frames. Put clean latents into z; they come out bit for bit the same;
- columns that start later and later: a roll-out in time (`pyramid_schedule`).

Each sampler is a generator that yields `(z, x_hat)` after every step: the latents so far and the
present guess at the clean ones, which a progress bar or a preview may use. `sample` runs one to its
end. All are differentiable; wrap the loop in `torch.inference_mode()` to generate.

Shapes: z and x_hat (B, Z, t, h, w), levels (B, t). Sources: Heun, Karras et al. 2206.00364;
DPM-Solver++(2M), Lu et al. 2211.01095; guidance, Ho and Salimans 2207.12598; its interval,
Kynkäänniemi et al. 2404.07724.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from minisora.flow import expand_levels, shift_timestep

Denoiser = Callable[[Tensor, Tensor], Tensor]
Progress = Iterator[tuple[Tensor, Tensor]]
Sampler = Callable[[Denoiser, Tensor, Tensor], Progress]


# Schedules


def timesteps(
    steps: int,
    shift: float = 1.0,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Levels from noise to data: evenly spaced, then shifted.

    Args:
        steps: number of steps, >= 1.
        shift: shift towards noise, > 0; `flow.token_shift` gives the one used in training.
        dtype: of the result.
        device: of the result.

    Returns:
        Strictly descending levels (steps + 1,), from exactly 1 to exactly 0.

    Raises:
        ValueError: if steps or shift is out of range.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1.")
    if not shift > 0:
        raise ValueError(f"shift is {shift}; give a number above 0.")
    return shift_timestep(torch.linspace(1, 0, steps + 1, dtype=dtype, device=device), shift)


def frame_schedule(times: Tensor, frames: int, given: Tensor | None = None) -> Tensor:
    """The same levels for all wanted frames, zeros for the given ones.

    Args:
        times: descending levels (steps + 1,).
        frames: latent frames, >= 1.
        given: bool (frames,) or (B, frames), true on given frames; None for none.

    Returns:
        Schedule (steps + 1, frames) or (steps + 1, B, frames).
    """
    if given is None:
        return times[:, None].repeat(1, frames)
    column = times.view(-1, *[1] * given.ndim)
    return torch.where(given.to(times.device), torch.zeros_like(column), column)


def pyramid_schedule(
    times: Tensor, frames: int, lag: int = 1, given: Tensor | None = None
) -> Tensor:
    """A roll-out: each wanted frame starts `lag` steps after the one before it (2407.01392).

    Args:
        times: descending levels (steps + 1,) that each wanted frame passes through.
        frames: latent frames, >= 1.
        lag: steps between the starts of neighbours: 0 is `frame_schedule`, `steps` makes one frame
            after the other.
        given: bool (frames,), true on given frames, whose columns are zero; None for none.

    Returns:
        Schedule (steps + lag * (wanted - 1) + 1, frames).

    Raises:
        ValueError: if lag is negative.
    """
    if lag < 0:
        raise ValueError(f"lag is {lag}; give 0 or more steps.")
    if given is None:
        given = torch.zeros(frames, dtype=torch.bool)
    given = given.to(times.device)
    rank = ((~given).cumsum(0) - 1).clamp(min=0)  # (frames,)
    steps = len(times) - 1
    rows = torch.arange(steps + lag * int(rank.max()) + 1, device=times.device)
    index = (rows[:, None] - lag * rank).clamp(0, steps)  # (rows, frames)
    return times[index].masked_fill(given, 0.0)


def _frame_levels(schedule: Tensor, z: Tensor) -> Tensor:
    """Check a schedule against the latents and expand it to (steps + 1, B, t)."""
    batch, frames = z.shape[0], z.shape[2]
    if schedule.ndim not in (2, 3) or schedule.shape[-1] != frames:
        raise ValueError(
            f"The schedule has shape {tuple(schedule.shape)}; for latents {tuple(z.shape)} "
            f"give (steps + 1, {frames}) or (steps + 1, {batch}, {frames})."
        )
    inside = (schedule >= 0).all() and (schedule <= 1).all()
    if not inside or not (schedule[1:] <= schedule[:-1]).all():
        raise ValueError("The schedule leaves [0, 1] or rises; give levels that fall from 1 to 0.")
    schedule = schedule[:, None] if schedule.ndim == 2 else schedule  # (steps + 1, 1 or B, t)
    return schedule.to(z.device).expand(-1, batch, -1)


# Samplers


def _predict(denoise: Denoiser, z: Tensor, t: Tensor) -> Tensor:
    """Call the denoiser; a frame at level 0 is data and its own prediction, whatever it says."""
    return torch.where(expand_levels(t > 0, z), denoise(z, t), z)


def _advance(z: Tensor, x_hat: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Go from levels t to s straight towards x_hat: `z_s = (s/t) z + (1 - s/t) x_hat`.

    Frames with s == t are left alone bit for bit; at s = 0 the result is x_hat exactly.
    """
    moves = s < t
    ratio = s / torch.where(moves, t, 1.0)  # a denominator of 0 would make the gradient NaN
    return torch.where(expand_levels(moves, z), x_hat + expand_levels(ratio, z) * (z - x_hat), z)


def euler(denoise: Denoiser, z: Tensor, schedule: Tensor) -> Progress:
    """First order, one call of the denoiser a step.

    Args:
        denoise: (z (B, Z, t, h, w), levels (B, t)) -> x_hat of the shape of z.
        z: noise, and clean latents where the schedule gives frames, (B, Z, t, h, w).
        schedule: non-increasing levels in [0, 1], (steps + 1, t) or (steps + 1, B, t).

    Yields:
        (z, x_hat) after each step.

    Raises:
        ValueError: if the schedule does not fit.
    """
    levels = _frame_levels(schedule, z)
    for t, s in pairwise(levels):
        x_hat = _predict(denoise, z, t)
        z = _advance(z, x_hat, t, s)
        yield z, x_hat


def heun(denoise: Denoiser, z: Tensor, schedule: Tensor) -> Progress:
    """Second order, two calls a step: the mean velocity of the ends of the Euler step.

    2206.00364, alg. 1, without its noise. A frame that arrives at 0, where the velocity is 0 / 0,
    takes the Euler step; if all do, the second call is saved. Arguments, yields and errors as in
    `euler`.
    """
    levels = _frame_levels(schedule, z)
    for t, s in pairwise(levels):
        x_hat = _predict(denoise, z, t)
        z_euler = _advance(z, x_hat, t, s)
        corrected = (s < t) & (s > 0)
        if corrected.any():
            v_start = (z - x_hat) / expand_levels(torch.where(corrected, t, 1.0), z)
            x_end = _predict(denoise, z_euler, s)
            v_end = (z_euler - x_end) / expand_levels(torch.where(corrected, s, 1.0), z)
            z_heun = z + expand_levels(s - t, z) * (v_start + v_end) / 2
            z = torch.where(expand_levels(corrected, z), z_heun, z_euler)
        else:
            z = z_euler
        yield z, x_hat


def _extrapolation(previous: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """DPM-Solver++(2M)'s weight `1 / (2 r)`, r = h_last / h, for steps previous -> t -> s, (B, t).

    h is the change of `lambda = log((1 - t) / t)`. It is infinite next to t = 1, where the weight
    tends to 0, and next to s = 0, where the last step is meant to be of first order; a frame that
    did not move before has no history.
    """
    usable = (previous < 1) & (previous > t) & (t > s) & (s > 0)
    # Stand-ins where unusable, because a masked infinity still makes the gradient NaN.
    l_previous, l_t, l_s = (
        -torch.logit(torch.where(usable, level, stand_in))
        for level, stand_in in ((previous, 0.75), (t, 0.5), (s, 0.25))
    )
    return torch.where(usable, (l_s - l_t) / (2 * (l_t - l_previous)), 0.0)


def dpmpp_2m(denoise: Denoiser, z: Tensor, schedule: Tensor) -> Progress:
    """DPM-Solver++(2M), 2211.01095, alg. 2: second order at one call a step.

    With alpha = 1 - t and sigma = t its update is the Euler step towards
    `x_hat + (x_hat - x_previous) / (2 r)`, x_previous being the last prediction. A frame's first
    step and the one that arrives at 0 are of first order. Arguments and yields as in `euler`.
    """
    levels = _frame_levels(schedule, z)
    t_previous, x_previous = levels[0], z
    for t, s in pairwise(levels):
        x_hat = _predict(denoise, z, t)
        weight = expand_levels(_extrapolation(t_previous, t, s), z)
        z = _advance(z, x_hat + weight * (x_hat - x_previous), t, s)
        t_previous, x_previous = t, x_hat
        yield z, x_hat


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def sample(sampler: Sampler, denoise: Denoiser, z: Tensor, schedule: Tensor) -> Tensor:
    """Run a sampler to its end.

    Args:
        sampler: `euler`, `heun`, `dpmpp_2m`, or any function of the same form.
        denoise: (z (B, Z, t, h, w), levels (B, t)) -> x_hat of the shape of z.
        z: noise, and clean latents where the schedule gives frames, (B, Z, t, h, w).
        schedule: non-increasing levels in [0, 1], (steps + 1, t) or (steps + 1, B, t).

    Returns:
        The last z (B, Z, t, h, w): clean latents if the schedule ends at 0.
    """
    for step in sampler(denoise, z, schedule):
        z = step[0]
    return z


# Guidance


def in_interval(levels: Tensor, interval: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Where guidance applies: levels inside the closed interval, but never 0, where all is done."""
    low, high = interval
    return (levels > 0) & (levels >= low) & (levels <= high)


def guide(
    x_cond: Tensor,
    x_uncond: Tensor,
    levels: Tensor,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Classifier-free guidance inside an interval: `x_uncond + scale (x_cond - x_uncond)`.

    The same in x-space and in v-space, as both predictions share z and t.

    Args:
        x_cond: prediction with the prompt (B, Z, t, h, w).
        x_uncond: prediction with the empty prompt, of the same shape.
        levels: noise levels (B, t).
        scale: 1 is the prompt alone; above 1 exaggerates what the prompt changes.
        interval: levels (low, high) to guide at, both included; frames outside keep x_cond exactly.

    Returns:
        Guided prediction of the same shape.
    """
    guided_x = x_uncond + scale * (x_cond - x_uncond)
    return torch.where(expand_levels(in_interval(levels, interval), x_cond), guided_x, x_cond)


def guided(
    denoise_cond: Denoiser,
    denoise_uncond: Denoiser,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Denoiser:
    """A denoiser that guides one by another; the second is called only when `guide` needs it.

    Args:
        denoise_cond: denoiser with the prompt.
        denoise_uncond: denoiser with the empty prompt (or a weaker network, 2406.02507).
        scale: guidance scale; at 1 the second denoiser is never called.
        interval: levels (low, high) to guide at, both included.

    Returns:
        A denoiser of the same form.
    """

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        x_cond = denoise_cond(z, levels)
        if scale == 1 or not in_interval(levels, interval).any():
            return x_cond
        return guide(x_cond, denoise_uncond(z, levels), levels, scale, interval)

    return denoise
