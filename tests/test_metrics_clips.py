"""Trackers, physics and reading of clips, on real clips whose facts are known and on damaged ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from skimage.measure import label as skimage_label

from minisora.metrics.corruptions import CORRUPTIONS, draw
from minisora.metrics.linking import label_blobs
from minisora.metrics.physics import measure_physics, move
from minisora.metrics.reader import DigitReader, load_reader, normalize_digit, read_ink
from minisora.metrics.reading import ATTRIBUTES, compare, read_clip, stated
from minisora.metrics.seams import joint_change, seam_error
from minisora.metrics.tracks import best_place, find_tracks
from minisora.worlds import DigitFacts, MovingMNIST, Scene, WorldConfig

CLIPS = 40


@cache
def world(frames: int = 17, height: int = 64, width: int = 64, digits: int = 2) -> MovingMNIST:
    config = WorldConfig(frames, height, width, split="test", held_out="any", max_digits=digits)
    return MovingMNIST(config, seed=31)


@cache
def reader() -> DigitReader:
    return load_reader()


# ---- tracks ----


def test_blobs_are_those_of_scikit_image() -> None:
    masks = torch.rand(6, 20, 24, generator=torch.Generator().manual_seed(0)) < 0.4
    ours = label_blobs(masks)
    for frame, mask in zip(ours, masks, strict=True):
        theirs = skimage_label(mask.numpy(), connectivity=2)
        pairs = set(zip(frame.flatten().tolist(), theirs.flatten().tolist(), strict=True))
        assert len(pairs) == theirs.max() + 1 == len(frame.unique())  # one to one


def test_tracks_are_the_digits_of_the_scene() -> None:
    missed = 0
    for i in range(CLIPS):
        clip = world()[i]
        tracks = find_tracks(clip.video)
        missed += {t.color for t in tracks} != {d.color for d in clip.facts.digits}
        missed += len(tracks) != len(clip.facts.digits)
        boxes = clip.facts.boxes()
        for track in tracks:
            n = [d.color for d in clip.facts.digits].index(track.color)
            apart = track.clear
            assert np.abs(track.box[apart] - boxes[apart, n]).mean() < 1.5
            assert track.present.all()
    assert missed <= 1


def test_a_hidden_digit_is_placed_by_what_is_left_to_see() -> None:
    """A large digit passes in front of a small one that stands almost still."""
    back = DigitFacts(0, 4500, "red", "medium", 24, 20, "right", "slow", (32.0, 24.0))
    front = DigitFacts(1, 4550, "cyan", "large", 28, 12, "right", "fast", (32.0, 8.0))
    digits = world()._digits
    back, front = (
        replace(d, image_index=int(digits.with_label(d.label)[0])) for d in (back, front)
    )
    scene = Scene(64, 64, 17, "black", (back, front), split="test")
    tracks = {t.color: t for t in find_tracks(draw(scene))}
    hidden = ~tracks["red"].clear
    assert 2 <= hidden.sum() <= 14
    steps = tracks["red"].centre - scene.positions()[:, 0]
    assert np.abs(steps[hidden] - np.median(steps[~hidden], axis=0)).max() < 1.0


def test_a_digit_that_changes_its_color_stays_one_object() -> None:
    scene = world(digits=1).scene(0)
    color = next(c for c in ("red", "cyan") if c != scene.digits[0].color)
    other = draw(replace(scene, digits=(replace(scene.digits[0], color=color),)))
    (track,) = find_tracks(torch.cat([draw(scene)[:, :5], other[:, 5:]], dim=1))
    assert track.present.all() and track.color == color  # that of the longer part
    (back,) = find_tracks(torch.cat([draw(scene)[:, :5], other[:, 5:9], draw(scene)[:, 9:]], dim=1))
    assert back.present.all() and back.color == scene.digits[0].color
    far = torch.cat([draw(scene)[:, :8], other.flip(2, 3)[:, 8:]], dim=1)
    assert len(find_tracks(far)) == 2


def test_a_color_mixed_where_two_digits_touch_is_no_third_digit() -> None:
    orange, green, yellow = ((255, 145, 20), (50, 215, 70), (255, 235, 60))
    video = torch.zeros(3, 9, 32, 32)
    for t in range(9):
        paint = [(orange, slice(4, 14)), (green, slice(20, 30))]
        for color, columns in [*paint, (yellow, slice(14, 20))] if t == 4 else paint:
            video[:, t, 10:22, columns] = torch.tensor(color)[:, None, None] / 255
    assert {track.color for track in find_tracks(video)} == {"orange", "green"}


def test_what_happens_after_another_shape_is_another_motion() -> None:
    """The centre of mass of another digit lies elsewhere; that is no jump."""
    scene = world(digits=1).scene(0)
    for seed in range(6):
        swapped = CORRUPTIONS["identity swap"](scene, 1, np.random.default_rng(seed))
        (track,) = measure_physics(swapped).tracks
        assert track.breaks == 1 and track.teleports == 0
        assert track.motion is not None and track.motion.error < 1.0


def test_best_place_finds_a_shape_that_is_half_covered() -> None:
    image = torch.zeros(40, 40)
    shape = torch.rand(9, 7, generator=torch.Generator().manual_seed(1))
    image[12:21, 20:27] = shape
    counts = torch.ones(40, 40)
    counts[:, 24:] = 0
    np.testing.assert_allclose(best_place(shape, image, counts), (12, 20), atol=0.5)


# ---- physics ----


def test_real_clips_obey_the_law() -> None:
    found = [measure_physics(world()[i].video) for i in range(CLIPS)]
    assert sum(not clip.count_constant for clip in found) <= 1
    assert sum(clip.appeared + clip.vanished for clip in found) <= 1
    tracks = [t for clip in found for t in clip.tracks]
    assert not any(t.teleports for t in tracks)
    means = {
        name: np.nanmean([getattr(t, name) for t in tracks])
        for name in ("speed_error", "bend", "bounce_error", "shape_change", "color_change", "cut")
    }
    assert means["speed_error"] < 0.1 and means["bend"] < 0.15 and means["bounce_error"] < 0.2
    assert means["shape_change"] < 0.2 and means["color_change"] < 0.05 and means["cut"] < 0.01
    assert np.mean([t.motion.error for t in tracks if t.motion]) < 0.5


def test_velocities_are_those_of_the_facts() -> None:
    for i in range(20):
        clip = world(digits=1)[i]
        (track,) = measure_physics(clip.video).tracks
        assert track.motion is not None
        np.testing.assert_allclose(track.motion.velocity, clip.facts.digits[0].velocity, atol=0.25)


def test_move_shifts_by_parts_of_a_pixel() -> None:
    image = torch.zeros(1, 16, 16)
    image[0, 6:9, 6:9] = 1
    assert move(image, np.array([[2.0, -3.0]]))[0, 8:11, 3:6].allclose(torch.ones(3, 3))
    rows = torch.arange(16.0)
    half = move(image, np.array([[0.5, 0.0]]))[0]
    assert float((half.sum(1) @ rows) / half.sum()) == pytest.approx(7.5, abs=1e-4)


def test_a_loop_has_no_seam_and_a_plain_clip_has() -> None:
    scene = world(digits=1).scene(0)
    digit = replace(scene.digits[0], direction="right", speed="medium", start=(32.0, 32.0))
    room = 64 - digit.width
    period = 2 * room / 1.5
    assert period > 17
    there = draw(replace(scene, digits=(digit,), frames=9))
    back = there.flip(1)[:, 1:-1]
    position, _ = seam_error(torch.cat([there, back], dim=1))
    assert position < 2.0  # it turns on the seam: one step of 1.5 px
    assert seam_error(there)[0] > 8
    passing = torch.cat([there, back], dim=1)
    passing[:, 5:7, 2:8, 2:8] = (
        1.0  # something that is only there in the middle is no matter of the seam
    )
    assert seam_error(passing)[0] == pytest.approx(position, abs=0.5)
    changed = torch.cat([there, back], dim=1)
    changed[:, 6:9] = 0.0
    changed[:, 9:11] = changed[:, 9:11].flip(0)  # neither is what becomes of it far from the seam
    assert seam_error(changed)[0] == pytest.approx(position, abs=0.5)
    passing[:, 0, 2:8, 2:8] = 1.0
    assert seam_error(passing) == (float("inf"), float("inf"))
    assert seam_error(torch.zeros(3, 9, 64, 64)) == (float("inf"), float("inf"))


def test_a_turn_is_a_change_of_velocity_at_its_frame() -> None:
    scene = world(digits=1).scene(0)
    digit = replace(scene.digits[0], direction="right", speed="medium", start=(32.0, 24.0))
    there = draw(replace(scene, digits=(digit,), frames=9))
    assert joint_change(there, 5) < 0.2
    turned = torch.cat([there, there.flip(1)[:, 1:]], dim=1)
    assert joint_change(turned, 9) == pytest.approx(2 * 1.5, abs=0.8)
    assert np.isnan(joint_change(torch.zeros(3, 9, 64, 64), 5))


# ---- reading ----


def test_real_clips_are_read_right() -> None:
    wrong = dict.fromkeys(ATTRIBUTES, 0)
    for i in range(CLIPS):
        clip = world()[i]
        for name, right in compare(clip.facts, read_clip(clip.video, reader())).items():
            wrong[name] += not right
    assert sum(wrong.values()) <= 3, wrong


@pytest.mark.parametrize("size", [(17, 96, 48), (9, 48, 96), (33, 64, 64)])
def test_other_sizes_are_read_right(size: tuple[int, int, int]) -> None:
    wrong = 0
    for i in range(10):
        clip = world(*size)[i]
        wrong += not all(compare(clip.facts, read_clip(clip.video, reader())).values())
    assert wrong <= 1


def test_an_image_is_read_without_motion() -> None:
    wrong = 0
    for i in range(20):
        clip = world(frames=1)[i]
        found = compare(clip.facts, read_clip(clip.video, reader()))
        assert found["direction"] and found["speed"]  # nothing was asked
        wrong += not all(found.values())
    assert wrong <= 3  # one frame, two digits: one may hide the other


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_attribute_is_told_apart_from_the_others(name: str) -> None:
    """One fact is asked for otherwise than drawn: that attribute is wrong and no other."""
    clip = next(
        c for c in map(world(digits=1).__getitem__, range(99)) if c.facts.digits[0].label < 2
    )
    scene, digit = clip.facts, clip.facts.digits[0]
    other = {
        "digit": {"label": 9},
        "color": {"color": "white" if digit.color != "white" else "red"},
        "size": {"size": "small" if digit.size != "small" else "large"},
        "direction": {"direction": "down" if digit.direction != "down" else "up"},
        "speed": {"speed": "slow" if digit.speed != "slow" else "fast"},
    }
    if name == "background":
        asked = replace(scene, background="black" if scene.background != "black" else "navy")
    elif name == "count":
        asked = replace(scene, digits=(digit, replace(digit, color="nothing")))
    else:
        asked = replace(scene, digits=(replace(digit, **other[name]),))
    found = compare(asked, read_clip(clip.video, reader()))
    assert not found.pop(name)
    if name != "count":  # a missing digit has nothing right
        assert all(found.values())


def test_stated_attributes_of_captions() -> None:
    base = {"count", "digit", "color"}
    assert stated("a red 3") == base
    assert stated("a red 3 moving at medium speed") == base | {"speed"}
    assert stated("a medium red 3") == base | {"size"}
    assert stated("a red 3 drifting up and to the left") == base | {"direction"}
    assert stated("on gray stripes, a red 3") == base | {"background"}
    for i in range(20):
        clip = world()[i]
        assert stated(clip.captions("detailed", np.random.default_rng(i))) == set(ATTRIBUTES)


def test_an_empty_clip_shows_nothing() -> None:
    video = torch.zeros(3, 17, 64, 64)
    seen = read_clip(video, reader())
    assert seen.digits == () and seen.background == "black"
    assert find_tracks(video) == [] and read_ink(torch.zeros(0, 8, 8), reader()) == (-1, 0.0)
    physics = measure_physics(video)
    assert physics.count == 0 and physics.count_constant and physics.tracks == ()
    assert normalize_digit(torch.zeros(9, 9)).eq(0).all()


# ---- corruptions ----


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_damage_grows_and_is_a_video(name: str) -> None:
    scenes = [world().scene(i) for i in range(6)]
    changed = []
    for strength in (1, 2, 3, 4):
        total = 0.0
        for i, scene in enumerate(scenes):
            video = CORRUPTIONS[name](scene, strength, np.random.default_rng(i))
            assert video.shape == (3, 17, 64, 64) and video.min() >= 0 and video.max() <= 1
            total += (video - draw(scene)).abs().mean().item()
        changed.append(total)
    assert changed[0] > 0 and changed[-1] > changed[0]


@pytest.mark.parametrize("name", ["freeze", "shuffle", "reverse"])
def test_temporal_damage_only_moves_frames(name: str) -> None:
    scene = world().scene(3)
    whole = {frame.numpy().tobytes() for frame in draw(scene).transpose(0, 1).contiguous()}
    for strength in (1, 2, 3, 4):
        video = CORRUPTIONS[name](scene, strength, np.random.default_rng(strength))
        frames = [frame.numpy().tobytes() for frame in video.transpose(0, 1).contiguous()]
        assert set(frames) <= whole


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("teleport", lambda p: any(t.teleports for t in p.tracks)),
        ("count change", lambda p: not p.count_constant),
        ("color drift", lambda p: any(t.color_change > 0.35 for t in p.tracks)),
        ("freeze", lambda p: any(t.speed_error > 0.5 for t in p.tracks)),
        ("blur", lambda p: p.sharpness < 0.25),
        ("noise", lambda p: p.grain > 0.02),
        ("identity swap", lambda p: any(t.breaks for t in p.tracks)),
        ("shuffle", lambda p: any(t.motion and t.motion.error > 1.0 for t in p.tracks)),
    ],
)
def test_the_tracker_for_a_damage_fires(name: str, sees) -> None:  # type: ignore[no-untyped-def]
    fired = alarms = 0
    for i in range(12):
        scene = world(digits=1).scene(i)
        fired += sees(measure_physics(CORRUPTIONS[name](scene, 4, np.random.default_rng(i))))
        alarms += sees(measure_physics(draw(scene)))
    assert fired >= 10 and alarms <= 1
