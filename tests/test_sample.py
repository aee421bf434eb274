"""Samplers against Gaussians with a closed form, against diffusers, and at their edges.

For x ~ N(mu, c^2) the denoiser is linear and the flow has the solution
z_s = (1-s) mu + sqrt(V(s) / V(t)) (z_t - (1-t) mu) with V(t) = ((1-t) c)^2 + t^2.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minisora import flow
from minisora import sample as sampling
from minisora.guidance import steady, with_history
from minisora.sample import dpmpp_2m, euler, frame_schedule, heun, pyramid_schedule, timesteps

SAMPLERS = list(sampling.SAMPLERS.values())
DOUBLE = torch.float64


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bends(z: Tensor, levels: Tensor) -> Tensor:
    """A denoiser that is smooth, nonlinear and separable over frames."""
    return torch.tanh(z) * (1 - flow.expand_levels(levels, z) / 2)


# Closed form, one Gaussian per element


MEAN = noise(1, 2, 3, 2, 2, seed=1)
STD = 0.3 + torch.rand(MEAN.shape, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)


def posterior_mean(z: Tensor, levels: Tensor) -> Tensor:
    t = flow.expand_levels(levels, z)
    variance = ((1 - t) * STD) ** 2 + t**2
    return MEAN + (1 - t) * STD**2 / variance * (z - (1 - t) * MEAN)


def exact(z: Tensor, t: float, s: float) -> Tensor:
    variance_t, variance_s = (((1 - level) * STD) ** 2 + level**2 for level in (t, s))
    return (1 - s) * MEAN + (variance_s / variance_t).sqrt() * (z - (1 - t) * MEAN)


def error(sampler: sampling.Sampler, steps: int, start: float, end: float) -> float:
    times = torch.linspace(start, end, steps + 1, dtype=DOUBLE)
    z = noise(4, 2, 3, 2, 2)
    found = sampling.sample(sampler, posterior_mean, z, frame_schedule(times, 3))
    return (found - exact(z, start, end)).square().mean().sqrt().item()


def order(sampler: sampling.Sampler, start: float, end: float) -> float:
    """Slope of log error over log steps, by least squares."""
    counts = [32, 64, 128, 256]
    x = torch.tensor([math.log(steps) for steps in counts], dtype=DOUBLE)
    y = torch.tensor(
        [math.log(error(sampler, steps, start, end)) for steps in counts], dtype=DOUBLE
    )
    return -((x - x.mean()) @ (y - y.mean()) / (x - x.mean()).square().sum()).item()


@pytest.mark.parametrize(("sampler", "expected"), [(euler, 1), (heun, 2), (dpmpp_2m, 2)])
def test_order_of_convergence_between_two_levels(sampler: sampling.Sampler, expected: int) -> None:
    assert order(sampler, 0.9, 0.1) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize(("sampler", "expected"), [(euler, 1), (heun, 2), (dpmpp_2m, 1.72)])
def test_order_of_convergence_from_noise_to_data(
    sampler: sampling.Sampler, expected: float
) -> None:
    # 2M extrapolates in lambda = log((1-t) / t), infinite at both ends, which costs it a logarithm:
    # its error falls as log(steps) / steps^2, whose slope over these counts is 2 - 1 / log(steps).
    assert order(sampler, 1.0, 0.0) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_follow_the_gaussian(sampler: sampling.Sampler) -> None:
    z = noise(1000, 2, 3, 2, 2)
    times = timesteps(20, shift=1.5, dtype=DOUBLE)
    x = sampling.sample(sampler, posterior_mean, z, frame_schedule(times, 3))
    assert (x.mean(0) - MEAN[0]).abs().max() < 0.15
    assert (x.std(0) / STD[0] - 1).abs().max() < 0.15


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_denoiser_that_knows_the_answer_gives_it_in_any_number_of_steps(
    sampler: sampling.Sampler, steps: int
) -> None:
    x = noise(2, 3, 4, 2, 2, seed=5)
    schedule = frame_schedule(timesteps(steps, dtype=DOUBLE), 4)
    found = sampling.sample(sampler, lambda z, levels: x, noise(2, 3, 4, 2, 2), schedule)
    assert torch.equal(found, x)  # the last step is x_hat itself


# Closed form, frames that depend on one another


def covariance(frames: int) -> Tensor:
    index = torch.arange(frames, dtype=DOUBLE)
    return 0.7 * 0.8 ** (index[:, None] - index).abs()


def joint_posterior_mean(mean: Tensor, sigma: Tensor) -> sampling.Denoiser:
    """E[x | z] for frames x ~ N(mean, sigma), each noised at its own level, 0 meaning known."""

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        keep = 1 - levels  # (B, t)
        of_z = keep[:, :, None] * sigma * keep[:, None] + torch.diag_embed(levels**2)
        residual = z.flatten(1) - keep * mean  # (B, t)
        whitened = torch.linalg.solve(of_z, residual[..., None])[..., 0]
        return (mean + (keep * whitened) @ sigma).view_as(z)

    return denoise


def affine_map(sampler: sampling.Sampler, schedule: Tensor, given: Tensor, values: Tensor) -> tuple:
    """Offset and matrix of the map from noise to sample, exact since the denoiser is linear."""
    frames = len(values)
    mean, sigma = torch.linspace(-1, 1, frames, dtype=DOUBLE), covariance(frames)
    start = torch.cat([torch.zeros(1, frames, dtype=DOUBLE), torch.eye(frames, dtype=DOUBLE)])
    start = torch.where(given, values, start)[:, None, :, None, None]  # (t + 1, 1, t, 1, 1)
    end = sampling.sample(sampler, joint_posterior_mean(mean, sigma), start, schedule).flatten(1)
    return end[0], (end[1:] - end[:1]).T, mean, sigma


@pytest.mark.parametrize(
    "mask", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0), (0, 1, 0, 1)]
)
@pytest.mark.parametrize("lag", [0, 20, 60])
@pytest.mark.parametrize("sampler", [heun, dpmpp_2m])
def test_given_frames_condition_the_others(
    sampler: sampling.Sampler, lag: int, mask: tuple[int, ...]
) -> None:
    given_frames = torch.tensor(mask, dtype=torch.bool)
    values = torch.tensor([0.4, -0.9, 0.2, 1.3], dtype=DOUBLE)
    schedule = pyramid_schedule(timesteps(60, dtype=DOUBLE), 4, lag, given_frames)
    offset, matrix, mean, sigma = affine_map(sampler, schedule, given_frames, values)
    wanted = ~given_frames
    gain = sigma[wanted][:, given_frames] @ sigma[given_frames][:, given_frames].inverse()
    conditional_mean = mean[wanted] + gain @ (values - mean)[given_frames]
    conditional = sigma[wanted][:, wanted] - gain @ sigma[given_frames][:, wanted]
    torch.testing.assert_close(offset[wanted], conditional_mean, rtol=0, atol=4e-3)
    found = (matrix @ matrix.T)[wanted][:, wanted]
    torch.testing.assert_close(found, conditional, rtol=0, atol=4e-3)
    assert torch.equal(offset[given_frames], values[given_frames])


# diffusers


def run_scheduler(scheduler, z: Tensor, denoise: sampling.Denoiser) -> Tensor:
    """Drive a diffusers flow scheduler, which wants the velocity, by a denoiser."""
    scheduler.set_begin_index(0)
    for index, timestep in enumerate(scheduler.timesteps):
        levels = scheduler.sigmas[index].expand(z.shape[0], z.shape[2])
        v = flow.to_velocity(z, denoise(z, levels), levels)
        z = scheduler.step(v, timestep, z, return_dict=False)[0]
    return z


def assert_same_as_ours(scheduler, sampler: sampling.Sampler, times: Tensor) -> None:
    z = noise(2, 3, 4, 2, 2, dtype=torch.float32)
    theirs = run_scheduler(scheduler, z, bends)
    ours = sampling.sample(sampler, bends, z, frame_schedule(times, 4))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 25])
def test_euler_and_the_shift_agree_with_diffusers(steps: int, shift: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist())
    times = timesteps(steps, shift)
    torch.testing.assert_close(times, scheduler.sigmas)
    assert_same_as_ours(scheduler, euler, times)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 4, 25])
def test_heun_agrees_with_diffusers(steps: int, shift: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    # Theirs repeats every level between the ends, once for each half of a step.
    times = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]])
    assert len(times) == steps + 1
    assert_same_as_ours(scheduler, heun, times)


@pytest.mark.parametrize("start", ["their levels", "at one"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 8, 25])
def test_dpmpp_2m_agrees_with_diffusers(steps: int, shift: float, start: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True,
        flow_shift=shift,
        prediction_type="flow_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
    )
    scheduler.set_timesteps(steps)
    if start == "at one":  # theirs begin at 0.999; at 1 lambda is infinite
        scheduler.sigmas = timesteps(steps, shift)
    assert_same_as_ours(scheduler, dpmpp_2m, scheduler.sigmas)


# Levels per frame


def random_schedule(seed: int, rows: int, frames: int) -> Tensor:
    """Columns that fall, stall, start late, end early or are given, with exact ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    levels = 1.4 * torch.rand(rows, frames, generator=generator, dtype=DOUBLE) - 0.2
    levels = levels.clamp(0, 1).sort(dim=0, descending=True).values
    stalls = torch.rand(rows, frames, generator=generator) < 0.2
    stalls[0] = False
    source = torch.where(stalls, 0, torch.arange(rows)[:, None]).cummax(dim=0).values
    return levels.gather(0, source)


@given(seed=st.integers(0, 10**6), steps=st.integers(1, 8), frames=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_frames_of_a_separable_denoiser_go_their_own_ways(
    sampler: sampling.Sampler, seed: int, steps: int, frames: int
) -> None:
    schedule, z = random_schedule(seed, steps + 1, frames), noise(2, 2, frames, 1, 2, seed=seed)
    together = sampling.sample(sampler, bends, z, schedule)
    for f in range(frames):
        alone = sampling.sample(sampler, bends, z[:, :, f : f + 1], schedule[:, f : f + 1])
        torch.testing.assert_close(together[:, :, f : f + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_clips_may_have_schedules_of_their_own(sampler: sampling.Sampler) -> None:
    mask = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)
    times, z = timesteps(6, dtype=DOUBLE), noise(3, 2, 3, 1, 2)
    schedule = frame_schedule(times, 3, mask)
    assert schedule.shape == (7, 3, 3)
    together = sampling.sample(sampler, bends, z, schedule)
    for b in range(3):
        alone = sampling.sample(sampler, bends, z[b : b + 1], frame_schedule(times, 3, mask[b]))
        torch.testing.assert_close(together[b : b + 1], alone, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6), steps=st.integers(1, 8), frames=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_schedule_stays_finite_and_frames_that_rest_stay_as_they_are(
    sampler: sampling.Sampler, seed: int, steps: int, frames: int
) -> None:
    schedule = random_schedule(seed, steps + 1, frames).float()
    z = start = noise(2, 2, frames, 1, 2, seed=seed, dtype=torch.float32).requires_grad_()
    schedule.requires_grad_()
    for i, (after, x_hat) in enumerate(sampler(bends, z, schedule)):
        rests = schedule[i] == schedule[i + 1]
        assert torch.equal(after[:, :, rests], z[:, :, rests])
        assert after.isfinite().all() and x_hat.isfinite().all()
        assert after.dtype == torch.float32
        z = after
    assert i == steps - 1
    grads = torch.autograd.grad(z.square().sum(), (start, schedule))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("mask", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_given_frames_come_out_bit_for_bit_whatever_the_denoiser_says(
    sampler: sampling.Sampler, mask: tuple[bool, ...]
) -> None:
    given_frames = torch.tensor(mask)
    z = noise(2, 4, 3, 2, 2, dtype=torch.float32)
    schedule = frame_schedule(timesteps(7, 2.0), 3, given_frames)

    def broken_at_zero(z: Tensor, levels: Tensor) -> Tensor:  # no loss ever trained it there
        return bends(z, levels).masked_fill(flow.expand_levels(levels == 0, z), math.nan)

    for after, x_hat in sampler(broken_at_zero, z, schedule):
        assert torch.equal(after[:, :, given_frames], z[:, :, given_frames])
        assert torch.equal(x_hat[:, :, given_frames], z[:, :, given_frames])
        assert after.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gradients_match_finite_differences(sampler: sampling.Sampler) -> None:
    schedule = pyramid_schedule(
        timesteps(3, dtype=DOUBLE), 3, 1, torch.tensor([True, False, False])
    )
    z = noise(1, 1, 3, 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: sampling.sample(sampler, bends, z, schedule), (z,))


@pytest.mark.parametrize(("sampler", "calls"), [(euler, 10), (heun, 19), (dpmpp_2m, 10)])
def test_calls_of_the_denoiser(sampler: sampling.Sampler, calls: int) -> None:
    seen: list[Tensor] = []

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        seen.append(levels)
        return bends(z, levels)

    schedule = frame_schedule(timesteps(10), 3, torch.tensor([True, False, False]))
    progress = list(sampler(denoise, noise(2, 1, 3, 1, 1, dtype=torch.float32), schedule))
    assert len(progress) == 10 and len(seen) == calls
    assert all(levels.shape == (2, 3) and (levels[:, 0] == 0).all() for levels in seen)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(5),
        torch.zeros(5, 2),
        torch.linspace(0, 1, 5)[:, None].expand(5, 3),
        torch.linspace(1.1, 0, 5)[:, None].expand(5, 3),
        torch.linspace(1, -0.1, 5)[:, None].expand(5, 3),
        torch.full((5, 3), math.nan),
    ],
)
def test_schedules_that_do_not_fit_are_refused(sampler: sampling.Sampler, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="schedule"):
        sampling.sample(sampler, bends, noise(2, 1, 3, 1, 1), wrong)


# Schedules


@given(steps=st.integers(1, 100), shift=st.floats(0.05, 30))
@settings(max_examples=50, deadline=None)
def test_timesteps_fall_strictly_from_one_to_zero(steps: int, shift: float) -> None:
    times = timesteps(steps, shift)
    assert times.shape == (steps + 1,)
    assert times[0] == 1 and times[-1] == 0 and (times.diff() < 0).all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 4, "shift": 0.0}])
def test_timesteps_refuse_what_makes_no_sense(wrong: dict) -> None:
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        timesteps(**wrong)


def test_pyramid_starts_each_wanted_frame_later() -> None:
    times = timesteps(2, dtype=DOUBLE)
    mask = torch.tensor([True, False, False, True, False])
    expected = [
        [0, 1.0, 1.0, 0, 1.0],
        [0, 0.5, 1.0, 0, 1.0],
        [0, 0.0, 0.5, 0, 1.0],
        [0, 0.0, 0.0, 0, 0.5],
        [0, 0.0, 0.0, 0, 0.0],
    ]
    assert pyramid_schedule(times, 5, 1, mask).tolist() == expected


def test_pyramid_of_no_lag_is_the_frame_schedule_and_of_full_lag_one_frame_at_a_time() -> None:
    times = timesteps(4)
    assert torch.equal(pyramid_schedule(times, 3, 0), frame_schedule(times, 3))
    apart = pyramid_schedule(times, 3, 4)
    assert apart.shape == (13, 3)
    assert (((apart > 0) & (apart < 1)).sum(1) <= 1).all()
    all_given = pyramid_schedule(times, 3, 2, torch.ones(3, dtype=torch.bool))
    assert (all_given == 0).all()
    with pytest.raises(ValueError, match="lag"):
        pyramid_schedule(times, 3, -1)


# Guidance


def constant(value: float, calls: list[float]) -> sampling.Denoiser:
    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        calls.append(value)
        return torch.full_like(z, value)

    return denoise


def test_guidance_acts_inside_the_interval_frame_by_frame() -> None:
    levels = torch.tensor([[0.0, 0.2, 0.3, 0.5, 0.8, 0.81, 1.0]])
    cond, uncond = noise(1, 2, 7, 2, 2), noise(1, 2, 7, 2, 2, seed=1)
    found = sampling.guide(cond, uncond, levels, 3.0, (0.3, 0.8))
    inside = [2, 3, 4]
    outside = [0, 1, 5, 6]
    torch.testing.assert_close(found[:, :, inside], (3 * cond - 2 * uncond)[:, :, inside])
    assert torch.equal(found[:, :, outside], cond[:, :, outside])
    everywhere = sampling.guide(cond, uncond, levels, 3.0)
    torch.testing.assert_close(everywhere[:, :, 1:], (3 * cond - 2 * uncond)[:, :, 1:])
    assert torch.equal(everywhere[:, :, 0], cond[:, :, 0])  # a given frame is not guided


def test_steadying_goes_across_the_guess_and_only_inside_the_interval() -> None:
    levels = torch.tensor([[0.0, 0.5, 1.0]])
    x, cond, blind = (noise(2, 2, 3, 2, 2, seed=seed) for seed in range(3))
    step = steady(x, cond, blind, levels, 2.0) - x
    inside = steady(x, cond, blind, levels + 0.1, 2.0, (0.0, 2.0)) - x
    assert (inside * cond).sum(dim=1).abs().max() < 1e-9
    alike = torch.cosine_similarity(2 * (cond - blind) - inside, cond, dim=1).abs()
    torch.testing.assert_close(alike, torch.ones_like(alike))
    torch.testing.assert_close(step[:, :, 1:], inside[:, :, 1:])
    assert torch.equal(step[:, :, 0], torch.zeros_like(step[:, :, 0]))  # a given frame stays
    zeros = torch.zeros_like(x)
    torch.testing.assert_close(steady(x, zeros, blind, levels, 0.0), x)


def test_guidance_of_predictions_is_guidance_of_velocities() -> None:
    levels = torch.tensor([[0.2, 0.6, 1.0]], dtype=DOUBLE)
    cond, uncond, z = (noise(1, 2, 3, 2, 2, seed=seed) for seed in range(3))
    v_cond, v_uncond = (flow.to_velocity(z, x, levels) for x in (cond, uncond))
    v = flow.to_velocity(z, sampling.guide(cond, uncond, levels, 2.5), levels)
    torch.testing.assert_close(v, v_uncond + 2.5 * (v_cond - v_uncond))


@pytest.mark.parametrize(
    ("scale", "interval", "levels", "called"),
    [
        (2.0, (0.0, 1.0), (0.5, 0.5), True),
        (2.0, (0.0, 1.0), (0.0, 0.0), False),
        (2.0, (0.3, 0.7), (0.1, 0.9), False),
        (2.0, (0.3, 0.7), (0.1, 0.5), True),
        (1.0, (0.0, 1.0), (0.5, 0.5), False),
        (0.0, (0.0, 1.0), (0.5, 0.5), True),
    ],
)
def test_the_unconditional_call_is_made_only_where_it_counts(
    scale: float, interval: tuple[float, float], levels: tuple[float, ...], called: bool
) -> None:
    calls: list[float] = []
    denoise = sampling.guided(constant(3.0, calls), constant(1.0, calls), scale, interval)
    z, given_levels = noise(1, 1, 2, 1, 1), torch.tensor([levels])
    found = denoise(z, given_levels).flatten().tolist()
    assert calls == ([3.0, 1.0] if called else [3.0])
    guided_value = 1 + 2 * scale
    low, high = interval
    assert found == [guided_value if t > 0 and low <= t <= high else 3.0 for t in levels]


def test_guidance_composes_with_a_sampler() -> None:
    calls: list[float] = []
    denoise = sampling.guided(constant(3.0, calls), constant(1.0, calls), 2.0, (0.35, 0.75))
    schedule = frame_schedule(timesteps(10, dtype=DOUBLE), 2)
    x = sampling.sample(euler, denoise, noise(1, 1, 2, 1, 1), schedule)
    torch.testing.assert_close(x, torch.full_like(x, 3.0))
    assert calls.count(3.0) == 10 and calls.count(1.0) == 4  # at 0.7, 0.6, 0.5 and 0.4


def test_given_frames_are_believed_less_or_more() -> None:
    asked: list[tuple[Tensor, Tensor]] = []

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        """Answers with the mean level of the given frame: 0 if it is seen clean, 1 if not at all."""
        asked.append((z, levels))
        return torch.zeros_like(z) + levels[:, 0].view(-1, 1, 1, 1, 1)

    z, levels = torch.randn(1, 2, 3, 4, 4), torch.tensor([[0.0, 0.7, 0.7]])
    plain = with_history(denoise, 0.0, 1.0)(z, levels)
    assert len(asked) == 1 and asked[0][0].equal(z) and asked[0][1].equal(levels)
    assert plain[:, :, :1].equal(z[:, :, :1]) and (plain[:, :, 1:] == 0).all()
    asked.clear()
    follow = with_history(denoise, 0.2, 1.5)
    guided = follow(z, levels)
    (shown, seen_at), (hidden, unseen_at) = asked
    torch.testing.assert_close(seen_at, torch.tensor([[0.2, 0.7, 0.7]]))
    assert unseen_at.equal(torch.tensor([[1.0, 0.7, 0.7]]))
    torch.testing.assert_close(shown[:, :, 0], 0.8 * z[:, :, 0] + 0.2 * hidden[:, :, 0])
    assert shown[:, :, 1:].equal(z[:, :, 1:]) and hidden[:, :, 1:].equal(z[:, :, 1:])
    torch.testing.assert_close(guided[:, :, 1:], torch.full((1, 2, 2, 4, 4), 1 - 1.5 * 0.8))
    assert guided[:, :, :1].equal(z[:, :, :1])  # what is given stays what it is
    follow(z, levels)
    assert asked[2][0].equal(shown)  # the same noise in every step
    asked.clear()
    nothing_given = torch.tensor([[0.7, 0.7, 0.7]])
    follow(z, nothing_given)
    assert len(asked) == 1 and asked[0][0].equal(z) and asked[0][1].equal(nothing_given)
