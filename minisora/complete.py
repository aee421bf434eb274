"""Complete a clip: make whatever is not known of it. The one function below every edit.

Every latent frame has its own noise level, and the level says what is given: a frame at 0 is data,
one at 1 is absent. Known pixels come back exactly. Where only some pixels of a latent frame are
known, and where known frames follow unknown ones (the encoder is causal: its latents depend on the
past), no latent is known beforehand; there the guess at the clean clip is corrected at every step
(`keep_known`).

Stands on `model` and `sample`; `edit` stands on it. Legend: T frames, t latent frames, Z channels.
Sources: a level per frame, Chen et al. 2407.01392; starting from noised content, Meng et al.
2108.01073 (SDEdit); correcting the guess, Lugmayr et al. 2201.09865 and Song et al. 2307.08123.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minisora.flow import add_noise, expand_levels
from minisora.guidance import GUIDANCE_INTERVAL, GUIDANCE_SCALE, PAG_SCALE, with_history
from minisora.model import MiniSora, run
from minisora.sample import SAMPLERS, Denoiser, frame_schedule, timesteps
from minisora.vae import VideoVAE

WINDOW = 17  # frames that are made at once when a clip grows: the length most trained on
ROLLING_NOISE = (
    0.2  # on what the window before made; chosen by `benchmarks/editing.py --what rollout`
)


@dataclass(frozen=True)
class Sampling:
    """How every edit samples.

    Attributes:
        steps, guidance_scale, guidance_interval, pag_scale, sampler, progress: as in `MiniSora.generate`.
        context_noise, history_scale: how far given frames are believed, see `guidance.with_history`. None is no
            noise, but `ROLLING_NOISE` where a clip grows forward, window by window.
    """

    steps: int = 30
    guidance_scale: float = GUIDANCE_SCALE
    guidance_interval: tuple[float, float] = GUIDANCE_INTERVAL
    pag_scale: float = PAG_SCALE
    sampler: str = "dpmpp_2m"
    progress: bool | Callable[[Tensor], None] = False
    context_noise: float | None = None
    history_scale: float = 1.0

    def denoiser(self, model: MiniSora, prompt: str) -> Denoiser:
        """The model under one prompt, guided."""
        scale, interval = self.guidance_scale, self.guidance_interval
        denoise = model.denoiser([prompt], scale, interval, None, self.pag_scale)
        if not self.context_noise and self.history_scale == 1.0:
            return denoise
        return with_history(denoise, self.context_noise or 0.0, self.history_scale)

    def rolling(self) -> Sampling:
        """The same for a window that follows another: against drift, unless it is told otherwise."""
        return (
            self if self.context_noise is not None else replace(self, context_noise=ROLLING_NOISE)
        )


def complete(
    model: MiniSora,
    video: Tensor,
    known: Tensor,
    prompt: str = "",
    *,
    strength: float = 1.0,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> Tensor:
    """Make all pixels of a clip that are not known.

    Args:
        video: (3, T, H, W) in [0, 1], T = 1 + 4k, of a size that the model makes.
        known: bool, (T,), (H, W) or (T, H, W).
        prompt: what the clip shows.
        strength: noise level to start from, in (0, 1]. At 1 unknown pixels may hold anything; below, what
            they hold shows through the noise and so has a say.
        seed: of the noise.
        sampling: how to sample.

    Returns:
        (3, T, H, W) in [0, 1]; its known pixels are those of `video`, bit for bit.

    Raises:
        ValueError: if the mask or the strength does not fit, or nothing is left to make.
    """
    known = spread(known, video)
    if known.all():
        raise ValueError("All pixels are known, so nothing is left to make; leave some unknown.")
    if not 0 < strength <= 1:
        raise ValueError(f"strength={strength}: give a noise level above 0 and at most 1.")
    whole = known.flatten(1).all(dim=1)  # (T,)
    given = in_groups(whole, model.config.vae.temporal).all(dim=1)  # (t,)
    clean = model.latents((video if strength < 1 else hold(video, whole))[None])
    noise = model.noise(len(whole), (video.shape[2], video.shape[3]), seed)[None]
    times = timesteps(sampling.steps, model.shift(noise.shape[2:]), device=model.device)
    times = torch.cat([times.new_tensor([strength]), times[times < strength]])
    denoise = sampling.denoiser(model, prompt)
    z = add_noise(clean, noise, times[0])
    schedule = frame_schedule(times, len(given))
    if is_beginning(known, given, model.config.vae.temporal):
        z = torch.where(expand_levels(given[None].to(z.device), z), clean, z)
        schedule = frame_schedule(times, len(given), given)
    else:
        denoise = keep_known(model.vae, denoise, video, known, clean)
    steps = SAMPLERS[sampling.sampler](denoise, z, schedule)
    made = model.pixels(run(steps, len(times) - 1, sampling.progress))[0]
    return torch.where(known, video, made)


def grow(
    model: MiniSora,
    video: Tensor,
    prompt: str,
    forward: bool,
    context: int,
    seed: int,
    sampling: Sampling,
) -> Tensor:
    """A video (3, T, H, W) with the new frames of one window joined to its end or its beginning."""
    new = WINDOW - context
    known = torch.arange(WINDOW) < context if forward else torch.arange(WINDOW) >= new
    edge = video[:, -context:] if forward else video[:, :context]
    blank = edge.new_zeros(3, new, *edge.shape[2:])
    window = torch.cat([edge, blank] if forward else [blank, edge], dim=1)
    sampling = sampling.rolling() if forward else sampling
    made = complete(model, window, known, prompt, seed=seed, sampling=sampling)
    return torch.cat([video, made[:, context:]] if forward else [made[:, :new], video], dim=1)


def bridge(
    model: MiniSora,
    a: Tensor,
    b: Tensor,
    frames: int,
    prompt: str,
    context: int,
    seed: int,
    sampling: Sampling,
) -> Tensor:
    """The frames (3, frames, H, W) between the end of video a and the beginning of video b."""
    if min(a.shape[1], b.shape[1]) < context or frames < 4 or frames % 4 or context % 4 != 1:
        raise ValueError(
            f"frames={frames} and context={context} between clips of {a.shape[1]} and {b.shape[1]}: "
            "give a multiple of 4 frames, and a context of 1 + 4k that both clips have."
        )
    blank = a.new_zeros(3, frames, *a.shape[2:])
    window = torch.cat([a[:, -context:], blank, b[:, : max(4, context - 1)]], dim=1)
    place = torch.arange(window.shape[1])
    known = (place < context) | (place >= context + frames)
    made = complete(model, window, known, prompt, seed=seed, sampling=sampling)
    return made[:, context : context + frames]


def keep_known(
    vae: VideoVAE, denoise: Denoiser, video: Tensor, known: Tensor, clean: Tensor
) -> Denoiser:
    """A denoiser whose guess agrees with the known pixels: decode it, put them back, encode it.

    Latent frames that are known altogether are shown to the network clean, as the last correction
    left them.

    Args:
        vae: between latents and pixels.
        denoise: what to correct, for one clip.
        video: (3, T, H, W), its known pixels.
        known: bool (T, H, W).
        clean: latents (1, Z, t, h, w) that stand for known frames before the first correction.
    """
    video, known = video.to(clean.device), known.to(clean.device)
    groups = in_groups(known.flatten(1), vae.config.temporal)  # (t, pixels)
    given, touched = groups.all(dim=1)[None], groups.any(dim=1)[None]  # (1, t)

    def corrected(z: Tensor, levels: Tensor) -> Tensor:
        nonlocal clean
        shown = torch.where(expand_levels(given, z), clean, z)
        guess = denoise(shown, levels.masked_fill(given, 0.0))
        guess = torch.where(expand_levels(given, z), clean, guess)
        clean = vae.encode(torch.where(known, video, vae.decode(guess).clamp(0.0, 1.0)))
        return torch.where(expand_levels(touched, z), clean, guess)

    return corrected


def in_groups(frames: Tensor, group: int) -> Tensor:
    """What is said of frames, (T, ...) bool, gathered by latent frame: (t, n), the first one's repeated."""
    frames = frames.unsqueeze(1) if frames.ndim == 1 else frames
    first = frames[:1].expand(group, -1)
    return torch.cat([first, frames[1:]]).unflatten(0, (-1, group)).flatten(1)


def is_beginning(known: Tensor, given: Tensor, group: int) -> bool:
    """Whether the given latent frames are the clip's first, and no pixel is known beyond them.

    Then their latents are exact: a causal encoder sees nothing but known frames.
    """
    count = int(given.sum())
    frames = 1 + group * (count - 1) if count else 0
    return bool(given[:count].all()) and not known[frames:].any()


def spread(known: Tensor, video: Tensor) -> Tensor:
    """`known`, (T,), (H, W) or (T, H, W), as bool (T, H, W)."""
    frames, height, width = video.shape[1:]
    if known.shape == (frames,):
        known = known[:, None, None]
    if known.shape not in ((frames, 1, 1), (height, width), (frames, height, width)):
        raise ValueError(
            f"A mask of shape {tuple(known.shape)} does not fit a clip of {frames} frames of "
            f"{height}x{width}; give one value a frame, a pixel, or a pixel of each frame."
        )
    return known.bool().expand(frames, height, width)


def hold(video: Tensor, whole: Tensor) -> Tensor:
    """The clip (3, T, H, W) with each unknown frame replaced by the nearest known one in time."""
    if not whole.any():
        return video
    places = whole.nonzero().flatten()  # (n,)
    frames = torch.arange(len(whole))
    nearest = places[(frames[:, None] - places).abs().argmin(dim=1)]
    return video[:, nearest]
