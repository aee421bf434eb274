"""What texts state: the package's parser against an independent reader, and the grammar of detailed captions."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from caption_reader import read

from minisora.worlds import (
    DIRECTIONS,
    VOCABULARY,
    MovingMNIST,
    Scene,
    WorldConfig,
    caption,
    describe,
)
from minisora.worlds.alt_text import alt_text, mention, mistaken
from minisora.worlds.captions import Level, backwards, motionless, undirected
from minisora.worlds.grammar import END, detailed_captions, next_words
from minisora.worlds.statements import (
    FIELDS,
    StatedDigit,
    Statement,
    UnclearError,
    contradictions,
    parse,
    phrases,
    without_motion,
)


def scenes(count: int, frames: int = 17, seed: int = 5) -> list[Scene]:
    world = MovingMNIST(WorldConfig(frames=frames), seed=seed)
    return [world.scene(i) for i in range(count)]


@pytest.mark.parametrize("level", ["detailed", "short"])
@pytest.mark.parametrize("frames", [1, 17])
def test_captions_are_read_as_the_independent_reader_does(level: str, frames: int) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes(300, frames):
        text = caption(scene, level, rng)  # type: ignore[arg-type]
        ours, theirs = parse(text), read(text)
        said = [{k: v for k, v in vars(d).items() if v is not None} for d in ours.digits]
        assert said == theirs["digits"], text
        assert ours.front == theirs.get("front"), text
        assert ("background" in theirs) == (ours.tint is not None), text
        if "background" in theirs:
            assert ours.backgrounds == (theirs["background"],), text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a three", [{"label": 3}]),
        ("3", [{"label": 3}]),
        ("A BIG Red One!", [{"size": "large", "color": "red", "label": 1}]),
        ("one red 3", [{"color": "red", "label": 3}]),
        ("something small moving up", [{"size": "small", "direction": "up"}]),
        ("two red digits", [{"color": "red"}, {"color": "red"}]),
        ("a red and a blue digit", [{"color": "red"}, {"color": "blue"}]),
        ("a red 3, moving up-left", [{"color": "red", "label": 3, "direction": "up-left"}]),
        ("the number nine at medium speed", [{"label": 9, "speed": "medium"}]),
        ("on stripes", []),
        ("", []),
        ("hello world", []),
    ],
)
def test_prompts_are_read(text: str, wanted: list[dict[str, object]]) -> None:
    assert parse(text).digits == tuple(StatedDigit(**digit) for digit in wanted)  # type: ignore[arg-type]


def test_backgrounds_and_order_are_read() -> None:
    assert parse("a 3 on stripes").backgrounds == ("gray stripes", "navy stripes", "brown stripes")
    assert parse("a 3 on a plain background").backgrounds == ("black", "gray", "navy", "brown")
    assert parse("a 3 in front of a navy background").digits == (StatedDigit(label=3),)
    assert parse("a 3 behind the 7").front == 1
    assert parse("a red 3 and a blue 7, the red digit in front").front == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("five digits", "speaks of 5 digits"),
        ("a 3 and a 4 and a 5", "speaks of 3 digits"),
        ("7 3", "says two things of one digit"),
        ("a 17", "17 is no digit"),
        ("a 3 moving up then down", "opposite directions"),
        ("on black stripes", "a background that is not one of"),
        ("on navy and gray", "Two backgrounds"),
        ("a 3 that is not red", "'not'"),
    ],
)
def test_what_cannot_be_is_refused(text: str, says: str) -> None:
    with pytest.raises(UnclearError, match=says):
        parse(text)


def test_phrases_speak_of_one_thing_each() -> None:
    rng = np.random.default_rng(1)
    for scene in scenes(300):
        for text in (caption(scene, "detailed", rng), alt_text(scene, rng)):
            whole, parts = parse(text), [parse(phrase) for phrase in phrases(text)]
            assert sum((part.digits for part in parts), ()) == whole.digits, text
            assert all(len(part.digits) + (part.tint is not None) == 1 for part in parts), text
            assert whole.tint == (parts[-1].tint if whole.tint else None), text
    said = "On gray, a red 3 behind a 7 in blue moving up and left, the blue digit in front"
    assert phrases(said) == ["a red 3 behind", "a 7 in blue moving up and left in front", "on gray"]
    assert phrases("") == []


def test_contradictions_are_named() -> None:
    told = parse("a small red 3 moving slowly up behind a large blue 7 moving fast left on navy")
    for agreed in ("a 7", "", "on navy", "a 7 and a red digit", "a blue digit in front of a 3"):
        wrong = contradictions(parse(agreed), told)
        assert wrong == (["count"] if agreed == "a 7" else []), agreed
    for asked, wrong in (
        ("a red 3 and a green 7", ["color"]),
        ("a red 7 and a blue 3", ["color", "color"]),
        ("a red 3 in front of a 7", ["front"]),
        ("two digits on stripes", ["background"]),
        ("a 3 moving down and a 7", ["direction"]),
    ):
        found = contradictions(parse(asked), told)
        assert len(found) == len(wrong) and set(found) <= {*wrong, "label"}, (asked, found)
    assert without_motion(told).digits[0] == StatedDigit("red", 3, "small")


# ---- alt-text ----


def test_mentions_are_true_and_of_known_words() -> None:
    rng = np.random.default_rng(1)
    for scene in scenes(300) + scenes(100, 1):
        text = mention(scene, rng, missing=0.5)
        assert contradictions(parse(text), parse(describe(scene))) == [], text
        assert set(text.replace(",", "").split()) <= set(VOCABULARY), text


def test_alt_text_leaves_out_half_and_is_wrong_as_often_as_asked() -> None:
    rng = np.random.default_rng(2)
    told, asked, wrong = 0, 0, 0
    singles = [scene for scene in scenes(3000) if len(scene.digits) == 1]
    for scene in singles:
        (digit,) = parse(alt_text(scene, rng, missing=0.5, wrong=0.1)).digits
        for name in FIELDS:
            asked += 1
            told += getattr(digit, name) is not None
            wrong += getattr(digit, name) not in (None, getattr(scene.digits[0], name))
    assert told / asked == pytest.approx(0.5, abs=0.02)
    assert wrong / told == pytest.approx(0.1, abs=0.02)


def test_alt_text_sometimes_forgets_a_digit_and_is_repeatable() -> None:
    pairs = [scene for scene in scenes(400) if len(scene.digits) == 2]
    texts = [alt_text(scene, np.random.default_rng(3)) for scene in pairs]
    assert texts == [alt_text(scene, np.random.default_rng(3)) for scene in pairs]
    rng = np.random.default_rng(4)
    counts = [len(parse(alt_text(scene, rng)).digits) for scene in pairs]
    assert counts.count(1) / len(counts) == pytest.approx(0.5, abs=0.12)
    assert mistaken(pairs[0], rng, 0.0) == pairs[0]
    assert mistaken(pairs[0], rng, 1.0).background != pairs[0].background


# ---- the grammar ----


def words(text: str) -> list[str]:
    return text.replace(",", " ,").split()


@pytest.mark.parametrize("frames", [1, 17])
def test_every_true_caption_is_in_the_language_of_what_is_mentioned(frames: int) -> None:
    rng = np.random.default_rng(6)
    for scene in scenes(40, frames):
        text, prompt = caption(scene, "detailed", rng), mention(scene, rng, 0.5)
        language = detailed_captions(parse(prompt), frames)
        for word in [*words(text), END]:
            following = next_words(language)
            assert word in following, (prompt, text, word)
            language = following[word]


def walk(statement: Statement, frames: int, rng: random.Random) -> str:
    language, out = detailed_captions(statement, frames), []
    while (word := rng.choice(sorted(following := next_words(language)))) != END:
        out.append(word)
        language = following[word]
    return " ".join(out).replace(" ,", ",")


@pytest.mark.parametrize("frames", [1, 17])
def test_every_sentence_of_the_language_keeps_what_is_stated(frames: int) -> None:
    rng, numbers = random.Random(0), np.random.default_rng(7)
    for scene in scenes(40, frames):
        prompt = mention(scene, numbers, 0.5)
        text = walk(parse(prompt), frames, rng)
        theirs = read(text)  # asserts that it is well formed
        assert contradictions(parse(prompt), parse(text)) == [], (prompt, text)
        assert "background" in theirs and "left behind" not in text
        fields = {"color", "label", "size"} | ({"speed", "direction"} if frames > 1 else set())
        assert all(set(digit) == fields for digit in theirs["digits"]), text  # type: ignore[attr-defined]


def test_equal_colors_that_are_asked_for_are_kept() -> None:
    rng = random.Random(1)
    asked = parse("a red 3 moving left behind a red 7")
    for _ in range(10):
        text = walk(asked, 17, rng)
        assert contradictions(asked, parse(text)) == [] and "the red digit in front" not in text


def test_an_open_prompt_allows_one_and_two_digits() -> None:
    rng = random.Random(2)
    counts = {len(parse(walk(replace(parse("on navy")), 17, rng)).digits) for _ in range(60)}
    assert counts == {1, 2}


def test_a_motionless_prompt_keeps_all_else() -> None:
    numbers = np.random.default_rng(8)
    levels: tuple[Level, ...] = ("short", "detailed")
    for scene, level in product(scenes(100, 17), levels):
        text = caption(scene, level, numbers)
        assert parse(motionless(text)) == without_motion(parse(text)), text
    assert motionless("my dog runs") == "my dog runs"


def test_an_undirected_prompt_keeps_speeds() -> None:
    numbers = np.random.default_rng(9)
    levels: tuple[Level, ...] = ("short", "detailed")
    for scene, level in product(scenes(100, 17), levels):
        text = caption(scene, level, numbers)
        told = parse(text)
        digits = tuple(replace(digit, direction=None) for digit in told.digits)
        assert parse(undirected(text)) == replace(told, digits=digits), text
    assert undirected("a red 3 moving up on gray") == "a red 3 on gray"


def test_the_film_turned_round_moves_the_other_way() -> None:
    numbers = np.random.default_rng(10)
    for scene in scenes(100, 17):
        text = caption(scene, "detailed", numbers)
        told, turned = parse(text), parse(backwards(text))
        for digit, back in zip(told.digits, turned.digits, strict=True):
            assert digit.direction and back.direction
            ways = np.array([DIRECTIONS[digit.direction], DIRECTIONS[back.direction]])
            assert not ways.sum(axis=0).any(), text
            assert replace(back, direction=digit.direction) == digit
        assert backwards(backwards(text)) == text
    assert backwards("A red 3 moving UP") == "A red 3 moving down"
    assert backwards("a red 3 moving up-left") == "a red 3 moving down-right"
