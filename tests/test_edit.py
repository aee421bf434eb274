"""Editing: what is given comes back bit for bit, what is wanted is made, and bad input is told in a sentence."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny import generator, tiny_model
from torch import Tensor

from minisora.complete import (
    ONWARD,
    ROLLING,
    STEERED,
    Manner,
    Sampling,
    complete,
    hold,
    in_groups,
    is_beginning,
    join,
    keep_known,
    spread,
)
from minisora.edit import animate, circle, connect, extend, inpaint, loop, restyle
from minisora.joints import dissolve, gentle_length, meeting, ordinary_step
from minisora.model import MiniSora
from minisora.video import VideoClip

FAST = Sampling(steps=2)


@pytest.fixture(scope="module")
def model() -> MiniSora:
    return tiny_model()


def clip_of(frames: int, seed: int = 0, side: int = 32, prompt: str = "a red 3") -> VideoClip:
    return VideoClip(torch.rand(3, frames, side, side, generator=generator(seed)), 8.0, prompt)


def watch(model: MiniSora, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Replace the network by one that answers zero; what it is shown, (z, levels), goes to the list."""
    shown: list[tuple[Tensor, Tensor]] = []

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        shown.append((z, levels))
        return torch.zeros_like(z)

    monkeypatch.setattr(model, "denoiser", lambda *_: denoise)
    return shown


# ---- what is known ----


def test_frames_are_gathered_as_the_encoder_gathers_them() -> None:
    known = torch.tensor([True, True, True, True, True, False, True, True, True])
    assert in_groups(known, 4).all(dim=1).tolist() == [True, True, False]
    assert in_groups(known, 4).any(dim=1).tolist() == [True, True, True]
    pixels = torch.zeros(5, 2, 2, dtype=torch.bool)
    pixels[3, 1, 1] = True
    assert in_groups(pixels.flatten(1), 4).any(dim=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("frames", "exact"),
    [
        ([], True),
        ([0], True),
        ([0, 1, 2, 3, 4], True),
        ([0, 1], False),  # a part of a latent frame
        ([4], False),
        ([5, 6, 7, 8], False),  # its latent depends on what comes before
        ([0, 5, 6, 7, 8], False),
    ],
)
def test_only_a_beginning_of_whole_latent_frames_is_exact(frames: list[int], exact: bool) -> None:
    known = torch.zeros(9, 2, 2, dtype=torch.bool)
    known[frames] = True
    assert is_beginning(known, 4) is exact


def test_unknown_frames_hold_the_nearest_known_one() -> None:
    video = torch.arange(6.0).view(1, 6, 1, 1).expand(3, 6, 2, 2)
    whole = torch.tensor([False, True, False, False, False, True])
    assert hold(video, whole)[0, :, 0, 0].tolist() == [1, 1, 1, 1, 5, 5]
    assert hold(video, torch.zeros(6, dtype=torch.bool)).equal(video)


@pytest.mark.parametrize("shape", [(4,), (5, 6, 7), (9, 32), (1, 32, 32)])
def test_a_mask_that_does_not_fit_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit a clip of 5 frames of 32x32") as error:
        spread(torch.zeros(shape, dtype=torch.bool), clip_of(5).video)
    assert "\n" not in str(error.value)


# ---- complete ----


@pytest.mark.parametrize("known", ["beginning", "end", "both", "middle", "left half", "a hole"])
def test_known_pixels_pass_through_untouched(model: MiniSora, known: str) -> None:
    video = clip_of(9).video
    mask = torch.zeros(9, 32, 32, dtype=torch.bool)
    match known:
        case "beginning":
            mask[:5] = True
        case "end":
            mask[5:] = True
        case "both":
            mask[:1], mask[5:] = True, True
        case "middle":
            mask[4] = True
        case "left half":
            mask[:, :, :16] = True
        case "a hole":
            mask[:], mask[:, 8:24, 8:24] = True, False
    made = complete(model, video, mask, "a red 3", sampling=FAST)
    assert made.shape == video.shape and made[:, mask].equal(video[:, mask])
    assert not made[:, ~mask].equal(video[:, ~mask])
    assert made.min() >= 0 and made.max() <= 1 and not made.is_inference()
    assert complete(model, video, mask, "a red 3", sampling=FAST).equal(made)
    assert not complete(model, video, mask, "a red 3", seed=1, sampling=FAST).equal(made)


def test_unknown_pixels_may_hold_anything(model: MiniSora) -> None:
    video, other = clip_of(9).video, clip_of(9, seed=1).video
    for known in (torch.arange(9) < 5, torch.arange(9) >= 5):
        other[:, known] = video[:, known]
        made = [complete(model, v, known, "a 3", sampling=FAST) for v in (video, other)]
        assert made[0].equal(made[1])


def test_a_beginning_is_shown_to_the_network_as_its_exact_latents(
    model: MiniSora, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = clip_of(9).video
    shown = watch(model, monkeypatch)
    complete(model, video, torch.arange(9) < 5, sampling=FAST)
    for z, levels in shown:
        assert levels[0, :2].tolist() == [0, 0] and levels[0, 2] > 0
        torch.testing.assert_close(z[:, :, :2], model.latents(video[None, :, :5]))


def test_what_comes_before_is_made_as_what_follows_in_the_film_turned_round(
    model: MiniSora, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, end = clip_of(9).video, torch.arange(9) >= 4
    made = complete(model, video, end, "a red 3 moving up", sampling=FAST)
    turned = complete(model, video.flip(1), end.flip(0), "a red 3 moving down", sampling=FAST)
    assert made.equal(turned.flip(1))
    shown = watch(model, monkeypatch)
    one_way = replace(FAST, reversible=False)
    complete(model, video, end, "a red 3 moving up", sampling=one_way)
    assert all(levels[0, 2] == 0 and levels[0, 0] > 0 for _, levels in shown)  # the end is given


def test_the_guess_is_corrected_to_agree_with_what_is_known(model: MiniSora) -> None:
    """The corrected guess is the code of a clip with the known pixels in it, and of the guess elsewhere."""
    video = clip_of(9).video
    known = torch.zeros(9, 32, 32, dtype=torch.bool)
    known[5:] = True
    guess = torch.randn(1, 4, 3, 4, 4, generator=generator())
    clean = model.latents(video[None])
    levels: list[Tensor] = []

    def denoise(z: Tensor, level: Tensor) -> Tensor:
        levels.append(level)
        return guess

    corrected = keep_known(model.vae, denoise, video, known, clean)
    out = corrected(torch.randn(guess.shape, generator=generator(1)), torch.full((1, 3), 0.7))
    assert levels[0].tolist() == [[pytest.approx(0.7), pytest.approx(0.7), 0.0]]
    assert out[:, :, :2].equal(guess[:, :, :2])  # nothing is known of them
    pixels = model.vae.decode(torch.cat([guess[:, :, :2], clean[:, :, 2:]], dim=2)).clamp(0, 1)
    wanted = model.vae.encode(torch.where(known, video, pixels))
    torch.testing.assert_close(out[:, :, 2:], wanted[:, :, 2:])


# ---- the edits ----


@pytest.mark.parametrize(("at", "place"), [("first", 0), ("middle", 4), ("last", 8), (3, 3)])
def test_an_image_becomes_a_frame_of_its_clip(model: MiniSora, at: int | str, place: int) -> None:
    image = clip_of(1)
    clip = animate(model, image, "a red 3 drifting up", frames=9, at=at, sampling=FAST)
    assert clip.frames == 9 and clip.size == (32, 32) and clip.prompt == "a red 3 drifting up"
    assert clip.video[:, place].equal(image.video[:, 0])


@pytest.mark.parametrize(("direction", "first"), [("forward", 0), ("backward", 20), ("both", 20)])
@pytest.mark.parametrize("context", [1, 5])
def test_a_clip_grows_by_windows_and_stays_in_the_result(
    model: MiniSora, direction: str, first: int, context: int
) -> None:
    clip = clip_of(7)
    longer = extend(model, clip, 20, direction=direction, context=context, sampling=FAST)  # type: ignore[arg-type]
    assert longer.frames == 7 + (40 if direction == "both" else 20)
    assert longer.video[:, first : first + 7].equal(clip.video)


@pytest.mark.parametrize(
    ("context", "prompt", "manners"),
    [
        (5, None, [ONWARD, ROLLING]),
        (5, "a red 3 moving up", [STEERED, ROLLING]),
        (1, None, [STEERED, STEERED]),
    ],
)
def test_words_are_heard_where_they_are_said_or_no_motion_is_seen(
    model: MiniSora,
    monkeypatch: pytest.MonkeyPatch,
    context: int,
    prompt: str | None,
    manners: list[Manner],
) -> None:
    used = []

    def make(model: MiniSora, video: Tensor, *rest: object, **told: Manner) -> Tensor:
        used.append(told["usual"])
        return video

    monkeypatch.setattr("minisora.complete.complete", make)
    extend(model, clip_of(5), 2 * (17 - context), prompt, context=context)
    assert used == manners


def test_both_ends_of_a_connection_are_kept(model: MiniSora) -> None:
    a, b = clip_of(6, prompt="a red 3"), clip_of(9, seed=1, prompt="a blue 4")
    clip = connect(model, a, b, frames=8, sampling=FAST)
    assert clip.frames == 6 + 8 + 9 and clip.prompt == "a red 3, a blue 4"
    assert clip.video[:, :6].equal(a.video) and clip.video[:, 14:].equal(b.video)


def test_a_dissolve_is_as_long_as_it_must_be_to_be_gentle(model: MiniSora) -> None:
    ramp = torch.linspace(0, 0.8, 9)[None, :, None, None].expand(3, -1, 32, 32)  # 0.1 a frame
    assert ordinary_step(ramp) == pytest.approx(0.1)
    assert gentle_length(ramp, ramp) == 16  # back by 0.8, 0.05 a frame
    assert gentle_length(ramp, ramp.flip(1)) == 8  # no gap, yet never in no time
    still = torch.zeros_like(ramp)
    assert gentle_length(still, still + 1) == 96  # nothing moves, so no change is gentle
    a, b = VideoClip(ramp, 8.0, "a red 3"), VideoClip(ramp, 8.0, "a blue 4")
    made = connect(model, a, b, sampling=FAST)
    assert made.frames == 9 + 16 + 9
    future = extend(model, a, 16, sampling=FAST).video[:, 9:]
    past = extend(model, b, 16, direction="backward", sampling=FAST).video[:, :16]
    torch.testing.assert_close(made.video[:, 9], (16 * future[:, 0] + past[:, 0]) / 17)
    torch.testing.assert_close(made.video[:, 24], (future[:, 15] + 16 * past[:, 15]) / 17)


def test_a_loop_is_the_clip_with_its_future_turned_into_its_past(model: MiniSora) -> None:
    clip = clip_of(9)  # noise, which is never alike: all of the one dissolves into all of the other
    looped = loop(model, clip, frames=8, sampling=FAST)
    future = extend(model, clip, 8, sampling=FAST).video[:, 9:]
    past = extend(model, clip, 8, direction="backward", sampling=FAST).video[:, :8]
    i, j, n = meeting(future, past, ordinary_step(clip.video))
    turn = dissolve(future[:, i : i + n], past[:, j : j + n])
    wanted = torch.cat([clip.video, future[:, :i], turn, past[:, j + n :]], dim=1)
    assert looped.video.equal(wanted)


def test_a_dissolve_is_as_fast_as_what_it_joins() -> None:
    black, white = torch.zeros(3, 9, 4, 4), torch.ones(3, 9, 4, 4)
    even = dissolve(black, white)[0, :, 0, 0]
    torch.testing.assert_close(even, torch.linspace(0, 1, 11)[1:-1])
    assert dissolve(black, white, (0.0, 0.0))[0, :, 0, 0].equal(even)  # of two still clips
    steps = torch.cat(
        [torch.zeros(1), dissolve(black, white, (1.0, 3.0))[0, :, 0, 0], torch.ones(1)]
    )
    ends = steps.diff()[[0, -1]]
    torch.testing.assert_close(
        ends, torch.tensor([1.1, 2.9]) / 20
    )  # of 10 steps with 2 on the mean


def test_ways_meet_where_they_are_alike() -> None:
    image = clip_of(1).video[:, 0]
    way = torch.stack([image.roll(2 * t, dims=2) for t in range(12)], dim=1)  # 3 12 H W
    step = ordinary_step(way)
    i, j, n = meeting(way, way.roll(-3, dims=1), step)  # frame 3 of the one is frame 0 of the other
    assert (n, i - j) == (4, 3)
    joined = torch.cat([way[:, :i], dissolve(way[:, i : i + n], way[:, i : i + n])], dim=1)
    torch.testing.assert_close(joined, way[:, : i + n])
    assert meeting(way, 1 - way, 1e-6) == (0, 0, 12)  # nowhere alike: all of it
    far = meeting(torch.zeros(3, 12, 4, 4), torch.full((3, 12, 4, 4), 0.4), 0.1)
    assert far[2] == 8  # 0.4 in 9 steps is gentle, in 5 it is not


def test_what_is_made_does_not_jump_where_it_meets_what_is_known() -> None:
    video, made = torch.full((3, 9, 4, 4), 0.8), torch.full((3, 9, 4, 4), 0.7)
    made[:, 4:, 2:] = 0.2  # something else has come there
    out = join(video, made, torch.arange(9) < 2)
    wanted = 0.7 + 0.1 * torch.tensor([9, 9, 8, 7, 6, 5, 4, 3]) / 9
    torch.testing.assert_close(out[0, :8, 0, 0], wanted)
    torch.testing.assert_close(out[0, :4, 2, 0], wanted[:4])
    assert (out[:, 4:, 2:] == 0.2).all()
    ends = (torch.arange(9) == 0) | (torch.arange(9) == 8)
    both = join(video[:, :, :2], made[:, :, :2], ends)
    torch.testing.assert_close(both, both.flip(1))
    assert join(video, made, torch.zeros(9, dtype=torch.bool)) is made


def test_what_sampling_leaves_open_is_as_it_fits() -> None:
    assert Sampling().manner(ONWARD) == ONWARD
    manner = Sampling(guidance_scale=1.0, context_noise=0.3).manner(ROLLING)
    assert manner == replace(ROLLING, guidance_scale=1.0, context_noise=0.3)


def test_a_calm_clip_starts_from_less_noise(
    model: MiniSora, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, nothing = watch(model, monkeypatch), torch.zeros(5, dtype=torch.bool)
    for temperature in (None, 0.5):
        complete(model, clip_of(5).video, nothing, sampling=Sampling(2, temperature=temperature))
    torch.testing.assert_close(shown[2][0], 0.5 * shown[0][0])


def test_a_circle_has_no_place_that_is_special(model: MiniSora) -> None:
    clip = circle(model, "a red 3", frames=8, size=(32, 32), sampling=FAST)
    assert clip.frames == 8 and clip.video.isfinite().all() and not clip.video.is_inference()
    assert circle(model, "a red 3", frames=8, size=(32, 32), sampling=FAST).video.equal(clip.video)


def test_restyling_starts_from_the_clip_under_noise(
    model: MiniSora, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clip_of(5)
    shown = watch(model, monkeypatch)
    restyle(model, clip, "a blue 4", strength=0.6, seed=3, sampling=Sampling(steps=8))
    z, levels = shown[0]
    assert levels.unique().tolist() == [pytest.approx(0.6)]
    wanted = 0.4 * model.latents(clip.video[None]) + 0.6 * model.noise(5, (32, 32), 3)
    torch.testing.assert_close(z, wanted)
    assert all(b.max() < a.max() for (_, a), (_, b) in pairwise(shown))


def test_only_the_masked_pixels_are_painted(model: MiniSora) -> None:
    clip, mask = clip_of(5), torch.zeros(32, 32, dtype=torch.bool)
    mask[8:24, 8:24] = True
    painted = inpaint(model, clip, mask, sampling=FAST)
    assert painted.prompt == clip.prompt
    assert painted.video[:, :, ~mask].equal(clip.video[:, :, ~mask])
    assert not painted.video[:, :, mask].equal(clip.video[:, :, mask])


def test_bad_input_is_told_in_one_sentence(model: MiniSora) -> None:
    clip, image = clip_of(9), clip_of(1)
    bad = [
        (lambda: animate(model, clip), "takes an image, this is a clip of 9 frames"),
        (lambda: animate(model, image, at=17), "at=17: give first, middle, last or a number"),
        (lambda: animate(model, image, at="end"), "at='end'"),  # type: ignore[arg-type]
        (lambda: extend(model, image, 4), "to a clip of 1 with a context of 5"),
        (lambda: extend(model, clip, 0), "Cannot add 0 frames"),
        (lambda: extend(model, clip, 4, context=4), "context=4"),
        (lambda: extend(model, clip, 4, direction="up"), "direction='up'"),  # type: ignore[arg-type]
        (lambda: connect(model, clip, clip_of(9, side=48)), "one size and one frame rate"),
        (lambda: connect(model, clip, image), "to a clip of 1 with a context of 5"),
        (lambda: connect(model, clip, clip, frames=0), "Cannot add 0 frames"),
        (lambda: loop(model, image), "to a clip of 1 with a context of 5"),
        (lambda: loop(model, clip, frames=2), "frames=2: give a way back of at least 4 frames"),
        (lambda: restyle(model, clip, "a 4", strength=0.0), "strength=0.0: give a noise level"),
        (lambda: restyle(model, clip, "a 4", strength=1.5), "strength=1.5"),
        (lambda: inpaint(model, clip, torch.zeros(32, 32)), "The mask is empty"),
        (lambda: complete(model, clip.video, torch.ones(9)), "nothing is left to make"),
    ]
    for call, says in bad:
        with pytest.raises(ValueError, match=says.replace("(", r"\(")) as error:
            call()
        assert "\n" not in str(error.value)
