"""Trains the digit reader of the metrics, on the real training digits, into data/metrics/: `python runs/measures.py`.

About a minute on two cores. It never sees a generated clip, and no generator sees it.
"""

from __future__ import annotations

from pathlib import Path

from minisora.metrics.reader import accuracy, save_reader, train_reader

OUT = Path(__file__).resolve().parent.parent / "data" / "metrics" / "reader.safetensors"


def main() -> None:
    """Train, save, say how good it is."""
    reader = train_reader()
    save_reader(reader, OUT, accuracy=accuracy(reader))
    print(f"{OUT}: {accuracy(reader):.1%} of the real test digits read right")


if __name__ == "__main__":
    main()
