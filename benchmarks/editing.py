"""Do the edits do what they promise? Each on clips of the test world whose facts are known.

    python benchmarks/editing.py [--what animate extend rollout loop ...] [--clips 200]

- **animate**: the first frame of a real clip is set in motion: is the digit still that digit, does it go as asked?
- **extend**: a real clip is made four times as long: how much does the velocity change across the joint, against the
  same place in VAE reconstructions of real clips; which digit is read in the last window?
- **rollout**: the same under more or less noise on what is given, and guidance by it, on a quarter of the clips.
- **loop**, **circle**: what the step over the seam misses in place and in velocity, against an ordinary step.
- **connect**: the largest change from frame to frame in the transition, against an ordinary one.
- **restyle**: a clip is given another color and background at several strengths: are they reached, and how far is
  its path from the old one?
- **inpaint**: one of two digits is painted over: is it gone, and the other untouched?
- **story**: 60 s from one prompt: identity and number of digits to the end, window by window.

Results go to `benchmarks/results/editing.json`, a section each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.bench import Bench
from benchmarks.common import RESULTS, machine, update_results
from minisora.checkpoint import load_weights
from minisora.complete import Sampling
from minisora.edit import (
    animate,
    circle,
    connect,
    extend,
    inpaint,
    loop,
    restyle,
)
from minisora.joints import ordinary_step
from minisora.loading import load
from minisora.metrics.intervals import mean, share
from minisora.metrics.reader import load_reader
from minisora.metrics.reading import ANGLE, angle_between
from minisora.metrics.seams import BEAT, joint_change, seam_error
from minisora.metrics.tracks import find_tracks
from minisora.story import parse_story, roll_out
from minisora.worlds import COLORS, Scene, caption
from minisora.worlds.backgrounds import BACKGROUNDS

STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass
class Settings:
    """Quality of the edits."""

    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    what: tuple[str, ...] = (
        "animate",
        "extend",
        "rollout",
        "loop",
        "circle",
        "connect",
        "restyle",
        "inpaint",
        "story",
    )
    """Which edits to measure."""
    clips: int = 200
    """Clips of each edit; of stories a tenth."""
    fast: bool = False
    """Make clips in bfloat16, see `minisora.load`."""
    out: Path = RESULTS / "editing.json"
    """Where results go."""


def measure_animate(bench: Bench) -> dict[str, Any]:
    """Identity kept and direction followed."""
    kept, real, followed = [], [], []
    for i, scene in enumerate(tqdm(bench.scenes(), desc="animate")):
        clip, asked = bench.draw(scene), scene.digits[0]
        made = animate(bench.model, replace(clip, video=clip.video[:, :1]), clip.prompt, seed=i)
        seen = bench.read(made.video).digits
        kept.append(bench.shows(made.video, asked.label))
        real.append(bench.shows(clip.video, asked.label))
        followed.append(bool(seen) and angle_between(seen[0].motion, asked.direction) < ANGLE)
    figures = {"identity_kept": share(kept), "identity_real": share(real)}
    return figures | {"direction_followed": share(followed)}


def measure_extend(bench: Bench, length: int = 17) -> dict[str, Any]:
    """Continuity of the motion at the joint, and identity at four times the length."""
    ours, theirs, kept, exact = [], [], [], []
    for i, scene in enumerate(tqdm(bench.scenes(33), desc="extend")):
        clip = bench.draw(scene)
        start = replace(clip, video=clip.video[:, :length])
        made = extend(bench.model, start, 3 * length, seed=100 * i).video
        exact.append(made[:, :length].equal(start.video))
        kept.append(bench.shows(made[:, -length:], scene.digits[0].label))
        path = scene.positions()[length - BEAT - 1 : length + BEAT + 1, 0]
        if np.abs(np.diff(path, 2, axis=0)).max() < 1e-6:  # the true digit meets no wall there
            with torch.inference_mode():
                decoded = bench.model.vae.reconstruct(clip.video[None])[0]
            ours.append(joint_change(made, length))
            theirs.append(joint_change(decoded, length))
    figures = {"given_exact": share(exact), "identity_at_end": share(kept)}
    return figures | {"joint_change": mean(ours), "joint_change_reconstructed": mean(theirs)}


def measure_rollout(bench: Bench, length: int = 17) -> dict[str, Any]:
    """What keeps a roll-out from drifting: noise on what it made before, guidance by it."""
    found = {}
    for noise, scale in ((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.0, 1.5), (0.2, 1.5)):
        kept, next_kept = [], []
        how = Sampling(context_noise=noise, history_scale=scale)
        title = f"noise {noise:g}, history guidance {scale:g}"
        scenes = bench.scenes(33, clips=max(1, bench.clips // 4))
        for i, scene in enumerate(tqdm(scenes, desc=title)):
            clip = bench.draw(scene)
            start = replace(clip, video=clip.video[:, :length])
            made = extend(bench.model, start, 3 * length, seed=100 * i, sampling=how).video
            next_kept.append(bench.shows(made[:, length : 2 * length], scene.digits[0].label))
            kept.append(bench.shows(made[:, -length:], scene.digits[0].label))
        found[title] = {"identity_next": share(next_kept), "identity_at_end": share(kept)}
    return found


def measure_seams(bench: Bench, make: Callable[[Scene, int], Tensor], title: str) -> dict[str, Any]:
    """Share of loops whose seam, in place and in velocity, is at most 1.5 ordinary steps, and the means."""
    good, place, velocity = [], [], []
    for i, scene in enumerate(tqdm(bench.scenes(), desc=title)):
        video = make(scene, i)
        around = [t.centre for t in find_tracks(video) if t.present[[0, -1]].all()]
        steps = [np.nanmean(np.hypot(*np.diff(centre, axis=0).T)) for centre in around]
        miss, turn = seam_error(video)
        good.append(bool(steps and max(miss, turn) <= 1.5 * max(steps)))
        if np.isfinite(miss):
            place.append(miss)
            velocity.append(turn)
    return {"seamless": share(good), "position_px": mean(place), "velocity_px": mean(velocity)}


def measure_loop(bench: Bench) -> dict[str, Any]:
    """Loops of real clips."""
    return measure_seams(
        bench, lambda scene, i: loop(bench.model, bench.draw(scene), seed=i).video, "loop"
    )


def measure_circle(bench: Bench) -> dict[str, Any]:
    """Loops from prompts."""
    return measure_seams(
        bench, lambda scene, i: circle(bench.model, caption(scene), seed=i).video, "circle"
    )


def measure_connect(bench: Bench) -> dict[str, Any]:
    """Share of transitions without a jump of more than two ordinary steps.

    An ordinary step is a mean one of clip a where the transition begins, of clip b where it ends, and goes evenly
    from one to the other between. The largest step of the clips themselves tells how uneven real motion is.
    """
    worst, real, exact, lengths = [], [], [], []
    scenes = bench.scenes(clips=bench.clips + 1)
    for i in tqdm(range(bench.clips), desc="connect"):
        a, b = bench.draw(scenes[i]), bench.draw(scenes[i + 1])
        made = connect(bench.model, a, b, seed=i).video
        window = made[:, a.frames - 1 : made.shape[1] - b.frames + 1]
        steps = window.diff(dim=1).abs().mean(dim=(0, 2, 3))
        share_of_b = torch.linspace(0, 1, len(steps))
        ordinary = ordinary_step(a.video) * (1 - share_of_b) + ordinary_step(b.video) * share_of_b
        worst.append(float((steps / ordinary).max()))
        in_a = a.video.diff(dim=1).abs().mean(dim=(0, 2, 3))
        real.append(float(in_a.max() / in_a.mean()))
        exact.append(made[:, : a.frames].equal(a.video) and made[:, -b.frames :].equal(b.video))
        lengths.append(float(len(steps) - 1))
    figures = {"ends_exact": share(exact), "smooth": share([bool(w <= 2) for w in worst])}
    figures |= {"largest_step": mean(worst), "largest_step_real": mean(real)}
    return figures | {"frames": mean(lengths)}


def measure_restyle(bench: Bench) -> dict[str, Any]:
    """Color and background reached, and distance of the path, at each strength."""
    found = {}
    for strength in STRENGTHS:
        color, ground, label, path = [], [], [], []
        for i, scene in enumerate(tqdm(bench.scenes(), desc=f"restyle {strength:g}")):
            rng, old = np.random.default_rng(i), scene.digits[0]
            hue = str(rng.choice([c for c in COLORS if c != old.color]))
            back = str(rng.choice([b for b in BACKGROUNDS if b != scene.background]))
            wanted = replace(scene, background=back, digits=(replace(old, color=hue),))
            made = restyle(
                bench.model, bench.draw(scene), caption(wanted), strength=strength, seed=i
            ).video
            seen, tracks = bench.read(made), find_tracks(made)
            color.append([d.color for d in seen.digits] == [hue])
            ground.append(seen.background == back)
            label.append([d.label for d in seen.digits] == [old.label])
            if len(tracks) == 1 and tracks[0].present.all():
                true = find_tracks(bench.draw(scene).video)[0].centre
                path.append(float(np.hypot(*(tracks[0].centre - true).T).mean()))
        found[f"{strength:g}"] = {
            "color_reached": share(color),
            "background_reached": share(ground),
            "digit_kept": share(label),
            "path_px": mean(path),
        }
    return found


def measure_inpaint(bench: Bench) -> dict[str, Any]:
    """Whether a painted-over digit is gone and the other one still there."""
    gone = []
    for i, scene in enumerate(tqdm(bench.scenes(digits=2), desc="inpaint")):
        clip, (back, front) = bench.draw(scene), scene.digits
        mask = torch.zeros(clip.frames, *clip.size, dtype=torch.bool)
        for t, (top, left, bottom, right) in enumerate(scene.boxes()[:, 0]):
            mask[
                t, max(0, int(top) - 2) : int(bottom) + 3, max(0, int(left) - 2) : int(right) + 3
            ] = True
        words = caption(replace(scene, digits=(front,)))
        seen = bench.read(inpaint(bench.model, clip, mask, words, seed=i).video).digits
        gone.append([d.color for d in seen] == [front.color] and back.color != front.color)
    return {"removed": share(gone)}


def measure_story(bench: Bench, seconds: float = 60.0) -> dict[str, Any]:
    """Identity and number along a minute, in tenths of it."""
    kept: list[list[bool]] = [[] for _ in range(10)]
    for i, scene in enumerate(bench.scenes(clips=max(1, bench.clips // 10))):
        with tempfile.TemporaryDirectory() as folder:
            made = roll_out(
                bench.model, parse_story(caption(scene)), seconds, Path(folder), seed=1000 * i
            )
            for _ in tqdm(made, desc=f"story {i}"):
                pass
            parts = [
                load_weights(p, dtype=None)[0]["frames"]
                for p in sorted(Path(folder).glob("*.safetensors"))
            ]
        video = torch.cat(parts, dim=1).float() / 255
        for tenth, piece in zip(kept, video.chunk(10, dim=1), strict=True):
            tenth.append(bench.shows(piece, scene.digits[0].label))
    return {"one_digit_as_asked": [share(tenth) for tenth in kept]}


MEASURES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "animate": measure_animate,
    "extend": measure_extend,
    "rollout": measure_rollout,
    "loop": measure_loop,
    "circle": measure_circle,
    "connect": measure_connect,
    "restyle": measure_restyle,
    "inpaint": measure_inpaint,
    "story": measure_story,
}


def main(settings: Settings) -> None:
    """Measure what is asked, and write each section as it comes."""
    bench = Bench(load(settings.checkpoint, fast=settings.fast), load_reader(), settings.clips)
    for name in settings.what:
        figures = MEASURES[name](bench)
        about = {"clips": settings.clips, "fast": settings.fast, "machine": machine()}
        update_results(settings.out, {name: about | figures})
        print(name, figures)
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
