"""The command that measures: `minisora evaluate`. A thin surface over `metrics.suite`, joined to the rest by `cli`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm.auto import tqdm

SAMPLING = ("steps", "lag", "guidance_scale", "pag_scale", "contrast_scale")


@dataclass
class Evaluate:
    """Score a checkpoint: distance to real clips, fidelity to prompts, physics. Prints a table, writes JSON."""

    checkpoint: Annotated[str, tyro.conf.Positional] = "moving-mnist"
    """A shipped checkpoint or a folder."""
    baseline: Literal["none", "vae", "real", "frozen", "shuffled", "mismatched", "mean"] = "none"
    """Score this reference in place of the model's clips."""
    clips: int = 2000
    """Clips, and as many real ones to compare with."""
    quick: bool = False
    """200 clips, one judge: two minutes, wide intervals."""
    level: Literal["detailed", "short"] = "detailed"
    """Captions to prompt with; of short ones only what they state counts."""
    held_out: bool = False
    """Prompt with pairs of color and digit that training never showed."""
    steps: int = 30
    """Sampler steps of each latent frame."""
    lag: int = 0
    """Steps by which a latent frame starts after the one before it."""
    guidance_scale: float = 4.0
    """How closely to follow the prompt; 1 is no guidance."""
    pag_scale: float = 1.0
    """How much to steady shapes (perturbed-attention guidance); 0 saves a quarter of the time."""
    contrast_scale: float = 2.5
    """How far to go away from what a prompt is easily mistaken for; 0 saves a fifth of the time."""
    fast: bool = False
    """Make clips in bfloat16 where the hardware is fast at it: half the time."""
    seed: int = 0
    """Clip i starts from the noise of seed + i."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("outputs/evaluation.json")
    """File to write."""

    def run(self) -> None:
        """Score, print, write."""
        from minisora.loading import load
        from minisora.metrics import suite
        from minisora.metrics.judge import load_judge
        from minisora.metrics.reader import load_reader
        from minisora.metrics.table import run_facts, table
        from minisora.sealed import write_atomic

        config = suite.EvaluationConfig(
            clips=200 if self.quick else self.clips,
            level=self.level,
            held_out="only" if self.held_out else "exclude",
            seed=self.seed,
        )
        told: dict[str, Any] = {}
        if self.baseline in suite.REFERENCES:
            source = suite.REFERENCES[self.baseline]
        elif self.baseline == "vae":
            source = suite.reconstructed(load(self.checkpoint))
        else:
            told = {name: getattr(self, name) for name in SAMPLING}
            source = suite.generated(load(self.checkpoint, fast=self.fast), config, **told)
        judges, reader = [load_judge(n) for n in ((0,) if self.quick else (0, 1))], load_reader()
        rounds = suite.score(source, config, judges, reader)
        for scores in tqdm(rounds, total=config.clips, desc="clips"):  # noqa: B007
            pass
        name = self.checkpoint if self.baseline == "none" else self.baseline
        report = {"source": name, "sampling": told, "fast": self.fast, "run": run_facts()}
        report |= suite.report(scores, config, suite.known_features(config, judges))
        print(table(report))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out, (json.dumps(report, indent=2) + "\n").encode())
        print(f"Written to {self.out}")
