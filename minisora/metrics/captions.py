"""How true captions are: attribute by attribute, what is right, what is left out, what is made up.

Reads a caption with `worlds.statements` and compares it with the facts of the scene. For generated clips, which have
no facts, `agreement` compares the caption with the prompt: the cycle prompt -> clip -> caption.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from minisora.worlds import Scene, render
from minisora.worlds.statements import FIELDS, Statement, UnclearError, contradictions, parse

from .intervals import share

CAPTION_ATTRIBUTES = ("count", *FIELDS, "background", "front")
PLAIN, ENOUGH = 40, 4  # of 255, a difference of colors that is seen at once; pixels of one frame
Mark = str  # "right", "wrong" or "missing"


def mark_caption(scene: Scene, caption: str) -> dict[str, Mark]:
    """Each of `CAPTION_ATTRIBUTES` that the scene shows: told rightly, wrongly, or not at all.

    An attribute of digits is right if it is right of every digit. Digits are told apart by color; one whose color is
    not told, or told wrongly, is compared with the one that is left. Also "invented": "wrong" if the caption speaks of
    a digit too many, or of motion in an image, else "right".
    """
    asked = _asked(scene)
    try:
        told = parse(caption)
    except UnclearError:
        return dict.fromkeys([*asked, "invented"], "wrong")
    marks = {"count": _mark(len(scene.digits) == len(told.digits), bool(told.digits))}
    pairs = _pairs(scene, told)
    for name in FIELDS:
        if name in asked:
            said = [getattr(told.digits[j], name) if j is not None else None for j in pairs]
            facts = [getattr(digit, name) for digit in scene.digits]
            wrong = any(s not in (None, f) for s, f in zip(said, facts, strict=True))
            marks[name] = "wrong" if wrong else _mark(True, None not in said)
    name = f"{told.tint} {told.pattern}".strip()
    marks["background"] = _mark(name == scene.background, told.tint is not None)
    if "front" in asked:
        marks["front"] = _mark(told.front == pairs[1], told.front is not None)
    moves = any(digit.direction or digit.speed for digit in told.digits)
    invented = len(told.digits) > len(scene.digits) or (scene.frames == 1 and moves)
    return marks | {"invented": "wrong" if invented else "right"}


def order_shows(scene: Scene) -> bool:
    """Whether the pixels tell which of two digits is in front: drawn the other way round, a frame looks different.

    Digits that never touch have an order, too, but nobody can see it.
    """
    if len(scene.digits) < 2:
        return False
    drawn, turned = (
        render(replace(scene, digits=digits)).astype(np.int16)
        for digits in (scene.digits, scene.digits[::-1])
    )
    changed = np.abs(drawn - turned).max(axis=-1) > PLAIN  # (T, H, W)
    return bool((changed.sum(axis=(1, 2)) >= ENOUGH).any())


def _asked(scene: Scene) -> list[str]:
    absent = {"direction", "speed"} if scene.frames == 1 else set()
    absent |= set() if order_shows(scene) else {"front"}
    return [name for name in CAPTION_ATTRIBUTES if name not in absent]


def _mark(right: bool, told: bool) -> Mark:
    return "missing" if not told else "right" if right else "wrong"


def _pairs(scene: Scene, told: Statement) -> list[int | None]:
    """For each digit of the scene, which of the caption's digits is meant."""
    left = list(range(len(told.digits)))
    pairs: list[int | None] = []
    for digit in scene.digits:
        same = [j for j in left if told.digits[j].color == digit.color]
        pairs.append(same[0] if same else None)
        left = [j for j in left if j != pairs[-1]]
    return [left.pop(0) if j is None and left else j for j in pairs]


def caption_figures(marks: Iterable[dict[str, Mark]]) -> dict[str, Any]:
    """Shares with 95 % intervals over captions: of each attribute "right", and "wrong" (made up); and "all" right."""
    marks = list(marks)
    figures: dict[str, Any] = {}
    for name in (*CAPTION_ATTRIBUTES, "invented"):
        mine = [mark[name] for mark in marks if name in mark]
        figures[name] = {kind: share([m == kind for m in mine]) for kind in ("right", "wrong")}
    whole = [all(m == "right" for m in mark.values()) for mark in marks]
    return figures | {"all": share(whole)}


def agreement(prompt: str, caption: str) -> bool | None:
    """Whether a caption says all that a prompt states and nothing against it; None if the prompt is not understood."""
    try:
        asked = parse(prompt)
    except UnclearError:
        return None
    try:
        return not contradictions(asked, parse(caption))
    except UnclearError:
        return False
