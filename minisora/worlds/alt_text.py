"""Alt-text: captions as the web has them, short, full of gaps and sometimes wrong.

What a captioner is first trained on, and what training on synthetic captions is compared with (DALL-E 3, Betker
et al. 2023: alt-text names the main subject and leaves out number, place, color and size). The words are those of
`captions`, so one vocabulary serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from .backgrounds import BACKGROUNDS
from .captions import (
    IN_ORDER,
    NOUNS,
    NUMERALS,
    PARTICIPLES,
    PLACES,
    SIDE_BY_SIDE,
    SIZE_WORDS,
    VERBS,
    Choose,
    _background,
    _chooser,
    _motion,
)
from .scene import COLORS, DIRECTIONS, SIZES, SPEEDS, DigitFacts, Scene

MISSING, WRONG = 0.5, 0.08  # share of facts left out, and of facts told falsely
PARTIAL_NOUNS = {  # by what is named: (color, class)
    (True, True): NOUNS,
    (False, True): ("{digit}", "digit {digit}"),
    (True, False): ("{color} digit",),
    (False, False): ("digit",),
}

T = TypeVar("T")


def alt_text(
    scene: Scene, rng: np.random.Generator, missing: float = MISSING, wrong: float = WRONG
) -> str:
    """Write a careless caption of a scene.

    Args:
        scene: the facts.
        rng: chooses gaps, mistakes and words. A clip keeps one alt-text if it is always written from the same seed.
        missing: chance that a fact is left out; of two digits one may be left out whole.
        wrong: chance that a fact is told falsely.
    """
    told = mistaken(scene, rng, wrong)
    if len(told.digits) == 2 and rng.random() < missing:
        told = replace(told, digits=(told.digits[int(rng.random() * 2)],))
    return mention(told, rng, missing)


def mention(scene: Scene, rng: np.random.Generator, missing: float = MISSING) -> str:
    """Name every digit of a scene, and each of its facts with chance 1 - `missing`. All that is said is true."""
    told = {name: rng.random(3) >= missing for name in ("color", "label", "size", *_motions(scene))}
    ground, order = rng.random(2) >= missing
    choose = _chooser(rng)
    while True:
        text = _write(scene, told, bool(ground), bool(order), choose)
        if "left behind" not in text:  # it would be read as another verb
            return text


def mistaken(scene: Scene, rng: np.random.Generator, wrong: float) -> Scene:
    """The scene with each fact replaced by another of its kind with chance `wrong`; for words, not for drawing."""

    def slip(value: T, options: Sequence[T]) -> T:
        others = [option for option in options if option != value]
        return others[int(rng.random() * len(others))] if rng.random() < wrong else value

    digits = tuple(
        replace(
            digit,
            color=slip(digit.color, tuple(COLORS)),
            label=slip(digit.label, range(10)),
            size=slip(digit.size, tuple(SIZES)),
            direction=slip(digit.direction, tuple(DIRECTIONS)),
            speed=slip(digit.speed, tuple(SPEEDS)),
        )
        for digit in scene.digits
    )
    if rng.random() < wrong:
        digits = digits[::-1]  # who is in front
    return replace(scene, digits=digits, background=slip(scene.background, BACKGROUNDS))


def _motions(scene: Scene) -> tuple[str, ...]:
    return ("speed", "direction") if scene.frames > 1 else ()


def _write(
    scene: Scene, told: dict[str, np.ndarray], ground: bool, order: bool, choose: Choose
) -> str:
    """`told[name][i]`: whether that fact of digit i is named; `ground`, `order`: background, who is in front."""
    verbs = PARTICIPLES if len(scene.digits) > 1 else PARTICIPLES + VERBS
    whats = []
    for i, digit in enumerate(scene.digits):
        said = {name for name, shares in told.items() if shares[i]}
        whats.append(_partial_noun(digit, said, choose) + _motion(digit, choose, said, verbs))
    what = whats[0]
    if len(whats) == 2:
        joined = choose(IN_ORDER if order else SIDE_BY_SIDE)
        what = joined.format(back=whats[0], front=whats[1])
    if ground:
        what = choose(PLACES).format(what=what, where=_background(scene.background, choose))
    return what


def _partial_noun(digit: DigitFacts, said: set[str], choose: Choose) -> str:
    forms = PARTIAL_NOUNS["color" in said, "label" in said]
    name = choose((str(digit.label), NUMERALS[digit.label]))
    noun = choose(forms).format(color=digit.color, digit=name)
    if "size" in said:
        noun = f"{choose(SIZE_WORDS[digit.size])} {noun}"
    return f"{'an' if noun.split()[0] in ('orange', 'eight', '8') else 'a'} {noun}"
