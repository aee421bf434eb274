"""Clips longer than any trained on, made in four ways: three in one go, one as a roll-out.

In one go the network sees the whole clip, but positions in time that it never met. They are
extrapolated (RoPE has angles for any), interpolated, or scaled frequency by frequency ("ntk", see
`rope.RopeScaling`). In a roll-out it never sees more than a window: each window of 17 frames follows
from the last frames of the one before it, so there is no position it does not know, and nothing that
ties a window to what lies further back.

Stands on `model` and `edit`. `benchmarks/sizes.py` compares the four.
"""

from __future__ import annotations

from typing import Literal, get_args

from minisora.complete import FREELY, WINDOW, Sampling
from minisora.edit import extend
from minisora.grids import check_frames
from minisora.model import MiniSora
from minisora.video import VideoClip

How = Literal["extrapolate", "interpolate", "ntk", "roll-out"]
HOWS: tuple[How, ...] = get_args(How)


def generate_long(
    model: MiniSora,
    prompt: str = "",
    *,
    frames: int = 65,
    how: How = "roll-out",
    size: tuple[int, int] = (64, 64),
    context: int = 5,
    seed: int = 0,
    sampling: Sampling = Sampling(),
) -> VideoClip:
    """Make one clip of any length.

    Args:
        prompt: what it shows.
        frames: 1 + 4k.
        how: "extrapolate", "interpolate" or "ntk" make it in one go, "roll-out" window by window.
        size: (height, width) in pixels, multiples of 16.
        context: frames that a window of the roll-out sees of the one before it, 1 + 4k and below 17.
        seed: of the noise; window n of a roll-out uses seed + n.

    Raises:
        ValueError: for another way, or a length or size that is not allowed.
    """
    if how not in HOWS:
        raise ValueError(f"how={how!r}: choose one of {', '.join(HOWS)}.")
    manner = sampling.manner(FREELY)
    told = {
        "steps": sampling.steps,
        "guidance_scale": manner.guidance_scale,
        "guidance_interval": manner.guidance_interval,
        "pag_scale": manner.pag_scale,
        "sampler": sampling.sampler,
        "progress": sampling.progress,
    }
    if how == "roll-out" and frames > WINDOW:
        check_frames(frames, model.config.vae.temporal)  # `generate` sees a window's alone
        first = model.generate(prompt, frames=WINDOW, size=size, seed=seed, **told)
        added = frames - WINDOW
        return extend(model, first, added, context=context, seed=seed + 1, sampling=sampling)
    scaling = None if how in ("extrapolate", "roll-out") else how
    return model.generate(prompt, frames=frames, size=size, seed=seed, scaling=scaling, **told)
