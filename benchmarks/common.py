"""What the benchmarks share: facts about the machine, and result files."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

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
