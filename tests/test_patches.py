"""Patches and packing against naive loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.ops import clip_of_token, row_of_token, row_starts
from minisora.patches import (
    Group,
    Layout,
    coordinates,
    pack,
    pack_groups,
    patchify,
    token_grid,
    unpack,
    unpack_groups,
    unpatchify,
)
from minisora.rope import edge_distances, positions, text_positions

PATCH = (1, 2, 2)
sides = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
groups = st.builds(Group, st.integers(1, 3), sides, st.integers(1, 9))
layouts = st.builds(Layout, st.lists(groups, min_size=1, max_size=4).map(tuple))


def clips_in(layout: Layout) -> list[Group]:
    """The group of each clip, in packed order."""
    return [g for g in layout.groups for _ in range(g.count)]


@settings(deadline=None)  # a busy machine is no failure
@given(sides, sides, st.integers(1, 3), st.integers(1, 3))
def test_patchify_round_trip(grid, patch, count, channels) -> None:
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    z = torch.randn(count, channels, *size)
    tokens = patchify(z, patch)
    assert tokens.shape == (count, grid[0] * grid[1] * grid[2], z[0].numel() // len(tokens[0]))
    assert torch.equal(unpatchify(tokens, grid, patch, channels), z)


@settings(deadline=None)  # a busy machine is no failure
@given(sides, sides)
def test_a_token_holds_the_patch_at_its_coordinates(grid, patch) -> None:
    (pt, ph, pw), channels = patch, 2
    z = torch.randn(1, channels, *(g * p for g, p in zip(grid, patch, strict=True)))
    places = coordinates(grid)
    assert places.tolist() == [list(p) for p in itertools.product(*map(range, grid))]
    for token, (t, h, w) in zip(patchify(z, patch)[0], places.tolist(), strict=True):
        cut = z[0, :, t * pt : (t + 1) * pt, h * ph : (h + 1) * ph, w * pw : (w + 1) * pw]
        assert torch.equal(token, cut.flatten())


def test_a_latent_of_broken_patches_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"\(5, 7, 8\) does not divide into patches of \(1, 2, 2\)"
    ):
        patchify(torch.zeros(1, 8, 5, 7, 8), PATCH)
    with pytest.raises(ValueError, match="does not divide"):
        token_grid((0, 8, 8), PATCH)


@settings(deadline=None)  # a busy machine is no failure
@given(sides)
def test_edge_distances(grid) -> None:
    _, height, width = grid
    expected = [
        [t, h + 0.5, w + 0.5, height - h - 0.5, width - w - 0.5]
        for t, h, w in itertools.product(*map(range, grid))
    ]
    assert edge_distances(grid).tolist() == expected


@settings(deadline=None)  # a busy machine is no failure
@given(layouts)
def test_layout_tensors_equal_naive_loops(layout) -> None:
    place, row, clip, rows = [], [], [], 0
    for i, g in enumerate(clips_in(layout)):
        place += [[0, 0, 0]] * g.text_len
        row += [rows] * g.text_len
        for t, h, w in itertools.product(*map(range, g.grid)):
            place.append([t, h, w])
            row.append(rows + 1 + t)
        clip += [i] * g.clip_len
        rows += 1 + g.grid[0]
    assert positions(layout).tolist() == place
    assert row_of_token(layout).tolist() == row
    assert row_starts(layout).tolist() == [row.index(r) for r in range(rows)]
    assert clip_of_token(layout).tolist() == clip
    words = [[i] for g in clips_in(layout) for i in range(g.text_len)]
    assert text_positions(layout).tolist() == words
    assert (layout.num_tokens, layout.num_rows, layout.num_clips) == (len(row), rows, clip[-1] + 1)
    assert layout.num_frames == rows - layout.num_clips
    assert layout.num_text + layout.num_video == layout.num_tokens


@settings(deadline=None)  # a busy machine is no failure
@given(layouts)
def test_join_and_split_keep_every_token_in_place(layout) -> None:
    text, video = torch.arange(layout.num_text), 1000 + torch.arange(layout.num_video)
    packed = layout.join(text, video)
    texts, videos, expected = iter(text), iter(video), []
    for g in clips_in(layout):
        expected += [next(texts) for _ in range(g.text_len)]
        expected += [next(videos) for _ in range(g.video_len)]
    assert packed.tolist() == [int(i) for i in expected]
    assert torch.equal(layout.video(packed), video)
    assert torch.equal(layout.merge(layout.split(packed)), packed)


def test_split_makes_views() -> None:
    layout = Layout((Group(3, (2, 2, 2), 4), Group(2, (1, 3, 2), 8)))
    for split, length in [
        (layout.split, layout.num_tokens),
        (layout.split_text, layout.num_text),
        (layout.split_video, layout.num_video),
        (layout.split_frames, layout.num_frames),
        (layout.split_rows, layout.num_rows),
    ]:
        x = torch.zeros(length, 5)
        for view, g in zip(split(x), layout.groups, strict=True):
            assert len(view) == g.count
            view += 1
        assert bool((x == 1).all())


shapes = st.lists(st.tuples(sides, st.integers(1, 3)), min_size=1, max_size=6)


@settings(deadline=None)  # a busy machine is no failure
@given(shapes)
def test_pack_round_trip_in_the_callers_order(shapes) -> None:
    latents = [torch.randn(3, t, 2 * h, 2 * w) for (t, h, w), _ in shapes]
    texts = [torch.randint(0, 99, (8 * n,)) for _, n in shapes]
    levels = [torch.rand(z.shape[1]) for z in latents]
    packed = pack(latents, texts, PATCH)
    assert len(set(packed.layout.groups)) == len(packed.layout.groups)  # equal clips stand together
    for back, z in zip(unpack(packed.tokens, packed), latents, strict=True):
        assert torch.equal(back, z)
    assert len(packed.tokens) + len(packed.text_ids) == packed.layout.num_tokens  # no padding
    assert torch.equal(packed.frames(levels), torch.cat([levels[i] for i in packed.order]))
    assert torch.equal(packed.text_ids, torch.cat([texts[i] for i in packed.order]))


def test_pack_groups_equals_pack() -> None:
    wide, tall = torch.randn(2, 3, 1, 4, 8), torch.randn(1, 3, 2, 8, 4)
    texts = [torch.randint(0, 99, (2, 8)), torch.randint(0, 99, (1, 16))]
    dense = pack_groups([wide, tall], texts, PATCH)
    loose = pack([*wide, *tall], [*texts[0], *texts[1]], PATCH)
    assert dense.layout == loose.layout
    assert torch.equal(dense.tokens, loose.tokens)
    assert torch.equal(dense.text_ids, loose.text_ids)
    for back, z in zip(unpack_groups(dense.tokens, dense), (wide, tall), strict=True):
        assert torch.equal(back, z)


def test_what_cannot_be_packed_is_refused() -> None:
    z, text = torch.zeros(3, 1, 4, 4), torch.zeros(8, dtype=torch.long)
    with pytest.raises(ValueError, match="Got 0 latents and 0 texts"):
        pack([], [], PATCH)
    with pytest.raises(ValueError, match="Got 2 latents and 1 texts"):
        pack([z, z], [text], PATCH)
    with pytest.raises(ValueError, match="at least 1"):
        pack([z], [text[:0]], PATCH)
    with pytest.raises(ValueError, match="at least one group"):
        Layout(())


def test_a_layout_first_met_in_inference_mode_serves_training() -> None:
    layout = Layout((Group(7, (1, 2, 3), 5),))
    with torch.inference_mode():
        cached = positions(layout)
    assert not cached.is_inference()
    assert positions(layout) is cached
