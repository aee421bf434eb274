"""The Moving-MNIST world: its physics, its pixels, and what never changes about it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.worlds import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    HELD_OUT,
    SIZES,
    SPEEDS,
    DigitFacts,
    MovingMNIST,
    Scene,
    WorldConfig,
    load_digits,
    render,
)
from minisora.worlds.backgrounds import background
from minisora.worlds.drawing import _paint, _resize
from minisora.worlds.scene import reflect

REPO = Path(__file__).resolve().parent.parent
SIDES = range(32, 129, 16)


def walk(start: float, velocity: float, room: float, steps: int) -> tuple[list[float], list[float]]:
    """The naive simulation: a step at a time, turning back at a wall as often as one is met."""
    positions, velocities = [start], [velocity]
    for _ in range(steps):
        start += velocity
        while not 0 <= start <= room:
            start = -start if start < 0 else 2 * room - start
            velocity = -velocity
        positions.append(start)
        velocities.append(velocity)
    return positions, velocities


# Physics


@given(
    room=st.floats(1, 200),
    share=st.floats(0, 1),
    velocity=st.floats(-30, 30),
    steps=st.integers(0, 60),
)
def test_reflection_equals_a_step_by_step_walk(
    room: float, share: float, velocity: float, steps: int
) -> None:
    arguments = (np.array(value) for value in (share * room, velocity, room))
    time_ = np.arange(steps + 1)
    position, turned = reflect(*arguments, time_, np.array(7.0))
    expected, directions = walk(share * room, velocity, room, steps)
    np.testing.assert_allclose(position - 7, expected, atol=1e-8 * (1 + room))
    inside = (np.abs(position - 7) > 1e-6) & (np.abs(position - 7 - room) > 1e-6)
    assert (turned == directions)[inside].all()  # on a wall itself it is a matter of rounding


@pytest.mark.parametrize(("height", "width"), [(32, 128), (64, 64), (112, 48)])
def test_scenes_move_as_the_naive_walk_does(height: int, width: int) -> None:
    world = MovingMNIST(WorldConfig(frames=65, height=height, width=width), seed=1)
    for index in range(60):
        scene = world.scene(index)
        positions, boxes = scene.positions(), scene.boxes()
        assert positions.shape == (65, len(scene.digits), 2)
        for n, digit in enumerate(scene.digits):
            box, side = (digit.height, digit.width), (height, width)
            for axis in range(2):
                room = side[axis] - box[axis]
                start = digit.start[axis] - box[axis] / 2
                path, _ = walk(start, digit.velocity[axis], room, 64)
                np.testing.assert_allclose(boxes[:, n, axis], path, atol=1e-9)
                np.testing.assert_allclose(boxes[:, n, axis + 2] - boxes[:, n, axis], box[axis])
        assert boxes.min() >= -1e-9
        assert (boxes[..., 2:] <= np.array([height, width]) + 1e-9).all()


def test_a_bounce_flips_one_component_and_keeps_the_speed() -> None:
    world = MovingMNIST(WorldConfig(frames=65, max_digits=1), seed=2)
    bounces = 0
    for index in range(100):
        scene = world.scene(index)
        velocity = scene.velocities()[:, 0]
        wanted = SPEEDS[scene.digits[0].speed]
        np.testing.assert_allclose(np.hypot(*velocity.T), wanted)
        np.testing.assert_allclose(np.abs(velocity), np.abs(velocity[:1]).repeat(65, axis=0))
        bounces += int((np.diff(velocity, axis=0) != 0).sum())
    assert bounces > 100


def test_mirrored_scene_moves_mirrored() -> None:
    scene = MovingMNIST(WorldConfig(max_digits=1, frames=33), seed=3).scene(0)
    (digit,) = scene.digits
    swap = {"left": "right", "right": "left"}
    flipped = "-".join(swap.get(part, part) for part in digit.direction.split("-"))
    start = digit.start[0], scene.width - digit.start[1]
    mirror = replace(scene, digits=(replace(digit, direction=flipped, start=start),))
    expected = [0, scene.width] + scene.positions() * [1, -1]
    np.testing.assert_allclose(mirror.positions(), expected, atol=1e-9)


@pytest.mark.parametrize("side", SIDES)
def test_the_named_direction_holds_at_first(side: int) -> None:
    world = MovingMNIST(WorldConfig(height=side, width=side), seed=4)
    for index in range(200):
        scene = world.scene(index)
        corners = scene.boxes()[:, :, :2]
        for n, digit in enumerate(scene.digits):
            for axis, box in enumerate((digit.height, digit.width)):
                room, velocity = side - box, digit.velocity[axis]
                steps = int(min(5, room / abs(velocity))) if velocity else 5
                moved = corners[: steps + 1, n, axis] - corners[0, n, axis]
                np.testing.assert_allclose(moved, velocity * np.arange(steps + 1), atol=1e-9)


# Pixels


def naive_paint(frame: np.ndarray, sprite: np.ndarray, color: tuple, y: float, x: float) -> None:
    """One pixel at a time: opacity is the sprite read between its pixels, zero outside of it."""

    def ink(row: int, column: int) -> float:
        inside = 0 <= row < sprite.shape[0] and 0 <= column < sprite.shape[1]
        return float(sprite[row, column]) if inside else 0.0

    for i, j in np.ndindex(frame.shape[:2]):
        row, column = i - y, j - x
        top, left = int(np.floor(row)), int(np.floor(column))
        v, u = row - top, column - left
        above = (1 - u) * ink(top, left) + u * ink(top, left + 1)
        below = (1 - u) * ink(top + 1, left) + u * ink(top + 1, left + 1)
        alpha = (1 - v) * above + v * below
        frame[i, j] = (1 - alpha) * frame[i, j] + alpha * np.array(color)


@settings(max_examples=40, deadline=None)
@given(y=st.floats(0, 1), x=st.floats(0, 1), h=st.integers(1, 9), w=st.integers(1, 9))
def test_sub_pixel_painting_equals_a_naive_loop(y: float, x: float, h: int, w: int) -> None:
    rng = np.random.default_rng(h * 10 + w)
    sprite, frame = rng.random((h, w)), rng.random((1, 12, 13, 3)) * 255
    corner = y * (12 - h), x * (13 - w)
    expected = frame[0].copy()
    naive_paint(expected, sprite, (10, 200, 90), *corner)
    frames = frame.astype(np.float32)
    _paint(frames, sprite.astype(np.float32), np.float32([10, 200, 90]), np.array([corner]))
    np.testing.assert_allclose(frames[0], expected, atol=1e-2)


@pytest.mark.parametrize("longest", SIZES.values())
def test_resizing_equals_pillow(longest: int) -> None:
    image_module = pytest.importorskip("PIL.Image")
    digits = load_digits("test")
    for index in range(0, len(digits), 25):
        crop = digits.crop(index)
        height, width = (max(1, round(side * longest / max(crop.shape))) for side in crop.shape)
        pillow = image_module.fromarray(crop.astype(np.float32))
        expected = np.asarray(pillow.resize((width, height), image_module.BICUBIC))
        ours = _resize(crop, height, width) * 255
        np.testing.assert_allclose(ours, expected.clip(0, 255), atol=0.01)


def test_ink_moves_exactly_as_the_facts_say() -> None:
    config = WorldConfig(max_digits=1, colors=("white",), backgrounds=("black",), frames=33)
    world = MovingMNIST(config, seed=5)
    y, x = np.mgrid[:64, :64] + 0.5
    for index in range(30):
        clip = world[index]
        ink = clip.pixels[..., 0].astype(float)
        total = ink.sum(axis=(1, 2))
        centroid = np.stack([(ink * y).sum((1, 2)), (ink * x).sum((1, 2))], axis=1) / total[:, None]
        offset = centroid - clip.facts.positions()[:, 0]
        assert np.ptp(offset, axis=0).max() < 0.05  # px; from rounding to 8 bits
        digit = clip.facts.digits[0]
        assert (np.abs(offset) < np.array([digit.height, digit.width]) / 4).all()
        assert digit.pixels == SIZES[digit.size]


def test_no_ink_outside_the_box() -> None:
    world = MovingMNIST(WorldConfig(max_digits=1, backgrounds=("black",)), seed=6)
    for index in range(40):
        clip = world[index]
        for frame, (top, left, bottom, right) in zip(
            clip.pixels, clip.facts.boxes()[:, 0], strict=True
        ):
            rows, columns = np.nonzero(frame.any(axis=2))
            assert rows.min() >= np.floor(top) and rows.max() < np.ceil(bottom)
            assert columns.min() >= np.floor(left) and columns.max() < np.ceil(right)


def test_the_later_digit_covers_the_earlier() -> None:
    def facts(color: str) -> DigitFacts:
        return DigitFacts(1, 450, color, "large", 28, 28, "up", "slow", (30.0, 30.0))

    def drawn(*colors: str) -> np.ndarray:
        scene = Scene(64, 64, 1, "black", tuple(facts(color) for color in colors))
        return render(scene)[0].astype(int)

    alone = drawn("red")
    core = alone[..., 0] >= 239  # full ink
    assert core.sum() > 10
    assert np.abs(drawn("green", "red")[core] - COLORS["red"]).max() <= 2
    assert np.abs(drawn("red", "green")[core] - COLORS["green"]).max() <= 2


def test_video_is_the_pixels_as_a_tensor() -> None:
    clip = MovingMNIST(WorldConfig(frames=5, height=48, width=32))[0]
    assert clip.pixels.shape == (5, 48, 32, 3)
    assert clip.pixels.dtype == np.uint8
    assert clip.video.shape == (3, 5, 48, 32)
    assert clip.video.dtype == torch.float32
    assert clip.video.is_contiguous()
    expected = torch.from_numpy(clip.pixels.transpose(3, 0, 1, 2) / 255).float()
    torch.testing.assert_close(clip.video, expected)


def test_colors_are_told_apart_and_stand_out() -> None:
    inks = np.array(list(COLORS.values()), float)
    gaps = np.linalg.norm(inks[:, None] - inks[None], axis=-1)
    assert gaps[~np.eye(len(inks), dtype=bool)].min() > 90
    luminance = np.array([0.2126, 0.7152, 0.0722])
    for name in BACKGROUNDS:
        ground = background(name, 128, 128)
        assert (ground @ luminance / 255).max() < 0.35
        assert np.linalg.norm(ground.reshape(-1, 1, 3) - inks, axis=-1).min() > 140


def test_backgrounds_differ_and_keep_their_phase() -> None:
    assert len(BACKGROUNDS) == len(set(BACKGROUNDS)) == 13
    for one, other in itertools.combinations(BACKGROUNDS, 2):
        assert np.abs(background(one, 64, 64) - background(other, 64, 64)).max() > 10
    for name in BACKGROUNDS:
        small, large = background(name, 32, 48), background(name, 128, 128)
        assert small.shape == (32, 48, 3)
        if "stripes" in name or "checker" in name:  # a light tile of 8 px at the top left
            assert (large[:8, :8] == large[0, 0]).all()
            assert (large[:8, 8:16] < large[0, 0]).all()
        if "checker" in name:
            assert (large[8:16, :8] < large[0, 0]).all()
        if "gradient" not in name:
            assert np.array_equal(small, large[:32, :48])
            assert np.array_equal(large, np.roll(large, (16, 16), axis=(0, 1)))


# Determinism


def test_the_same_seed_and_index_give_the_same_clip() -> None:
    config = WorldConfig(frames=5)
    one, two = MovingMNIST(config, seed=7), MovingMNIST(config, seed=7)
    forward = [one[index] for index in range(20)]
    backward = [two[index] for index in reversed(range(20))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert a.facts == b.facts
        assert np.array_equal(a.pixels, b.pixels)
    other = [MovingMNIST(config, seed=8).scene(index) for index in range(20)]
    assert all(clip.facts != scene for clip, scene in zip(forward, other, strict=True))
    assert len({json.dumps(clip.facts.to_dict()) for clip in forward}) == 20


def test_another_process_makes_the_same_clip() -> None:
    code = (
        "from minisora.worlds import MovingMNIST, WorldConfig; import hashlib, sys;"
        "clip = MovingMNIST(WorldConfig(frames=5), seed=7)[123];"
        "assert 'torch' not in sys.modules, 'the world must not need torch';"
        "print(hashlib.sha256(clip.pixels.tobytes()).hexdigest(), clip.caption)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    clip = MovingMNIST(WorldConfig(frames=5), seed=7)[123]
    digest = hashlib.sha256(clip.pixels.tobytes()).hexdigest()
    assert run.stdout.strip() == f"{digest} {clip.caption}"


def test_seeds_still_mean_what_they_meant() -> None:
    """Shipped checkpoints were trained and measured on these very scenes."""
    facts = MovingMNIST(seed=0).scene(1).to_dict()
    starts = [digit.pop("start") for digit in facts["digits"]]
    common = {"label": 6}
    orange = {"image_index": 2822, "color": "orange", "size": "large", "height": 28, "width": 22}
    cyan = {"image_index": 2856, "color": "cyan", "size": "medium", "height": 24, "width": 19}
    assert facts == {
        "height": 64,
        "width": 64,
        "frames": 17,
        "background": "gray checker",
        "digits": [
            common | orange | {"direction": "up-left", "speed": "medium"},
            common | cyan | {"direction": "down", "speed": "slow"},
        ],
        "split": "train",
        "source": "mnist_5k",
    }
    expected = [[24.19054178990909, 27.06196827371882], [17.572667260495212, 9.856055273951105]]
    np.testing.assert_allclose(starts, expected)


def test_facts_survive_json_and_draw_the_same_clip() -> None:
    world = MovingMNIST(WorldConfig(split="test"), seed=9)
    for index in range(20):
        clip = world[index]
        again = Scene.from_dict(json.loads(json.dumps(clip.facts.to_dict())))
        assert again == clip.facts
        assert np.array_equal(render(again), clip.pixels)
        for digit in again.digits:
            assert load_digits("test").labels[digit.image_index] == digit.label


# What can happen


def test_held_out_pairs_are_never_trained() -> None:
    assert set(HELD_OUT) == set(COLORS)
    assert len(set(HELD_OUT.values())) == len(COLORS)
    world, seen = MovingMNIST(seed=10), set()
    for index in range(3000):
        for digit in world.scene(index).digits:
            assert not digit.held_out
            seen.add((digit.color, digit.label))
    every = set(itertools.product(COLORS, range(10)))
    assert seen == every - set(HELD_OUT.items())


def test_held_out_pairs_can_be_asked_for() -> None:
    only, any_ = (MovingMNIST(WorldConfig(held_out=mode), 11) for mode in ("only", "any"))
    seen = {(d.color, d.label) for i in range(300) for d in only.scene(i).digits}
    assert seen == set(HELD_OUT.items())
    assert any(digit.held_out for index in range(100) for digit in any_.scene(index).digits)


def test_every_choice_occurs_about_equally_often() -> None:
    scenes = [MovingMNIST(seed=12).scene(index) for index in range(4000)]
    digits = [digit for scene in scenes for digit in scene.digits]
    for name, options in (
        ("color", COLORS),
        ("size", SIZES),
        ("speed", SPEEDS),
        ("direction", DIRECTIONS),
        ("label", range(10)),
    ):
        counts = [sum(getattr(d, name) == option for d in digits) for option in options]
        assert min(counts) > 0.8 * len(digits) / len(counts)
    grounds = [sum(scene.background == name for scene in scenes) for name in BACKGROUNDS]
    assert min(grounds) > 0.75 * len(scenes) / len(BACKGROUNDS)
    assert 0.57 < sum(len(scene.digits) == 1 for scene in scenes) / len(scenes) < 0.63
    pairs = [scene.digits for scene in scenes if len(scene.digits) == 2]
    assert all(back.color != front.color for back, front in pairs)


@pytest.mark.parametrize(("height", "width"), list(itertools.product(SIDES, SIDES)))
def test_every_size(height: int, width: int) -> None:
    frames = 1 + 4 * ((height // 16 + width // 16) % 5)
    clip = MovingMNIST(WorldConfig(frames=frames, height=height, width=width), seed=13)[0]
    assert clip.pixels.shape == (frames, height, width, 3)
    assert clip.pixels.max() > 100


@settings(max_examples=60, deadline=None)
@given(
    config=st.builds(
        WorldConfig,
        frames=st.integers(0, 12).map(lambda k: 1 + 4 * k),
        height=st.sampled_from(SIDES),
        width=st.sampled_from(SIDES),
        single_fraction=st.floats(0, 1),
        split=st.sampled_from(["train", "test"]),
        held_out=st.sampled_from(["exclude", "only", "any"]),
        sizes=st.lists(st.sampled_from(list(SIZES)), min_size=1).map(tuple),
        speeds=st.lists(st.sampled_from(list(SPEEDS)), min_size=1).map(tuple),
    ),
    seed=st.integers(0, 2**63),
    index=st.integers(0, 2**63),
)
def test_any_world_any_seed_any_index(config: WorldConfig, seed: int, index: int) -> None:
    clip = MovingMNIST(config, seed)[index]
    assert clip.pixels.shape == (config.frames, config.height, config.width, 3)
    boxes = clip.facts.boxes()
    assert boxes.min() > -1e-9
    assert (boxes[..., 2:] < np.array([config.height, config.width]) + 1e-9).all()
    assert {digit.size for digit in clip.facts.digits} <= set(config.sizes)
    assert {digit.speed for digit in clip.facts.digits} <= set(config.speeds)


def test_classic_is_grey_with_two_digits() -> None:
    world = MovingMNIST.classic(seed=14)
    for index in range(10):
        clip = world[index]
        assert clip.pixels.shape == (21, 64, 64, 3)
        assert len(clip.facts.digits) == 2
        assert np.ptp(clip.pixels, axis=3).max() == 0
        assert clip.pixels[0].min() == 0
    assert MovingMNIST.classic(frames=9, split="test")[0].pixels.shape[0] == 9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 60}, r"height is 60; choose a multiple of 16 from 32 to 128\."),
        ({"width": 144}, r"width is 144; choose a multiple of 16 from 32 to 128\."),
        ({"height": 16}, r"height is 16; choose"),
        ({"width": 64.0}, r"width is 64\.0; choose"),
        ({"frames": 16}, r"frames is 16; choose 1 \+ 4k"),
        ({"frames": -3}, r"frames is -3; choose"),
        ({"max_digits": 3}, r"min_digits is 1 and max_digits 3; choose"),
        ({"single_fraction": 1.5}, r"single_fraction is 1\.5; choose"),
        ({"split": "valid"}, r"split is 'valid'; choose one of train, test\."),
        ({"held_out": True}, r"held_out is True; choose one of exclude, only, any\."),
        ({"colors": ("pink",)}, r"colors is \('pink',\); choose a tuple of some of red, "),
        ({"colors": ()}, r"colors is \(\); choose a tuple"),
        ({"sizes": "small"}, r"sizes is 'small'; choose a tuple of some of small, medium, large\."),
        ({"backgrounds": ("gray dots",)}, r"choose a tuple of some of black, gray, "),
    ],
)
def test_wrong_settings_give_one_clear_sentence(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        WorldConfig(**wrong)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_wrong_seed_and_index() -> None:
    with pytest.raises(ValueError, match=r"seed is -1; choose 0 or more\."):
        MovingMNIST(seed=-1)
    with pytest.raises(IndexError, match="index is -1"):
        MovingMNIST()[-1]


def test_fast_enough_to_train_from() -> None:
    """Above 500 clips a second on one free core; the bound leaves room for a busy machine."""
    world, best = MovingMNIST(), 0.0
    for _ in range(4):
        start = time.process_time()
        for index in range(150):
            world[index]
        best = max(best, 150 / (time.process_time() - start))
    assert best > 150
