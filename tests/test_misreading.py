"""What a prompt is mistaken for: true of another clip, and of none but a neighbor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minisora.worlds import MovingMNIST, WorldConfig, caption
from minisora.worlds.misreading import misread
from minisora.worlds.statements import parse

LARGER = {"small": "medium", "medium": "large", "large": "large"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("a red 3", "a red 3"),
        ("a small red 3 moving up", "a medium red 3 moving up"),
        ("a little red 3 at medium speed", "a medium red 3 at medium speed"),
        ("a medium red 3 moving at medium speed", "a large red 3 moving at medium speed"),
        ("an eight in red and a three in blue", "a three in red and an eight in blue"),
        ("An 8 in red, a Small 3", "a 3 in red, a medium 8"),
        ("three digits: 1, 2, 3", "three digits: 1, 2, 3"),  # who is whose is not said
    ],
)
def test_sizes_grow_and_two_digits_exchange(text: str, wanted: str) -> None:
    assert misread(text) == wanted


def test_a_misread_caption_says_what_it_should() -> None:
    """Parsed again: of each color another size, and of two digits the other's name and motion."""
    world = MovingMNIST(WorldConfig(), seed=7)
    counts = {1: 0, 2: 0}
    for i in range(60):
        scene = world.scene(i)
        counts[len(scene.digits)] += 1
        others = scene.digits[::-1]
        wanted = {
            replace(
                digit,
                size=LARGER[digit.size],
                label=other.label,
                direction=other.direction,
                speed=other.speed,
            )
            for digit, other in zip(scene.digits, others, strict=True)
        }
        text = caption(scene, "detailed", np.random.default_rng(i))
        read, told = parse(text), parse(misread(text))
        names = ("color", "label", "size", "direction", "speed")
        facts = {tuple(getattr(digit, name) for name in names) for digit in wanted}
        assert {tuple(getattr(d, name) for name in names) for d in told.digits} == facts, text
        assert (told.tint, told.pattern) == (read.tint, read.pattern)
    assert min(counts.values()) > 10
