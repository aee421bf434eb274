"""Do the edits do what they promise? Each on clips of the test world whose facts are known.

    python benchmarks/editing.py [--what animate extend rollout loop ...] [--clips 200]

- **animate**: the first frame of a real clip is set in motion: is the digit still that digit, does it go as asked?
- **extend**: a real clip is made four times as long: how much does the velocity change across the joint, against the
  same place in VAE reconstructions of real clips; which digit is read in the last window?
- **backward**: a past is made for a real clip, by the film turned round and by correcting every guess.
- **rollout**: the same if windows are sampled otherwise than by default, on fewer clips.
- **loop**, **circle**: what the step over the seam misses in place and in velocity, against an ordinary step; the
  largest change from frame to frame, all the way round; is there one digit all the time, or are there two ghosts?
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
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.bench import Bench
from benchmarks.common import RESULTS, machine, update_results
from benchmarks.editing_seams import measure_circle, measure_connect, measure_loop
from minisora.checkpoint import load_weights
from minisora.complete import FREELY, LASTING, ONWARD, ROLLING, Manner, Sampling
from minisora.edit import animate, extend, inpaint, restyle
from minisora.loading import load
from minisora.metrics.intervals import mean, share
from minisora.metrics.reader import load_reader
from minisora.metrics.reading import ANGLE, angle_between
from minisora.metrics.seams import BEAT, joint_change
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
        "backward",
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


def is_straight(scene: Scene, joint: int) -> bool:
    """Whether its digit meets no wall around the frame."""
    path = scene.positions()[joint - BEAT - 1 : joint + BEAT + 1, 0]
    return bool(np.abs(np.diff(path, 2, axis=0)).max() < 1e-6)


def measure_extend(
    bench: Bench, length: int = 17, sampling: Sampling = Sampling()
) -> dict[str, Any]:
    """Continuity of the motion at the joint, and identity at four times the length."""
    ours, theirs, soon, late, exact = [], [], [], [], []
    for i, scene in enumerate(tqdm(bench.scenes(33), desc="extend")):
        clip, label = bench.draw(scene), scene.digits[0].label
        start = replace(clip, video=clip.video[:, :length])
        made = extend(bench.model, start, 3 * length, seed=100 * i, sampling=sampling).video
        exact.append(made[:, :length].equal(start.video))
        soon.append(bench.shows(made[:, length : 2 * length], label))
        late.append(bench.shows(made[:, -length:], label))
        if is_straight(scene, length):
            with torch.inference_mode():
                decoded = bench.model.vae.reconstruct(clip.video[None])[0]
            ours.append(joint_change(made, length))
            theirs.append(joint_change(decoded, length))
    figures = {"given_exact": share(exact), "identity_next": share(soon)}
    figures |= {"identity_at_end": share(late)}
    return figures | {"joint_change": mean(ours), "joint_change_reconstructed": mean(theirs)}


def measure_backward(bench: Bench) -> dict[str, Any]:
    """A past by the film turned round, and by correcting every guess: the bend at the joint, identity, seconds."""
    ways = {"turned": True, "corrected": False}
    bends: dict[str, list[float]] = {name: [] for name in ways}
    kept: dict[str, list[bool]] = {name: [] for name in ways}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for i, scene in enumerate(tqdm(bench.scenes(33), desc="backward")):
        clip = bench.draw(scene)
        later = replace(clip, video=clip.video[:, 16:])
        for name, reversible in ways.items():
            how, began = Sampling(reversible=reversible), time.perf_counter()
            made = extend(bench.model, later, 12, direction="backward", seed=i, sampling=how).video
            spent[name].append(time.perf_counter() - began)
            kept[name].append(bench.shows(made[:, :12], scene.digits[0].label))
            if is_straight(scene, 16):
                bends[name].append(joint_change(made, 12))
    figures = {f"joint_change_{name}": mean(bends[name]) for name in ways}
    figures |= {f"identity_{name}": share(kept[name]) for name in ways}
    return figures | {"times_faster": sum(spent["corrected"]) / sum(spent["turned"])}


def as_in(manner: Manner) -> Sampling:
    """All windows in one manner."""
    return Sampling(**asdict(manner))


ROLLOUTS = {
    "as freely as a clip from words": as_in(FREELY),
    "- and what is given under noise 0.2": as_in(LASTING),
    "from noise scaled by 0.7": replace(as_in(ROLLING), context_noise=0.0),
    "- and what is given under noise 0.1": as_in(ROLLING),
    "from noise scaled by 0.4, without guidance": as_in(ONWARD),
    "the first window so, later ones scaled by 0.7 and under noise 0.1 (default)": Sampling(),
    "- and history guidance 1.5": Sampling(history_scale=1.5),
}


def measure_rollout(bench: Bench) -> dict[str, Any]:
    """What keeps a roll-out from drifting, and its motion even."""
    few = replace(bench, clips=max(1, bench.clips // 4))
    return {title: measure_extend(few, sampling=how) for title, how in ROLLOUTS.items()}


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
    "backward": measure_backward,
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
