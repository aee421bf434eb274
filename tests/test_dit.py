"""The DiT against a naive implementation: packing, isolation of clips, levels, start, sizes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minisora import dit as dit_module
from minisora.dit import DiT, DiTConfig, flops, level_features, num_parameters
from minisora.layers import attend
from minisora.ops import clip_of_token, row_of_token
from minisora.patches import Group, Layout, Packed, coordinates, pack, unpack
from minisora.rope import edge_distances, positions, rotary_table, rotate

CONFIG = DiTConfig(depth=2, width=64, num_heads=2, latent_channels=3, text_width=16)
# Sizes (t, h, w) of latents and lengths of texts: two alike, a still, a wide, a tall and a long one.
CLIPS = [((2, 4, 6), 8), ((1, 4, 4), 16), ((2, 4, 6), 8), ((2, 2, 8), 8), ((3, 8, 2), 24)]


def model(config: DiTConfig = CONFIG) -> DiT:
    """A DiT in which nothing is zero any more."""
    torch.manual_seed(0)
    dit = DiT(config)
    with torch.no_grad():
        for p in dit.parameters():
            p += 0.1 * torch.randn_like(p) / math.sqrt(p.shape[-1] / 16)
    return dit


def clips(sizes: list = CLIPS) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Latent (Z, t, h, w), levels (t,) and text states (l, text_width) of each clip."""
    g = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(3, *size, generator=g),
            torch.rand(size[0], generator=g),
            torch.randn(length, 16, generator=g),
        )
        for size, length in sizes
    ]


def prepare(batch: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Packed, Tensor, Tensor]:
    """Pack clips; text states ride along as the ids' numbers would."""
    latents, levels, texts = zip(*batch, strict=True)
    packed = pack(latents, [torch.zeros(len(t), dtype=torch.long) for t in texts], CONFIG.patch)
    return packed, packed.frames(levels), torch.cat([texts[i] for i in packed.order])


def predict(dit: DiT, batch: list[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
    """x_hat (Z, t, h, w) of each clip."""
    packed, levels, text = prepare(batch)
    return unpack(dit(packed.tokens, levels, text, packed.layout), packed)


def gradients(dit: DiT, batches: list[list]) -> list[Tensor]:
    """Gradients of a loss that is a sum over clips, of every parameter."""
    dit.zero_grad()
    for batch in batches:
        for i, x_hat in enumerate(predict(dit, batch)):
            (x_hat - batch[i][0]).square().sum().backward(retain_graph=True)
    return [p.grad for p in dit.parameters()]


# --- packing --------------------------------------------------------------------------------------


def test_packed_equals_one_by_one() -> None:
    dit, batch = model(), clips()
    for together, clip in zip(predict(dit, batch), batch, strict=True):
        torch.testing.assert_close(together, predict(dit, [clip])[0], atol=1e-5, rtol=1e-5)
    packed, single = gradients(dit, [batch]), gradients(dit, [[clip] for clip in batch])
    for a, b in zip(packed, single, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
        assert b.abs().max() > 0


def test_clips_do_not_leak_into_each_other() -> None:
    dit, batch = model(), clips()
    before = predict(dit, batch)
    for i, (latent, levels, text) in enumerate(batch):
        for other in [
            (latent + 1, levels, text),
            (latent, 1 - levels, text),
            (latent, levels, -text),
        ]:
            after = predict(dit, [*batch[:i], other, *batch[i + 1 :]])
            for j, (a, b) in enumerate(zip(after, before, strict=True)):
                assert (a - b).abs().max() > 1e-3 if j == i else (a - b).abs().max() <= 1e-6


def test_the_order_of_clips_does_not_matter() -> None:
    dit, batch = model(), clips()
    for a, b in zip(predict(dit, batch[::-1])[::-1], predict(dit, batch), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_attention_equals_one_masked_attention() -> None:
    layout = prepare(clips())[0].layout
    q, k, v = torch.randn(3, layout.num_tokens, 2, 32).unbind()
    clip = clip_of_token(layout)
    logits = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(32)
    weights = logits.masked_fill(clip[:, None] != clip, -math.inf).softmax(-1)
    expected = torch.einsum("hij,jhd->ihd", weights, v).flatten(1)
    torch.testing.assert_close(attend(q, k, v, layout), expected, atol=1e-5, rtol=1e-5)


def naive(dit: DiT, tokens: Tensor, levels: Tensor, text: Tensor, layout: Layout) -> Tensor:
    """The equations of the module's docstring, token by token, with one mask over all tokens."""
    row, clip = row_of_token(layout), clip_of_token(layout)
    is_text = torch.cat(
        [torch.arange(g.clip_len) < g.text_len for g in layout.groups for _ in range(g.count)]
    )
    rms = lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()  # noqa: E731
    first = torch.tensor([int((row == r).nonzero()[0]) for r in range(layout.num_rows)])
    level = torch.zeros(layout.num_rows, dtype=tokens.dtype)
    level[~is_text[first]] = levels
    pooled = torch.stack(
        [text[clip[is_text] == c].mean(0) for c in range(layout.num_clips)]
    )[clip[first]]  # fmt: skip
    c = dit.level_in(level_features(level).to(tokens.dtype)) + dit.pooled_in(pooled)

    edges = torch.cat([edge_distances(g.grid) for g in layout.groups for _ in range(g.count)])
    rates = math.pi / 2 * 0.5 ** torch.arange(8)
    angle = (edges[:, :, None] * rates).flatten(1).to(tokens.dtype)
    x = tokens.new_empty(layout.num_tokens, dit.config.width)
    x[is_text] = dit.text_in(text)
    x[~is_text] = dit.patch_in(tokens) + dit.edges_in(torch.cat([angle.cos(), angle.sin()], 1))

    table = rotary_table(positions(layout), dit.config.axes, 100.0)[:, None].to(tokens.dtype)
    mask = torch.zeros(len(x), len(x), dtype=x.dtype)
    mask[clip[:, None] != clip] = -math.inf
    for block in dit.blocks:
        m = (dit.modulation(F.silu(c)).unflatten(1, (6, -1)) + block.bias)[row]  # (L, 6, D)
        qkv = block.qkv.linear(rms(x) * (1 + m[:, 1]) + m[:, 0])
        q, k, v = qkv.unflatten(1, (3, dit.config.num_heads, -1)).unbind(1)
        q = rotate(rms(q) * block.qkv.scale[0], table)
        k = rotate(rms(k) * block.qkv.scale[1], table)
        logits = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1]) + mask
        y = torch.einsum("hij,jhd->ihd", logits.softmax(-1), v).flatten(1)
        x = x + m[:, 2] * block.out(y)
        gate, up = block.mlp.gate_up(rms(x) * (1 + m[:, 4]) + m[:, 3]).chunk(2, 1)
        x = x + m[:, 5] * block.mlp.down(gate * gate.sigmoid() * up)
    shift, scale = dit.final_modulation(F.silu(c))[row].chunk(2, 1)
    return dit.final((rms(x) * (1 + scale) + shift)[~is_text])


def test_forward_and_gradient_equal_the_naive_implementation() -> None:
    """Ours runs in float32 with its fused lines, the naive one in float64 under autograd."""
    dit, (packed, levels, text) = model(), prepare(clips())
    ours = dit(packed.tokens, levels, text, packed.layout)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    ours_grads = [p.grad.double() for p in dit.parameters()]
    dit.double().zero_grad()
    inputs = (packed.tokens.double(), levels.double(), text.double())
    theirs = naive(dit, *inputs, packed.layout)
    torch.testing.assert_close(ours.double(), theirs, atol=2e-5, rtol=2e-5)
    (theirs * weight).sum().backward()
    for a, p in zip(ours_grads, dit.parameters(), strict=True):
        assert (a - p.grad).abs().max() <= 5e-5 * p.grad.abs().max()


# --- positions ------------------------------------------------------------------------------------


def test_rope_depends_on_differences_alone() -> None:
    axes, g = (8, 12, 12), torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 32, generator=g).double()
    here, there = torch.tensor([3, 1, 2]), torch.tensor([0, 5, 4])

    def product(shift: Tensor) -> Tensor:
        a = rotate(q, rotary_table(here + shift, axes, 100.0).double())
        return a @ rotate(k, rotary_table(there + shift, axes, 100.0).double())

    shifts = [torch.tensor(s) for s in ((0, 0, 0), (4, 0, 0), (0, 7, 1), (9, 8, 20))]
    products = torch.stack([product(s) for s in shifts])
    torch.testing.assert_close(products, products[:1].expand(4), atol=1e-5, rtol=1e-5)
    moved = rotary_table(here + torch.tensor([1, 0, 0]), axes, 100.0).double()
    other = rotate(q, moved) @ rotate(k, rotary_table(there, axes, 100.0).double())
    assert (other - products[0]).abs() > 1e-3


def test_rope_is_a_complex_product() -> None:
    x, place = torch.randn(5, 8, dtype=torch.float64), torch.arange(5)[:, None]
    rates = 100.0 ** -(torch.arange(4, dtype=torch.float64) / 4)
    turned = torch.view_as_complex(x.view(5, 4, 2)) * torch.exp(1j * place * rates)
    ours = rotate(x, rotary_table(place, (8,), 100.0).double())
    torch.testing.assert_close(ours, torch.view_as_real(turned).flatten(1), atol=1e-6, rtol=1e-6)


def test_a_grid_never_seen_works_and_every_place_is_distinct() -> None:
    dit = model()
    for size in [(9, 2, 2), (1, 32, 2), (2, 12, 20)]:
        latent = torch.ones(3, *size)  # the same patch everywhere: only the place differs
        out = predict(dit, [(latent, torch.full((size[0],), 0.5), clips()[0][2])])[0]
        assert out.shape == latent.shape
        assert out.isfinite().all()
        tokens = out.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).permute(1, 2, 4, 0, 3, 5)
        assert torch.pdist(tokens.reshape(-1, 12)).min() > 1e-4
        assert len(coordinates((size[0], size[1] // 2, size[2] // 2))) == len(
            tokens.reshape(-1, 12)
        )


# --- conditioning ---------------------------------------------------------------------------------


def test_every_frame_has_its_own_level() -> None:
    dit, (latent, levels, text) = model(), clips()[4]
    before = predict(dit, [(latent, levels, text)])[0]
    for k in range(len(levels)):
        changed = levels.clone()
        changed[k] = 1 - changed[k]
        change = (predict(dit, [(latent, changed, text)])[0] - before).abs().amax(dim=(0, 2, 3))
        assert change.argmax() == k  # its own frame most, the others through attention
        assert change.min() > 0


def test_the_text_counts() -> None:
    dit, (latent, levels, text) = model(), clips()[0]
    a = predict(dit, [(latent, levels, text)])[0]
    assert (predict(dit, [(latent, levels, text.roll(1, 1))])[0] - a).abs().max() > 1e-3


def test_tokens_of_blind_blocks_see_themselves_alone() -> None:
    """Perturbed-attention guidance: with every block blind, a change of one patch changes one patch."""
    dit, (latent, levels, text) = model(DiTConfig(**asdict(CONFIG) | {"depth": 1})), clips()[0]
    packed, frames, states = prepare([(latent, levels, text)])
    assert list(dit.config.middle) == [0] and list(DiTConfig(depth=6).middle) == [3, 4]

    def change(blind: bool) -> Tensor:
        """How much each patch of the guess changes when patch 3 of the input does."""
        other = packed.tokens.clone()
        other[3] += 1.0
        a, b = (dit(x, frames, states, packed.layout, None, blind) for x in (packed.tokens, other))
        return (a - b).abs().amax(dim=1)

    seen, blind = change(False), change(True)
    assert (seen > 1e-5).all()
    assert blind[3] > 1e-3 and blind[:3].max() == blind[4:].max() == 0.0


def test_shapes_are_checked() -> None:
    dit, (packed, levels, text) = model(), prepare(clips())
    for tokens, level, states in [
        (packed.tokens[1:], levels, text),
        (packed.tokens, levels[1:], text),
        (packed.tokens, levels, text[:, 1:]),
    ]:
        with pytest.raises(ValueError, match="the layout needs"):
            dit(tokens, level, states, packed.layout)


# --- start ----------------------------------------------------------------------------------------


def test_it_starts_as_zero_and_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    dit, (packed, levels, text) = DiT(CONFIG), prepare(clips())
    assert not dit(packed.tokens, levels, text, packed.layout).any()
    x, rows = torch.randn(packed.layout.num_tokens, 64), torch.randn(packed.layout.num_rows, 6, 64)
    table = rotary_table(positions(packed.layout), CONFIG.axes, 100.0)
    for block in dit.blocks:
        assert torch.equal(block(x, rows, table, packed.layout), x)


def test_no_zero_blocks_another_for_long() -> None:
    """Two zeros in a row would have no gradient ever; ours all move within three steps."""
    torch.manual_seed(0)
    dit, (packed, levels, text) = DiT(CONFIG), prepare(clips())
    start = [p.detach().clone() for p in dit.parameters()]
    optimizer = torch.optim.SGD(dit.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (dit(packed.tokens, levels, text, packed.layout) - packed.tokens).square().mean().backward()
        optimizer.step()
    for (name, p), q in zip(dit.named_parameters(), start, strict=True):
        assert not torch.equal(p, q), name


# --- sizes ----------------------------------------------------------------------------------------


def test_one_dial() -> None:
    shipped = DiTConfig.from_depth(6)
    assert shipped == DiTConfig()
    assert (shipped.width, shipped.num_heads, shipped.axes) == (256, 4, (16, 24, 24))
    widths = [DiTConfig.from_depth(depth).width for depth in range(1, 41)]
    assert widths == sorted(widths)
    big = DiTConfig.from_depth(40, width=5120, mlp_ratio=2.7, rope_axes=[44, 42, 42], num_heads=40)
    assert (big.hidden, big.head_dim, big.axes) == (13824, 128, (44, 42, 42))
    assert DiTConfig(**json.loads(json.dumps(asdict(big)))) == big


def test_config_is_checked() -> None:
    with pytest.raises(ValueError, match="Width 250 with 4 heads"):
        DiTConfig(width=250)
    with pytest.raises(ValueError, match="rope_axes"):
        DiTConfig(rope_axes=(16, 16, 16))


def test_parameters_and_flops_are_counted() -> None:
    assert num_parameters(CONFIG) == sum(p.numel() for p in DiT(CONFIG).parameters())
    assert num_parameters(DiTConfig()) == 4_712_480
    dit, (packed, levels, text) = model(), prepare(clips())
    # The counter sees attention only where it is made of plain products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        dit(packed.tokens, levels, text, packed.layout)
    assert flops(CONFIG, packed.layout) == counter.get_total_flops()


# --- ways to run ----------------------------------------------------------------------------------


def test_bfloat16_autocast_is_close() -> None:
    dit, (packed, levels, text) = model(), prepare(clips())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = dit(packed.tokens, levels, text, packed.layout)
        low.float().square().mean().backward()
    full = dit(packed.tokens, levels, text, packed.layout)
    assert (low.float() - full).norm() < 0.05 * full.norm()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in dit.parameters())


def test_inference_then_training() -> None:
    """Tables cached in inference mode must serve a later training step."""
    for cache in (dit_module.rope_table, dit_module.edge_features):
        cache.cache_clear()
    dit, (packed, levels, text) = model(), prepare(clips())
    with torch.inference_mode():
        first = dit(packed.tokens, levels, text, packed.layout)
    again = dit(packed.tokens, levels, text, packed.layout)
    torch.testing.assert_close(first, again)
    again.sum().backward()


def test_the_smallest_clip() -> None:
    layout = Layout((Group(1, (1, 1, 1), 1),))
    x_hat = model()(torch.randn(1, 12), torch.ones(1), torch.randn(1, 16), layout)
    assert x_hat.shape == (1, 12)
