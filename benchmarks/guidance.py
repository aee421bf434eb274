"""How strongly to guide: clips of the same prompts and noise under several scales, read as in `fidelity.py`.

    python benchmarks/guidance.py [CHECKPOINT] [--clips 192]

Classifier-free guidance pulls towards the prompt, perturbed-attention guidance away from broken shapes. The defaults of
`MiniSora.generate` are chosen by this table, on prompts of their own: those of the benchmarks that judge the
checkpoint are others. Results go to `benchmarks/results/guidance.json` as they come.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, and its tests' reader

from benchmarks import fidelity
from benchmarks.common import RESULTS, machine, update_results
from benchmarks.fidelity_report import show_prompts
from minisora.loading import checkpoint_folder, load
from tests.reader import cached_reader

SEED = 9102  # of the world whose prompts are used here and nowhere else
SCALES = ((3.0, 0.0), (6.0, 0.0), (6.0, 0.5), (6.0, 1.0), (6.0, 2.0), (8.0, 0.5), (8.0, 1.0))


@dataclass
class Settings:
    """Fidelity over guidance scales."""

    checkpoint: tyro.conf.Positional[str] = "moving-mnist"
    """A shipped checkpoint or a folder."""
    clips: int = 288
    """Clips for each pair of scales."""
    scales: tuple[tuple[float, float], ...] = SCALES
    """Pairs of guidance_scale and pag_scale."""
    out: Path = RESULTS / "guidance.json"
    """Where results go."""


def main(settings: Settings) -> None:
    """Measure every pair of scales, print and write."""
    model = load(settings.checkpoint)
    told = fidelity.Settings(settings.checkpoint, clips=settings.clips)
    reader = cached_reader(told.reader)
    rows = []
    for guidance_scale, pag_scale in settings.scales:
        told = replace(told, guidance_scale=guidance_scale, pag_scale=pag_scale)
        measured = fidelity.measure_prompts(model, reader, "exclude", SEED, told)
        name = f"guidance {guidance_scale:g}, perturbed attention {pag_scale:g}"
        show_prompts(name, measured, (*fidelity.RATES, *fidelity.MEANS))
        rows.append({"sampling": told.sampling, "generated": measured["generated"]})
        about = {
            "checkpoint": checkpoint_folder(settings.checkpoint).name,
            "world_seed": SEED,
            "clips": settings.clips,
            "machine": machine(),
        }
        update_results(settings.out, {"guidance": about | {"rows": rows}})
    print(f"Written to {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=Settings.__doc__))
