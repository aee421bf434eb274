"""The scoreboard's figures: the shipped model and every reference row, scored by one suite.

    python benchmarks/evaluation.py [--clips 2000]

Sources: the model from detailed prompts, from short ones, and from color-digit pairs never trained; its VAE's
reconstructions; real clips, and what a table needs to be read: frozen, shuffled, mismatched and mean clips. Each is
a section of `benchmarks/results/evaluation.json`, written as it comes; an interrupted run goes on where it stopped.
`--again` measures everything anew, as after a new checkpoint.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.guidance import CONTRAST_SCALE, GUIDANCE_INTERVAL, GUIDANCE_SCALE, PAG_SCALE
from minisora.loading import load
from minisora.metrics import suite
from minisora.metrics.judge import load_judge
from minisora.metrics.reader import load_reader
from minisora.metrics.table import run_facts, table
from minisora.model import MiniSora

# What a source is told.
SAMPLING = ("steps", "guidance_scale", "guidance_interval", "pag_scale", "contrast_scale")
SHORT_CLIPS = 4  # short prompts and held-out pairs are measured on a quarter of the clips


@dataclass
class Settings:
    """Evaluation: everything that the scoreboard shows of the shipped model."""

    checkpoint: str = "moving-mnist"
    """A shipped checkpoint or a folder."""
    clips: int = 2000
    """Clips a source, and as many real ones to compare with."""
    guidance_scale: float = GUIDANCE_SCALE
    """How closely to follow the prompt."""
    guidance_interval: tuple[float, float] = GUIDANCE_INTERVAL
    """Noise levels between which guidance acts."""
    pag_scale: float = PAG_SCALE
    """How much to steady shapes."""
    contrast_scale: float = CONTRAST_SCALE
    """How far to go away from what a prompt is easily mistaken for."""
    steps: int = 30
    """Sampler steps."""
    fast: bool = False
    """Make clips in bfloat16, see `minisora.load`."""
    only: tuple[str, ...] = ()
    """Measure these sources alone, e.g. `--only vae real`; the references need no finished model."""
    again: bool = False
    """Measure what is on file anew."""
    out: Path = RESULTS / "evaluation.json"
    """Where results go."""


def sources(
    model: MiniSora, settings: Settings
) -> Iterator[tuple[str, suite.EvaluationConfig, suite.Source]]:
    """(section, what is measured, what makes the clips), the model's own first."""
    whole = suite.EvaluationConfig(clips=settings.clips)
    part = replace(whole, clips=max(1, settings.clips // SHORT_CLIPS))
    told = {name: getattr(settings, name) for name in SAMPLING}
    for name, config in (
        ("detailed", whole),
        ("held_out", replace(part, held_out="only")),
        ("short", replace(part, level="short")),
    ):
        yield name, config, suite.generated(model, config, **told)
    yield "vae", whole, suite.reconstructed(model)
    for name, source in suite.REFERENCES.items():
        yield name, whole, source


def main(settings: Settings) -> None:
    """Score every source that is not on file yet."""
    model = load(settings.checkpoint, fast=settings.fast)
    judges, reader = [load_judge(0), load_judge(1)], load_reader()
    on_file = json.loads(settings.out.read_text()) if settings.out.exists() else {}
    known: dict[int, Any] = {}
    for name, config, source in sources(model, settings):
        if (name in on_file and not settings.again) or (
            settings.only and name not in settings.only
        ):
            continue
        if config.clips not in known:
            known[config.clips] = suite.known_features(config, judges)
        started = time.perf_counter()
        rounds = suite.score(source, config, judges, reader)
        for scores in tqdm(rounds, total=config.clips, desc=name):  # noqa: B007
            pass
        minutes = (time.perf_counter() - started) / 60
        facts = {"source": name, "run": run_facts(), "machine": machine(), "minutes": minutes}
        facts["sampling"] = {name: getattr(settings, name) for name in (*SAMPLING, "fast")}
        section = facts | suite.report(scores, config, known[config.clips])
        update_results(settings.out, {name: section})
        print(table(section), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
