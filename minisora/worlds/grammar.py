"""The detailed captions that agree with a statement, as a language one can walk through word by word.

Built from the tables of `captions`, with every alternative left out that would contradict what is stated. `expand`
walks it while a language model chooses the words. A language is kept as the set of all that may still come: each
word that is chosen drops the sentences it does not fit (Brzozowski derivatives, 1964).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from .captions import (
    BACKGROUND_WORDS,
    DIRECTION_WORDS,
    FRONT_NAMED,
    IN_ORDER,
    NOUNS,
    NUMERALS,
    PARTICIPLES,
    PLACES,
    SIZE_WORDS,
    SPEED_WORDS,
    VERBS,
)
from .scene import COLORS
from .statements import StatedDigit, Statement

END = ""  # what comes after the last word


@dataclass(frozen=True, eq=False)
class OneOf:
    """A place in a sentence where one of several phrases stands."""

    options: tuple[Phrase, ...]


Phrase = tuple["str | OneOf", ...]
Language = tuple[Phrase, ...]
"""The sentences that may still come; the empty phrase among them says that the sentence may end."""


def next_words(language: Language) -> dict[str, Language]:
    """Each word that may come next, to what may come after it; `END` if the sentence may end."""
    found: dict[str, dict[Phrase, None]] = {}
    stack = list(language)
    while stack:
        phrase = stack.pop()
        if not phrase:
            found.setdefault(END, {})[()] = None
        elif isinstance(phrase[0], OneOf):
            stack += [(*option, *phrase[1:]) for option in phrase[0].options]
        else:
            found.setdefault(phrase[0], {})[phrase[1:]] = None
    return {word: tuple(rest) for word, rest in found.items()}


def detailed_captions(stated: Statement, frames: int) -> Language:
    """All detailed captions that agree with a statement and keep the number of digits it names.

    Args:
        stated: from `statements.parse`. With no digit in it, captions of one and of two digits are meant.
        frames: of the clip; captions of one frame say nothing of motion.
    """
    moves = frames > 1
    pairs = [stated.digits] if len(stated.digits) == 2 else []
    singles = [stated.digits[0]] if len(stated.digits) == 1 else []
    if not stated.digits:
        singles, pairs = [StatedDigit()], [(StatedDigit(), StatedDigit())]
    what = [_clause(digit, moves, (*VERBS, *PARTICIPLES)) for digit in singles]
    ends: list[tuple[Phrase, Phrase]] = [(phrase, ()) for phrase in what]
    for first, second in pairs:
        ends += _both(first, second, stated.front, moves)
    where = _background(stated)
    return tuple(
        (*_fill(place, {"what": core, "where": where}), *end)
        for place in PLACES
        for core, end in ends
    )


def _both(
    first: StatedDigit, second: StatedDigit, front: int | None, moves: bool
) -> Iterator[tuple[Phrase, Phrase]]:
    """Two digits: (what is said of them, what stands at the very end)."""
    colors = [COLORS if digit.color is None else (digit.color,) for digit in (first, second)]
    for one, other in product(*colors):
        stated_alike = first.color is not None and first.color == second.color
        if one == other and not stated_alike:
            continue  # the world draws two colors, so that captions can tell the digits apart
        digits = (replace(first, color=one), replace(second, color=other))
        for ahead in (0, 1) if front is None else (front,):
            near, far = digits[ahead], digits[1 - ahead]
            clauses = {
                "front": _clause(near, moves, PARTICIPLES),
                "back": _clause(far, moves, PARTICIPLES),
            }
            for template in IN_ORDER:
                if template.startswith("{back}"):
                    clauses = clauses | {"back": _clause(far, moves, PARTICIPLES, ahead="behind")}
                yield _fill(template, clauses), ()
            if one != other:
                named = _fill(FRONT_NAMED.format(color=near.color), {})
                a, b = clauses["front"], _clause(far, moves, PARTICIPLES)
                yield (*a, "and", *b), named
                yield (*b, "and", *a), named


def _clause(digit: StatedDigit, moves: bool, verbs: Sequence[str], ahead: str = "") -> Phrase:
    """For example "a small red 3 moving slowly up"; `ahead`: the word that follows."""
    names = range(10) if digit.label is None else (digit.label,)
    parts = {
        "color": (_one_of(COLORS if digit.color is None else (digit.color,)),),
        "digit": (_one_of([str(n) for n in names] + [NUMERALS[n] for n in names]),),
    }
    noun = OneOf(tuple(_fill(form, parts) for form in NOUNS))
    clause: Phrase = ("a", _one_of(_phrases(SIZE_WORDS, digit.size)), noun)
    if not moves:
        return clause
    speed = _phrases(SPEED_WORDS, digit.speed)
    direction = _phrases(DIRECTION_WORDS, digit.direction)
    # "left behind" would be read as another verb.
    last = [d for d in direction if not (ahead == "behind" and d.endswith("left"))]
    orders: list[Phrase] = [(_one_of(direction), _one_of(speed))]
    orders += [(_one_of(speed), _one_of(last))] if last else []
    return (*clause, _one_of(verbs), OneOf(tuple(orders)))


def _background(stated: Statement) -> Phrase:
    names = [name.partition(" ") for name in stated.backgrounds]
    phrases = [p.format(tint=tint) for tint, _, pattern in names for p in BACKGROUND_WORDS[pattern]]
    return (_one_of(phrases),)


def _phrases(table: Mapping[str, Sequence[str]], value: str | None) -> list[str]:
    """The phrases for a value, or for every value if none is stated."""
    return [phrase for name, group in table.items() if value in (None, name) for phrase in group]


def _one_of(phrases: Iterable[str]) -> OneOf:
    return OneOf(tuple(tuple(phrase.split()) for phrase in phrases))


def _fill(template: str, parts: Mapping[str, Phrase]) -> Phrase:
    """The words of a template, with `{name}` replaced by a phrase; commas are words."""
    filled: list[str | OneOf] = []
    for word in template.replace(",", " ,").replace("}", "} ").split():
        filled += parts[word[1:-1]] if word.startswith("{") else (word,)
    return tuple(filled)
