"""The whole suite: clips of a source, scored, with reference rows; what `minisora evaluate` runs and writes.

A source makes clips for scenes of the test world: the model from their captions, or a reference that needs no
model, such as the real clips, their reconstructions by the VAE, or the same clips frozen. Every source is scored
by the same code against other real clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from minisora.model import MiniSora
from minisora.worlds import MovingMNIST, Scene, WorldConfig
from minisora.worlds.captions import Level
from minisora.worlds.digits import Split

from .corruptions import draw
from .distance import frechet_distance, kernel_distance, memorisation, overlap
from .intervals import mean, share
from .judge import Judge
from .physics import Physics, measure_physics
from .reader import DigitReader
from .reading import ATTRIBUTES, Seen, compare, read_clip, stated
from .tracks import find_tracks

HeldOut = Literal["exclude", "only"]
Source = Callable[[Sequence[Scene], Sequence[str]], Iterator[Tensor]]
"""(scenes, their captions) -> one video (3, T, H, W) in [0, 1] for each."""

PROMPT_SEED, REAL_SEED, TRAIN_SEED = (
    9002,
    9100,
    100,
)  # worlds: prompts, real clips to compare with, training


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured.

    Attributes:
        clips: clips of the source, and as many real ones.
        size: (frames, height, width).
        level: captions to prompt with, "detailed" or "short"; of short ones only what they state counts.
        held_out: "only" prompts with pairs of color and digit that training never showed.
        seed: the i-th clip starts from the noise of seed + i.
        prompt_seed: of the world whose prompts are used; what is tuned is tuned on another than this one.
        draws: bootstrap draws of intervals.
    """

    clips: int = 2000
    size: tuple[int, int, int] = (17, 64, 64)
    level: Level = "detailed"
    held_out: HeldOut = "exclude"
    seed: int = 0
    prompt_seed: int = PROMPT_SEED
    draws: int = 200


@dataclass
class Scores:
    """What is gathered clip by clip; `report` turns it into figures."""

    features: dict[str, list[Tensor]] = field(default_factory=dict)
    right: list[dict[str, bool]] = field(default_factory=list)
    counted: list[set[str]] = field(default_factory=list)
    physics: list[Physics] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


def prompt_world(config: EvaluationConfig) -> MovingMNIST:
    """The test world that prompts are drawn from."""
    return MovingMNIST(
        WorldConfig(*config.size, split="test", held_out=config.held_out), config.prompt_seed
    )


def prompts(config: EvaluationConfig) -> tuple[list[Scene], list[str]]:
    """Scenes and a caption of each, in varying words."""
    world = prompt_world(config)
    scenes = [world.scene(i) for i in range(config.clips)]
    captions = [
        world[i].captions(config.level, np.random.default_rng((config.prompt_seed, i)))
        for i in range(config.clips)
    ]
    return scenes, captions


# ---------------------------------------------------------------------------------------- sources


def generated(
    model: MiniSora, config: EvaluationConfig, batch: int = 20, **sampling: Any
) -> Source:
    """Clips that a model makes from the captions; `sampling` goes to `MiniSora.generate`."""
    frames, height, width = config.size

    def make(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
        for first in range(0, len(captions), batch):
            clips = model.generate(
                list(captions[first : first + batch]),
                frames=frames,
                size=(height, width),
                seed=config.seed + first,
                **sampling,
            )
            yield from (clip.video for clip in clips)

    return make


def real(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
    """The true clips: the ceiling."""
    yield from (draw(scene) for scene in scenes)


def reconstructed(model: MiniSora, batch: int = 16) -> Source:
    """The true clips through the VAE and back: what a perfect generator on these latents could reach."""

    def make(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
        for first in range(0, len(scenes), batch):
            videos = torch.stack([draw(scene) for scene in scenes[first : first + batch]])
            with torch.inference_mode():
                yield from model.vae.reconstruct(videos.to(model.device)).cpu()

    return make


def frozen(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
    """The true first frame, standing still: right in all but motion."""
    yield from (draw(scene)[:, :1].repeat(1, scene.frames, 1, 1) for scene in scenes)


def shuffled(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
    """The true frames in random order."""
    for i, scene in enumerate(scenes):
        order = np.random.default_rng(i).permutation(scene.frames)
        yield draw(scene)[:, order]


def mismatched(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
    """True clips of the next scene's caption: perfect in looks, right only by chance."""
    yield from (draw(scene) for scene in [*scenes[1:], scenes[0]])


def averaged(scenes: Sequence[Scene], captions: Sequence[str]) -> Iterator[Tensor]:
    """The mean of 64 true clips, every time: what least squares alone would answer."""
    mean = torch.stack([draw(scene) for scene in scenes[:64]]).mean(dim=0)
    yield from (mean for _ in scenes)


REFERENCES: dict[str, Source] = {
    "real": real,
    "frozen": frozen,
    "shuffled": shuffled,
    "mismatched": mismatched,
    "mean": averaged,
}
"""Sources that need no model."""


# ---------------------------------------------------------------------------------------- scoring


def score(
    source: Source, config: EvaluationConfig, judges: Sequence[Judge], reader: DigitReader
) -> Iterator[Scores]:
    """Score a source clip by clip: yields the same, growing `Scores` after each."""
    scenes, captions = prompts(config)
    scores = Scores({str(n): [] for n in range(len(judges))})
    for scene, caption, video in zip(scenes, captions, source(scenes, captions), strict=True):
        for n, judge in enumerate(judges):
            scores.features[str(n)].append(judge.embed(video[None])[0])
        tracks = find_tracks(video)
        seen = read_clip(video, reader, tracks)
        scores.right.append(compare(scene, seen))
        scores.counted.append(stated(caption) if config.level == "short" else set(ATTRIBUTES))
        scores.physics.append(measure_physics(video, tracks))
        scores.seen.append(seen)
        yield scores


def embed_world(judges: Sequence[Judge], world: MovingMNIST, count: int) -> list[Tensor]:
    """Features (count, D) by each judge of the first clips of a world."""
    parts: list[list[Tensor]] = [[] for _ in judges]
    for first in range(0, count, 32):
        videos = [world[i].video for i in range(first, min(first + 32, count))]
        for part, judge in zip(parts, judges, strict=True):
            part.append(judge.embed(videos))
    return [torch.cat(part) for part in parts]


def known_features(config: EvaluationConfig, judges: Sequence[Judge]) -> dict[str, list[Tensor]]:
    """What every source is compared with, by each judge: real clips, other real clips, training clips."""
    frames, height, width = config.size
    splits: dict[str, tuple[Split, int]] = {
        "real": ("test", REAL_SEED),
        "test": ("test", REAL_SEED + 1),
        "train": ("train", TRAIN_SEED),
    }
    known = {}
    for name, (split, seed) in splits.items():
        world = MovingMNIST(WorldConfig(frames, height, width, split=split), seed)
        known[name] = embed_world(judges, world, config.clips)
    return known


def report(
    scores: Scores, config: EvaluationConfig, known: dict[str, list[Tensor]]
) -> dict[str, Any]:
    """All figures of a scored source, ready for JSON.

    Args:
        scores: of all clips of the source.
        config: what was measured.
        known: from `known_features`; it serves every source of the same config.
    """
    distances = {
        f"judge {n}": distance_figures(
            torch.stack(scores.features[n]), {k: v[int(n)] for k, v in known.items()}, config
        )
        for n in scores.features
    }
    return {
        "config": asdict(config),
        "distance": distances,
        "fidelity": fidelity_figures(scores),
        "physics": physics_figures(scores.physics),
    }


def distance_figures(
    features: Tensor, known: dict[str, Tensor], config: EvaluationConfig
) -> dict[str, Any]:
    """Distances to real clips, cover of them, and memorisation, by one judge."""
    reference = known["real"]
    return {
        "kernel": asdict(kernel_distance(features, reference, config.draws)),
        "frechet": asdict(frechet_distance(features, reference, config.draws // 4)),
        **asdict(overlap(features, reference)),
        "nearer_to_train": memorisation(features, known["train"], known["test"]),
    }


def fidelity_figures(scores: Scores) -> dict[str, Any]:
    """Share of clips, with its interval, in which each attribute that the prompt states is right; and all."""
    figures = {}
    for name in ATTRIBUTES:
        asked = [r[name] for r, c in zip(scores.right, scores.counted, strict=True) if name in c]
        figures[name] = share(asked)
    every = [all(r[n] for n in c) for r, c in zip(scores.right, scores.counted, strict=True)]
    return figures | {"all": share(every)}


def physics_figures(physics: Sequence[Physics]) -> dict[str, Any]:
    """Means over clips and over objects; shares with intervals."""
    tracks = [track for clip in physics for track in clip.tracks]

    figures: dict[str, Any] = {
        "count_constant": share([clip.count_constant for clip in physics]),
        "something_appeared": share([clip.appeared > 0 for clip in physics]),
        "something_vanished": share([clip.vanished > 0 for clip in physics]),
        "teleported": share([track.teleports > 0 for track in tracks]),
        "shape_broke": share([track.breaks > 0 for track in tracks]),
        "cut_off": mean([track.cut for track in tracks]),
        "path_error": mean([t.motion.error for t in tracks if t.motion]),
    }
    figures |= {n: mean([getattr(clip, n) for clip in physics]) for n in ("sharpness", "grain")}
    names = ("speed_error", "bend", "bounce_error", "shape_change", "color_change")
    return figures | {name: mean([getattr(track, name) for track in tracks]) for name in names}
