"""Trains what the metrics read clips with, into data/metrics/: the digit reader and two judges.

    python runs/measures.py            what is missing; some minutes a judge where bfloat16 is fast

None of them ever sees a generated clip, and no generator sees them.
"""

from __future__ import annotations

import json
from pathlib import Path

from tqdm.auto import tqdm

from minisora.metrics.judge import make_judge, save_judge, train_judge
from minisora.metrics.reader import accuracy, save_reader, train_reader

OUT = Path(__file__).resolve().parent.parent / "data" / "metrics"
SEEDS = (0, 1)


def main() -> None:
    """Train and save whatever is not there yet."""
    OUT.mkdir(parents=True, exist_ok=True)
    if not (path := OUT / "reader.safetensors").exists():
        reader = train_reader()
        save_reader(reader, path, accuracy=accuracy(reader))
        print(f"{path}: {accuracy(reader):.1%} of real test digits read right")
    for seed in SEEDS:
        if (path := OUT / f"judge-{seed}.safetensors").exists():
            continue
        judge, log = make_judge(seed), []
        for step, loss, right in tqdm(
            train_judge(judge, seed), f"judge {seed}", judge.config.steps
        ):
            log.append({"step": step, "loss": loss, "all_right": right})
        save_judge(judge, path, seed=seed, **log[-1])
        (OUT / f"log-judge-{seed}.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in log)
        )
        print(
            f"{path}: loss {log[-1]['loss']:.4f}, all answers right in {log[-1]['all_right']:.0%}"
        )


if __name__ == "__main__":
    main()
