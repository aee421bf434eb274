"""What a prompt is easily mistaken for: its neighbor in words, which contrastive guidance keeps away from.

A generator confuses what differs little: how large a digit is, and in which of two digits which name and which motion
belong. So the neighbor has every digit a size larger (guidance draws them too large), and of two digits the names and
the motions exchanged. Colors stay, as they say which digit is meant.
"""

from __future__ import annotations

import re

from .captions import DIRECTION_WORDS, NUMERALS, SPEED_WORDS, _longest_first

LARGER = {"small": "medium", "little": "medium", "medium": "large"}
_SIZE = re.compile(rf"\b(?:{'|'.join(LARGER)})\b(?! speed)", re.IGNORECASE)
_ARTICLE = re.compile(r"\ban?(?= (\w+))", re.IGNORECASE)
_EXCHANGED = tuple(
    re.compile(rf"\b(?:{_longest_first(*phrases)})\b", re.IGNORECASE)
    for phrases in (
        (NUMERALS, "0123456789"),
        DIRECTION_WORDS.values(),
        SPEED_WORDS.values(),
    )
)


def misread(text: str) -> str:
    """A caption or prompt as one takes it who mixes things up; the same where there is nothing to mix up.

    `misread("a small red 3 moving slowly up and a big blue 7 moving left fast") ==
    "a medium red 7 moving fast left and a big blue 3 moving up slowly"`
    """
    text = _SIZE.sub(lambda word: LARGER[word[0].lower()], text)
    for kind in _EXCHANGED:
        text = _exchange(text, kind)
    return _ARTICLE.sub(lambda a: "an" if a[1] in ("orange", "eight", "8") else "a", text)


def _exchange(text: str, kind: re.Pattern[str]) -> str:
    """The text with its two phrases of a kind exchanged, if it has just two."""
    found = [match[0] for match in kind.finditer(text)]
    return kind.sub(lambda _: found.pop(), text) if len(found) == 2 else text
