"""Executes notebooks from top to bottom and rewrites them: outputs, measured minutes and memory, results.json.

    python runs/notebooks.py                 every notebook, in order
    python runs/notebooks.py 02 05           those two
    python runs/notebooks.py solutions       the solutions alone

What the notebooks measured goes to notebooks/results.json, and each one's minutes into its header.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "notebooks"
RESULTS = COURSE / "results.json"
MEASURED = re.compile(r"\*\*Takes\*\* .*")
SECONDS_A_CELL = 600


def notebooks(names: list[str]) -> list[Path]:
    """The notebooks whose file names begin with one of `names`; all of them for an empty list."""
    lessons = sorted(COURSE.glob("[0-9]*.ipynb"))
    solutions = sorted((COURSE / "solutions").glob("*.ipynb"))
    if names == ["solutions"]:
        return solutions
    if not names:
        return lessons + solutions
    chosen = [path for path in lessons if path.name.startswith(tuple(names))]
    if not chosen:
        known = ", ".join(path.stem[:2] for path in lessons)
        raise SystemExit(f"No notebook begins with {', '.join(names)}; there are {known}.")
    return chosen


def measured_line(figures: dict[str, Any]) -> str:
    """The header's line on time and memory."""
    minutes, gib = figures["minutes"], figures["peak_gib"]
    return f"**Takes** {minutes:.1f} minutes and {gib:.1f} GiB of memory on two CPU cores."


def execute(path: Path) -> None:
    """Run one notebook and write it back, with its outputs and what it took."""
    book: Any = nbformat.read(path, as_version=4)
    client = NotebookClient(
        book,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    figures = json.loads(RESULTS.read_text()).get(path.stem) if RESULTS.exists() else None
    if figures and "minutes" in figures:
        header = book.cells[0]
        header.source = MEASURED.sub(measured_line(figures), header.source)
    book.metadata.pop("widgets", None)  # a widget's state cannot move without a kernel
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # time stamps would make every run a difference
    nbformat.write(book, path)


def main() -> None:
    """Execute what was asked for."""
    os.environ["MINISORA_RECORD"] = str(RESULTS)
    for path in notebooks(sys.argv[1:]):
        start = time.monotonic()
        execute(path)
        print(f"{path.relative_to(ROOT)}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
