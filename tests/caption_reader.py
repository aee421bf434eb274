"""Reads captions back into facts, written apart from minisora.worlds.captions and its tables."""

from __future__ import annotations

import re

NUMERALS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
COLORS = "red|green|blue|yellow|cyan|magenta|orange|white"
SIZES = {"small": "small", "little": "small", "medium": "medium", "large": "large", "big": "large"}
SPEEDS = {
    "slowly": "slow",
    "steadily": "medium",
    "at medium speed": "medium",
    "quickly": "fast",
    "fast": "fast",
}
VERBS = r"\b(mov|drift|glid|float|slid)(ing|es|s)\b"
BACKGROUND = re.compile(
    r"(?:on|over) (?:a |plain )?(striped )?(black|gray|navy|brown)"
    r"(?: (gradient|stripes|checker|checkerboard))?(?: background)?\b"
)
FRONT = re.compile(rf", the ({COLORS}) digit in front$")
JOIN = re.compile(r" (in front of|behind|and) (?=an? )")


def read(text: str) -> dict[str, object]:
    """All that a caption states: `digits` in the order named, `background`, `front` (an index)."""
    stated: dict[str, object] = {}
    if named := FRONT.search(text):
        text = text[: named.start()]
    if ground := BACKGROUND.search(text):
        striped, tint, pattern = ground.groups()
        pattern = {"checkerboard": "checker", None: ""}.get(pattern, pattern)
        stated["background"] = f"{tint} {'stripes' if striped else pattern}".strip()
        text = (text[: ground.start()] + text[ground.end() :]).strip(" ,")
    assert "," not in text
    first, *rest = JOIN.split(text)
    digits = [read_digit(first)]
    if rest:
        link, second = rest
        digits.append(read_digit(second))
        if link != "and":
            stated["front"] = 0 if link == "in front of" else 1
        if named:
            stated["front"] = [digit["color"] for digit in digits].index(named[1])
    return stated | {"digits": digits}


def read_digit(clause: str) -> dict[str, object]:
    """What one clause says of one digit; attributes that it leaves out are absent."""
    words = clause.split()
    (color,) = re.findall(rf"\b(?:{COLORS})\b", clause)
    (label,) = [int(w) if w.isdigit() else NUMERALS.index(w) for w in words if _is_numeral(w)]
    assert words[0] == ("an" if words[1] in ("orange", "eight", "8") else "a")
    found: dict[str, object] = {"color": color, "label": label}
    if speeds := [s for phrase, s in SPEEDS.items() if re.search(rf"\b{phrase}\b", clause)]:
        (found["speed"],) = speeds
    if sizes := [SIZES[w] for w in re.sub("at medium speed", "", clause).split() if w in SIZES]:
        (found["size"],) = sizes
    sides = [
        side
        for side, pattern in (
            ("up", r"up(ward|per)?"),
            ("down", r"down(ward)?|lower"),
            ("left", "left"),
            ("right", "right"),
        )
        if re.search(rf"\b({pattern})\b", clause)
    ]
    if sides:
        found["direction"] = "-".join(sides)
    moves = "speed" in found or "direction" in found
    assert len(re.findall(VERBS, clause)) == moves
    return found


def _is_numeral(word: str) -> bool:
    return word in NUMERALS or (len(word) == 1 and word.isdigit())
