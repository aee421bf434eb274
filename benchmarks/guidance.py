"""How strongly to guide: clips of the same prompts and noise under several scales, scored by the suite.

    python benchmarks/guidance.py [CHECKPOINT] [--clips 288]

Classifier-free guidance pulls towards the prompt, perturbed-attention guidance away from broken shapes, contrastive
guidance away from what the prompt is easily mistaken for. The defaults of `MiniSora.generate` are chosen by this table,
on prompts of their own: those of the benchmarks that judge the checkpoint are others. Results go to
`benchmarks/results/guidance.json` as they come; rows on file are kept unless `--again` is given, as after a new
checkpoint.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout

from benchmarks.common import RESULTS, machine, update_results
from minisora.guidance import GUIDANCE_INTERVAL
from minisora.loading import checkpoint_folder, load
from minisora.metrics import suite
from minisora.metrics.judge import load_judge
from minisora.metrics.reader import load_reader
from minisora.metrics.table import table

SEED = 9102  # of the world whose prompts are used here and nowhere else
ROWS = (  # guidance scale, perturbed attention, highest noise level at which all act, contrastive guidance
    (1.0, 0.0, 1.0, 0.0),
    (4.0, 1.0, 1.0, 0.0),
    (4.0, 1.0, 0.95, 0.0),
    (4.0, 1.0, 0.9, 0.0),
    (4.0, 1.0, 0.95, 2.5),
)


@dataclass
class Settings:
    """Fidelity over guidance scales."""

    checkpoint: tyro.conf.Positional[str] = "moving-mnist"
    """A shipped checkpoint or a folder."""
    clips: int = 288
    """Clips a row."""
    rows: tuple[tuple[float, float, float, float], ...] = ROWS
    """guidance_scale, pag_scale, the upper end of guidance_interval, and contrast_scale."""
    fast: bool = False
    """Make clips in bfloat16, see `minisora.load`."""
    again: bool = False
    """Measure what is on file anew."""
    out: Path = RESULTS / "guidance.json"
    """Where results go."""


def main(settings: Settings) -> None:
    """Measure every row, print and write."""
    model = load(settings.checkpoint, fast=settings.fast)
    judges, reader = [load_judge(0)], load_reader()
    config = suite.EvaluationConfig(clips=settings.clips, prompt_seed=SEED)
    about = {
        "checkpoint": checkpoint_folder(settings.checkpoint).name,
        "clips": settings.clips,
        "fast": settings.fast,
        "machine": machine(),
    }
    rows: dict[str, Any] = {}
    if settings.out.exists() and not settings.again:
        before = json.loads(settings.out.read_text())["guidance"]
        rows = {name: {"fast": before["fast"]} | row for name, row in before["rows"].items()}
    known = suite.known_features(config, judges)
    for guidance_scale, pag_scale, high, contrast_scale in settings.rows:
        name = f"guidance {guidance_scale:g}, perturbed attention {pag_scale:g}, up to {high:g}"
        name += f", contrast {contrast_scale:g}" if contrast_scale else ""
        if name in rows:
            continue
        told: dict[str, Any] = {"guidance_scale": guidance_scale, "pag_scale": pag_scale}
        told |= {"guidance_interval": (GUIDANCE_INTERVAL[0], high)}
        told |= {"contrast_scale": contrast_scale}
        source = suite.generated(model, config, **told)
        for scores in tqdm(suite.score(source, config, judges, reader), total=config.clips):  # noqa: B007
            pass
        about_row = {"source": name, "sampling": told, "fast": settings.fast}
        rows[name] = about_row | suite.report(scores, config, known)
        print(table(rows[name]), flush=True)
        update_results(settings.out, {"guidance": about | {"rows": rows}})
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
