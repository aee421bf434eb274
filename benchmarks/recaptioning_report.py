"""What the recaptioning experiment reports of its runs: shares over the seeds of each recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minisora.metrics.intervals import share
from minisora.metrics.reading import ATTRIBUTES

PROMPTS = ("detailed", "short", "expanded")


def over_seeds(shares: Sequence[dict[str, Any]], wrong: bool = False) -> dict[str, Any]:
    """One share from those of several runs; `wrong` turns it into the share of the rest."""
    hits, total = (
        sum(round(s["value"] * s["count"]) for s in shares),
        sum(s["count"] for s in shares),
    )
    return share([not wrong] * hits + [wrong] * (total - hits))


def by_recipe(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The scores of all runs of each recipe, a dictionary for each seed."""
    names = dict.fromkeys(run["recipe"]["name"] for run in runs)
    return {name: [r["scores"] for r in runs if r["recipe"]["name"] == name] for name in names}


def pooled(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds of each recipe, the share of clips with all that is stated, by kind of prompt."""
    table: dict[str, Any] = {}
    for name, scores in by_recipe(runs).items():
        table[name] = {"seeds": len(scores)}
        for kind in PROMPTS:
            shares = [score[kind]["fidelity"]["all"] for score in scores]
            by_seed = {"seeds": [s["value"] for s in shares]}
            table[name][kind] = over_seeds(shares) | by_seed
    return table


def wrong_by_attribute(
    captioner: Mapping[Any, Any], runs: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Of each attribute, who gets it wrong how often: detailed captions, and the clips of each recipe.

    A caption is wrong, too, if it leaves the attribute out; clips are those from detailed prompts, over all seeds.
    """
    table: dict[str, dict[str, Any]] = {}
    for name in ATTRIBUTES:
        right = captioner["detailed"]["label" if name == "digit" else name]["right"]
        table[name] = {"captions": over_seeds([right], wrong=True)}
        for recipe, scores in by_recipe(runs).items():
            shares = [score["detailed"]["fidelity"][name] for score in scores]
            table[name][recipe] = over_seeds(shares, wrong=True)
    return table
