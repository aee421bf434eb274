"""Rectified flow: conversions, the distribution of noise levels, the loss against a naive loop."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora import flow
from minisora.flow import FlowConfig

SHAPE = (3, 2, 4, 2, 3)  # B Z t h w


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


# Conversions


@given(seed=st.integers(0, 10**6), low=st.floats(1e-3, 0.5), high=st.floats(0.5, 0.999))
@settings(max_examples=30, deadline=None)
def test_conversions_round_trip(seed: int, low: float, high: float) -> None:
    x, eps = latents(seed), latents(seed + 1)
    levels = low + (high - low) * torch.rand(3, 4, generator=generator(seed), dtype=torch.float64)
    z = flow.add_noise(x, eps, levels)
    v = flow.velocity(x, eps)
    torch.testing.assert_close(flow.to_velocity(z, x, levels), v, rtol=0, atol=1e-9)
    torch.testing.assert_close(flow.to_noise(z, x, levels), eps, rtol=0, atol=1e-9)
    torch.testing.assert_close(flow.from_velocity(z, v, levels), x, rtol=0, atol=1e-9)
    torch.testing.assert_close(flow.from_noise(z, eps, levels), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("t_min", [0.05, 0.3])
def test_the_floor_keeps_both_ends_finite(t_min: float) -> None:
    x, z = latents(0), latents(1)
    levels = torch.tensor([0.0, 0.01, 0.99, 1.0], dtype=torch.float64).expand(3, 4)
    v = flow.to_velocity(z, x, levels, t_min)
    torch.testing.assert_close(v[:, :, 0], (z - x)[:, :, 0] / t_min)
    torch.testing.assert_close(flow.from_velocity(z, v, levels, t_min), x)
    assert flow.to_noise(z, x, levels, t_min).isfinite().all()
    assert flow.from_noise(z, x, levels, t_min).isfinite().all()


def test_velocity_is_the_time_derivative_of_the_noised_latent() -> None:
    x, eps = latents(0), latents(1)
    t = torch.full((3, 4), 0.37, dtype=torch.float64)
    slope = (flow.add_noise(x, eps, t + 1e-4) - flow.add_noise(x, eps, t - 1e-4)) / 2e-4
    torch.testing.assert_close(slope, flow.velocity(x, eps), rtol=0, atol=1e-10)


def test_each_frame_is_noised_at_its_own_level_and_the_ends_are_exact() -> None:
    x, eps = latents(0).float(), latents(1).float()
    levels = torch.tensor([[0.0, 1.0, 0.25, 0.5], [1.0, 0.0, 0.0, 0.75], [0.1, 0.2, 0.3, 0.4]])
    z = flow.add_noise(x, eps, levels)
    for b, f in itertools.product(range(3), range(4)):
        t = levels[b, f].item()
        torch.testing.assert_close(z[b, :, f], (1 - t) * x[b, :, f] + t * eps[b, :, f])
    assert torch.equal(z[0, :, 0], x[0, :, 0]) and torch.equal(z[0, :, 1], eps[0, :, 1])


def test_levels_may_be_one_per_clip_or_one_for_all() -> None:
    x, eps = latents(0), latents(1)
    clip = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    by_frame = flow.add_noise(x, eps, clip[:, None].expand(3, 4))
    assert torch.equal(flow.add_noise(x, eps, clip), by_frame)
    assert torch.equal(flow.add_noise(x, eps, clip[1])[1], by_frame[1])


# Shift


def test_shift_matches_the_formula_keeps_order_and_composes() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for a in (0.25, 1.0, 3.0, 7.0):
        shifted = flow.shift_timestep(t, a)
        torch.testing.assert_close(shifted, a * t / (1 + (a - 1) * t))
        assert (shifted.diff() > 0).all()
    twice = flow.shift_timestep(flow.shift_timestep(t, 2.0), 1.5)
    torch.testing.assert_close(twice, flow.shift_timestep(t, 3.0))


@given(a=st.floats(1e-2, 1e2))
def test_shift_leaves_the_ends_exact(a: float) -> None:
    assert flow.shift_timestep(torch.tensor([0.0, 1.0]), a).tolist() == [0.0, 1.0]


def test_shift_adds_log_a_to_the_logit() -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    difference = torch.logit(flow.shift_timestep(t, 2.5)) - torch.logit(t)
    torch.testing.assert_close(difference, torch.full_like(t, math.log(2.5)))


def test_shift_grows_with_the_root_of_the_token_count() -> None:
    config = FlowConfig(shift=1.5, reference_tokens=80)
    assert flow.token_shift(80, config) == pytest.approx(1.5)
    assert flow.token_shift(320, config) == pytest.approx(3.0)
    assert flow.token_shift(20, config) == pytest.approx(0.75)
    assert flow.token_shift(320, dataclasses.replace(config, shift_power=0.0)) == pytest.approx(1.5)


# Timesteps


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.8, 0.7), (1.2, 1.6)])
@pytest.mark.parametrize("n", [1, 7, 64, 1000])
def test_timesteps_hold_one_draw_in_each_stratum(n: int, mean: float, std: float) -> None:
    config = FlowConfig(logit_mean=mean, logit_std=std)
    t = flow.sample_timesteps(n, generator(n), config)
    assert t.shape == (n,) and t.dtype == torch.float32
    assert ((t > 0) & (t < 1)).all()
    quantile = torch.special.ndtr((torch.logit(t.double()) - mean) / std).sort().values * n
    stratum = torch.arange(n)
    assert (quantile > stratum - 1e-2).all() and (quantile < stratum + 1 + 1e-2).all()


def test_timesteps_vary_within_strata_and_in_order() -> None:
    draws = torch.stack([flow.sample_timesteps(8, generator(s), FlowConfig()) for s in range(2000)])
    quantile = torch.special.ndtr(torch.logit(draws))
    # Both are uniform in every place: mean 1/2 and variance 1/12, within five deviations.
    for uniform in (quantile, (quantile * 8) % 1):
        assert (uniform.mean(0) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 2000)
        assert (uniform.var(0) - 1 / 12).abs().max() < 5 * math.sqrt(1 / 180 / 2000)


def test_the_same_seed_draws_the_same_levels() -> None:
    def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return flow.sample_frame_levels(50, 5, 80, FlowConfig(), generator(seed))

    torch.random.manual_seed(1)
    first = draw(3)
    torch.random.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, draw(3), strict=True))
    assert not torch.equal(first[0], draw(4)[0])


# Levels per frame


def within_binomial(count: int, n: int, share: float) -> bool:
    return abs(count - n * share) <= 5 * math.sqrt(n * share * (1 - share)) + 1e-9


def test_the_mix_of_patterns_has_its_shares() -> None:
    n, frames, config = 20_000, 7, FlowConfig()
    levels, mask = flow.sample_frame_levels(n, frames, 80, config, generator())
    shared = (levels == levels[:, :1]).all(1)
    rising = (levels.diff(dim=1) >= 0).all(1) & ~shared & ~mask.any(1)
    rest = ~shared & ~rising & ~mask.any(1)
    chance = config.pattern_weights[3] / math.factorial(frames)  # independent, rising by luck
    expected = (0.40, 0.25, 0.20 + chance, 0.15 - chance)
    for found, share in zip((shared, mask.any(1), rising, rest), expected, strict=True):
        assert within_binomial(int(found.sum()), n, share)


def test_given_frames_are_prefix_suffix_or_both_of_uniform_length() -> None:
    n, frames = 30_000, 6
    mask = flow.sample_given(n, frames, generator())
    assert not mask.all(1).any() and mask.any(1).all()
    first, last = mask[:, 0], mask[:, -1]
    assert (mask.int().diff(dim=1).abs().sum(1) == 1 + (first & last).int()).all()  # only at ends
    for kind in (first & ~last, last & ~first, first & last):
        assert within_binomial(int(kind.sum()), n, 1 / 3)
    for kind in (first & ~last, last & ~first):
        lengths = mask[kind].sum(1)
        for length in range(1, frames):
            assert within_binomial(int((lengths == length).sum()), len(lengths), 1 / (frames - 1))
    prefix = mask[first & last].int().cumprod(dim=1).sum(1)
    assert set(prefix.tolist()) == set(range(1, frames - 1))


@given(
    n=st.integers(1, 40),
    frames=st.integers(1, 9),
    tokens=st.integers(4, 5000),
    weights=st.tuples(*[st.floats(0, 1)] * 4).filter(lambda w: sum(w) > 0.1),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_given_is_exactly_zero_and_something_is_always_wanted(
    n: int, frames: int, tokens: int, weights: tuple[float, ...], seed: int
) -> None:
    config = FlowConfig(pattern_weights=weights)
    levels, mask = flow.sample_frame_levels(n, frames, tokens, config, generator(seed))
    assert levels.shape == mask.shape == (n, frames)
    assert levels.dtype == torch.float32 and mask.dtype == torch.bool
    assert (levels[mask] == 0).all()
    assert ((levels[~mask] > 0) & (levels[~mask] < 1)).all()
    assert (~mask).any(1).all()


@pytest.mark.parametrize("pattern", range(4))
def test_each_pattern_alone(pattern: int) -> None:
    weights = tuple(float(i == pattern) for i in range(4))
    config = FlowConfig(pattern_weights=weights)
    levels, mask = flow.sample_frame_levels(500, 6, 80, config, generator())
    assert mask.any(1).all() if pattern == flow.GIVEN else not mask.any()
    wanted = levels.masked_fill(mask, math.nan)
    one_level = (wanted.nan_to_num(2.0).amin(1) == wanted.nan_to_num(-1.0).amax(1)).all()
    assert one_level == (pattern in (flow.SHARED, flow.GIVEN))
    if pattern == flow.MONOTONE:
        assert (levels.diff(dim=1) >= 0).all()
    if pattern == flow.INDEPENDENT:
        assert torch.corrcoef(torch.logit(levels).T).fill_diagonal_(0).abs().max() < 0.25


@pytest.mark.parametrize("pattern", range(4))
def test_an_image_always_takes_its_own_timestep(pattern: int) -> None:
    config = FlowConfig(pattern_weights=tuple(float(i == pattern) for i in range(4)))
    t = flow.sample_timesteps(20, generator(), config)
    levels, mask = flow.sample_frame_levels(20, 1, 80, config, generator(1), t)
    torch.testing.assert_close(levels[:, 0], t)
    assert not mask.any()


def test_levels_are_shifted_by_the_token_count_and_timesteps_may_come_from_outside() -> None:
    config = FlowConfig(pattern_weights=(1, 0, 0, 0))
    t = flow.sample_timesteps(30, generator(), config)
    levels, _ = flow.sample_frame_levels(30, 5, 720, config, generator(1), t)
    torch.testing.assert_close(levels, flow.shift_timestep(t, 3.0)[:, None].expand(30, 5))


@pytest.mark.parametrize("pattern", [flow.MONOTONE, flow.INDEPENDENT])
def test_levels_drawn_frame_by_frame_follow_the_logit_normal(pattern: int) -> None:
    config = FlowConfig(
        logit_mean=0.3, logit_std=1.2, pattern_weights=tuple(float(i == pattern) for i in range(4))
    )
    levels, _ = flow.sample_frame_levels(200, 5, 80, config, generator())
    quantile = torch.special.ndtr((torch.logit(levels.double()) - 0.3) / 1.2).flatten().sort()
    assert (quantile.values - (torch.arange(1000) + 0.5) / 1000).abs().max() < 2e-3


# Loss


def naive_loss(
    x_hat: torch.Tensor, x: torch.Tensor, levels: torch.Tensor, mask: torch.Tensor, t_min: float
) -> torch.Tensor:
    losses = []
    for b in range(x.shape[0]):
        terms = []
        for channel, f, i, j in itertools.product(*(range(size) for size in x.shape[1:])):
            if not mask[b, f]:
                error = (x_hat - x)[b, channel, f, i, j] / max(levels[b, f].item(), t_min)
                terms.append(error * error)
        losses.append(sum(terms) / len(terms))
    return torch.stack(losses)


def test_loss_equals_the_naive_loop_in_value_and_gradient() -> None:
    x, x_hat = latents(0), latents(1).requires_grad_()
    levels, mask = flow.sample_frame_levels(3, 4, 80, FlowConfig(), generator(5))
    mask[1, 2:] = True
    levels = levels.masked_fill(mask, 0.0).double()
    levels[0, 1] = 0.01  # below the floor, yet wanted
    loss = flow.flow_loss(x_hat, x, levels, mask, 0.05)
    expected = naive_loss(x_hat, x, levels, mask, 0.05)
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss.sum(), x_hat)
    torch.testing.assert_close(grad, torch.autograd.grad(expected.sum(), x_hat)[0])
    assert (grad[1, :, 2:] == 0).all()


def test_loss_is_the_error_of_the_velocity() -> None:
    x, x_hat, eps = latents(0), latents(1), latents(2)
    levels = torch.rand(3, 4, generator=generator(), dtype=torch.float64)
    z = flow.add_noise(x, eps, levels)
    error = flow.to_velocity(z, x_hat, levels, 0.05) - flow.to_velocity(z, x, levels, 0.05)
    loss = flow.flow_loss(x_hat, x, levels, t_min=0.05)
    torch.testing.assert_close(loss, error.square().mean(dim=(1, 2, 3, 4)))


def test_loss_without_a_mask_wants_every_frame() -> None:
    x, x_hat, levels = latents(0), latents(1), torch.full((3, 4), 0.5, dtype=torch.float64)
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    torch.testing.assert_close(
        flow.flow_loss(x_hat, x, levels), flow.flow_loss(x_hat, x, levels, nothing)
    )


def test_given_frames_count_nothing() -> None:
    x, x_hat, levels = latents(0), latents(1), torch.full((3, 4), 0.5, dtype=torch.float64)
    mask = torch.tensor([True, False, False, True]).expand(3, 4)
    before = flow.flow_loss(x_hat, x, levels, mask)
    x_hat[:, :, [0, 3]] += 1e6
    assert torch.equal(flow.flow_loss(x_hat, x, levels, mask), before)


def test_loss_of_half_precision_predictions_is_taken_in_float32() -> None:
    x = latents(0).float()
    loss = flow.flow_loss((x + 1e-1).bfloat16(), x, torch.full((3, 4), 0.05))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torch.full((3,), 4.0), rtol=0.05, atol=0)
    half = flow.flow_loss(x.bfloat16(), x.bfloat16(), torch.full((3, 4), 0.05))
    assert half.dtype == torch.float32


# Config


@pytest.mark.parametrize(
    "wrong",
    [
        {"t_min": 0.0},
        {"t_min": 1.5},
        {"logit_std": 0.0},
        {"shift": -1.0},
        {"shift": math.nan},
        {"reference_tokens": 0},
        {"pattern_weights": (1.0, 0.0)},
        {"pattern_weights": (1.0, -0.1, 0.1, 0.0)},
        {"pattern_weights": (0.0, 0.0, 0.0, 0.0)},
    ],
)
def test_config_refuses_values_outside_their_range(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FlowConfig(**wrong)


def test_config_survives_json_lists() -> None:
    config = FlowConfig(pattern_weights=[1, 2, 3, 4])  # type: ignore[arg-type]
    assert config.pattern_weights == (1, 2, 3, 4)
    assert hash(config) == hash(FlowConfig(**dataclasses.asdict(config)))
