"""README's section on words in Markdown, from what the benchmarks wrote; a part whose file is not there is left out.

Every figure comes from benchmarks/results/: words.json (`benchmarks/words.py`, `eyes.py`) and recaptioning.json
(`benchmarks/recaptioning.py`).
"""

from __future__ import annotations

from typing import Any

from runs.scoreboard import Parts, grid, number, written


def captioner(facts: dict[str, Any]) -> str:
    """What the captioner says of held-out clips, attribute by attribute."""
    sizes = facts["captioner"]
    names = [name for name in next(iter(sizes.values())) if name != "all"]
    rows = []
    for name in names:
        cells = [figures[name] for figures in sizes.values()]
        told = [
            f"{cell['right']['value']:.1%} / {cell['wrong']['value']:.1%}"
            if cell["right"]["count"]
            else ""
            for cell in cells
        ]
        rows.append(["nothing invented" if name == "invented" else name, *told])
    rows.append(["all of it right", *(f"{f['all']['value']:.1%}" for f in sizes.values())])
    return (
        f"**The captioner** on {facts['about']['clips']} held-out clips of each size: share of captions that tell it "
        "rightly / that tell it wrongly; the rest leave it out. Of two digits both must be right; which one is in "
        "front is asked where it can be seen, as one covers the other.\n\n"
        + grid(["attribute", *sizes], rows)
    )


def by_digits(facts: dict[str, Any]) -> str:
    """Captions that are right in all they should say, by the number of digits."""
    rows = [
        [size, *(number(figures["all"], "{:.1%}") for figures in counts.values())]
        for size, counts in facts["by_digits"].items()
    ]
    free = number(facts["free"]["all"], "{:.1%}")
    return (
        "**All of it right**, by the number of digits. Captions are held to the form of a detailed caption; if they "
        f"are not, {free} of those of {next(iter(facts['captioner']))} are right.\n\n"
    ) + grid(["size", "one digit", "two digits"], rows)


def weighing(facts: dict[str, Any]) -> str:
    """What eyes learn first, by how words are weighed."""
    about = facts["weighing"]["about"]
    rows = [
        [
            f"{row['rarity']:g}",
            "Muon" if row["muon"] else "AdamW",
            *(number(row[name], "{:.1%}") for name in ("color", "label", "size")),
        ]
        for row in facts["weighing"]["rows"]
    ]
    head = ["power of log(1 / share) by which words weigh", "convolutions by", "color", "name"]
    return (
        f"**What eyes learn first** from alt-text, {about['steps']} steps on images of 32x32 "
        f"(`benchmarks/eyes.py`): share of {about['images']} held-out images with one digit that they read rightly.\n\n"
    ) + grid([*head, "size"], rows)


def expander(facts: dict[str, Any]) -> str:
    """How often an expansion contradicts its prompt."""
    ruled, free = (
        number(facts["expander"][kind]["contradicts"], "{:.1%}") for kind in ("constrained", "free")
    )
    return f"**The expander** contradicts {ruled} of {facts['about']['clips']} prompts; without its rule, {free}."


def cycle(facts: dict[str, Any]) -> str:
    """Prompt to clip to caption."""
    made, real = (number(facts["cycle"][kind]["cycle"], "{:.0%}") for kind in ("generated", "real"))
    return (
        f"**There and back**, prompt to clip to caption: the caption says all that the prompt stated, and nothing "
        f"against it, for {made} of {facts['cycle']['generated']['cycle']['count']} generated clips, and for {real} "
        "of real ones."
    )


def expansion(facts: dict[str, Any]) -> str:
    """What expansion does to clips from short prompts."""
    rows = [
        [
            name,
            number(figures["fidelity"]["all"], "{:.1%}"),
            *(number(judge, "{:.4f}") for judge in figures["kernel_distance"].values()),
        ]
        for name, figures in facts["expansion"].items()
    ]
    count = facts["expansion"]["expanded"]["fidelity"]["all"]["count"]
    head = [
        "short prompt",
        "all that it states is right",
        "distance to real clips, judge 0",
        "judge 1",
    ]
    return f"**Expansion** of {count} short prompts, by clips of the shipped generator.\n\n" + grid(
        head, rows
    )


def recaptioning(facts: dict[str, Any]) -> str:
    """What generators learn from alt-text, short and detailed captions."""
    kinds = ("detailed", "short", "expanded")
    rows = [
        [name, str(row["seeds"]), *(number(row[kind], "{:.1%}") for kind in kinds)]
        for name, row in facts["pooled"].items()
    ]
    about = facts["about"]
    head = ["trained on", "seeds", *(f"{kind} prompts" for kind in kinds)]
    return (
        f"**What captions do to a generator**: small ones from scratch, {about['steps']} steps each, equal but for "
        "their captions; share of clips in which all that the prompt states is right "
        f"({about['clips']} clips of each kind and seed).\n\n" + grid(head, rows)
    )


def wrong_by_attribute(facts: dict[str, Any]) -> str:
    """What captions get wrong, beside what generators that learned from captions get wrong."""
    table = facts["wrong"]
    main = [name for name, row in facts["pooled"].items() if row["seeds"] > 1]
    rows = [
        [name, *(number(row[who], "{:.1%}") for who in ("captions", *main))]
        for name, row in table.items()
    ]
    return (
        "**What they get wrong**: detailed captions of the clips that these generators learn from (wrong or left "
        "out), and the generators' clips from detailed prompts.\n\n"
    ) + grid(["attribute", "detailed captions", *(f"trained on {name}" for name in main)], rows)


PARTS: Parts = (
    ("words", "captioner", captioner),
    ("words", "by_digits", by_digits),
    ("words", "weighing", weighing),
    ("words", "expander", expander),
    ("words", "cycle", cycle),
    ("words", "expansion", expansion),
    ("recaptioning", "pooled", recaptioning),
    ("recaptioning", "wrong", wrong_by_attribute),
)


def words() -> str:
    """The section."""
    return written(PARTS, "benchmarks/words.py")
