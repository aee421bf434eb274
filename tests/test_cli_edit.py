"""The commands that edit files: each end to end on a miniature, and every mistake one sentence and status 2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import Run, assert_one_sentence, generator

from minisora.arguments import nearest_size, parse_box
from minisora.video import VideoClip, read_video, write_video


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames of 32x48 at the model's rate; animated WebP is exact at this size."""
    path = tmp_path_factory.mktemp("film") / "film.webp"
    write_video(torch.rand(3, 9, 32, 48, generator=generator()), path, 8)
    return path


@pytest.fixture(scope="module")
def photo(film: Path) -> Path:
    path = film.with_name("photo.png")
    VideoClip(read_video(film).video[:, :1]).save(path)
    return path


def common(checkpoint: Path, out: Path) -> tuple[object, ...]:
    return ("--checkpoint", checkpoint, "-o", out, "--steps", 2)


@pytest.mark.parametrize(
    ("command", "frames", "kept"),
    [
        (("extend", "FILM", "--frames", 4), 13, slice(0, 9)),
        (("extend", "FILM", "--frames", 4, "--direction", "backward"), 13, slice(4, 13)),
        (("loop", "FILM", "--frames", 4), 13, slice(0, 9)),
        (("connect", "FILM", "FILM", "--frames", 4), 22, slice(0, 9)),
        (("restyle", "FILM", "a blue 4"), 9, None),
        (("inpaint", "FILM", "0,0,16,48"), 9, None),
    ],
)
def test_each_edit_keeps_the_film_and_says_where_it_is(
    run: Run,
    checkpoint: Path,
    film: Path,
    tmp_path: Path,
    command: tuple[object, ...],
    frames: int,
    kept: slice | None,
) -> None:
    out = tmp_path / "out.webp"
    arguments = [film if word == "FILM" else word for word in command]
    status, output, messages = run(*arguments, *common(checkpoint, out))
    assert status == 0, messages
    assert output == f"{out}: {frames} frames of 32x48\n"
    video, before = read_video(out).video, read_video(film).video
    assert video.shape == (3, frames, 32, 48)
    if kept is not None:
        torch.testing.assert_close(video[:, kept], before, rtol=0, atol=1 / 255)
    if command[0] == "inpaint":
        torch.testing.assert_close(video[:, :, 16:], before[:, :, 16:], rtol=0, atol=1 / 255)


def test_animate_takes_an_image_or_the_first_frame_of_a_film(
    run: Run, checkpoint: Path, film: Path, photo: Path, tmp_path: Path
) -> None:
    for file, place in ((photo, "first"), (film, "last")):
        out = tmp_path / f"{place}.webp"
        told = ("--frames", 5, "--at", place)
        assert run("animate", file, "a red 3", *told, *common(checkpoint, out))[0] == 0
        frame = read_video(out).video[:, 0 if place == "first" else 4]
        torch.testing.assert_close(frame, read_video(film).video[:, 0], rtol=0, atol=1 / 255)


def test_a_story_is_written_and_its_windows_cleared(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "story.mp4"
    told = ("--seconds", 3, "--size", "32x32", *common(checkpoint, out))
    status, output, _ = run("story", "0 s: a red 3; 1 s: a blue 4", *told)
    assert status == 0 and output == f"{out}: 24 frames of 32x32\n"
    assert [path.name for path in tmp_path.iterdir()] == ["story.mp4"]
    assert read_video(out).frames == 24


def test_a_film_of_another_size_and_rate_is_resampled_with_a_notice(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    film, out = tmp_path / "film.webp", tmp_path / "out.webp"
    write_video(torch.rand(3, 15, 36, 50, generator=generator()), film, 20)
    status, _, messages = run("restyle", film, "a 4", *common(checkpoint, out))
    assert status == 0
    assert "is 36x50; resampled to 32x48" in messages
    assert "has 20 frames a second; resampled to 8" in messages
    assert "the first 5 of 6 frames used" in messages
    assert read_video(out).video.shape == (3, 5, 32, 48)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((64, 64), (64, 64)), ((480, 640), (96, 128)), ((10, 10), (32, 32)), ((72, 40), (64, 32))],
)
def test_the_nearest_size_that_the_model_makes(
    size: tuple[int, int], nearest: tuple[int, int]
) -> None:
    assert nearest_size(size) == nearest


@pytest.mark.parametrize("text", ["8,8,40", "8,8,4,40", "0,0,80,8", "a,b,c,d", "-1,0,8,8"])
def test_a_box_outside_the_clip_is_told(text: str) -> None:
    assert parse_box("8, 8, 40, 60", (64, 64)) == (8, 8, 40, 60)
    with pytest.raises(ValueError, match="write TOP,LEFT,BOTTOM,RIGHT in pixels inside 64x64"):
        parse_box(text, (64, 64))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("extend", "nowhere.mp4"), "nowhere.mp4"),
        (("extend", "PHOTO"), "to a clip of 1 with a context of 5"),
        (("loop", "PHOTO"), "to a clip of 1 with a context of 5"),
        (("restyle", "FILM", "a 4", "--strength", 1.5), "strength=1.5"),
        (("inpaint", "FILM", "0,0,99,99"), "inside 32x48"),
        (("story", "5 s: a 3"), "the first must be at 0"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Run,
    checkpoint: Path,
    film: Path,
    photo: Path,
    tmp_path: Path,
    command: tuple[object, ...],
    says: str,
) -> None:
    files: dict[object, object] = {"FILM": film, "PHOTO": photo}
    arguments = [files.get(word, word) for word in command]
    assert_one_sentence(run(*arguments, *common(checkpoint, tmp_path / "out.webp")), says)
    assert not (tmp_path / "out.webp").exists()
