"""Longer than trained: scaled positions stay in the range trained on, and each way makes the clip it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Run, assert_one_sentence, generator, tiny_model
from torch.testing import assert_close

from minisora.complete import Sampling
from minisora.config import ClipSize
from minisora.dit import edge_features, rope_table
from minisora.edit import extend
from minisora.loading import load
from minisora.longer import HOWS, generate_long
from minisora.model import MiniSora
from minisora.patches import Group, Layout, coordinates
from minisora.rope import RopeScaling, rotary_table, rotate, scaled_table

CPU = torch.device("cpu")
AXES, THETA = (4, 6, 6), 100.0
FAST = Sampling(steps=2, guidance_scale=1.0)
GRIDS = st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))


def angles(grid: tuple[int, int, int], scaling: RopeScaling | None) -> torch.Tensor:
    """Rotation angles (Lv, 8) of a clip, in double precision and by the definition alone."""
    columns = []
    for axis, size in enumerate(AXES):
        place = coordinates(grid)[:, axis].double()
        s = 1.0 if scaling is None else max(1.0, grid[axis] / scaling.trained[axis])
        theta, n = THETA, size // 2
        if scaling is not None and scaling.kind == "interpolate":
            place = place / s
        elif scaling is not None:
            theta = THETA * s ** (n / (n - 1))  # the published form: another base
        columns += [place * theta ** (-j / n) for j in range(n)]
    return torch.stack(columns, dim=1)


@given(GRIDS, st.sampled_from(["interpolate", "ntk"]))
@settings(deadline=None)
def test_scaled_rope_is_the_published_one(grid: tuple[int, int, int], kind: str) -> None:
    scaling = RopeScaling(kind, (5, 4, 4))  # type: ignore[arg-type]
    layout = Layout((Group(2, grid, 3), Group(1, (2, 2, 2), 8)))
    table = layout.split(scaled_table(layout, AXES, THETA, scaling))[0]
    wanted = angles(grid, scaling)
    for clip in table:
        assert_close(clip[3:, :, 0].double(), wanted.cos(), atol=1e-5, rtol=0)
        assert_close(clip[3:, :, 1].double(), wanted.sin(), atol=1e-5, rtol=0)
        assert (clip[:3, :, 0] == 1).all() and (clip[:3, :, 1] == 0).all()  # text stays at 0


@pytest.mark.parametrize("kind", ["interpolate", "ntk"])
def test_nothing_changes_on_grids_as_large_as_trained(kind: str) -> None:
    scaling = RopeScaling(kind, (5, 4, 4))  # type: ignore[arg-type]
    layout = Layout((Group(1, (5, 4, 4), 3), Group(2, (1, 2, 4), 3)))
    plain = rope_table(layout, AXES, THETA, CPU)
    assert_close(rope_table(layout, AXES, THETA, CPU, scaling), plain, atol=0, rtol=0)
    assert_close(
        edge_features((5, 4, 4), CPU, scaling), edge_features((5, 4, 4), CPU), atol=0, rtol=0
    )


def test_interpolated_positions_are_those_between_trained_ones() -> None:
    """Twice the length: every second position is one that was trained on."""
    scaling = RopeScaling("interpolate", (5, 4, 4))
    long, short = Layout((Group(1, (10, 4, 4), 1),)), Layout((Group(1, (5, 4, 4), 1),))
    ours = scaled_table(long, AXES, THETA, scaling)[1:].unflatten(0, (10, 16))[::2]
    trained = rope_table(short, AXES, THETA, CPU)[1:].unflatten(0, (5, 16))
    assert_close(ours, trained, atol=1e-5, rtol=0)
    edges = edge_features((10, 4, 4), CPU, scaling).unflatten(0, (10, 16))[::2]
    assert_close(edges, edge_features((5, 4, 4), CPU).unflatten(0, (5, 16)), atol=1e-5, rtol=0)


def test_ntk_keeps_the_fastest_frequency_and_interpolates_the_slowest() -> None:
    scaling = RopeScaling("ntk", (5, 4, 4))
    factors = scaling.factors((20, 4, 4), 0, 6)
    assert factors[0] == 1 and factors[-1] == pytest.approx(1 / 4)
    assert (factors.diff() < 0).all()
    assert (scaling.factors((20, 4, 4), 1, 6) == 1).all()
    assert scaling.factors((20, 4, 4), 0, 1) == torch.ones(1)  # one frequency alone is the fastest


@pytest.mark.parametrize("kind", ["interpolate", "ntk"])
def test_scaled_rope_still_tells_distances_alone(kind: str) -> None:
    factors = [RopeScaling(kind, (2, 2, 2)).factors((9, 7, 6), a, n) for a, n in enumerate((2, 3, 3))]  # type: ignore[arg-type]  # fmt: skip
    q, k = torch.randn(2, 16, generator=generator()).double()
    here, there = torch.tensor([1, 2, 3]), torch.tensor([4, 0, 5])

    def product(shift: int) -> torch.Tensor:
        tables = [rotary_table(p + shift, AXES, THETA, factors).double() for p in (here, there)]
        return rotate(q, tables[0]) @ rotate(k, tables[1])

    assert_close(product(0), product(3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "trained"), [("linear", (1, 1, 1)), ("ntk", (0, 1, 1)), ("ntk", (1, 1))]
)
def test_a_wrong_scaling_is_told(kind: str, trained: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"choose interpolate or ntk|each 1 or more"):
        RopeScaling(kind, trained)  # type: ignore[arg-type]


# ---- the model ----


@pytest.fixture(scope="module")
def model() -> MiniSora:
    model = tiny_model()
    model.sizes = (ClipSize(5, 32, 32), ClipSize(1, 32, 48))
    return model


def test_a_loaded_model_knows_its_sizes(checkpoint: Path) -> None:
    model = load(checkpoint)
    assert model.sizes == (ClipSize(5, 32, 32), ClipSize(1, 32, 48))
    assert model.rope_scaling("ntk") == RopeScaling("ntk", (2, 2, 3))
    assert_says_nothing = pytest.raises(ValueError, match="does not say which sizes")
    with assert_says_nothing:
        tiny_model().generate("a red 3", frames=5, size=(32, 32), scaling="ntk")


def test_scaling_acts_beyond_what_was_trained_and_nowhere_else(model: MiniSora) -> None:
    def make(frames: int, scaling: str | None) -> torch.Tensor:
        how = {"frames": frames, "size": (32, 32), "steps": 2, "scaling": scaling}
        return model.generate("a red 3", **how).video

    for kind in ("interpolate", "ntk"):
        assert_close(make(5, kind), make(5, None), atol=0, rtol=0)
        assert (make(17, kind) - make(17, None)).abs().max() > 1e-4
    assert (make(17, "ntk") - make(17, "interpolate")).abs().max() > 1e-4


@pytest.mark.parametrize("how", HOWS)
def test_each_way_makes_the_clip(model: MiniSora, how: str) -> None:
    clip = generate_long(model, "a red 3", frames=33, how=how, size=(32, 32), sampling=FAST)  # type: ignore[arg-type]
    assert clip.video.shape == (3, 33, 32, 32) and clip.prompt == "a red 3"
    scaling = how if how in ("interpolate", "ntk") else None
    frames, quick = (17, 33)[how != "roll-out"], {"steps": 2, "guidance_scale": 1.0}
    first = model.generate("a red 3", frames=frames, size=(32, 32), scaling=scaling, **quick)
    wanted = first
    if how == "roll-out":
        wanted = extend(model, first, 16, seed=1, sampling=FAST)
    assert_close(clip.video, wanted.video, atol=1e-5, rtol=0)


def test_a_short_clip_needs_no_roll_out(model: MiniSora) -> None:
    ours = generate_long(model, "a red 3", frames=9, size=(32, 32), sampling=FAST)
    wanted = model.generate("a red 3", frames=9, size=(32, 32), steps=2, guidance_scale=1.0)
    assert_close(ours.video, wanted.video, atol=0, rtol=0)


def test_wrong_requests_are_told(model: MiniSora) -> None:
    with pytest.raises(ValueError, match="choose one of extrapolate, interpolate, ntk, roll-out"):
        generate_long(model, how="longer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the nearest are 61 and 65"):
        generate_long(model, frames=63)


@pytest.mark.parametrize("how", HOWS)
def test_long_clips_on_the_command_line(
    run: Run, checkpoint: Path, tmp_path: Path, how: str
) -> None:
    base = ("generate", "a red 3", "--checkpoint", checkpoint, "--size", "32x32", "--steps", 1)
    out = tmp_path / "a.webp"
    status, output, _ = run(*base, "--frames", 21, "--long", how, "-o", out)
    assert status == 0 and "21 frames" in output and out.exists()
    if how == "roll-out":
        result = run(*base, "--frames", 21, "--long", how, "--lag", 2, "-o", out)
        assert_one_sentence(result, "takes none of --lag, --draft, --best-of, --contrast-scale and")
