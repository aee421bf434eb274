"""Any size, from one model: fidelity and physics over sizes and lengths, long clips, drafts.

    python benchmarks/sizes.py [CHECKPOINT] [--what sweep long draft] [--clips 100] [--figure outputs/sizes.png]

- **sweep**: clips of the test world in sizes from 32 to 128 pixels a side (17 frames), and of 1 to 65 frames
  (64x64): each attribute of the prompts, and the physics, beside those of real clips of that size. Sizes are marked
  as trained or never trained. `untrained` lists, for each that never was, the nearest trained ones (in log size),
  and how many points it falls behind them: attribute by attribute, and with all attributes right.
- **long**: 65 frames of one digit in one go (positions extrapolated, interpolated, NTK-scaled) and as a roll-out:
  for every frame the share of clips with exactly one object, and with the digit asked for; real clips beside them.
- **draft**: the same prompt and seed at a small and at full size. Full size continues the draft, as
  `generate(draft=...)` does, or has noise that is related to the draft's and no more, or unrelated noise: is the same
  digit read, does it go the same way, and how far apart are the places where it starts?

Every cell is written as it comes to `benchmarks/results/sizes.json`, and one that is there is not made again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from benchmarks.sizes_figure import draw_figure
from minisora.complete import Sampling
from minisora.config import ClipSize
from minisora.grids import DRAFT_LEVEL
from minisora.loading import checkpoint_folder, load
from minisora.longer import HOWS, generate_long
from minisora.metrics.intervals import mean, share
from minisora.metrics.physics import measure_physics
from minisora.metrics.reader import DigitReader, load_reader, normalize_digit
from minisora.metrics.reading import ANGLE, ATTRIBUTES, SeenDigit, compare, read_clip
from minisora.metrics.suite import EvaluationConfig, generated, physics_figures, prompts, real
from minisora.metrics.tracks import find_tracks
from minisora.model import MiniSora
from minisora.worlds import COLORS, MovingMNIST, Scene, WorldConfig, caption

SIDES = (32, 48, 64, 96, 128)
LENGTHS = (1, 5, 9, 13, 25, 33, 49, 65)
LONG = 65
DRAFTS = (((32, 32), (64, 64)), ((48, 48), (96, 96)), ((64, 64), (96, 96)), ((32, 96), (64, 128)))
DRAFTED = {"draft continued": DRAFT_LEVEL, "related noise": 1.0, "unrelated noise": None}
"""Ways to make the full size of a draft: the level at which it takes over; None knows nothing of the draft."""
POINTS = 10.0  # percentage points that an untrained size may fall behind its trained neighbors
SEED = 9500  # of the test worlds of long clips


@dataclass
class Settings:
    """Fidelity and physics over sizes and lengths, long clips, and drafts."""

    checkpoint: tyro.conf.Positional[str] = "moving-mnist"
    """A shipped checkpoint or a folder."""
    what: tuple[str, ...] = ("sweep", "long", "draft")
    """Which sections to measure."""
    clips: int = 100
    """Clips of each cell; of long ones and of drafts half as many."""
    batch: int = 10
    """Clips made at once."""
    steps: int = 30
    """Sampler steps."""
    only: tuple[str, ...] = ()
    """Sizes of the sweep to measure, e.g. 17x64x64, any of whole patches; by default those of the figure."""
    out: Path = RESULTS / "sizes.json"
    """Where results go."""
    figure: Path | None = None
    """Where to draw the heat map and the curves; by default nowhere."""


@dataclass
class Bench:
    """A model, a reader, and how to use them."""

    model: MiniSora
    reader: DigitReader
    settings: Settings


# ------------------------------------------------------------------------------------------- sweep


def cells() -> list[ClipSize]:
    """All sizes of the sweep."""
    shapes = [ClipSize(17, height, width) for height in SIDES for width in SIDES]
    return [*shapes, *(ClipSize(frames, 64, 64) for frames in LENGTHS)]


def measure_cell(bench: Bench, size: ClipSize) -> dict[str, Any]:
    """Fidelity and physics of one size, of made and of real clips."""
    told = bench.settings
    config = EvaluationConfig(clips=told.clips, size=(size.frames, size.height, size.width))
    scenes, captions = prompts(config)
    made = generated(bench.model, config, told.batch, steps=told.steps)
    facts: dict[str, Any] = {"trained": size in bench.model.sizes, "clips": told.clips}
    for name, source in (("made", made), ("real", real)):
        right, physics = [], []
        for scene, video in zip(scenes, source(scenes, captions), strict=True):
            tracks = find_tracks(video)
            right.append(compare(scene, read_clip(video, bench.reader, tracks)))
            if size.frames > 1:
                physics.append(measure_physics(video, tracks))
        figures = {attribute: share([r[attribute] for r in right]) for attribute in ATTRIBUTES}
        figures["all"] = share([all(r.values()) for r in right])
        facts[name] = {"fidelity": figures, "physics": physics_figures(physics) if physics else {}}
    return facts


def distance(a: ClipSize, b: ClipSize) -> float:
    """How far two sizes are from each other: doublings of frames, height and width."""
    pairs = ((a.frames, b.frames), (a.height, b.height), (a.width, b.width))
    return math.sqrt(sum(math.log2(x / y) ** 2 for x, y in pairs))


def untrained(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Each size never trained, its nearest trained ones, and how many points it falls behind their mean."""
    known = {ClipSize(*map(int, name.split("x"))): cell for name, cell in sweep.items()}
    trained = [size for size, cell in known.items() if cell["trained"]]
    rows = []
    for size, cell in known.items():
        if cell["trained"] or not trained:
            continue
        nearest = min(distance(size, other) for other in trained)
        near = [other for other in trained if distance(size, other) <= nearest + 1e-9]
        behind = {}
        for name in (*ATTRIBUTES, "all"):
            theirs = [known[other]["made"]["fidelity"][name]["value"] for other in near]
            behind[name] = 100 * (np.mean(theirs) - cell["made"]["fidelity"][name]["value"])
        within = all(points <= POINTS for points in behind.values())
        names = [str(other) for other in near]
        rows.append({"size": str(size), "near": names, "behind": behind, "within": within})
    return sorted(rows, key=lambda row: max(row["behind"].values()))


# -------------------------------------------------------------------------------------------- long


def follow(video: Tensor, scene: Scene, reader: DigitReader) -> tuple[list[bool], list[bool]]:
    """For each frame: is exactly one object there, and is it the digit asked for?"""
    tracks = find_tracks(video)
    count = sum((track.present.astype(int) for track in tracks), np.zeros(video.shape[1], int))
    if not tracks:
        return [False] * len(count), [False] * len(count)
    frames = torch.stack([normalize_digit(mask) for mask in tracks[0].masks])[:, None]
    with torch.no_grad():
        labels = reader(frames).argmax(1).numpy()
    right = (labels == scene.digits[0].label) & tracks[0].present
    return (count == 1).tolist(), right.tolist()


def measure_long(bench: Bench, how: str) -> dict[str, Any]:
    """Number and identity, frame by frame, of clips of `LONG` frames made in one way, or of real ones."""
    clips = max(1, bench.settings.clips // 2)
    world = MovingMNIST(WorldConfig(LONG, min_digits=1, max_digits=1, split="test"), seed=SEED)
    one: list[list[bool]] = []
    same: list[list[bool]] = []
    sampling = Sampling(steps=bench.settings.steps)
    for i in tqdm(range(clips), desc=f"long, {how}", leave=False):
        scene = world.scene(i)
        if how == "real":
            video = world[i].video
        else:
            video = generate_long(
                bench.model, caption(scene), frames=LONG, how=how, seed=1000 * i, sampling=sampling  # type: ignore[arg-type]
            ).video  # fmt: skip
        for rows, row in zip((one, same), follow(video, scene, bench.reader), strict=True):
            rows.append(row)
    return {
        "clips": clips,
        "one_object": np.mean(one, axis=0).tolist(),
        "digit_asked_for": np.mean(same, axis=0).tolist(),
        "last_quarter": share([bool(hit) for row in same for hit in row[-(LONG // 4) :]]),
        "first_quarter": share([bool(hit) for row in same for hit in row[: LONG // 4]]),
    }


# ------------------------------------------------------------------------------------------- draft


def likeness(
    a: SeenDigit, b: SeenDigit, small: tuple[int, int], big: tuple[int, int]
) -> tuple[bool, bool, float]:
    """Same digit, same way, and distance of their starts in shares of the frame, of two clips' first digits."""
    if a.motion is None or b.motion is None:
        return a.label == b.label, False, float("nan")
    speeds = a.motion.speed * b.motion.speed
    cosine = np.dot(a.motion.velocity, b.motion.velocity) / max(speeds, 1e-6)
    starts = np.array(a.motion.start) / small - np.array(b.motion.start) / big
    near = math.degrees(math.acos(float(np.clip(cosine, -1, 1)))) < ANGLE
    return a.label == b.label, near, float(np.hypot(*starts))


def measure_draft(bench: Bench, small: tuple[int, int], big: tuple[int, int]) -> dict[str, Any]:
    """Drafts against full-size clips of their seeds, made in three ways; prompts leave the motion open."""
    told, colors = bench.settings, list(COLORS)
    found: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in DRAFTED}
    total = max(1, told.clips // 2)
    for first in tqdm(range(0, total, told.batch), desc=f"draft {small} {big}", leave=False):
        numbers = range(first, min(first + told.batch, total))
        words = [f"a {colors[i % 8]} {i % 10}" for i in numbers]
        how: dict[str, Any] = {"seed": first, "steps": told.steps}
        drafts = bench.model.generate(words, size=small, **how)
        for name, level in DRAFTED.items():
            begin = {} if level is None else {"draft": small, "draft_level": level}
            clips = bench.model.generate(words, size=big, **how, **begin)
            for a, b in zip(drafts, clips, strict=True):
                seen = [read_clip(clip.video, bench.reader).digits for clip in (a, b)]
                if all(seen):
                    found[name].append(likeness(seen[0][0], seen[1][0], small, big))
    return {
        name: {
            "clips_with_a_digit": len(rows),
            "same_digit": share([digit for digit, _, _ in rows]),
            "same_way": share([way for _, way, _ in rows]),
            "starts_apart": mean([apart for _, _, apart in rows]),
        }
        for name, rows in found.items()
    }


# ------------------------------------------------------------------------------------------ report


def jobs(bench: Bench) -> Iterator[tuple[str, str, Any]]:
    """(section, name, function) of every cell that was asked for."""
    told = bench.settings
    if "sweep" in told.what:
        named = [ClipSize(*map(int, name.split("x"))) for name in told.only]
        for size in named or cells():
            yield "sweep", str(size), lambda size=size: measure_cell(bench, size)
    if "long" in told.what:
        for how in (*HOWS, "real"):
            yield "long", how, lambda how=how: measure_long(bench, how)
    if "draft" in told.what:
        for small, big in DRAFTS:
            name = f"{small[0]}x{small[1]} to {big[0]}x{big[1]}"
            yield "draft", name, lambda small=small, big=big: measure_draft(bench, small, big)


def main(settings: Settings) -> None:
    """Measure what is missing, and write each cell as it comes."""
    bench = Bench(load(settings.checkpoint), load_reader(), settings)
    known = json.loads(settings.out.read_text()) if settings.out.exists() else {}
    about: dict[str, Any] = {"checkpoint": checkpoint_folder(settings.checkpoint).name}
    about |= {"clips": settings.clips, "steps": settings.steps}
    if known and known.get("about") != about:
        raise SystemExit(
            f"{settings.out} holds figures of {known.get('about')}, not {about}; give another --out."
        )
    known |= {"about": about, "machine": machine()}
    todo = [job for job in jobs(bench) if job[1] not in known.get(job[0], {})]
    for section, name, measure in tqdm(todo, desc="cells"):
        known.setdefault(section, {})[name] = measure()
        if section == "sweep":
            known["untrained"] = untrained(known["sweep"])
        update_results(settings.out, known)
    within = [row["size"] for row in known.get("untrained", []) if row["within"]]
    print(
        f"Untrained sizes within {POINTS:g} points of trained ones: {', '.join(within) or 'none'}"
    )
    if settings.figure is not None:
        draw_figure(known, settings.figure)
        print(f"Drawn to {settings.figure}")
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
