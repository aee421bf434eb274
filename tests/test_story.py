"""Long clips: shots in words, windows on disk, a killed roll-out that ends in the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from minisora import story
from minisora.complete import Sampling
from minisora.model import MiniSora
from minisora.story import Shot, assemble, parse_story, plan, roll_out
from minisora.video import read_video

FAST = Sampling(steps=2)


@pytest.fixture(scope="module")
def model() -> MiniSora:
    return tiny_model()


def test_shots_are_read_from_words() -> None:
    assert parse_story("a red 3 moving up ") == [Shot(0.0, "a red 3 moving up")]
    text = "0 s: a red 3, moving up; 2.5s: a blue 4"
    assert parse_story(text) == [Shot(0.0, "a red 3, moving up"), Shot(2.5, "a blue 4")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 s: a red 3; a blue 4", "'a blue 4' is no shot"),
        ("1 s: a red 3", "the first must be at 0"),
        ("0 s: a; 5 s: b; 5 s: c", "times rise"),
    ],
)
def test_what_is_no_story_is_told(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        parse_story(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seconds", [3.0, 5.0, 60.0])
@pytest.mark.parametrize("context", [1, 5, 13])
def test_windows_sum_up_to_the_shots(seconds: float, context: int) -> None:
    shots = [Shot(0.0, "a"), Shot(1.2, "b"), Shot(2.0, "c")]
    windows = plan(shots, seconds, 8.0, context)
    frames = {p: sum(w.new for w in windows if w.prompt == p) for p in "abc"}
    assert frames == {"a": 10, "b": 6, "c": round(8 * seconds) - 16}
    assert [w.prompt for w in windows if w.begins] == ["a", "b", "c"]
    assert all(0 < w.new <= (17 if w.begins else 17 - context) for w in windows)
    with pytest.raises(ValueError, match="at least one frame"):
        plan(shots, 2.0, 8.0, context)


def test_a_killed_roll_out_ends_in_the_same_bytes(model: MiniSora, tmp_path: Path) -> None:
    shots = parse_story("0 s: a red 3 moving up; 4 s: a blue 4")

    def run(folder: Path) -> list[int]:
        made = roll_out(model, shots, 6.0, folder, size=(32, 32), sampling=FAST)
        return list(made)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole) == [17, 29, 32, 48]
    begun = roll_out(model, shots, 6.0, parts, size=(32, 32), sampling=FAST)
    next(begun), next(begun)
    begun.close()
    assert run(parts) == [17, 29, 32, 48]
    for path in sorted(whole.iterdir()):
        assert (parts / path.name).read_bytes() == path.read_bytes()
    out = assemble(whole, tmp_path / "story.mp4", "two shots")
    assert read_video(out).frames == 48
    with pytest.raises(ValueError, match="another folder"):
        list(roll_out(model, shots, 6.0, whole, size=(32, 48), sampling=FAST))


def test_a_window_sees_the_frames_before_it(
    model: MiniSora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, int]] = []

    def spy(_: MiniSora, video: torch.Tensor, known: torch.Tensor, *__: object, **how: object):  # type: ignore[no-untyped-def]
        seen.append((video, int(known.sum())))
        return torch.full_like(video, len(seen) / 10)

    monkeypatch.setattr(story, "complete", spy)
    list(roll_out(model, [Shot(0.0, "a")], 4.0, tmp_path, size=(32, 32), context=5, sampling=FAST))
    assert [count for _, count in seen] == [0, 5, 5]
    torch.testing.assert_close(seen[1][0][:, :5], torch.full((3, 5, 32, 32), 26 / 255))
    torch.testing.assert_close(seen[2][0][:, :5], torch.full((3, 5, 32, 32), 51 / 255))
