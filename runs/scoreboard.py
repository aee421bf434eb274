"""README's scoreboard in Markdown, from what the benchmarks wrote; a part whose file is not there is left out.

Every figure comes from benchmarks/results/: evaluation.json (`benchmarks/evaluation.py`), metric_validity.json,
scaling.json, ladder.json and prediction.json. `runs/readme.py` puts it into README; a test fails when they differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minisora.metrics.table import SHARES

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
TITLES = {
    "detailed": "minisora",
    "held_out": "minisora, pairs never trained",
    "short": "minisora, short prompts",
    "vae": "VAE of real clips",
    "real": "real clips",
    "frozen": "frozen first frame",
    "shuffled": "frames shuffled",
    "mismatched": "another prompt's real clip",
    "mean": "mean of 64 clips",
}
PHYSICS = {
    "count_constant": "count constant",
    "something_appeared": "something appeared",
    "something_vanished": "something vanished",
    "teleported": "teleported",
    "shape_broke": "turned into another shape",
    "speed_error": "speed error (px/frame)",
    "bounce_error": "bounce error (px/frame)",
    "path_error": "path error (px)",
    "shape_change": "shape change",
    "color_change": "color change",
    "sharpness": "sharpness (brightness/px)",
    "grain": "grain",
}


def grid(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


Parts = tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...]
"""(file in benchmarks/results/, the section it must hold, what writes it in Markdown), ..."""


def written(parts: Parts, command: str) -> str:
    """Every part whose figures are there; if none is, the `command` that measures the first."""
    texts = []
    for name, section, write in parts:
        path = RESULTS / f"{name}.json"
        facts = json.loads(path.read_text()) if path.exists() else {}
        if section in facts:
            texts.append(write(facts))
    return "\n\n".join(texts) or f"Not measured yet: `python {command}`."


def number(figure: Any, style: str) -> str:
    """A figure with its 95 % interval if it has one; a dash for one that nothing could be measured for."""
    value = figure["value"] if isinstance(figure, dict) else figure
    if value is None:
        return "-"
    text = style.format(value)
    if isinstance(figure, dict):
        text += f" ({style.format(figure['low'])} to {style.format(figure['high'])})"
    return text


def evaluation(facts: dict[str, Any]) -> str:
    """Fidelity, distances and physics of every source in evaluation.json."""
    there = [name for name in TITLES if name in facts]
    first = facts[there[0]]
    attributes = list(first["fidelity"])
    fidelity = [
        [TITLES[n], *(number(facts[n]["fidelity"][a], "{:.1%}") for a in attributes)] for n in there
    ]
    distances = []
    for name in there:
        judges = facts[name]["distance"].values()
        row = [number(judge["kernel"], "{:.4f}") for judge in judges]
        row += [number(judge["frechet"], "{:.1f}") for judge in judges]
        row.append(number(next(iter(judges))["coverage"], "{:.0%}"))
        distances.append([TITLES[name], *row])
    head = [f"{kind} distance, {j}" for kind in ("kernel", "Frechet") for j in first["distance"]]
    physics = [
        [
            title,
            *(
                number(facts[n]["physics"][key], "{:.1%}" if key in SHARES else "{:.3f}")
                for n in there
            ),
        ]
        for key, title in PHYSICS.items()
    ]
    note = (
        f"{first['config']['clips']} clips a row (held-out pairs and short prompts: a quarter), 95 % intervals in "
        f"brackets, {first['sampling']['steps']} steps, guidance {first['sampling']['guidance_scale']}, "
        f"perturbed attention {first['sampling']['pag_scale']}, "
        f"contrast {first['sampling'].get('contrast_scale', 0.0)}, all up to level "
        f"{first['sampling']['guidance_interval'][1]:g}. Short prompts: only what they state counts."
    )  # fmt: skip
    return "\n\n".join(
        [
            note,
            "**Is it what was asked for?**\n\n" + grid(["source", *attributes], fidelity),
            "**How far from real clips?**\n\n" + grid(["source", *head, "coverage"], distances),
            "**Does it move as it should?**\n\n" + grid(["tracker", *(TITLES[n] for n in there)], physics),
        ]
    )  # fmt: skip


def validity(facts: dict[str, Any]) -> str:
    """Whether the distances rise with damage, and how often the trackers are right on whole clips."""
    judges = list(next(iter(facts["ladder"].values())))
    rows = [
        [name, *("rises" if found[j]["kernel_rises"] else "does **not** rise" for j in judges)]
        for name, found in facts["ladder"].items()
    ]
    names = list(facts["alarms"]["whole"])
    fired = [
        [name, *(f"{found[n]['value']:.0%}" for n in names)]
        for name, found in facts["alarms"].items()
    ]
    right = ", ".join(
        f"{name} {number(figure, '{:.1%}')}" for name, figure in facts["trackers"]["right"].items()
    )
    return "\n\n".join(
        [
            "**Do the measures measure?** Kernel distance against four strengths of damage, "
            f"{facts['about']['clips']} clips each. Three of these kinds (freeze, shuffle, reverse) "
            "the judges were trained to notice; the limits of the alarms were chosen on other clips:",
            grid(["damage", *judges], rows),
            "Share of clips in which each tracker raises an alarm, damage at full strength:",
            grid(["damage", *names], fired),
            f"Right on whole clips: {right}; boxes are off by "
            f"{number(facts['trackers']['box_error_px'], '{:.2f}')} px, velocities by "
            f"{number(facts['trackers']['velocity_error_px_per_frame'], '{:.3f}')} px a frame.",
            "![Kernel distance against strength of damage](benchmarks/results/metric_validity.png)",
        ]
    )


def scaling(facts: dict[str, Any]) -> str:
    """The fitted slope and the figure."""
    return (
        f"**Scaling.** {len(facts['runs'])} models, one recipe: kernel distance falls as compute to the power "
        f"{facts['fit']['slope']:.2f}.\n\n"
        "![Kernel distance against training compute, and one prompt as compute grows](benchmarks/results/scaling.png)"
    )


def ladder(facts: dict[str, Any]) -> str:
    """The recipe ladder: each rung's last score with seed 0, and time to quality."""
    runs, names = list(facts["runs"].values()), facts["rungs"]
    rows = []
    for name in names:
        mine = [r for r in runs if r["rung"] == name and r["seed"] == 0 and r["share"] == 1]
        end = mine[0]["curve"][-1]
        row = [
            name,
            f"{mine[0]['lr']:g}",
            f"{mine[0]['steps']}",
            number(end | {"value": end["kernel_distance"]}, "{:.4f}"),
        ]
        rows.append([*row, *(f"{end[key]:.0%}" for key in ("digit", "color", "direction"))])
    head = ["recipe", "rate", "steps", "kernel distance", "digit", "color", "direction"]
    seconds = facts["about"]["seconds"]
    return "\n\n".join(
        [
            f"**Recipe ladder.** One change at a time, {seconds:.0f} seconds of training each:",
            grid(head, rows),
            time_to_quality(facts["time_to_quality"]),
        ]
    )


def time_to_quality(seeds: dict[str, Any]) -> str:
    """How many times sooner the last rung is as good as the first ever gets, seed by seed."""
    found = [
        f"{seed['baseline']:.4f} after {seed['baseline_seconds']:.0f} s by the first rung, after "
        + (
            f"{seed['seconds']:.0f} s by the last ({seed['times_faster']:.1f} times sooner"
            + (", when it was first looked at)" if seed["at_first_look"] else ")")
            if seed["seconds"] is not None
            else "more than the whole time by the last"
        )
        for seed in seeds.values()
    ]
    return "Time to the plain recipe's best kernel distance, three seeds: " + "; ".join(found) + "."


def prediction(facts: dict[str, Any]) -> str:
    """Ten frames from ten, beside what needs no model."""
    rows = [
        [
            name,
            number(row["mse"], "{:.1f}"),
            number(row["ssim"], "{:.3f}"),
            number(row["psnr"], "{:.1f}"),
        ]
        for name, row in facts["rows"].items()
    ]
    return (
        "**Prediction.** Grey Moving-MNIST, the next 10 frames from 10, no prompt; "
        f"{facts['about']['clips']} clips ({facts['about']['source']}). Trained on neither grey pairs nor prediction "
        "alone:\n\n" + grid(["answer", "MSE a frame", "SSIM", "PSNR (dB)"], rows)
    )


PARTS: Parts = (
    ("evaluation", "vae", evaluation),
    ("metric_validity", "ladder", validity),
    ("scaling", "fit", scaling),
    ("ladder", "time_to_quality", ladder),
    ("prediction", "rows", prediction),
)


def scoreboard() -> str:
    """All parts whose files are there and whole."""
    return written(PARTS, "benchmarks/evaluation.py")
