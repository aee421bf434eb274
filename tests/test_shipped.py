"""The shipped checkpoint does what it is shipped for: an independent reader, trained here, looks at its clips.

Bounds leave room for the few clips a test can afford; `benchmarks/fidelity.py` measures the figures themselves.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from minisora.caption import load_captioner
from minisora.loading import checkpoint_folder, load
from minisora.metrics.captions import mark_caption
from minisora.model import MiniSora
from minisora.worlds import MovingMNIST, WorldConfig
from minisora.worlds.statements import contradictions, parse
from tests.reader import DigitReader, accuracy, read_clip, train_reader

LIMIT = 16 * 2**20  # bytes of VAE, text encoder and transformer, with their logs
WORDS = ("captioner.safetensors", "expander.safetensors")
LIMIT_OF_WORDS = 4 * 2**20


@pytest.fixture(scope="module")
def model() -> MiniSora:
    return load("moving-mnist")


@pytest.fixture(scope="module")
def reader() -> DigitReader:
    return train_reader()


def test_reader_reads_real_digits(reader: DigitReader) -> None:
    assert accuracy(reader) >= 0.97


def test_reader_reads_real_clips(reader: DigitReader) -> None:
    world = MovingMNIST(WorldConfig(max_digits=1, split="test"), seed=70)
    clips = [world[i] for i in range(40)]
    facts = [clip.facts.digits[0] for clip in clips]
    readings = [read_clip(clip.video, reader) for clip in clips]
    pairs = list(zip(readings, facts, strict=True))
    assert sum(r.label == f.label for r, f in pairs) >= 37
    assert all(r.color == f.color for r, f in pairs)
    assert all(r.angle_error(f.direction) <= 45 for r, f in pairs)


def test_checkpoint_is_small_and_comes_with_its_log() -> None:
    folder = checkpoint_folder("moving-mnist")
    sizes = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    words = sum(sizes.pop(name) for name in WORDS)
    assert words <= LIMIT_OF_WORDS and sum(sizes.values()) <= LIMIT
    for name in ("log-vae.jsonl", "log-generator.jsonl", "curves.png"):
        assert (folder / name).exists(), name


def test_a_fast_clip_is_nearly_the_same(model: MiniSora) -> None:
    exact, quick = (
        m.generate("a red 3 moving left", frames=17, size=(64, 64), seed=1).video
        for m in (model, load("moving-mnist", fast=True))
    )
    assert (exact - quick).square().mean().sqrt() < 0.03  # 0 on a CPU without bfloat16


@pytest.mark.parametrize("size", [(17, 64, 64), (33, 96, 48)])
def test_vae_reconstructs_test_digits(model: MiniSora, size: tuple[int, int, int]) -> None:
    frames, height, width = size
    world = MovingMNIST(WorldConfig(frames, height, width, min_digits=2, split="test"), seed=71)
    psnr = []
    with torch.inference_mode():
        for i in range(12):
            video = world[i].video[None]
            psnr.append(-10 * (model.vae.reconstruct(video) - video).square().mean().log10().item())
    assert sum(psnr) / len(psnr) >= 28  # dB; benchmarks/results has the means of more clips


def test_clips_follow_their_prompts(model: MiniSora, reader: DigitReader) -> None:
    world = MovingMNIST(WorldConfig(max_digits=1, split="test"), seed=72)
    clips = [world[i] for i in range(32)]
    made = model.generate([clip.caption for clip in clips], seed=0)
    assert isinstance(made, list)
    facts = [clip.facts.digits[0] for clip in clips]
    pairs = list(zip([read_clip(clip.video, reader) for clip in made], facts, strict=True))
    assert sum(r.color == f.color for r, f in pairs) >= COLORS_RIGHT
    assert sum(r.label == f.label for r, f in pairs) >= DIGITS_RIGHT
    assert sum(r.angle_error(f.direction) <= 45 for r, f in pairs) >= DIRECTIONS_RIGHT


@pytest.mark.parametrize("digits", [1, 2])
def test_the_captioner_says_what_it_sees(digits: int) -> None:
    single = {1: 1.0, 2: 0.0}[digits]
    world = MovingMNIST(WorldConfig(single_fraction=single, split="test"), seed=74)
    clips = [world[i] for i in range(32)]
    texts = load_captioner("moving-mnist").caption([clip.video for clip in clips])
    marks = [mark_caption(clip.facts, text) for clip, text in zip(clips, texts, strict=True)]
    right = Counter(name for mark in marks for name, found in mark.items() if found == "right")
    assert min(right["count"], right["color"], right["background"], right["speed"]) >= 28
    least = {1: 28, 2: 22}[digits]  # two are right only together
    assert min(right["label"], right["size"], right["direction"]) >= least, right


def test_the_expander_keeps_what_was_asked(model: MiniSora) -> None:
    asked = ["a three", "two digits on stripes", "something blue", "a small 7 moving left", ""] * 4
    for prompt, text in zip(asked, model.expand(asked, seed=0), strict=True):
        assert not contradictions(parse(prompt), parse(text)), (prompt, text)
        assert len(text.split()) > 8


# Of 32. Chance gives 4, 3 and 8.
COLORS_RIGHT, DIGITS_RIGHT, DIRECTIONS_RIGHT = 30, 18, 28
