"""Captions: true, complete at their level, of few words, and never all alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from caption_reader import read

from minisora.worlds import VOCABULARY, MovingMNIST, Scene, WorldConfig, caption, describe

ATTRIBUTES = {"color", "label", "size", "speed", "direction"}


def scenes(count: int = 400, **config: Any) -> list[Scene]:
    world = MovingMNIST(WorldConfig(**config), seed=20)
    return [world.scene(index) for index in range(count)]


def check_true(scene: Scene, text: str) -> dict[str, Any]:
    """Assert that everything a caption states is a fact; returns what it states."""
    stated: dict[str, Any] = read(text)
    assert len(stated["digits"]) == len(scene.digits), text
    assert stated.get("background", scene.background) == scene.background, text
    by_color = {digit.color: digit for digit in scene.digits}
    for digit in stated["digits"]:
        facts = by_color[digit["color"]]
        assert all(getattr(facts, name) == value for name, value in digit.items()), text
    if "front" in stated:
        assert stated["digits"][stated["front"]]["color"] == scene.digits[-1].color, text
    return stated


def test_the_reader_reads_captions_written_by_hand() -> None:
    """The tests below are worth no more than this reader."""
    red = {"color": "red", "label": 3, "size": "large", "speed": "fast", "direction": "up-right"}
    blue = {"color": "blue", "label": 7, "direction": "left"}
    assert read("a large red 3 moving fast up and to the right on black") == {
        "digits": [red],
        "background": "black",
    }
    assert read("on a striped gray background, a blue 7 drifts left behind a red 3") == {
        "digits": [blue, {"color": "red", "label": 3}],
        "background": "gray stripes",
        "front": 1,
    }
    assert read("a blue seven sliding left and an orange 8, the blue digit in front") == {
        "digits": [blue, {"color": "orange", "label": 8}],
        "front": 0,
    }


@pytest.mark.parametrize("frames", [1, 17])
def test_detailed_captions_state_every_fact(frames: int) -> None:
    rng = np.random.default_rng(0)
    wanted = ATTRIBUTES if frames > 1 else {"color", "label", "size"}
    for scene in scenes(frames=frames):
        for text in (describe(scene), *(caption(scene, "detailed", rng) for _ in range(12))):
            stated = check_true(scene, text)
            assert "background" in stated
            assert all(set(digit) == wanted for digit in stated["digits"]), text
            assert ("front" in stated) == (len(scene.digits) == 2), text
            assert len(text.split()) <= (20 if len(scene.digits) == 1 else 32), text


@pytest.mark.parametrize("frames", [1, 17])
def test_short_captions_are_true_and_short(frames: int) -> None:
    rng = np.random.default_rng(1)
    kinds = set()
    for scene in scenes(frames=frames):
        for text in (caption(scene, "short"), *(caption(scene, "short", rng) for _ in range(12))):
            stated = check_true(scene, text)
            extra = {name for digit in stated["digits"] for name in digit} - {"color", "label"}
            extra |= set(stated) - {"digits"}
            assert len(extra) <= 1, text
            kinds |= extra or {"nothing"}
            assert len(text.split()) <= 12 * len(scene.digits), text
    motion = {"speed", "direction"} if frames > 1 else set()
    assert kinds == {"nothing", "background", "front", "size"} | motion


def test_vocabulary_is_closed_and_all_of_it_is_used() -> None:
    rng = np.random.default_rng(2)
    used: set[str] = set()
    for scene in scenes(300) + scenes(100, frames=1):
        for level in ("detailed", "short") * 8:
            text = caption(scene, level, rng)
            assert "  " not in text and text == text.strip()
            words = text.replace(", ", " ").split(" ")
            assert set(words) <= set(VOCABULARY), text
            used |= set(words)
    assert used == set(VOCABULARY)
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    assert all(word.isalnum() for word in VOCABULARY)


def test_one_scene_has_many_captions() -> None:
    rng = np.random.default_rng(3)
    single, pair = (scenes(1, min_digits=n, max_digits=n)[0] for n in (1, 2))
    for scene, least in ((single, 80), (pair, 190)):
        assert len({caption(scene, "detailed", rng) for _ in range(200)}) >= least
        assert len({caption(scene, "short", rng) for _ in range(200)}) >= 30


def test_the_same_generator_state_gives_the_same_caption() -> None:
    clip = MovingMNIST(WorldConfig(frames=5))[3]
    texts = [clip.captions(level, np.random.default_rng(4)) for level in ("detailed", "short") * 2]
    assert texts[:2] == texts[2:]
    assert clip.caption == clip.captions() == describe(clip.facts)


def test_equal_colors_are_never_told_apart_by_color() -> None:
    rng = np.random.default_rng(5)
    world = MovingMNIST.classic(seed=1)
    for index in range(50):
        scene = world.scene(index)
        for _ in range(10):
            text = caption(scene, "detailed", rng)
            assert "the white digit" not in text
            stated = read(text)
            front = stated["digits"][stated["front"]]  # type: ignore[index]
            assert front["label"] == scene.digits[-1].label


def test_articles() -> None:
    rng = np.random.default_rng(6)
    scene = scenes(1, max_digits=1)[0]
    eight = replace(scene, digits=(replace(scene.digits[0], label=8, color="orange"),))
    texts = {caption(eight, "short", rng) for _ in range(100)}
    assert {"an orange 8", "an orange eight", "an 8 in orange", "an eight in orange"} <= texts
    assert not any(text.startswith(("a 8", "a o", "a e")) for text in texts)


def test_unknown_level() -> None:
    with pytest.raises(ValueError, match=r"level is 'long'; choose one of detailed, short\."):
        caption(scenes(1)[0], "long")  # type: ignore[arg-type]
