"""What `editing.py` measures of loops and connections: is the seam a step like all others, and is nothing abrupt?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.bench import Bench
from minisora.edit import circle, connect, loop
from minisora.joints import ordinary_step
from minisora.metrics.intervals import mean, share
from minisora.metrics.seams import seam_error
from minisora.metrics.tracks import find_tracks
from minisora.video import VideoClip


def measure_seams(
    bench: Bench, make: Callable[[VideoClip, int], Tensor], title: str
) -> dict[str, Any]:
    """Share of loops whose seam, in place and in velocity, is at most 1.5 ordinary steps, and what else they show.

    An ordinary step is the mean one of all that moves in the loop. The largest step is the largest change of pixels
    from frame to frame, all the way round, against those of a real clip; in one that is `whole` each frame shows one
    digit.
    """
    good, place, velocity, worst, whole = [], [], [], [], []
    for i, scene in enumerate(tqdm(bench.scenes(), desc=title)):
        clip = bench.draw(scene)
        video = make(clip, i)
        tracks = find_tracks(video)
        steps = [np.hypot(*np.diff(track.centre, axis=0).T) for track in tracks]
        miss, turn = seam_error(video)
        good.append(bool(tracks and max(miss, turn) <= 1.5 * np.nanmean(np.concatenate(steps))))
        if np.isfinite(miss):
            place.append(miss)
            velocity.append(turn)
        ring = torch.cat([video, video[:, :1]], dim=1).diff(dim=1).abs().mean(dim=(0, 2, 3))
        worst.append(float(ring.max()) / ordinary_step(clip.video))
        whole.append(bool((np.sum([t.present for t in tracks], axis=0) == 1).all()))
    figures = {"seamless": share(good), "position_px": mean(place), "velocity_px": mean(velocity)}
    smooth = share([step <= 2 for step in worst])
    return figures | {"smooth": smooth, "largest_step": mean(worst), "whole": share(whole)}


def measure_loop(bench: Bench) -> dict[str, Any]:
    """Loops of real clips."""
    return measure_seams(bench, lambda clip, i: loop(bench.model, clip, seed=i).video, "loop")


def measure_circle(bench: Bench) -> dict[str, Any]:
    """Loops from prompts."""
    return measure_seams(
        bench, lambda clip, i: circle(bench.model, clip.prompt, seed=i).video, "circle"
    )


def measure_connect(bench: Bench) -> dict[str, Any]:
    """Share of transitions without a jump of more than two ordinary steps.

    An ordinary step is a mean one of clip a where the transition begins, of clip b where it ends, and goes evenly
    from one to the other between. The largest step of the clips themselves tells how uneven real motion is.
    """
    worst, exact, lengths = [], [], []
    real: list[float] = []
    floor: list[float] = []
    scenes = bench.scenes(clips=bench.clips + 1)
    for i in tqdm(range(bench.clips), desc="connect"):
        a, b = bench.draw(scenes[i]), bench.draw(scenes[i + 1])
        made = connect(bench.model, a, b, seed=i).video
        window = made[:, a.frames - 1 : made.shape[1] - b.frames + 1]
        steps = window.diff(dim=1).abs().mean(dim=(0, 2, 3))
        share_of_b = torch.linspace(0, 1, len(steps))
        ordinary = ordinary_step(a.video) * (1 - share_of_b) + ordinary_step(b.video) * share_of_b
        worst.append(float((steps / ordinary).max()))
        with torch.inference_mode():
            decoded = bench.model.vae.reconstruct(a.video[None])[0]
        for found, film in ((real, a.video), (floor, decoded)):
            change = film.diff(dim=1).abs().mean(dim=(0, 2, 3))
            found.append(float(change.max() / change.mean()))
        exact.append(made[:, : a.frames].equal(a.video) and made[:, -b.frames :].equal(b.video))
        lengths.append(float(len(steps) - 1))
    figures = {"ends_exact": share(exact), "smooth": share([bool(w <= 2) for w in worst])}
    figures |= {"largest_step": mean(worst), "largest_step_real": mean(real)}
    return figures | {"largest_step_reconstructed": mean(floor), "frames": mean(lengths)}
