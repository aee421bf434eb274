"""Complete a clip: make whatever is not known of it. The one function below every edit.

Every latent frame has its own noise level, and the level says what is given: a frame at 0 is data,
one at 1 is absent. Known pixels come back exactly. Where only some pixels of a latent frame are
known, and where known frames follow unknown ones (the encoder is causal: its latents depend on the
past), no latent is known beforehand; there the guess at the clean clip is corrected at every step
(`keep_known`). One case of the latter is easy: if a clip's last frames are known and no others, the film is turned
round, and they are its first.

Stands on `model` and `sample`; `edit` stands on it. Legend: T frames, t latent frames, Z channels.
Sources: a level per frame, Chen et al. 2407.01392; starting from noised content, Meng et al.
2108.01073 (SDEdit); correcting the guess, Lugmayr et al. 2201.09865 and Song et al. 2307.08123.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from minisora.flow import add_noise, expand_levels
from minisora.guidance import GUIDANCE_INTERVAL, GUIDANCE_SCALE, PAG_SCALE, with_history
from minisora.model import MiniSora
from minisora.progress import run
from minisora.sample import SAMPLERS, Denoiser, frame_schedule, timesteps
from minisora.vae import VideoVAE
from minisora.worlds.captions import backwards

WINDOW = 17  # frames that are made at once when a clip grows: the length most trained on
ECHO = 8  # frames over which what the VAE lost of a known frame fades away
MOVED = 0.1  # change of a pixel after which it shows something else


@dataclass(frozen=True)
class Manner:
    """How to sample where `Sampling` leaves it open.

    Attributes:
        guidance_scale, guidance_interval, pag_scale: as in `MiniSora.generate`.
        temperature: the noise a clip starts from is scaled by it, 0 or more. Below 1 clips vary less and move as is
            most likely, which is right where what is given leaves little open.
        context_noise: level at which given frames are shown, see `guidance.with_history`.
    """

    guidance_scale: float
    guidance_interval: tuple[float, float]
    pag_scale: float
    temperature: float
    context_noise: float


FREELY = Manner(GUIDANCE_SCALE, GUIDANCE_INTERVAL, PAG_SCALE, temperature=1.0, context_noise=0.0)
# Where frames tell what is there and words where it goes: that is settled while most is noise, so guidance ends
# early, and shapes are left to what is given.
STEERED = Manner(GUIDANCE_SCALE, (0.5, 0.95), PAG_SCALE, temperature=0.7, context_noise=0.0)
# Where a clip goes on, what it shows says how, and all guidance would bend its motion.
# `benchmarks/editing.py --what rollout` compares; chosen on other clips.
ONWARD = Manner(1.0, GUIDANCE_INTERVAL, 0.0, temperature=0.4, context_noise=0.0)
# What the model made itself is shown under a little noise, so that what one window gets wrong the next need not copy;
# and words are heard again, lest shapes fall apart.
ROLLING = replace(FREELY, temperature=0.7, context_noise=0.1)
# Over very many windows what is seen drifts and words do not: so hear them, and believe what is seen still less.
LASTING = replace(FREELY, context_noise=0.2)


@dataclass(frozen=True)
class Sampling:
    """How every edit samples. What is None is as it fits the edit: `FREELY`, `ONWARD`, ...

    Attributes:
        steps, sampler, progress: as in `MiniSora.generate`.
        guidance_scale, guidance_interval, pag_scale, temperature, context_noise: see `Manner`.
        history_scale: how far given frames are believed, see `guidance.with_history`.
        reversible: whether the film may be turned round to make what comes before given frames. Right where motion
            obeys the same laws both ways, as in our worlds; False for what does not, like pouring or growing.
    """

    steps: int = 30
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    pag_scale: float | None = None
    sampler: str = "dpmpp_2m"
    progress: bool | Callable[[Tensor], None] = False
    temperature: float | None = None
    context_noise: float | None = None
    history_scale: float = 1.0
    reversible: bool = True

    def manner(self, usual: Manner) -> Manner:
        """What is set, and the usual where nothing is."""
        wanted = {field.name: getattr(self, field.name) for field in fields(usual)}
        return replace(usual, **{name: v for name, v in wanted.items() if v is not None})

    def denoiser(self, model: MiniSora, prompt: str, usual: Manner = FREELY) -> Denoiser:
        """The model under one prompt, guided."""
        how = self.manner(usual)
        denoise = model.denoiser(
            [prompt], how.guidance_scale, how.guidance_interval, None, how.pag_scale
        )
        if not how.context_noise and self.history_scale == 1.0:
            return denoise
        return with_history(denoise, how.context_noise, self.history_scale)


def complete(
    model: MiniSora,
    video: Tensor,
    known: Tensor,
    prompt: str = "",
    *,
    strength: float = 1.0,
    seed: int = 0,
    sampling: Sampling = Sampling(),
    usual: Manner = FREELY,
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
        usual: how where `sampling` leaves it open.

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
    group = model.config.vae.temporal
    beginning = is_beginning(known, group)
    if sampling.reversible and not beginning and is_beginning(known.flip(0), group):
        how = {"strength": strength, "seed": seed, "sampling": sampling, "usual": usual}
        return complete(model, video.flip(1), known.flip(0), backwards(prompt), **how).flip(1)  # type: ignore[arg-type]
    whole = known.flatten(1).all(dim=1)  # (T,)
    given = in_groups(whole, group).all(dim=1)  # (t,)
    clean = model.latents((video if strength < 1 else hold(video, whole))[None])
    noise = model.noise(len(whole), (video.shape[2], video.shape[3]), seed)[None]
    noise = sampling.manner(usual).temperature * noise
    times = timesteps(sampling.steps, model.shift(noise.shape[2:]), device=model.device)
    times = torch.cat([times.new_tensor([strength]), times[times < strength]])
    denoise = sampling.denoiser(model, prompt, usual)
    z = add_noise(clean, noise, times[0])
    schedule = frame_schedule(times, len(given))
    if beginning:
        z = torch.where(expand_levels(given[None].to(z.device), z), clean, z)
        schedule = frame_schedule(times, len(given), given)
    else:
        denoise = keep_known(model.vae, denoise, video, known, clean)
    steps = SAMPLERS[sampling.sampler](denoise, z, schedule)
    made = model.pixels(run(steps, len(times) - 1, sampling.progress))[0]
    return torch.where(known, video, join(video, made, whole))


def join(video: Tensor, made: Tensor, whole: Tensor) -> Tensor:
    """What was made, without a jump where it meets what is known.

    A frame that is made lacks what the VAE loses, so next to a known one it would look paler. What it lost of the
    nearest known frame is added to the `ECHO` frames beside that, less and less, and only where they still show the
    same: of what has moved on it would leave a ghost.

    Args:
        video, made: (3, T, H, W), as it is known and as the VAE decodes it.
        whole: bool (T,), frames known altogether.
    """
    if not whole.any():
        return made
    near = nearest(whole)
    close = 1 - (torch.arange(len(whole)) - near).abs() / (ECHO + 1)  # (T,)
    still = 1 - (made - made[:, near]).abs().amax(dim=0) / MOVED  # (T, H, W)
    weight = close.clamp(min=0)[:, None, None] * still.clamp(min=0)
    return (made + weight * (video - made)[:, near]).clamp(0, 1)


def grow(
    model: MiniSora,
    video: Tensor,
    prompt: str,
    forward: bool,
    context: int,
    seed: int,
    sampling: Sampling,
    usual: Manner,
) -> Tensor:
    """A video (3, T, H, W) with the new frames of one window joined to its end or its beginning."""
    new = WINDOW - context
    known = torch.arange(WINDOW) < context if forward else torch.arange(WINDOW) >= new
    edge = video[:, -context:] if forward else video[:, :context]
    blank = edge.new_zeros(3, new, *edge.shape[2:])
    window = torch.cat([edge, blank] if forward else [blank, edge], dim=1)
    made = complete(model, window, known, prompt, seed=seed, sampling=sampling, usual=usual)
    return torch.cat([video, made[:, context:]] if forward else [made[:, :new], video], dim=1)


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


def is_beginning(known: Tensor, group: int) -> bool:
    """Whether what is known, (T, H, W), are the clip's first latent frames (of `group` frames each) and no pixel more.

    Then their latents are exact: a causal encoder sees nothing but known frames.
    """
    given = in_groups(known.flatten(1), group).all(dim=1)  # (t,)
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
    return video[:, nearest(whole)] if whole.any() else video


def nearest(whole: Tensor) -> Tensor:
    """For each frame the nearest of those that `whole`, bool (T,), marks: (T,)."""
    places = whole.nonzero().flatten()  # (n,)
    frames = torch.arange(len(whole))
    return places[(frames[:, None] - places).abs().argmin(dim=1)]
