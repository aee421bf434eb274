"""README's section on sizes in Markdown, from what the benchmarks wrote; a part whose file is not there is left out.

Every figure comes from benchmarks/results/: sizes.json (`benchmarks/sizes.py`), framing.json
(`benchmarks/framing.py`), packing.json (`benchmarks/packing.py`) and footage.json (`benchmarks/footage.py`).
"""

from __future__ import annotations

import statistics
from typing import Any

from runs.scoreboard import Parts, grid, number, written

SHOWN = 12  # sizes never trained on that README lists


def sweep(facts: dict[str, Any]) -> str:
    """Sizes never trained on, beside the nearest trained ones, and the heat map."""
    rows = facts["untrained"]
    good = [row for row in rows if row["within"]]
    cells = facts["sweep"]
    table = []
    for row in good[:SHOWN]:
        worst = max(row["behind"], key=lambda name: row["behind"][name])
        mine = cells[row["size"]]["made"]["fidelity"]["all"]
        theirs = [cells[name]["made"]["fidelity"]["all"]["value"] for name in row["near"]]
        there = [", ".join(row["near"]), f"{statistics.fmean(theirs):.0%}"]
        behind = f"{worst}, {row['behind'][worst]:.0f}"
        table.append([row["size"], number(mine, "{:.0%}"), *there, behind])
    head = ["never trained on", "all attributes right", "nearest trained", "there"]
    return "\n\n".join(
        [
            f"**Sizes never trained on.** {len(good)} of {len(rows)} are at most 10 points behind their nearest "
            f"trained neighbors in every attribute ({facts['about']['clips']} clips a size, detailed prompts, 95 % "
            "intervals in brackets). The closest of them:",
            grid([*head, "furthest behind, points"], table),
            "![Over height and width, the attributes that are right and the clips whose number of objects is constant; "
            "the same over lengths; drafts; and for 65 frames the share of clips with one object and with the digit "
            "asked for](benchmarks/results/sizes.png)",
        ]
    )


def long(facts: dict[str, Any]) -> str:
    """Clips of 65 frames: the digit asked for at their beginning and at their end."""
    rows = []
    for how, row in facts["long"].items():
        digit = [number(row[key], "{:.0%}") for key in ("first_quarter", "last_quarter")]
        rows.append([how, *digit, *(f"{row['one_object'][frame]:.0%}" for frame in (0, -1))])
    head = ["65 frames", "digit asked for, first quarter", "last quarter"]
    head += ["exactly one object, first frame", "last frame"]
    clips = next(iter(facts["long"].values()))["clips"]
    return f"**Longer than trained**, {clips} clips each:\n\n" + grid(head, rows)


def draft(facts: dict[str, Any]) -> str:
    """Whether a draft tells what the large clip of the same seed will show."""
    rows = []
    for name, found in facts["draft"].items():
        for kind, row in found.items():
            told = [number(row["same_digit"], "{:.0%}"), number(row["same_way"], "{:.0%}")]
            rows.append([name, kind, *told, number(row["starts_apart"], "{:.2f}")])
    head = ["draft to full size", "made from", "same digit", "same way", "starts apart, frames"]
    return (
        "**Drafts.** A small clip and a large one of the same prompt, which leaves the motion open (three of eight "
        "ways count as the same). `generate(draft=...)` continues the draft; beside it what noise does alone:\n\n"
        + grid(head, rows)
    )


def framing(facts: dict[str, Any]) -> str:
    """The framing experiment: share of clips with a digit missing or cut off."""
    rows = []
    for shape, row in facts["summary"].items():
        seeds = [" ".join(f"{value:.0%}" for value in row["seeds"][mode]) for mode in row["seeds"]]
        real = number(facts["real"][shape]["either"], "{:.0%}")
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.1f}x"
        rows.append([shape, *seeds, ratio, real])
    about = facts["about"]
    head = ["samples", "trained on native sizes", "on center squares", "ratio", "real clips"]
    return "\n\n".join(
        [
            "**Framing.** Clips with a prompted digit missing or cut off by the border; two models from the same "
            f"weights, {about['steps']} steps of as many tokens, {about['clips']} clips a shape, each seed a figure:",
            grid(head, rows),
            "![Samples of both models from the same prompts and noise](benchmarks/results/framing.webp)",
        ]
    )


def packing(facts: dict[str, Any]) -> str:
    """Padding, speed and loss of four ways to batch clips of unequal size."""
    rows = []
    for way, speed in facts["speed"].items():
        clips = statistics.median(speed["clips_per_second"])
        row = [
            way,
            f"{facts['padding'][way]:.0%}",
            f"{clips:.0f}",
            f"{speed['packed_is_faster']:.2f}x",
        ]
        if curve := facts.get(f"loss, {way}"):
            row += [f"{curve[-1]['loss']:.3f}", f"{curve[-1]['clips']:,.0f}"]
        rows.append(row)
    head = ["batches", "padding", "clips/s", "packed is faster"]
    if "loss, packed" in facts:
        head += [f"held-out loss after {facts['about']['seconds']:.0f} s", "clips seen"]
    return "**Packing.** The shipped preset's mix of sizes:\n\n" + grid(head, rows)


def footage(facts: dict[str, Any]) -> str:
    """Real video through the folder path."""
    rows = [[name, f"{psnr:.1f} dB"] for name, psnr in facts["psnr"].items()]
    skipped = " ".join(facts["skipped"].values())
    return (
        f"**Real footage.** Preset `{facts['about']['preset']}` from nothing, {facts['about']['vae_steps']} steps of "
        f"its VAE and {facts['about']['steps']} of its transformer on {len(rows)} real clips:\n\n"
        + grid(["reconstructed", "PSNR"], rows)
        + f"\n\nSkipped in the same folder: {skipped}"
    )


PARTS: Parts = (
    ("sizes", "untrained", sweep),
    ("sizes", "long", long),
    ("sizes", "draft", draft),
    ("framing", "summary", framing),
    ("packing", "speed", packing),
    ("footage", "psnr", footage),
)


def native_sizes() -> str:
    """The section."""
    return written(PARTS, "benchmarks/sizes.py")
