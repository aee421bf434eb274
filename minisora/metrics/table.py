"""A report of `suite` as a plain table, and the facts of a run that belong beside its figures."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

SHARES = (
    "count_constant",
    "something_appeared",
    "something_vanished",
    "teleported",
    "shape_broke",
    "cut_off",
)


def run_facts() -> dict[str, Any]:
    """Version and commit of the code, and of torch: what a figure may depend on."""
    folder = Path(__file__).resolve().parent
    ask = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=10)
        commit = answer.stdout.strip() if answer.returncode == 0 else None
    except OSError:  # no git on this machine
        commit = None
    return {
        "minisora": version("minisora"),
        "commit": commit,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def table(report: dict[str, Any]) -> str:
    """The figures of one report, a line each, with their 95 % intervals."""
    lines = [f"{report['source']}, {report['config']['clips']} clips"]
    for judge, figures in report["distance"].items():
        lines += [
            _line(f"kernel distance ({judge})", figures["kernel"], "{:.4f}"),
            _line(f"Frechet distance ({judge})", figures["frechet"], "{:.2f}"),
        ]
        names = ("precision", "recall", "coverage", "nearer_to_train")
        lines += [
            _line(f"{name.replace('_', ' ')} ({judge})", figures[name], "{:.1%}") for name in names
        ]
    lines += [
        _line(f"{name} right", figure, "{:.1%}") for name, figure in report["fidelity"].items()
    ]
    for name, figure in report["physics"].items():
        style = "{:.1%}" if name in SHARES else "{:.3f}"
        lines.append(_line(name.replace("_", " "), figure, style))
    return "\n".join(lines)


def _line(name: str, figure: Any, style: str) -> str:
    value = figure["value"] if isinstance(figure, dict) else figure
    if value is None:
        return f"  {name:<32} -"
    text = f"  {name:<32} {style.format(value):>9}"
    if isinstance(figure, dict):
        text += f"  [{style.format(figure['low'])}, {style.format(figure['high'])}]"
    return text
