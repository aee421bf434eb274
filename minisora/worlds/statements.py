"""Captions and prompts read back: what a text states, attribute by attribute, and whether two texts agree.

The inverse of `captions`, and more forgiving, since people write prompts too: "a three", "two digits on stripes".
What it does not understand it passes over; what cannot be of this world, or cannot be true at once, it refuses.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass, replace
from itertools import permutations

from .backgrounds import BACKGROUNDS
from .captions import NUMERALS
from .scene import COLORS

FIELDS = ("color", "label", "size", "direction", "speed")  # of a digit
_SIZES = {"small": "small", "little": "small", "tiny": "small", "medium": "medium"} | dict.fromkeys(
    ("large", "big", "huge"), "large"
)
_SPEEDS = {"slow": "slow", "slowly": "slow", "steadily": "medium", "mediumspeed": "medium"} | (
    dict.fromkeys(("quickly", "fast", "rapidly", "quick"), "fast")
)
_SIDES = {
    "up": ("up", "upward", "upwards", "upper"),
    "down": ("down", "downward", "downwards", "lower"),
    "left": ("left", "leftward", "leftwards"),
    "right": ("right", "rightward", "rightwards"),
}
_PATTERNS = {
    "plain": "",
    "gradient": "gradient",
    "striped": "stripes",
    "stripes": "stripes",
    "checker": "checker",
    "checkered": "checker",
    "checkerboard": "checker",
}
_TINTS = ("black", "gray", "grey", "navy", "brown")
_NOUNS = ("digit", "number", "numeral")
_WORD = re.compile(r"[a-z]+|\d+|,")
_NEVER = ("not", "no", "without", "never")
_COLOR = "|".join(COLORS)
_THING = "|".join((*COLORS, *NUMERALS, *_NOUNS, *(f"{noun}s" for noun in _NOUNS), r"\d+"))
_GROUND = re.compile(
    r"(?:\b(?:on|over|against|in front of|with) )?(?:\b(?:an?|the) )?"
    rf"((?:\b(?:{'|'.join((*_TINTS, *_PATTERNS))})\b ?)+)(?:background|backdrop)?"
)
_FRONT = re.compile(rf"(?:, |and )?the ({_COLOR}) (?:digit |one )?(?:is )?in front(?! of)")
_JOIN = re.compile(
    r"(?:^| )(in front of|behind|and|with|,) "
    rf"(?=(?:(?:an?|the|another|one) )?(?:(?:{'|'.join(_SIZES)}) )?(?:{_THING})\b)"
)
OPENING = ("a", "an", "on", "over", ",")  # the words of captions that begin a phrase
_ORDERS = {"in front of": ("in front", "behind"), "behind": ("behind", "in front")}


class UnclearError(ValueError):
    """A text states what this world does not have, or what cannot be true at once."""


@dataclass(frozen=True)
class StatedDigit:
    """What a text says of one digit; None where it says nothing."""

    color: str | None = None
    label: int | None = None
    size: str | None = None
    direction: str | None = None
    speed: str | None = None


@dataclass(frozen=True)
class Statement:
    """What a text says. `digits` in the order named; none if it names none, and then any number may be meant.

    Attributes:
        digits: one for each that is named.
        tint, pattern: of the background; pattern "" is plain. None where nothing is said.
        front: which of two digits is in front, as an index.
    """

    digits: tuple[StatedDigit, ...] = ()
    tint: str | None = None
    pattern: str | None = None
    front: int | None = None

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """The names of `BACKGROUNDS` that agree with it."""
        parts = ((name, *name.partition(" ")[::2]) for name in BACKGROUNDS)
        return tuple(
            name
            for name, tint, pattern in parts
            if self.tint in (None, tint) and self.pattern in (None, pattern)
        )


def parse(text: str) -> Statement:
    """Read a caption or a prompt.

    Raises:
        UnclearError: it speaks of more than two digits, of a background that does not exist, of two directions at
            once, or of what is *not* there.
    """
    words = _WORD.findall(text.lower().replace("-", " "))
    if negation := next((word for word in words if word in _NEVER), None):
        raise UnclearError(f"{text!r} says {negation!r}; say what is there instead.")
    plain = " ".join(words).replace("at medium speed", "mediumspeed")
    plain = plain.replace("medium speed", "mediumspeed")
    plain, tint, pattern = _take_background(plain)
    named = _FRONT.search(plain)
    if named:
        plain = plain[: named.start()] + plain[named.end() :]
    first, *rest = _JOIN.split(plain)
    links, clauses = rest[::2], [first, *rest[1::2]]
    found = [(i, digit) for i, clause in enumerate(clauses) for digit in _read_clause(clause)]
    digits = tuple(digit for _, digit in found)
    if len(digits) > 2:
        raise UnclearError(
            f"{text!r} speaks of {len(digits)} digits; this world has one or two at a time."
        )
    statement = Statement(
        digits, tint, pattern, _front(links, [i for i, _ in found], named, digits)
    )
    if not statement.backgrounds:
        raise UnclearError(f"{text!r} asks for a background that is not one of: {_grounds()}.")
    return statement


def phrases(text: str) -> list[str]:
    """What a caption says of each thing by itself: a clause for each digit, then one for the background.

    `phrases("on gray, a red 3 in front of a 7") == ["a red 3 in front", "a 7 behind", "on gray"]`
    """
    plain = " ".join(_WORD.findall(text.lower()))
    grounds = [match[0] for match in _GROUND.finditer(plain)]
    plain = " ".join(_GROUND.sub(" ", plain).split())
    named = _FRONT.search(plain)
    first, *rest = _JOIN.split(_FRONT.sub(" ", plain))
    clauses = [clause.strip(" ,") for clause in (first, *rest[1::2])]
    places = [""] * len(clauses)
    for i, link in enumerate(rest[::2]):
        if link in _ORDERS:
            places[i : i + 2] = _ORDERS[link]
    if named:
        places = ["in front" if named[1] in clause.split() else "behind" for clause in clauses]
    found = [f"{clause} {place}" for clause, place in zip(clauses, places, strict=True) if clause]
    return [" ".join(phrase.split()) for phrase in (*found, *grounds)]


def _take_background(plain: str) -> tuple[str, str | None, str | None]:
    """The text without what it says of the background, then tint and pattern."""
    words = [word for match in _GROUND.finditer(plain) for word in match[1].split()]
    tints = {"gray" if word == "grey" else word for word in words if word in _TINTS}
    patterns = {_PATTERNS[word] for word in words if word in _PATTERNS}
    if len(tints) > 1 or len(patterns) > 1:
        raise UnclearError(f"Two backgrounds at once; choose one of: {_grounds()}.")
    tint = next(iter(tints), None)
    pattern = next(iter(patterns), None if tint is None else "")
    return " ".join(_GROUND.sub(" ", plain).split()).strip(" ,"), tint, pattern


def _front(
    links: list[str],
    clause_of: list[int],
    named: re.Match[str] | None,
    digits: tuple[StatedDigit, ...],
) -> int | None:
    if len(digits) != 2:
        return None
    if named:
        fits = [i for i, digit in enumerate(digits) if digit.color == named[1]]
        return fits[0] if len(fits) == 1 else None
    link = links[clause_of[1] - 1] if clause_of[0] != clause_of[1] else ""
    return {"in front of": 0, "behind": 1}.get(link)


def _read_clause(clause: str) -> list[StatedDigit]:
    """The digits of one clause: none, one, or two alike ("two red digits")."""
    words, count = clause.split(), 1
    for i, word in enumerate(words):
        if word in [f"{noun}s" for noun in _NOUNS]:
            count = 2
            for j in range(i):
                if words[j] in NUMERALS or words[j].isdigit():
                    count = int(words[j]) if words[j].isdigit() else NUMERALS.index(words[j])
                    words[j] = ""
    labels = [w for w in words if w in NUMERALS or w.isdigit()]
    if len(labels) > 1 and labels[0] == "one":  # an article
        labels = labels[1:]
    sides = [side for side, names in _SIDES.items() if set(names) & set(words)]
    if {"up", "down"} <= set(sides) or {"left", "right"} <= set(sides):
        raise UnclearError(f"{clause!r} names opposite directions; name one.")
    colors = [w for w in words if w in COLORS]
    sizes, speeds = ({t[w] for w in words if w in t} for t in (_SIZES, _SPEEDS))
    if max(len(set(labels)), len(set(colors)), len(sizes), len(speeds)) > 1:
        raise UnclearError(f"{clause!r} says two things of one digit; say one.")
    if labels and labels[0].isdigit() and len(labels[0]) > 1:
        raise UnclearError(f"{labels[0]} is no digit; name one from 0 to 9.")
    digit = StatedDigit(
        color=next(iter(colors), None),
        label=next((int(n) if n.isdigit() else NUMERALS.index(n) for n in labels), None),
        size=next(iter(sizes), None),
        direction="-".join(sides) or None,
        speed=next(iter(speeds), None),
    )
    nouns = {noun + s for noun in _NOUNS for s in ("", "s")}
    return (
        [digit] * count if any(f is not None for f in astuple(digit)) or nouns & set(words) else []
    )


def contradictions(asked: Statement, told: Statement) -> list[str]:
    """The attributes in which `told` is not what was asked for; empty if it keeps all that was stated.

    "count", the names of `FIELDS`, "background" and "front". Digits are paired so that the fewest differ.
    """
    wrong = []
    if asked.tint not in (None, told.tint) or asked.pattern not in (None, told.pattern):
        wrong.append("background")
    if not asked.digits:
        return wrong
    if len(asked.digits) != len(told.digits):
        return [*wrong, "count"]
    pairings = []
    for order in permutations(range(len(told.digits))):
        pairs = [(digit, told.digits[i]) for digit, i in zip(asked.digits, order, strict=True)]
        off = [
            name
            for a, b in pairs
            for name in FIELDS
            if getattr(a, name) not in (None, getattr(b, name))
        ]
        if asked.front is not None and told.front != order[asked.front]:
            off.append("front")
        pairings.append(off)
    return wrong + min(pairings, key=len)


def without_motion(statement: Statement) -> Statement:
    """What is left of a statement for an image."""
    digits = tuple(replace(digit, direction=None, speed=None) for digit in statement.digits)
    return replace(statement, digits=digits)


def _grounds() -> str:
    return ", ".join(BACKGROUNDS)
