"""What the notebooks measured, on file: `notebooks/results.json`, from which README's table is written.

A notebook opens a `Session` in its first code cell and records what its measure cells find. Figures are
written only when `make notebooks` executes the course (it sets MINISORA_RECORD): a student who plays with a
notebook changes nothing in the repository.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from minisora.sealed import write_atomic

RECORD = "MINISORA_RECORD"  # the file to write into, if set


class Session:
    """One run of one notebook: its clock, its memory, its figures.

    Args:
        notebook: the file's name without ending, e.g. "02_video_vae".
    """

    def __init__(self, notebook: str) -> None:
        self.notebook = notebook
        self.start = time.monotonic()
        self.figures: dict[str, float | int | str] = {}

    def record(self, **figures: Any) -> None:
        """Keep named figures, e.g. `session.record(psnr_db=24.6)`; show them; write them if asked to."""
        plain = {name: _plain(value) for name, value in figures.items()}
        self.figures |= plain
        print("\n".join(f"{name} = {value}" for name, value in plain.items()))
        self._write()

    def close(self) -> None:
        """The last line of a notebook: note minutes and peak memory."""
        minutes = (time.monotonic() - self.start) / 60
        self.figures |= {"minutes": round(minutes, 2), "peak_gib": round(peak_gib(), 2)}
        self._write()
        print(f"This run took {minutes:.1f} minutes and at most {peak_gib():.1f} GiB of memory.")

    def _write(self) -> None:
        if path := os.environ.get(RECORD):
            results = read_results(Path(path))
            results[self.notebook] = self.figures
            text = json.dumps(dict(sorted(results.items())), indent=2) + "\n"
            write_atomic(path, text.encode())


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """{notebook: {figure: value}} from a results file; empty if there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def shipped_results() -> dict[str, Any]:
    """What the shipped checkpoint measured, {file name: its facts}, from benchmarks/results/.

    Empty where the repository is not at hand, as in an installed wheel.
    """
    folder = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def peak_gib() -> float:
    """Most memory this process ever held, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB elsewhere


def _plain(value: Any) -> float | int | str:
    """A number that JSON can hold, rounded to four significant digits, or a string as it is."""
    value = value.item() if hasattr(value, "item") else value
    return float(f"{value:.4g}") if isinstance(value, float) else value
