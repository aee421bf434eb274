"""Scenes in words: captions at two levels of detail, each in many phrasings, all of them true.

`detailed` names every attribute of every digit, the background, and which digit is in front;
`short` names color and class and at most one thing more. Training blends both, so that short
prompts work too (as in the DALL-E 3 paper). All captions are made of the words in `VOCABULARY`,
single spaces, and commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from .backgrounds import BACKGROUNDS
from .scene import COLORS, DIRECTIONS, DigitFacts, Scene

Level = Literal["detailed", "short"]
LEVELS: tuple[str, ...] = ("detailed", "short")
MAX_WORDS = {1: 20, 2: 32}  # of a caption, by number of digits

# In every table the first phrase is the plain one, which `describe` uses.
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium",), "large": ("large", "big")}
SPEED_WORDS = {
    "slow": ("slowly",),
    "medium": ("steadily", "at medium speed"),
    "fast": ("quickly", "fast"),
}
DIRECTION_WORDS = {
    "up": ("straight up", "up", "upward"),
    "down": ("straight down", "down", "downward"),
    "left": ("to the left", "left"),
    "right": ("to the right", "right"),
    "up-left": ("up and to the left", "up and left", "to the upper left"),
    "up-right": ("up and to the right", "up and right", "to the upper right"),
    "down-left": ("down and to the left", "down and left", "to the lower left"),
    "down-right": ("down and to the right", "down and right", "to the lower right"),
}
_PAIRS = (("up", "down"), ("upward", "downward"), ("upper", "lower"), ("left", "right"))
OPPOSITES = dict(_PAIRS) | {second: first for first, second in _PAIRS}
PARTICIPLES = ("moving", "drifting", "gliding", "floating", "sliding")
VERBS = ("moves", "drifts", "glides", "floats", "slides", *(f"is {verb}" for verb in PARTICIPLES))
NOUNS = ("{color} {digit}", "{color} digit {digit}", "{digit} in {color}")
BACKGROUND_WORDS = {
    "": ("on a {tint} background", "on {tint}", "on plain {tint}"),
    "gradient": ("on a {tint} gradient background", "on a {tint} gradient"),
    "stripes": ("on a striped {tint} background", "on {tint} stripes", "over {tint} stripes"),
    "checker": ("on a {tint} checker background", "on a {tint} checkerboard"),
}
PLACES = ("{what} {where}", "{where}, {what}")
IN_ORDER = ("{front} in front of {back}", "{back} behind {front}")
SIDE_BY_SIDE = ("{front} and {back}", "{back} and {front}")
FRONT_NAMED = ", the {color} digit in front"
EXTRAS = ("direction", "", "background", "size", "speed", "order")  # what a short caption may add

Choose = Callable[[Sequence[str]], str]


def caption(scene: Scene, level: Level = "detailed", rng: np.random.Generator | None = None) -> str:
    """Write one true caption of a scene.

    Args:
        scene: the facts. A scene of one frame is an image: its captions say nothing of motion.
        level: "detailed" (everything) or "short" (color and class, and perhaps one thing more).
        rng: chooses the phrasing; without it the caption is always the same, plain one.

    Raises:
        ValueError: unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; choose one of {', '.join(LEVELS)}.")
    choose = _first if rng is None else _chooser(rng)
    write = _short if level == "short" else _detailed
    while True:  # an unlucky phrasing is drawn again; the plain one never is
        text = write(scene, choose)
        if len(text.split()) <= MAX_WORDS[len(scene.digits)] and "left behind" not in text:
            return text


def describe(scene: Scene) -> str:
    """The plain detailed caption: the same scene always gives the same words."""
    return caption(scene, "detailed")


def motionless(text: str) -> str:
    """A caption or prompt without what it says of motion.

    `motionless("a red 3 moving slowly up and to the left on gray") == "a red 3 on gray"`
    """
    return " ".join(_MOTION.sub("", text).split()).replace(" ,", ",")


def undirected(text: str) -> str:
    """A caption or prompt without directions: of a clip that goes on, its speed still holds, but it may have turned.

    `undirected("a red 3 moving slowly up and to the left on gray") == "a red 3 moving slowly on gray"`
    """
    return " ".join(_MOTION.sub(_without_direction, text).split()).replace(" ,", ",")


def backwards(text: str) -> str:
    """A caption or prompt of the film turned round: what moved up moves down.

    `backwards("a red 3 moving slowly up and to the left") == "a red 3 moving slowly down and to the right"`
    """
    return _TURNED.sub(lambda word: OPPOSITES[word[0].lower()], text)


def _without_direction(motion: re.Match[str]) -> str:
    """Verb and speed; nothing if no speed is told."""
    speed = _SPEED.search(motion[0])
    return f" {motion['verb']} {speed[0]}" if speed else ""


def _detailed(scene: Scene, choose: Choose) -> str:
    nouns = [_noun(digit, choose, sized=True) for digit in scene.digits]
    parts = {"speed", "direction"} if scene.frames > 1 else set()
    where = _background(scene.background, choose)
    if len(nouns) == 1:
        what = nouns[0] + _motion(scene.digits[0], choose, parts, VERBS + PARTICIPLES)
        return choose(PLACES).format(what=what, where=where)
    back, front = (
        noun + _motion(digit, choose, parts, PARTICIPLES)
        for noun, digit in zip(nouns, scene.digits, strict=True)
    )
    colors = [digit.color for digit in scene.digits]
    named = FRONT_NAMED.format(color=colors[1])
    order = choose(IN_ORDER if colors[0] == colors[1] else (*IN_ORDER, *SIDE_BY_SIDE))
    what = order.format(front=front, back=back)
    text = choose(PLACES).format(what=what, where=where)
    return text + named if order in SIDE_BY_SIDE else text


def _short(scene: Scene, choose: Choose) -> str:
    extra = choose(EXTRAS)
    parts = {extra} & {"speed", "direction"} if scene.frames > 1 else set()
    verbs = PARTICIPLES if len(scene.digits) > 1 else PARTICIPLES + VERBS
    whats = [
        _noun(digit, choose, sized=extra == "size") + _motion(digit, choose, parts, verbs)
        for digit in scene.digits
    ]
    what = whats[0]
    if len(whats) == 2:
        order = choose(IN_ORDER if extra == "order" else SIDE_BY_SIDE)
        what = order.format(back=whats[0], front=whats[1])
    if extra == "background":
        return choose(PLACES).format(what=what, where=_background(scene.background, choose))
    return what


def _noun(digit: DigitFacts, choose: Choose, sized: bool) -> str:
    """For example "a large red 3", "an orange digit three", "a small 7 in green"."""
    name = choose((str(digit.label), NUMERALS[digit.label]))
    noun = choose(NOUNS).format(color=digit.color, digit=name)
    if sized:
        noun = f"{choose(SIZE_WORDS[digit.size])} {noun}"
    article = "an" if noun.split()[0] in ("orange", "eight", "8") else "a"
    return f"{article} {noun}"


def _motion(digit: DigitFacts, choose: Choose, parts: set[str], verbs: Sequence[str]) -> str:
    """For example " moving slowly to the left"; empty if no part of the motion is to be told."""
    words = []
    if "speed" in parts:
        words.append(choose(SPEED_WORDS[digit.speed]))
    if "direction" in parts:
        words.append(choose(DIRECTION_WORDS[digit.direction]))
    if not words:
        return ""
    if choose(("speed first", "direction first")) == "direction first":
        words.reverse()
    return " ".join(["", choose(verbs), *words])


def _background(name: str, choose: Choose) -> str:
    tint, _, pattern = name.partition(" ")
    return choose(BACKGROUND_WORDS[pattern]).format(tint=tint)


def _first(options: Sequence[str]) -> str:
    return options[0]


def _chooser(rng: np.random.Generator) -> Choose:
    return lambda options: options[int(rng.random() * len(options))]


def _vocabulary() -> tuple[str, ...]:
    """Every word that a caption can contain, sorted."""
    tables = (SIZE_WORDS, SPEED_WORDS, DIRECTION_WORDS, BACKGROUND_WORDS)
    phrases = [phrase for table in tables for options in table.values() for phrase in options]
    phrases += [*PARTICIPLES, *VERBS, *NOUNS, *IN_ORDER, *SIDE_BY_SIDE, FRONT_NAMED, "a an"]
    phrases += [*NUMERALS, *"0123456789", *COLORS, *(name.split()[0] for name in BACKGROUNDS)]
    words = {word for phrase in phrases for word in phrase.replace(",", "").split()}
    return tuple(sorted(word for word in words if not word.startswith("{")))


def _longest_first(*tables: Iterable[str]) -> str:
    """A pattern for any of the phrases; of two that begin alike the longer one is found."""
    return "|".join(sorted((p for table in tables for p in table), key=len, reverse=True))


VOCABULARY: tuple[str, ...] = _vocabulary()
_HOW = _longest_first(*SPEED_WORDS.values(), *DIRECTION_WORDS.values())
_MOTION = re.compile(rf" *\b(?P<verb>{_longest_first(VERBS, PARTICIPLES)})\b(?: (?:{_HOW})\b)*")
_TURNED = re.compile(rf"\b(?:{'|'.join(OPPOSITES)})\b", re.IGNORECASE)
_SPEED = re.compile(rf"\b(?:{_longest_first(*SPEED_WORDS.values())})\b")
assert set(DIRECTION_WORDS) == set(DIRECTIONS)
