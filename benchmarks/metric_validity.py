"""Do the measures measure? Known damage in four strengths, against every distance and every tracker.

    python benchmarks/metric_validity.py [--clips 500]

- **ladder**: for each corruption of `metrics.corruptions` and each strength, the distance of damaged clips to
  other, whole ones, on both judges. It must rise with the strength.
- **alarms**: the share of clips in which each tracker of `metrics.physics` fires, on whole clips and on each
  damage at full strength: the matching one must, the others must not.
- **trackers**: what the trackers and the reader say of whole clips, against the facts: their own accuracy.

What to know of it: the judges were trained to notice three of these kinds (`judge.DAMAGE`: freeze, shuffle, reverse),
and the limits of the alarms were chosen on 60 clips of another world, seed 9201.

Results go to `benchmarks/results/metric_validity.json`, the figure beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

import itertools

from benchmarks.common import RESULTS, machine, update_results
from minisora.metrics.corruptions import CORRUPTIONS, STRENGTHS, draw
from minisora.metrics.distance import frechet_distance, kernel_distance
from minisora.metrics.intervals import mean, share
from minisora.metrics.judge import Judge, load_judge
from minisora.metrics.physics import Physics, TrackPhysics, measure_physics
from minisora.metrics.reader import load_reader
from minisora.metrics.reading import ATTRIBUTES, compare, read_clip
from minisora.metrics.suite import embed_world
from minisora.metrics.tracks import find_tracks
from minisora.worlds import MovingMNIST, Scene, WorldConfig

WHOLE_SEED, DAMAGED_SEED = 9200, 9202  # worlds of the clips compared with, and of those damaged

ALARMS: dict[str, Callable[[Physics], bool]] = {
    "sharpness": lambda p: p.sharpness < 0.25,
    "grain": lambda p: p.grain > 0.02,
    "path": lambda p: _any(p, lambda t: t.motion is not None and t.motion.error > 1.0),
    "speed": lambda p: _any(p, lambda t: t.speed_error > 0.5),
    "teleport": lambda p: _any(p, lambda t: t.teleports > 0),
    "shape": lambda p: _any(p, lambda t: t.breaks > 0),
    "color": lambda p: _any(p, lambda t: t.color_change > 0.35),
    "count": lambda p: not p.count_constant,
}
"""Trackers as alarms, each with the limit that tells whole clips from broken ones."""


def _any(physics: Physics, fires: Callable[[TrackPhysics], bool]) -> bool:
    return any(fires(track) for track in physics.tracks)


@dataclass
class Settings:
    """Validity of the metrics: corruption ladder, alarms, trackers."""

    clips: int = 500
    """Clips for each corruption and strength."""
    draws: int = 100
    """Bootstrap draws of each distance."""
    judges: tuple[int, ...] = (0, 1)
    """Which shipped judges look."""
    out: Path = RESULTS / "metric_validity.json"
    """Where results go; the figure stands beside it."""


def scenes(seed: int, count: int) -> list[Scene]:
    """Facts of the first clips of a test world of 17x64x64."""
    world = MovingMNIST(WorldConfig(split="test", held_out="any"), seed=seed)
    return [world.scene(i) for i in range(count)]


def damaged(name: str, strength: int, facts: Sequence[Scene]) -> list[Tensor]:
    """The clips of these facts, damaged; strength 0 leaves them whole."""
    if not strength:
        return [draw(scene) for scene in facts]
    damage = CORRUPTIONS[name]
    return [
        damage(scene, strength, np.random.default_rng((DAMAGED_SEED, i)))
        for i, scene in enumerate(facts)
    ]


def ladder(judges: Sequence[Judge], settings: Settings) -> dict[str, Any]:
    """Distances for each corruption and strength 0 to 4, on each judge, and whether they rise."""
    world = MovingMNIST(WorldConfig(split="test", held_out="any"), seed=WHOLE_SEED)
    whole = embed_world(judges, world, settings.clips)
    facts = scenes(DAMAGED_SEED, settings.clips)
    clean = [judge.embed(damaged("", 0, facts)) for judge in judges]
    found: dict[str, Any] = {}
    for name in tqdm(CORRUPTIONS, desc="ladder"):
        steps = [clean]
        for strength in STRENGTHS:
            videos = damaged(name, strength, facts)
            steps.append([judge.embed(videos) for judge in judges])
        found[name] = {
            f"judge {n}": distances([step[k] for step in steps], whole[k], settings.draws)
            for k, n in enumerate(settings.judges)
        }
    return found


def distances(steps: Sequence[Tensor], whole: Tensor, draws: int) -> dict[str, Any]:
    """Kernel and Frechet distance at each strength, and whether each of them rises at every step."""
    kernel = [kernel_distance(features, whole, draws) for features in steps]
    frechet = [frechet_distance(features, whole, draws // 4) for features in steps]

    def rises(values: Sequence[float]) -> bool:
        return all(a < b for a, b in itertools.pairwise(values))

    return {
        "kernel": [asdict(step) for step in kernel],
        "frechet": [asdict(step) for step in frechet],
        "kernel_rises": rises([step.value for step in kernel]),
        "frechet_rises": rises([step.value for step in frechet]),
    }


def alarms(settings: Settings) -> dict[str, Any]:
    """Share of clips in which each tracker fires, on whole clips and on each damage at full strength."""
    facts = scenes(DAMAGED_SEED, settings.clips)
    found = {}
    for name in tqdm(("whole", *CORRUPTIONS), desc="alarms"):
        physics = [
            measure_physics(v) for v in damaged(name, 4 if name in CORRUPTIONS else 0, facts)
        ]
        found[name] = {alarm: share([fires(p) for p in physics]) for alarm, fires in ALARMS.items()}
    return found


def trackers(settings: Settings) -> dict[str, Any]:
    """How often the reader is right about whole clips, and how far tracks are from the facts."""
    reader = load_reader()
    right: dict[str, list[bool]] = {name: [] for name in ("objects", *ATTRIBUTES)}
    place: list[float] = []
    velocity: list[float] = []
    for scene in tqdm(scenes(WHOLE_SEED, settings.clips), desc="trackers"):
        video = draw(scene)
        tracks = find_tracks(video)
        right["objects"].append({t.color for t in tracks} == {d.color for d in scene.digits})
        for name, ok in compare(scene, read_clip(video, reader, tracks)).items():
            right[name].append(ok)
        seen = read_clip(video, reader, tracks)
        boxes = scene.boxes()
        for track in tracks:
            known = [n for n, d in enumerate(scene.digits) if d.color == track.color]
            if known and track.clear.any():
                gap = track.box[track.clear] - boxes[track.clear, known[0]]
                place.append(float(np.abs(gap).mean()))
        for digit in seen.digits:
            asked = [d for d in scene.digits if d.color == digit.color]
            if asked and digit.motion:
                velocity.append(
                    float(np.hypot(*np.subtract(digit.motion.velocity, asked[0].velocity)))
                )
    return {
        "right": {name: share(values) for name, values in right.items()},
        "box_error_px": mean(place),
        "velocity_error_px_per_frame": mean(velocity),
    }


def plot(found: dict[str, Any], path: Path) -> None:
    """Distance against strength, a panel for each corruption, a line for each judge."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 3, figsize=(9, 7), sharex=True, layout="constrained")
    for ax, (name, judges) in zip(axes.flat, found.items(), strict=True):
        for judge, figures in judges.items():
            values = [step["value"] for step in figures["kernel"]]
            low = [step["low"] for step in figures["kernel"]]
            high = [step["high"] for step in figures["kernel"]]
            ax.plot(range(5), values, marker="o", label=judge)
            ax.fill_between(range(5), low, high, alpha=0.2)
        ax.set_title(name)
        ax.set_xticks(range(5))
    figure.supxlabel("strength (0: whole clips)")
    figure.supylabel("kernel distance to whole clips")
    axes.flat[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(settings: Settings) -> None:
    """Measure, print and write."""
    judges = [load_judge(n) for n in settings.judges]
    with torch.inference_mode():
        found = {"trackers": trackers(settings), "alarms": alarms(settings)}
        found["ladder"] = ladder(judges, settings)
    for name, figures in found["ladder"].items():
        marks = [
            f"{j}: {'rises' if f['kernel_rises'] else 'DOES NOT RISE'}" for j, f in figures.items()
        ]
        print(f"{name:<16}{'   '.join(marks)}")
    for name, figure in found["trackers"]["right"].items():
        print(f"{name:<16}{figure['value']:.1%} right on whole clips")
    told = {"clips": settings.clips, "machine": machine()}
    update_results(settings.out, {"about": told, **found})
    plot(found["ladder"], settings.out.with_suffix(".png"))
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
