"""Pictures say what they show; the map lights what is asked for; results are kept only when asked to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from minisora.course import Session, canvas, film, frames, pipeline_map, show, watch
from minisora.course.pictures import Picture
from minisora.course.pipeline import PARTS
from minisora.course.results import RECORD, read_results
from minisora.video import VideoClip


def clip(frames: int = 5) -> VideoClip:
    video = torch.rand(3, frames, 32, 48, generator=torch.Generator().manual_seed(0))
    return VideoClip(video, 8, "noise")


def pictures() -> list[Picture]:
    figure, axes = canvas(1, 2)
    axes[0].plot([1, 2])
    alt = 'a "line" & a film'
    return [show(figure, alt), frames(clip(), alt), film([clip(), clip(1)], alt)]


@pytest.mark.parametrize("picture", pictures())
def test_a_picture_carries_its_text(picture: Picture) -> None:
    assert re.search('(alt|aria-label)="a &quot;line&quot; &amp; a film"', picture._repr_html_())
    assert repr(picture) == '[a "line" & a film]'
    assert "http" not in picture.html


def test_frames_take_one_video_or_several_of_different_sizes() -> None:
    one = frames(torch.rand(1, 3, 32, 32), "grey")
    several = frames([torch.rand(3, 3, 32, 32), clip()], "two")
    assert one.html.startswith("<img") and several.html.startswith("<img")


def test_the_map_is_drawing_whose_lit_parts_are_named() -> None:
    whole, lit = pipeline_map(), pipeline_map("vae")
    for picture in (whole, lit):
        ElementTree.fromstring(picture.html)
    assert "video VAE" in lit.alt and "DiT" not in lit.alt
    assert all(part.name in whole.alt for part in PARTS.values())


def test_the_map_has_no_other_parts() -> None:
    with pytest.raises(ValueError, match="No part sound; the map has"):
        pipeline_map("sound")


def test_boxes_of_the_map_do_not_overlap() -> None:
    places = [(part.column, part.row) for part in PARTS.values()]
    assert len(set(places)) == len(places)


def test_watch_returns_all_steps_and_draws_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    drawn: list[int] = []

    def draw(seen: list[int]) -> Picture:
        drawn.append(len(seen))
        return Picture("<svg/>", "a curve")

    assert watch(iter(range(4)), draw, every=1e9) == [0, 1, 2, 3]
    assert drawn == [4]
    assert watch(iter([]), draw) == []


def test_figures_are_written_only_when_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    monkeypatch.delenv(RECORD, raising=False)
    session = Session("02_video_vae")
    session.record(psnr_db=torch.tensor(24.56789), steps=3)
    assert "psnr_db = 24.57" in capsys.readouterr().out
    assert not path.exists() and read_results(path) == {}

    monkeypatch.setenv(RECORD, str(path))
    other = {"01_video_and_worlds": {"minutes": 1.0}}
    path.write_text(json.dumps(other))
    session.close()
    kept: dict[str, Any] = read_results(path)
    assert kept["01_video_and_worlds"] == other["01_video_and_worlds"]
    assert kept["02_video_vae"]["psnr_db"] == 24.57 and kept["02_video_vae"]["steps"] == 3
    assert kept["02_video_vae"]["peak_gib"] > 0


def test_a_header_that_is_off_about_its_minutes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import notebooks.conftest as timing

    header = {"cells": [{"source": ["# 02\n", "**Takes** 2.0 minutes and 1.0 GiB of memory"]}]}
    (tmp_path / "a.ipynb").write_text(json.dumps(header))
    monkeypatch.setattr(timing, "HERE", tmp_path)
    assert timing.off({"a.ipynb": 150.0}) == []
    assert "took 6.0 minutes and its header says 2.0" in timing.off({"a.ipynb": 360.0})[0]
    header["cells"][0]["source"][1] = "**Takes** 9.0 minutes and 1.0 GiB of memory"
    (tmp_path / "a.ipynb").write_text(json.dumps(header))
    assert timing.off({"a.ipynb": 60.0})
    assert timing.off({"unknown.ipynb": 20.0}) == []
