"""How good captioner and expander are: errors, contradictions, the cycle prompt -> clip -> caption, gain of expansion.

    python benchmarks/words.py [--captioner outputs/captioner] [--expander outputs/expander] [--clips 1000]
                               [--what captioner expander cycle expansion]

- **captioner**: captions of held-out clips (test digits) at several sizes, each attribute right and wrong, also by the
  number of digits.
- **expander**: short and vague prompts of the test world; the share whose expansion contradicts them, with and without
  the constraint, and how evenly what was left open is drawn.
- **cycle**: clips generated from detailed prompts, described; the share whose caption says all that was asked for.
  Real clips of the same prompts are its ceiling.
- **expansion**: clips of the generator from short prompts as they are and expanded; what the short prompt states, and
  the kernel distance to real clips.

Results go to `benchmarks/results/words.json`.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.caption import FILES, VideoCaptioner, open_captioner
from minisora.expand import Expander, load_expander
from minisora.loading import load
from minisora.metrics import suite
from minisora.metrics.captions import agreement, caption_figures, mark_caption
from minisora.metrics.intervals import share
from minisora.metrics.judge import load_judge
from minisora.metrics.reader import load_reader
from minisora.model import MiniSora
from minisora.train_expander import expander_pairs
from minisora.worlds import MovingMNIST, WorldConfig, caption
from minisora.worlds.statements import FIELDS, UnclearError, contradictions, parse

CLIPS_SEED, PROMPT_SEED = 9600, 9601  # worlds that nothing is trained on
SIZES = ((17, 64, 64), (1, 64, 64), (9, 32, 32), (17, 96, 48), (33, 64, 64))


@dataclass
class Settings:
    """Captioner, expander, cycle and expansion, measured."""

    checkpoint: str = "moving-mnist"
    """Whose VAE and generator are used."""
    captioner: Path = Path("outputs/captioner")
    """Folder of the captioner; the checkpoint's own folder serves as well."""
    expander: Path = Path("outputs/expander")
    """Folder of the expander; the checkpoint's own folder serves as well."""
    what: tuple[str, ...] = ("captioner", "expander", "cycle", "expansion")
    """What to measure."""
    clips: int = 1000
    """Held-out clips of each size, and prompts."""
    cycle: int = 200
    """Generated clips of the cycle."""
    expansion: int = 400
    """Short prompts, each made into a clip as it is and expanded."""
    fast: bool = False
    """Make clips in bfloat16 where the hardware is fast at it."""
    out: Path = RESULTS / "words.json"
    """Where results go."""


def captioner_figures(
    describer: VideoCaptioner, size: tuple[int, int, int], clips: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each attribute's shares on held-out clips of a size: of all, and by the number of their digits."""
    world, marks = MovingMNIST(WorldConfig(*size, split="test"), CLIPS_SEED), []
    for first in tqdm(range(0, clips, 20), desc=named(size), leave=False):
        some = [world[i] for i in range(first, min(first + 20, clips))]
        texts = describer.caption([clip.video for clip in some])
        marks += [
            (len(c.facts.digits), mark_caption(c.facts, t))
            for c, t in zip(some, texts, strict=True)
        ]
    by_digits = {str(n): caption_figures(mark for m, mark in marks if m == n) for n in (1, 2)}
    return caption_figures(mark for _, mark in marks), by_digits


def named(size: tuple[int, int, int]) -> str:
    """For example "17x64x64"."""
    return "x".join(map(str, size))


def contradicted(prompt: str, text: str) -> bool:
    """Whether an expansion says anything against its prompt, or cannot be read."""
    try:
        return bool(contradictions(parse(prompt), parse(text)))
    except UnclearError:
        return True


def expander_figures(expander: Expander, count: int) -> dict[str, Any]:
    """Contradictions with and without the constraint, and the draws of what was left open."""
    world = MovingMNIST(WorldConfig(split="test"), PROMPT_SEED)
    prompts, _ = expander_pairs(world, 0, count, np.random.default_rng(PROMPT_SEED))
    figures: dict[str, Any] = {}
    for name, constrained in (("constrained", True), ("free", False)):
        generators = [torch.Generator().manual_seed(i) for i in range(count)]
        texts = [
            expander.expand([p], generators=[g], constrained=constrained)[0]
            for p, g in zip(tqdm(prompts, desc=name, leave=False), generators, strict=True)
        ]
        wrong = [contradicted(p, t) for p, t in zip(prompts, texts, strict=True)]
        figures[name] = {"contradicts": share(wrong)} | (
            {"drawn": drawn(prompts, texts)} if constrained else {}
        )
    return figures


def drawn(prompts: list[str], texts: list[str]) -> dict[str, Any]:
    """How often each value was drawn where the prompt names a digit and leaves that attribute open."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in FIELDS}
    for prompt, text in zip(prompts, texts, strict=True):
        asked, told = parse(prompt), parse(text)
        if len(asked.digits) == len(told.digits) == 1:
            for name in FIELDS:
                if getattr(asked.digits[0], name) is None:
                    counts[name][str(getattr(told.digits[0], name))] += 1
    return {name: dict(sorted(counter.items())) for name, counter in counts.items()}


def cycle_figures(model: MiniSora, describer: VideoCaptioner, count: int) -> dict[str, Any]:
    """Agreement of prompt and caption of clips made from prompts, and of real clips."""
    world = MovingMNIST(WorldConfig(split="test"), CLIPS_SEED + 1)
    scenes = [world.scene(i) for i in range(count)]
    prompts = [caption(scene) for scene in scenes]
    videos: dict[str, list[torch.Tensor]] = {"generated": [], "real": []}
    for first in tqdm(range(0, count, 20), desc="cycle", leave=False):
        some = prompts[first : first + 20]
        videos["generated"] += [clip.video for clip in model.generate(some, seed=first)]
        videos["real"] += [world[i].video for i in range(first, min(first + 20, count))]
    figures: dict[str, Any] = {}
    for name, clips in videos.items():
        texts = describer.caption(clips)
        agrees = [bool(agreement(p, t)) for p, t in zip(prompts, texts, strict=True)]
        marks = [mark_caption(s, t) for s, t in zip(scenes, texts, strict=True)]
        figures[name] = {"cycle": share(agrees), "attributes": caption_figures(marks)}
    return figures


def expansion_figures(model: MiniSora, count: int) -> dict[str, Any]:
    """What a short prompt states, and the distance to real clips, with and without expansion."""
    config = suite.EvaluationConfig(clips=count, level="short")
    judges, reader = [load_judge(0), load_judge(1)], load_reader()
    known = suite.known_features(config, judges)
    figures = {}
    for name, expand in (("as it is", False), ("expanded", True)):
        source = suite.generated(model, config, expand=expand)
        *_, scores = tqdm(suite.score(source, config, judges, reader), name, count, leave=False)
        report = suite.report(scores, config, known)
        distance = {judge: row["kernel"] for judge, row in report["distance"].items()}
        figures[name] = {"fidelity": report["fidelity"], "kernel_distance": distance}
    return figures


def main(settings: Settings) -> None:
    """Measure what is asked, print, and write each section as it comes."""
    model = load(settings.checkpoint, fast=settings.fast)
    describer = open_captioner(settings.captioner / FILES["detailed"], model.vae, detailed=True)

    def save(**section: Any) -> None:
        about = {"clips": settings.clips, "fast": settings.fast, "machine": machine()}
        update_results(settings.out, {"about": about} | section)

    if "captioner" in settings.what:
        found, by_digits = {}, {}
        for size in SIZES:
            figures, by_digits[named(size)] = captioner_figures(describer, size, settings.clips)
            row = {k: v["right"]["value"] for k, v in figures.items() if k != "all"}
            print(named(size), ", ".join(f"{k} {v:.1%}" for k, v in row.items() if v is not None))
            found[named(size)] = figures
        free = replace(describer, detailed=False)  # not held to the form of a caption
        unheld, _ = captioner_figures(free, SIZES[0], settings.clips)
        save(captioner=found, by_digits=by_digits, free=unheld)
    if "expander" in settings.what:
        found = expander_figures(load_expander(settings.expander), settings.clips)
        for name, figures in found.items():
            print(f"{name}: contradicts {figures['contradicts']['value']:.1%} of prompts")
        save(expander=found)
    if "cycle" in settings.what:
        found = cycle_figures(model, describer, settings.cycle)
        for name, figures in found.items():
            print(f"{name}: prompt and caption agree in {figures['cycle']['value']:.1%}")
        save(cycle=found)
    if "expansion" in settings.what:
        found = expansion_figures(model, settings.expansion)
        for name, figures in found.items():
            kvd = ", ".join(f"{d['value']:.4f}" for d in figures["kernel_distance"].values())
            print(f"{name}: all right {figures['fidelity']['all']['value']:.1%}, distance {kvd}")
        save(expansion=found)
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
