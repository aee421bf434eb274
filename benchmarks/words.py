"""How good captioner and expander are: errors by attribute, contradictions, and the cycle prompt -> clip -> caption.

    python benchmarks/words.py [--captioner outputs/captioner] [--expander outputs/expander] [--clips 1000]
                               [--what captioner expander cycle]

- **captioner**: captions of held-out clips (test digits) at several sizes, each attribute right and wrong.
- **expander**: short and vague prompts of the test world; the share whose expansion contradicts them, with and without
  the constraint, and how evenly what was left open is drawn.
- **cycle**: clips generated from detailed prompts, described; the share whose caption says all that was asked for.
  Real clips of the same prompts are its ceiling.

Results go to `benchmarks/results/words.json`.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.caption import FILES, VideoCaptioner, read_captioner
from minisora.expand import Expander, load_expander
from minisora.latents import fingerprint
from minisora.loading import load
from minisora.metrics.captions import agreement, caption_figures, mark_caption
from minisora.metrics.intervals import share
from minisora.model import MiniSora
from minisora.train_expander import expander_pairs
from minisora.worlds import MovingMNIST, WorldConfig, caption
from minisora.worlds.statements import FIELDS, UnclearError, contradictions, parse

CLIPS_SEED, PROMPT_SEED = 9600, 9601  # worlds that nothing is trained on
SIZES = ((17, 64, 64), (1, 64, 64), (9, 32, 32), (17, 96, 48), (33, 64, 64))


@dataclass
class Settings:
    """Captioner, expander and cycle, measured."""

    checkpoint: str = "moving-mnist"
    """Whose VAE and generator are used."""
    captioner: Path = Path("outputs/captioner")
    """Folder of the captioner; the checkpoint's own folder serves as well."""
    expander: Path = Path("outputs/expander")
    """Folder of the expander; the checkpoint's own folder serves as well."""
    what: tuple[str, ...] = ("captioner", "expander", "cycle")
    """What to measure."""
    clips: int = 1000
    """Held-out clips of each size, and prompts."""
    cycle: int = 200
    """Generated clips."""
    out: Path = RESULTS / "words.json"
    """Where results go."""


def captioner_figures(describer: VideoCaptioner, clips: int) -> dict[str, Any]:
    """Each attribute's shares on held-out clips, by size."""
    figures = {}
    for size in SIZES:
        world, marks = MovingMNIST(WorldConfig(*size, split="test"), CLIPS_SEED), []
        for first in tqdm(range(0, clips, 20), desc="x".join(map(str, size)), leave=False):
            some = [world[i] for i in range(first, min(first + 20, clips))]
            texts = describer.caption([clip.video for clip in some])
            marks += [mark_caption(c.facts, t) for c, t in zip(some, texts, strict=True)]
        figures["x".join(map(str, size))] = caption_figures(marks)
    return figures


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


def main(settings: Settings) -> None:
    """Measure what is asked, print, and write each section as it comes."""
    model = load(settings.checkpoint)
    captioner, trained_on = read_captioner(settings.captioner / FILES["detailed"])
    if trained_on != fingerprint(model.vae):
        raise ValueError(f"{settings.captioner} was trained on another VAE; train it again.")
    describer = VideoCaptioner(model.vae, captioner)

    def save(**section: Any) -> None:
        about = {"clips": settings.clips, "machine": machine()}
        update_results(settings.out, {"about": about} | section)

    if "captioner" in settings.what:
        found = captioner_figures(describer, settings.clips)
        for size, figures in found.items():
            row = {k: v["right"]["value"] for k, v in figures.items() if k != "all"}
            print(size, ", ".join(f"{k} {v:.1%}" for k, v in row.items() if v is not None))
        save(captioner=found)
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
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
