"""Editing: animate, extend, loop, connect, restyle and inpaint, each a few lines over one sampler.

All but `circle` only say what is known of a clip, and leave the rest to `complete`:

    animate    one frame              connect    both ends            restyle    everything, a little
    extend     one end, or both       loop       both ends            inpaint    some of the pixels

Stands on `complete`. Source of circular sampling: Bi et al. 2502.20307 (Mobius).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from minisora.complete import (
    FREELY,
    ONWARD,
    ROLLING,
    STEERED,
    WINDOW,
    Sampling,
    complete,
    grow,
    spread,
)
from minisora.flow import add_noise, to_noise
from minisora.joints import SHORTEST_FADE, dissolve, gentle_length, meeting, ordinary_step
from minisora.model import MiniSora
from minisora.sample import timesteps
from minisora.video import VideoClip
from minisora.worlds.captions import motionless, undirected

Direction = Literal["forward", "backward", "both"]
At = int | Literal["first", "middle", "last"]


def animate(
    model: MiniSora,
    image: VideoClip,
    prompt: str = "",
    *,
    frames: int = WINDOW,
    at: At = "first",
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Set an image in motion: it is one frame of a clip whose other frames are made.

    Args:
        image: a clip of one frame, of a size that the model makes.
        prompt: what happens.
        frames: 1 + 4k.
        at: which frame the image is: "first", "middle", "last" or its number from 0.

    Raises:
        ValueError: if the image has more frames than one, or `at` is no frame of the clip.
    """
    if image.frames != 1:
        raise ValueError(
            f"animate takes an image, this is a clip of {image.frames} frames; use extend, or give "
            "one of its frames."
        )
    place = {"first": 0, "middle": frames // 2, "last": frames - 1}.get(str(at), at)
    if not isinstance(place, int) or not 0 <= place < frames:
        raise ValueError(f"at={at!r}: give first, middle, last or a number from 0 to {frames - 1}.")
    video = image.video.expand(3, frames, -1, -1)
    known = torch.arange(frames) == place
    how = {"seed": seed, "sampling": sampling, "usual": STEERED}
    return VideoClip(complete(model, video, known, prompt, **how), image.fps, prompt)  # type: ignore[arg-type]


def extend(
    model: MiniSora,
    clip: VideoClip,
    frames: int,
    prompt: str | None = None,
    *,
    direction: Direction = "forward",
    context: int = 5,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Add frames after a clip, before it, or on both sides, window by window.

    Each window is completed from the frames next to it, so a clip can grow without end. How it goes on they tell better
    than words, so it is sampled calmly (`complete.ONWARD`); what a window before made is shown under a little noise
    (`complete.ROLLING`). Where a prompt is given, or a single frame shows no motion, words steer (`complete.STEERED`).

    Args:
        clip: at least `context` frames, of a size that the model makes.
        frames: how many to add on each side that grows, >= 1.
        prompt: what happens in the first window; by default the clip's own without directions, as these were said
            of its first frame, and it may have bounced off a wall since. So later windows are told none either.
        direction: "forward", "backward" or "both".
        context: frames that a new window sees, 1 + 4k and below `WINDOW`.

    Raises:
        ValueError: for a clip shorter than the context, or a number or direction out of range.
    """
    if direction not in ("forward", "backward", "both"):
        raise ValueError(f"direction={direction!r}: choose forward, backward or both.")
    if not 1 <= context < WINDOW or context % 4 != 1:
        raise ValueError(f"context={context}: give 1 + 4k frames below {WINDOW}.")
    if clip.frames < context or frames < 1:
        raise ValueError(
            f"Cannot add {frames} frames to a clip of {clip.frames} with a context of {context}; add "
            "at least one, and give a clip as long as the context."
        )
    onward = undirected(clip.prompt if prompt is None else prompt)
    video = clip.video
    for forward in (True, False):
        if direction != "both" and forward != (direction == "forward"):
            continue
        goal, window = video.shape[1] + frames, 0
        while video.shape[1] < goal:
            told = prompt is not None and window == 0
            calm = ROLLING if window else ONWARD
            usual = STEERED if told or context == 1 else calm
            words = prompt if told and prompt else onward
            video = grow(model, video, words, forward, context, seed + window, sampling, usual)
            window += 1
        video = video[:, :goal] if forward else video[:, -goal:]
    return VideoClip(video, clip.fps, clip.prompt if prompt is None else prompt)


def connect(
    model: MiniSora,
    a: VideoClip,
    b: VideoClip,
    frames: int | None = None,
    *,
    context: int = 5,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Lead from one clip to another; both are kept, and the frames between them are made.

    Clip a goes on while the past of clip b is made, each under its own prompt, and one dissolves into the other.
    (Asked to make such a change by itself, the model makes it within a frame or two: no clip it learned from had
    any.)

    Args:
        a, b: clips of one size and rate, at least `context` frames each.
        frames: frames between them; None for as many as `gentle_length` says.
        context: frames of each end that are seen, 1 + 4k.

    Raises:
        ValueError: if the clips do not fit each other, or a number is out of range.
    """
    if a.size != b.size or a.fps != b.fps:
        raise ValueError(
            f"{a!r} and {b!r} cannot be connected; bring them to one size and one frame rate."
        )
    frames = gentle_length(a.video, b.video) if frames is None else frames
    how = {"context": context, "seed": seed, "sampling": sampling}
    future = extend(model, a, frames, **how).video[:, a.frames :]  # type: ignore[arg-type]
    past = extend(model, b, frames, direction="backward", **how).video[:, :frames]  # type: ignore[arg-type]
    pace = ordinary_step(a.video), ordinary_step(b.video)
    video = torch.cat([a.video, dissolve(future, past, pace), b.video], dim=1)
    return VideoClip(video, a.fps, f"{a.prompt}, {b.prompt}".strip(", "))


def loop(
    model: MiniSora,
    clip: VideoClip,
    frames: int = 24,
    *,
    context: int = 5,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Make a clip that can be played round and round: it grows at both ends until they meet.

    The clip goes on, and its past is made; where the way out and the way back are alike, one turns into the other
    (`joints.meeting`). A digit is seldom back by itself so soon, as it has to bounce off two walls before it comes by
    on its old way; then the whole way out dissolves into the whole way back. In both cases the step from the last frame
    to the first is one from a clip's past to the clip.

    Args:
        frames: frames to add at each end at most, 4 or more.

    Other arguments and errors as in `extend`; the prompt is the clip's own, without directions.
    """
    if frames < SHORTEST_FADE:
        raise ValueError(f"frames={frames}: give a way back of at least {SHORTEST_FADE} frames.")
    how = {"context": context, "seed": seed, "sampling": sampling}
    future = extend(model, clip, frames, **how).video[:, clip.frames :]  # type: ignore[arg-type]
    past = extend(model, clip, frames, direction="backward", **how).video[:, :frames]  # type: ignore[arg-type]
    i, j, n = meeting(future, past, ordinary_step(clip.video))
    turn = dissolve(future[:, i : i + n], past[:, j : j + n])
    parts = [clip.video, future[:, :i], turn, past[:, j + n :]]
    return replace(clip, video=torch.cat(parts, dim=1))


def circle(
    model: MiniSora,
    prompt: str,
    *,
    frames: int = 16,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Make an endless loop from a prompt: the ring of frames is turned a little at every step.

    So the seam lies elsewhere at every step, and no place can keep one. The ring is turned in pixels,
    as the first latent frame of a clip is unlike the others: it holds one frame, they hold four. What the prompt says
    of motion is left out, as a ring is seldom long enough to go that way and come back.

    Args:
        frames, size: of the loop: a multiple of 4, and (height, width) in pixels.
    """
    group = model.config.vae.temporal
    noise = model.noise(frames + 1, size, seed)[None]  # the last frame is the first one again
    noise = sampling.manner(FREELY).temperature * noise
    denoise = sampling.denoiser(model, motionless(prompt))
    times = timesteps(sampling.steps, model.shift(noise.shape[2:]), device=model.device)
    turned, z, generator = 0, noise, torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for t, s in pairwise(times):
            guess = denoise(z, t.expand(1, noise.shape[2]))
            ring = model.vae.decode(guess).clamp(0.0, 1.0)  # 1 3 T+1 H W
            lost = guess - model.vae.encode(ring)  # an unsharp guess does not survive pixels
            ring = torch.cat([(ring[:, :, :1] + ring[:, :, -1:]) / 2, ring[:, :, 1:-1]], dim=2)
            turn = int(torch.randint(frames // group, (), generator=generator))
            ring, turned = ring.roll(-group * turn, dims=2), turned + group * turn
            rest = torch.cat([to_noise(z, guess, t), lost])  # 2 Z t h w
            rest = torch.cat([rest[:, :, :1], rest[:, :, 1:].roll(-turn, dims=2)], dim=2)
            clean = model.vae.encode(torch.cat([ring, ring[:, :, :1]], dim=2)) + rest[1:]
            z = add_noise(clean, rest[:1], s)
    video = ring[0].roll(turned, dims=1).cpu().clone()
    return VideoClip(video, model.config.fps, prompt)


def restyle(
    model: MiniSora,
    clip: VideoClip,
    prompt: str,
    *,
    strength: float = 0.7,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Make a clip anew under other words, keeping as much of it as noise of that strength leaves.

    Args:
        clip: 1 + 4k frames of a size that the model makes.
        prompt: what it shall show.
        strength: noise level to start from, in (0, 1]: small changes colors, large ones motion too.
    """
    nothing = torch.zeros(clip.frames, dtype=torch.bool)
    made = complete(
        model, clip.video, nothing, prompt, strength=strength, seed=seed, sampling=sampling
    )
    return replace(clip, video=made, prompt=prompt)


def inpaint(
    model: MiniSora,
    clip: VideoClip,
    mask: Tensor,
    prompt: str | None = None,
    *,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Make the masked pixels anew and keep all others.

    Args:
        clip: 1 + 4k frames of a size that the model makes.
        mask: bool (H, W), (T,) or (T, H, W), true where new pixels are wanted.
        prompt: what the whole clip shall show; by default the clip's own.

    Raises:
        ValueError: if the mask does not fit, or masks nothing.
    """
    words = clip.prompt if prompt is None else prompt
    video = clip.video
    wanted = spread(mask, video)
    if not wanted.any():
        raise ValueError("The mask is empty, so nothing is to be made; mark some pixels.")
    return replace(
        clip,
        video=complete(model, video, ~wanted, words, seed=seed, sampling=sampling),
        prompt=words,
    )
