"""The benchmarks of sizes: padding changes no clip's prediction or loss, buckets are fair, judges judge rightly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import DIT, TEXT, generator, randomize
from torch import Tensor
from torch.testing import assert_close

from benchmarks.contestants import pad_grids
from benchmarks.framing import judge, summary
from benchmarks.framing_data import MIX, center_square, token_count
from benchmarks.packing import Lab, Settings, split
from benchmarks.padding import padded_levels, padded_objective, predict_padded
from benchmarks.sizes import cells, distance, follow, untrained
from benchmarks.sizes_figure import draw_figure
from minisora.config import ClipSize
from minisora.flow import FlowConfig, flow_loss
from minisora.metrics.reader import load_reader
from minisora.network import TextToLatent
from minisora.patches import pack, token_grid, unpack
from minisora.presets import find_preset
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig

SHAPES = ((3, 4, 4), (1, 8, 2), (2, 2, 6), (3, 4, 4))  # latent grids
FLOW = FlowConfig()


@pytest.fixture(scope="module")
def net() -> TextToLatent:
    net = TextToLatent(TEXT, DIT, VOCABULARY)
    randomize(net)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clips() -> list[Tensor]:
    return [torch.randn(4, *shape, generator=generator(i)) for i, shape in enumerate(SHAPES)]


# ---- padding ----


def test_a_padded_clip_is_predicted_as_a_packed_one(net: TextToLatent, clips: list[Tensor]) -> None:
    texts = net.tokenize(["a red 3", "a blue 7", "a green 1", ""])
    levels = [torch.rand(z.shape[1], generator=generator(9)) for z in clips]
    packed = pack(clips, texts, DIT.patch)
    out = net(packed.tokens, packed.frames(levels), packed.text_ids, packed.layout)
    wanted = unpack(out, packed)

    tokens, inside, grid = pad_grids(clips, DIT.patch)
    tokens = torch.where(inside[..., None], tokens, 100.0)  # what lies beyond must not matter
    grids = [token_grid(z.shape[1:], DIT.patch) for z in clips]
    rows = torch.nn.utils.rnn.pad_sequence(levels, batch_first=True)
    made = predict_padded(net, tokens, rows, torch.stack(texts), inside, grids, grid)
    for i, z in enumerate(wanted):
        theirs = pack([z], [texts[i]], DIT.patch).tokens
        assert_close(made[i][inside[i]], theirs, atol=2e-5, rtol=1e-4)


def test_a_padded_clip_has_the_loss_of_a_packed_one(clips: list[Tensor]) -> None:
    """With a network that says 0, which a fresh one does, against `flow_loss` clip by clip."""
    fresh = TextToLatent(TEXT, DIT, VOCABULARY)
    texts = ["a red 3", "a blue 7", "", "a large green 1 moving slowly up"]
    loss, parts = padded_objective(fresh, lambda g: (clips, texts), FLOW)(0, generator(5))
    grids = [token_grid(z.shape[1:], DIT.patch) for z in clips]
    levels, counts = padded_levels(grids, 3, FLOW, generator(5))
    each = [
        flow_loss(torch.zeros_like(z)[None], z[None], level[None, : z.shape[1]], ~count[None, : z.shape[1]])
        for z, level, count in zip(clips, levels, counts, strict=True)
    ]  # fmt: skip
    assert_close(loss, torch.cat(each).mean(), atol=1e-4, rtol=1e-4)
    real = sum(t * h * w for t, h, w in grids) + 8 + 8 + 8 + 8
    assert parts["tokens"] == real
    assert parts["padding"] == 4 * (3 * 4 * 3 + 8) - real  # all as large as 3 x 4 x 3 tokens
    loss.backward()


def test_buckets_hold_neighbors_in_length_and_every_size(tmp_path: Path) -> None:
    preset = find_preset("moving-mnist")
    lab = Lab(preset, preset.mix, Settings(work=tmp_path))
    for count in (1, 3, 4, len(preset.mix)):
        buckets = split(preset.mix, lab, count)
        assert 1 <= len(buckets) <= count
        assert sorted(e.size for b in buckets for e in b) == sorted(e.size for e in preset.mix)
        ends = [[lab.tokens(entry) for entry in bucket] for bucket in buckets]
        assert all(max(a) <= min(b) for a, b in pairwise(ends))


# ---- framing ----


@pytest.mark.parametrize("entry", MIX[:2], ids=lambda entry: str(entry.size))
def test_real_clips_are_framed_and_their_center_squares_are_not(entry: Any) -> None:
    size = entry.size
    world = MovingMNIST(WorldConfig(size.frames, size.height, size.width, split="test"), seed=7)
    whole = [judge(clip.facts, clip.video) for clip in (world[i] for i in range(16))]
    cut = [judge(clip.facts, center_square(clip.video)) for clip in (world[i] for i in range(16))]
    assert sum(verdict["either"] for verdict in whole) <= 2
    assert sum(verdict["either"] for verdict in cut) >= 8
    assert sum(verdict["missing"] for verdict in cut) >= 2
    assert sum(verdict["cut_off"] for verdict in cut) >= 1


def test_a_square_crop_is_the_middle() -> None:
    video = torch.arange(3 * 2 * 4 * 10.0).view(3, 2, 4, 10)
    assert_close(center_square(video), video[:, :, :, 3:7])
    tall = video.transpose(2, 3)
    assert_close(center_square(tall), tall[:, :, 3:7])


def test_both_models_see_as_many_tokens() -> None:
    from tiny import tiny_model

    from benchmarks.framing_data import clips_for

    model = tiny_model()
    totals = {
        mode: [clips_for(model, e, mode) * token_count(model, e.size, mode) for e in MIX]  # type: ignore[arg-type]
        for mode in ("native", "square")
    }
    assert totals["native"] == pytest.approx(totals["square"])
    assert sum(clips_for(model, e, "native") for e in MIX) == pytest.approx(1)


def test_the_summary_compares_means_over_seeds() -> None:
    def run(mode: str, value: float) -> dict[str, Any]:
        shapes = ("wide", "tall", "square")
        return {"mode": mode, "framing": {shape: {"either": {"value": value}} for shape in shapes}}

    runs = {"n0": run("native", 0.1), "n1": run("native", 0.3), "s0": run("square", 0.8)}
    row = summary(runs)["wide"]
    assert row["ratio"] == pytest.approx(4) and row["seeds"]["native"] == [0.1, 0.3]
    assert summary({"n0": run("native", 0.0), "s0": run("square", 1.0)})["tall"]["ratio"] is None


# ---- sizes ----


def test_the_sweep_holds_every_size() -> None:
    sizes = cells()
    assert len(set(sizes)) == 25 + 8 and ClipSize(17, 32, 128) in sizes
    assert {s.frames for s in sizes if s.height == s.width == 64} >= {1, 17, 33, 65}
    assert distance(ClipSize(17, 32, 64), ClipSize(17, 64, 64)) == 1
    assert distance(ClipSize(8, 32, 32), ClipSize(16, 64, 64)) == pytest.approx(3**0.5)


def cell(trained: bool, value: float, worse: float = 0.0) -> dict[str, Any]:
    names = ("count", "digit", "color", "size", "direction", "speed", "background", "all")
    figures = {name: {"value": value - (worse if name == "size" else 0)} for name in names}
    physics = {"count_constant": {"value": value}}
    return {"trained": trained, "made": {"fidelity": figures, "physics": physics}}


def test_untrained_sizes_are_compared_with_their_nearest_trained_ones(tmp_path: Path) -> None:
    sweep = {
        "17x64x64": cell(True, 0.9),
        "17x96x96": cell(True, 0.7),
        "17x64x80": cell(False, 0.85),
        "17x96x112": cell(False, 0.7, worse=0.2),
        "33x64x64": cell(False, 0.1),
    }
    rows = {row["size"]: row for row in untrained(sweep)}
    assert rows["17x64x80"]["near"] == ["17x64x64"] and rows["17x64x80"]["within"]
    assert rows["17x64x80"]["behind"]["all"] == pytest.approx(5)
    assert rows["17x96x112"]["near"] == ["17x96x96"] and not rows["17x96x112"]["within"]
    assert rows["33x64x64"]["behind"]["digit"] == pytest.approx(80)
    assert next(iter(rows)) == "17x64x80"  # the best first
    long = {"real": {"one_object": [1.0, 0.5], "digit_asked_for": [1.0, 1.0]}}
    row = {"same_digit": {"value": 0.8}, "same_way": {"value": 0.9}}
    draft = {"32x32 to 64x64": {"draft continued": row, "related noise": row}}
    draw_figure({"sweep": sweep, "long": long, "draft": draft}, tmp_path / "a" / "figure.png")
    assert (tmp_path / "a" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_following_sees_when_a_digit_goes_or_doubles() -> None:
    world = MovingMNIST(WorldConfig(9, min_digits=1, max_digits=1, split="test"), seed=3)
    clip, reader = world[1], load_reader()
    one, right = follow(clip.video, clip.facts, reader)
    assert all(one) and sum(right) >= 7
    gone = clip.video.clone()
    gone[:, 5:] = gone[:, 5:].clamp(max=0.3)
    one, right = follow(gone, clip.facts, reader)
    assert one == [True] * 5 + [False] * 4 and not any(right[5:])
    assert follow(torch.zeros(3, 4, 32, 32), clip.facts, reader) == ([False] * 4, [False] * 4)
