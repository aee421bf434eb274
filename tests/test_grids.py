"""Sizes and grids of noise: related grids are white noise and agree; every size is made, wrong ones are told."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Run, assert_one_sentence, generator, tiny_model
from torch.testing import assert_close

from minisora.grids import (
    average_noise,
    averager,
    check_frames,
    check_size,
    continue_draft,
    enlarge_noise,
)
from minisora.model import MiniSora
from minisora.sample import dpmpp_2m, frame_schedule, sample, timesteps
from minisora.video import read_video

# ---- related noise ----

LINES = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted)


@given(LINES)
@settings(deadline=None)
def test_an_averager_has_orthonormal_rows_and_averages(line: list[int]) -> None:
    small, big = line
    rows = averager(small, big)
    assert_close(rows @ rows.T, torch.eye(small), atol=1e-5, rtol=0)
    # A flat line stays flat, except that noise units make it larger by root of the ratio.
    assert_close(rows.sum(1).mean(), torch.tensor((big / small) ** 0.5), atol=0.05, rtol=0.05)
    assert (rows.argmax(dim=1).diff() > 0).all()  # in order: left is left


def test_a_whole_ratio_is_the_plain_mean() -> None:
    noise = torch.randn(3, 2, 12, 8, generator=generator())
    ours = average_noise(noise, (4, 4))
    assert_close(ours, F.avg_pool2d(noise, (3, 2)) * 6**0.5)


@given(LINES, LINES, st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_large_grid_averages_down_to_the_small_one(
    rows: list[int], columns: list[int], seed: int
) -> None:
    small = torch.randn(2, 3, rows[0], columns[0], generator=generator(seed))
    big = enlarge_noise(small, (rows[1], columns[1]), generator(seed + 100))
    assert big.shape == (2, 3, rows[1], columns[1])
    assert_close(average_noise(big, (rows[0], columns[0])), small, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("small", "big"), [((2, 2), (4, 4)), ((2, 3), (3, 5)), ((2, 4), (2, 6))])
def test_the_large_grid_is_white_unit_gaussian_noise(
    small: tuple[int, int], big: tuple[int, int]
) -> None:
    draws = 20_000
    g = generator(1)
    noise = enlarge_noise(torch.randn(draws, *small, generator=g), big, g).flatten(1)
    cells = noise.shape[1]
    spread = draws**-0.5  # of an entry of the covariance; 4.5 of them in a few hundred are rare
    assert noise.mean(0).abs().max() < 4.5 * spread
    assert (noise.T @ noise / draws - torch.eye(cells)).abs().max() < 4.5 * 2**0.5 * spread
    fourth = noise.pow(4).mean().item()  # 3 for a Gaussian
    assert fourth == pytest.approx(3, abs=4.5 * (96 / noise.numel()) ** 0.5)
    below = (noise < 1).float().mean().item()
    assert below == pytest.approx(0.8413, abs=4.5 * 0.37 * noise.numel() ** -0.5)


def test_a_grid_of_the_same_size_is_the_same() -> None:
    noise = torch.randn(2, 3, 4, 6, generator=generator())
    assert_close(enlarge_noise(noise, (4, 6), generator(1)), noise, atol=1e-6, rtol=0)


def test_noise_is_not_made_smaller() -> None:
    with pytest.raises(ValueError, match="cannot be averaged down to 4; give more"):
        enlarge_noise(torch.zeros(1, 1, 4, 4), (4, 3), generator())


# ---- sizes ----


@pytest.fixture(scope="module")
def model() -> MiniSora:
    return tiny_model()


def test_every_size_and_length_is_made(model: MiniSora) -> None:
    """All 49 sizes of 32 to 128 pixels as images, and all lengths of 1 to 65 frames."""
    sides = range(32, 129, 16)
    for size in itertools.product(sides, sides):
        clip = model.generate("a red 3", frames=1, size=size, steps=1, guidance_scale=1.0)
        assert clip.video.shape == (3, 1, *size) and clip.video.isfinite().all()
    for frames in range(1, 66, 4):
        clip = model.generate("a red 3", frames=frames, size=(32, 48), steps=1, guidance_scale=1.0)
        assert clip.video.shape == (3, frames, 32, 48) and clip.video.isfinite().all()


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((60, 64), r"the nearest is \(64, 64\)\."),
        ((40, 64), r"the nearest are \(32, 64\) and \(48, 64\)\."),
        ((40, 56), r"are \(32, 48\) and \(32, 64\) and \(48, 48\) and \(48, 64\)\."),
        ((0, 64), r"the nearest is \(16, 64\)\."),
        ((-5, 64), r"the nearest is \(16, 64\)\."),
        ((64, 64, 64), "whole pixels, e.g."),
        ((64.0, 64), "whole pixels, e.g."),
        (64, "whole pixels, e.g."),
    ],
)
def test_a_wrong_size_is_told_with_the_nearest(model: MiniSora, size: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        model.generate("a red 3", size=size)  # type: ignore[call-overload]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("frames", "says"),
    [(6, "is 5"), (7, "are 5 and 9"), (0, "is 1"), (-8, "is 1"), (4.0, "whole number"), ("5", "whole")],
)  # fmt: skip
def test_a_wrong_length_is_told_with_the_nearest(
    model: MiniSora, frames: object, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        model.generate("a red 3", frames=frames)  # type: ignore[call-overload]


@given(st.integers(-50, 300), st.sampled_from([1, 2, 4]))
@settings(deadline=None)
def test_frames_are_right_or_the_nearest_is_right(frames: int, group: int) -> None:
    if frames >= 1 and (frames - 1) % group == 0:
        check_frames(frames, group)
        return
    with pytest.raises(ValueError, match="nearest") as error:
        check_frames(frames, group)
    good = range(1, 400, group)
    least = min(abs(n - frames) for n in good)
    listed = str(error.value).rstrip(".").partition("nearest ")[2].split()[1::2]
    assert [int(n) for n in listed] == [n for n in good if abs(n - frames) == least]


def test_numpy_numbers_are_numbers() -> None:
    check_size(np.array([64, 48]).tolist(), (16, 16))
    check_size((np.int64(64), np.int32(48)), (16, 16))  # type: ignore[arg-type]
    check_frames(np.int64(17), 4)  # type: ignore[arg-type]


# ---- draft and full size ----


def test_a_draft_and_the_full_size_start_from_related_noise(model: MiniSora) -> None:
    small = model.noise(9, (32, 48), seed=3)
    big = model.noise(9, (64, 64), seed=3, draft=(32, 48))
    assert_close(average_noise(big, (4, 6)), small, atol=1e-5, rtol=1e-4)
    assert_close(model.noise(9, (64, 64), seed=3, draft=(32, 48)), big, atol=0, rtol=0)
    assert (model.noise(9, (64, 64), seed=4, draft=(32, 48)) - big).abs().max() > 0.5


def test_generate_starts_from_the_draft_of_its_own_seed(model: MiniSora) -> None:
    how = {"frames": 5, "size": (64, 64), "steps": 2}
    clips = model.generate(["a red 3"] * 2, draft=(32, 32), seed=7, **how)
    alone = model.generate("a red 3", draft=(32, 32), seed=8, **how)
    assert_close(clips[1].video, alone.video, atol=1e-4, rtol=0)
    assert (model.generate("a red 3", seed=8, **how).video - alone.video).abs().max() > 0.01
    same = model.generate("a red 3", draft=(64, 64), draft_level=1, seed=8, **how)
    assert_close(model.generate("a red 3", seed=8, **how).video, same.video, atol=1e-4, rtol=0)


def test_a_large_clip_takes_over_from_its_draft(model: MiniSora) -> None:
    """Against the two passes, one after the other, by hand."""
    denoise = model.denoiser(["a red 3"], 2.0, (0.0, 1.0))

    def by_hand(z: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return sample(dpmpp_2m, denoise, z, frame_schedule(times, z.shape[2]))

    small = model.noise(5, (32, 32), seed=3)[None]
    big = model.noise(5, (64, 48), seed=3, draft=(32, 32))[None]
    draft = by_hand(small, timesteps(4, model.shift(small.shape[2:])))
    z, times = continue_draft(draft, big, timesteps(4, model.shift(big.shape[2:])), 0.7)
    how = {
        "frames": 5,
        "steps": 4,
        "seed": 3,
        "guidance_scale": 2.0,
        "guidance_interval": (0.0, 1.0),
        "pag_scale": 0.0,
    }
    clip = model.generate("a red 3", size=(64, 48), draft=(32, 32), draft_level=0.7, **how)
    assert_close(clip.video, model.pixels(by_hand(z, times))[0], atol=1e-5, rtol=0)


def test_continuing_a_draft_mixes_it_with_noise() -> None:
    draft, noise = torch.randn(2, 4, 3, 4, 4), torch.randn(2, 4, 3, 8, 6)
    times = torch.tensor([1.0, 0.9, 0.5, 0.0])
    z, left = continue_draft(draft, noise, times, 0.6)
    assert left.tolist() == pytest.approx([0.6, 0.5, 0.0])
    clean = (z - 0.6 * noise) / 0.4
    assert_close(clean.mean((-1, -2)), draft.mean((-1, -2)), atol=1e-4, rtol=1e-4)
    whole, every = continue_draft(draft, noise, times, 1.0)
    assert_close(whole, noise) and every.tolist() == times.tolist()


@pytest.mark.parametrize("level", [0.0, 1.5])
def test_a_wrong_level_of_a_draft_is_told(model: MiniSora, level: float) -> None:
    with pytest.raises(ValueError, match=rf"draft_level={level}: give a noise level above 0"):
        model.generate("a red 3", size=(32, 32), draft=(32, 32), draft_level=level)


@pytest.mark.parametrize(
    ("draft", "says"),
    [((64, 16), "is larger than size"), ((30, 32), r"draft=\(30, 32\).*nearest is \(32, 32\)")],
)
def test_a_wrong_draft_is_told(model: MiniSora, draft: tuple[int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        model.generate("a red 3", size=(32, 32), draft=draft)


def test_drafts_on_the_command_line(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    base = ("generate", "a red 3", "--checkpoint", checkpoint, "--frames", 1, "--steps", 1)
    out = tmp_path / "a.png"
    assert run(*base, "--size", "32x48", "--draft", "32x32", "-o", out)[0] == 0 and out.exists()
    assert_one_sentence(run(*base, "--size", "32x32", "--draft", "48x32", "-o", out), "is larger")


# ---- images ----


@pytest.mark.parametrize("size", [(32, 128), (128, 32), (48, 48)])
def test_an_image_shows_and_saves_as_png(
    model: MiniSora, tmp_path: Path, size: tuple[int, int]
) -> None:
    image = model.generate("a red 3", frames=1, size=size, steps=2)
    html = image._repr_html_()
    assert html.startswith("<img ") and "data:image/png;base64," in html and "<video" not in html
    path = image.save(tmp_path / "image.png")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    back = read_video(path)
    assert back.frames == 1 and back.size == size
    assert_close(back.video, image.video, atol=0.5 / 255 + 1e-4, rtol=0)
