"""README's section on editing in Markdown, from benchmarks/results/editing.json; an edit not measured is left out."""

from __future__ import annotations

from typing import Any

from runs.scoreboard import Parts, grid, number, written

SHARE, TIMES, PIXELS = "{:.1%}", "{:.2f}", "{:.2f} px"
ROWS = (  # (edit, figure, what it is, how it is written)
    ("animate", "identity_kept", "the digit given stays that digit", SHARE),
    ("animate", "identity_real", "- the same read from real clips", SHARE),
    ("animate", "direction_followed", "goes where the prompt says", SHARE),
    ("extend", "given_exact", "given frames come back bit for bit", SHARE),
    ("extend", "joint_change", "change of velocity across the joint", PIXELS),
    ("extend", "joint_change_reconstructed", "- the same in VAE reconstructions", PIXELS),
    ("extend", "identity_at_end", "the digit at four times the length", SHARE),
    ("backward", "joint_change_turned", "change of velocity, the film turned round", PIXELS),
    ("backward", "joint_change_corrected", "- by correcting every guess", PIXELS),
    ("backward", "identity_turned", "the digit is seen before, too, the film turned round", SHARE),
    ("backward", "identity_corrected", "- by correcting every guess", SHARE),
    ("backward", "times_faster", "how many times faster it is to turn the film round", TIMES),
    ("loop", "seamless", "seam of at most 1.5 ordinary steps", SHARE),
    ("loop", "smooth", "no change above two ordinary ones, all the way round", SHARE),
    ("loop", "whole", "one digit in every frame, no ghosts", SHARE),
    ("circle", "seamless", "seam of at most 1.5 ordinary steps", SHARE),
    ("circle", "whole", "one digit in every frame, no ghosts", SHARE),
    ("connect", "ends_exact", "both ends come back bit for bit", SHARE),
    ("connect", "smooth", "no change above two ordinary ones", SHARE),
    ("connect", "largest_step", "largest change, in ordinary ones", TIMES),
    ("connect", "largest_step_real", "- the same inside real clips", TIMES),
    ("connect", "largest_step_reconstructed", "- the same in VAE reconstructions", TIMES),
    ("connect", "frames", "frames it takes", "{:.0f}"),
    ("inpaint", "removed", "the digit painted over is gone, the other there", SHARE),
)


def edits(facts: dict[str, Any]) -> str:
    """One figure a row."""
    rows = [
        [edit, str(facts[edit]["clips"]), what, number(facts[edit][name], style)]
        for edit, name, what, style in ROWS
        if edit in facts
    ]
    return grid(["edit", "clips", "what", "measured"], rows)


def rollout(facts: dict[str, Any]) -> str:
    """What keeps the digit in windows that follow each other."""
    found = {
        title: row
        for title, row in facts["rollout"].items()
        if isinstance(row, dict) and "identity_at_end" in row
    }
    names = {"identity_next": SHARE, "identity_at_end": SHARE, "joint_change": PIXELS}
    rows = [
        [title, *(number(row[name], style) for name, style in names.items())]
        for title, row in found.items()
    ]
    count = next(iter(found.values()))["identity_at_end"]["count"]
    head = [
        "windows are sampled",
        "next 17 frames",
        "last 17 frames",
        "change of velocity at the joint",
    ]
    return (
        f"**Rolling out**, {count} clips a row: is the digit still read, in the next 17 frames and in the last of "
        "three times as many, and how evenly does it move on, if windows are sampled otherwise?\n\n"
        + grid(head, rows)
    )


def restyled(facts: dict[str, Any]) -> str:
    """What each strength reaches and keeps."""
    names = {
        "color_reached": SHARE,
        "background_reached": SHARE,
        "digit_kept": SHARE,
        "path_px": PIXELS,
    }
    rows = [
        [strength, *(number(row[name], style) for name, style in names.items())]
        for strength, row in facts["restyle"].items()
        if isinstance(row, dict) and "path_px" in row
    ]
    head = ["strength", "color reached", "background reached", "digit kept", "path off by"]
    return f"**Restyle**, {facts['restyle']['clips']} clips a row:\n\n" + grid(head, rows)


def minute(facts: dict[str, Any]) -> str:
    """How long a digit lives in a clip of 60 s."""
    tenths = facts["story"]["one_digit_as_asked"]
    told = ", ".join(f"{tenth['value']:.0%}" for tenth in tenths)
    return (
        "**A minute from one prompt**: exactly one digit, and the one asked for, in each tenth of "
        f"{tenths[0]['count']} clips of 60 s: {told}."
    )


PARTS: Parts = (
    ("editing", "animate", edits),
    ("editing", "rollout", rollout),
    ("editing", "restyle", restyled),
    ("editing", "story", minute),
)


def editing() -> str:
    """The section."""
    return written(PARTS, "benchmarks/editing.py")
