"""What the benchmarks share: facts about the machine, intervals, and result files."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).resolve().parent / "results"


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(device: str = "cpu") -> dict[str, Any]:
    """What a figure of speed depends on beside the code."""
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cpu": cpu_model()}
    if torch.device(device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def update_results(path: Path, sections: dict[str, Any]) -> None:
    """Put sections into a JSON file of results; sections that it holds already and are not given stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | sections, indent=2) + "\n")


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share, `hits` of `total` (Wilson 1927)."""
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    half /= 1 + z * z / total
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean: percentiles over resampled means."""
    rng = np.random.default_rng(seed)
    data = np.asarray(values, dtype=np.float64)
    means = data[rng.integers(len(data), size=(draws, len(data)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A share with its count and its Wilson interval."""
    low, high = wilson(sum(hits), len(hits))
    return {"value": sum(hits) / len(hits), "low": low, "high": high, "count": len(hits)}


def mean(values: Sequence[float]) -> dict[str, Any]:
    """A mean with its count and its bootstrap interval."""
    low, high = bootstrap(values)
    return {"value": float(np.mean(values)), "low": low, "high": high, "count": len(values)}
