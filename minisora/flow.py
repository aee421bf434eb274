"""Rectified flow: how clean latents are noised, at which levels, and what the network is asked for.

Stands between the network (`dit`), which it never calls, and the samplers (`sample`). Pure
functions, torch only.

Convention: `z_t = (1 - t) * x + t * eps`. t = 0 is data, t = 1 is noise, and the velocity is `v =
eps - x`. The network predicts the clean latent x and is trained on the error of the velocity that
follows from it ("x-prediction, v-loss"). Every latent frame has a level of its own, so noise is
also a mask: a frame at t = 0 is given, one at t = 1 is absent. One network can then animate an
image, extend a clip in both directions or close a loop.

Shapes: B clips, Z latent channels, t h w latent grid; "levels" are (B, t), one noise level per
latent frame.

Sources: rectified flow, Liu et al. 2209.03003; logit-normal and shifted timesteps, Esser et al.
2403.03206; x-prediction with v-loss, Li and He 2511.13720; a level per frame, Chen et al.
2407.01392; non-decreasing levels, Sun et al. 2503.07418.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PATTERNS = ("shared", "given", "monotone", "independent")
SHARED, GIVEN, MONOTONE, INDEPENDENT = range(len(PATTERNS))


@dataclass(frozen=True)
class FlowConfig:
    """How noise levels are drawn in training, and how the loss is weighted.

    Args:
        t_min: levels below this count as this in the loss, (0, 1]; bounds the weight by 1 /
            t_min^2.
        logit_mean: mean of logit(t); above 0 draws noisier levels.
        logit_std: standard deviation of logit(t), > 0.
        shift: the shift `a` of `shift_timestep` for a clip of `reference_tokens` video tokens, > 0.
        reference_tokens: video tokens in a clip for which `shift` holds.
        shift_power: `a` grows as (tokens / reference_tokens) ** shift_power.
        pattern_weights: shares of the `PATTERNS` over a clip's frames: one shared level; a clean
            prefix, suffix or both (a third each) with one level for the rest; levels that never
            fall over time; levels drawn frame by frame.

    Raises:
        ValueError: for a value outside its range.
    """

    t_min: float = 0.05
    logit_mean: float = 0.0
    logit_std: float = 1.0
    shift: float = 1.0
    reference_tokens: int = 80
    shift_power: float = 0.5
    pattern_weights: tuple[float, ...] = (0.40, 0.25, 0.20, 0.15)

    def __post_init__(self) -> None:
        # JSON knows only lists; a frozen config must stay hashable after it is read back.
        object.__setattr__(self, "pattern_weights", tuple(map(float, self.pattern_weights)))
        if not 0 < self.t_min <= 1:
            raise ValueError(f"t_min is {self.t_min}; give a level above 0 and at most 1.")
        for name in ("logit_std", "shift", "reference_tokens"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0.")
        weights = self.pattern_weights
        if len(weights) != len(PATTERNS) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(
                f"pattern_weights is {weights}; give {len(PATTERNS)} shares, none negative and "
                f"not all zero, for {', '.join(PATTERNS)}."
            )


def expand_levels(levels: Tensor, latents: Tensor) -> Tensor:
    """Shape levels so that they broadcast against latents.

    Args:
        levels: noise levels in [0, 1]: one (), one per clip (B,) or one per latent frame (B, t).
        latents: (B, Z, t, h, w).

    Returns:
        The levels as (), (B, 1, 1, 1, 1) or (B, 1, t, 1, 1).
    """
    if levels.ndim == 0:
        return levels
    if levels.ndim == 1:
        return levels.view(-1, *[1] * (latents.ndim - 1))  # (B, 1, 1, 1, 1)
    return levels[:, None, :, None, None]  # (B, 1, t, 1, 1)


def add_noise(x: Tensor, eps: Tensor, levels: Tensor) -> Tensor:
    """Noise clean latents: `z_t = (1 - t) x + t eps`.

    Args:
        x: clean latents (B, Z, t, h, w).
        eps: standard normal noise of the same shape.
        levels: noise levels in [0, 1], (), (B,) or (B, t).

    Returns:
        z_t of the shape of x. Frames at level 0 are exactly x, those at level 1 exactly eps (for
        finite values).
    """
    t = expand_levels(levels, x)
    return (1 - t) * x + t * eps


def velocity(x: Tensor, eps: Tensor) -> Tensor:
    """The velocity of the straight path from data to noise: `v = dz/dt = eps - x`."""
    return eps - x


def to_velocity(z: Tensor, x: Tensor, levels: Tensor, t_min: float = 0.0) -> Tensor:
    """Velocity from a clean latent: `v = (z - x) / max(t, t_min)`.

    Args:
        z: noisy latents (B, Z, t, h, w).
        x: the clean latents, or their prediction, of the same shape.
        levels: noise levels in [0, 1], (), (B,) or (B, t). With t_min = 0 they must be above 0.
        t_min: floor under the level in the denominator; makes the result finite at t = 0.

    Returns:
        v of the shape of z.
    """
    return (z - x) / expand_levels(levels, z).clamp(min=t_min)


def from_velocity(z: Tensor, v: Tensor, levels: Tensor, t_min: float = 0.0) -> Tensor:
    """Clean latent from a velocity: `x = z - max(t, t_min) v`, the inverse of `to_velocity`."""
    return z - expand_levels(levels, z).clamp(min=t_min) * v


def to_noise(z: Tensor, x: Tensor, levels: Tensor, t_min: float = 0.0) -> Tensor:
    """Noise from a clean latent: `eps = x + (z - x) / max(t, t_min)`; else as `to_velocity`."""
    return x + to_velocity(z, x, levels, t_min)


def from_noise(z: Tensor, eps: Tensor, levels: Tensor, t_min: float = 0.0) -> Tensor:
    """Clean latent from noise: `x = (z - t eps) / max(1 - t, t_min)`.

    Args:
        z: noisy latents (B, Z, t, h, w).
        eps: the noise in them, or its prediction, of the same shape.
        levels: noise levels in [0, 1], (), (B,) or (B, t). With t_min = 0 they must be below 1,
            where z holds no data.
        t_min: floor under 1 - t in the denominator; makes the result finite at t = 1.

    Returns:
        x of the shape of z.
    """
    t = expand_levels(levels, z)
    return (z - t * eps) / (1 - t).clamp(min=t_min)


def shift_timestep(t: Tensor, a: float) -> Tensor:
    """Move levels towards noise: `t' = a t / (1 + (a - 1) t)` (2403.03206, eq. 23).

    More tokens show the same content more often, so the same t hides less of it; a > 1 makes up for
    that.

    Args:
        t: levels in [0, 1], any shape.
        a: shift, > 0; 1 changes nothing. Shifts compose: by a, then by b, is by a * b.

    Returns:
        Shifted levels of the same shape; 0 and 1 stay exactly where they are.
    """
    return a * t / (a * t + (1 - t))  # this order of terms makes the ends exact in floating point


def token_shift(tokens: int, config: FlowConfig) -> float:
    """The shift `a` for clips of this many video tokens, for training and sampling alike."""
    return config.shift * (tokens / config.reference_tokens) ** config.shift_power


def sample_timesteps(n: int, generator: torch.Generator, config: FlowConfig) -> Tensor:
    """Draw n levels with `logit(t)` normal, stratified: one in each n-th of the distribution.

    They come in random order, so that no place in a batch is noisier than another.

    Args:
        n: how many, >= 1.
        generator: source of randomness.
        config: gives logit_mean and logit_std.

    Returns:
        Levels (n,) strictly inside (0, 1), float32, on the generator's device, not shifted.
    """
    device = generator.device
    order = torch.randperm(n, generator=generator, device=device)
    quantile = (order + torch.rand(n, generator=generator, device=device)) / n
    # float32 can round a quantile to 0 or 1, whose normal score is infinite.
    score = torch.special.ndtri(quantile.clamp(1e-6, 1 - 1e-6))
    return torch.sigmoid(config.logit_mean + config.logit_std * score).clamp(1e-5, 1 - 1e-5)


def sample_given(n: int, frames: int, generator: torch.Generator) -> Tensor:
    """Draw which latent frames are given: a prefix, a suffix or both, a third of the clips each.

    Args:
        n: clips.
        frames: latent frames in a clip. With 1 none is given; with 2 "both" gives way to prefix and
            suffix.
        generator: source of randomness.

    Returns:
        Bool (n, frames), true where given; lengths are uniform and at least one frame of each clip
        is not given.
    """
    device = generator.device
    draw = torch.rand(4, n, generator=generator, device=device)
    kind = (draw[0] * (3 if frames > 2 else 2)).long()  # 0 prefix, 1 suffix, 2 both
    single = 1 + (draw[1] * (frames - 1)).long()  # 1 .. frames - 1
    total = 2 + (draw[2] * (frames - 2)).long()  # 2 .. frames - 1
    first = 1 + (draw[3] * (total - 1)).long()  # 1 .. total - 1
    prefix = torch.where(kind == 2, first, single * (kind == 0))
    suffix = torch.where(kind == 2, total - first, single * (kind == 1))
    index = torch.arange(frames, device=device)
    given = (index < prefix[:, None]) | (index >= frames - suffix[:, None])  # (n, frames)
    return given & (frames > 1)


def sample_frame_levels(
    n: int,
    frames: int,
    tokens: int,
    config: FlowConfig,
    generator: torch.Generator,
    timesteps: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw a noise level for each latent frame, following the config's mix of patterns.

    Args:
        n: clips.
        frames: latent frames in a clip; an image (1) always follows the "shared" pattern.
        tokens: video tokens in a clip, for `token_shift`.
        config: the distribution and the mix.
        generator: source of randomness.
        timesteps: levels (n,) for the clips that have one, as `sample_timesteps` gives them; drawn
            here if left out. A batch of mixed sizes draws them once for all its clips, so that they
            are stratified over the whole batch.

    Returns:
        levels (n, frames), float32: exactly 0 on given frames and inside (0, 1) on all others; and
        the given mask (n, frames), bool. Both are on the generator's device.
    """
    device = generator.device
    if timesteps is None:
        timesteps = sample_timesteps(n, generator, config)
    separate = sample_timesteps(n * frames, generator, config).view(n, frames)
    weights = torch.tensor(config.pattern_weights, device=device)
    pattern = torch.multinomial(weights, n, replacement=True, generator=generator)
    pattern = pattern[:, None] if frames > 1 else torch.full((n, 1), SHARED, device=device)

    levels = timesteps.to(device)[:, None].expand(n, frames)
    levels = torch.where(pattern == MONOTONE, separate.sort(dim=1).values, levels)
    levels = torch.where(pattern == INDEPENDENT, separate, levels)
    given = sample_given(n, frames, generator) & (pattern == GIVEN)
    levels = shift_timestep(levels, token_shift(tokens, config))
    return levels.masked_fill(given, 0.0), given


def flow_loss(
    x_hat: Tensor, x: Tensor, levels: Tensor, given: Tensor | None = None, t_min: float = 0.05
) -> Tensor:
    """Velocity error of an x-prediction, `((x_hat - x) / max(t, t_min))^2`, over wanted frames.

    It equals `(to_velocity(z, x_hat) - to_velocity(z, x))^2`, where z cancels (2511.13720).

    Args:
        x_hat: predicted clean latents (B, Z, t, h, w).
        x: clean latents of the same shape.
        levels: noise levels in [0, 1], (B, t).
        given: bool (B, t), true on frames that count nothing; each clip must want at least one.
            None wants all.
        t_min: floor under the level.

    Returns:
        Loss per clip (B,), float32 or wider. Its plain mean is the loss of a batch.
    """
    scale = levels.clamp(min=t_min).reciprocal()
    error = (x_hat - x).to(torch.promote_types(x.dtype, torch.float32))
    per_frame = (error * expand_levels(scale, x)).square().mean(dim=(1, 3, 4))  # (B, t)
    if given is None:
        return per_frame.mean(dim=1)
    return per_frame.masked_fill(given, 0.0).sum(dim=1) / (~given).sum(dim=1)
