"""Video VAE: causal, streamable, convolutional; its parts against torch's own.

Exactness is tested in float64, so that "equal" can mean 1e-10 and nothing hides in rounding.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import VAE, generator, tiny_vae
from torch import Tensor, nn

from minisora.config import VAEConfig
from minisora.objectives import fit_latent_statistics
from minisora.paths import DataError, data_file
from minisora.tiling import blend_tiles, decode_tiled, encode_tiled, tile_starts
from minisora.vae import CausalMix, Posterior, VideoVAE, fold, unfold
from minisora.worlds import MovingMNIST, WorldConfig

STRIDES = list(itertools.product((4, 8), (1, 2, 4)))  # (spatial, temporal)
CHUNKS = [(1, 1, 1, 1), (2, 1, 1), (1, 3), (3, 1), (4,)]  # latent frames, 4 in all


def exact_vae(spatial: int = 8, temporal: int = 4) -> VideoVAE:
    return tiny_vae(spatial=spatial, temporal=temporal).double()


def video_of(vae: VideoVAE, latent_frames: int, h: int = 2, w: int = 2, batch: int = 1) -> Tensor:
    """A random video of that many latent frames on a grid of h x w."""
    s, frames = vae.config.spatial, 1 + (latent_frames - 1) * vae.config.temporal
    shape = (batch, 3, frames, h * s, w * s)
    return torch.rand(shape, generator=generator(7), dtype=vae.latent_mean.dtype)


def assert_equal(ours: Tensor, theirs: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


# ---- time is causal ----


@pytest.mark.parametrize(("spatial", "temporal"), STRIDES)
def test_no_latent_depends_on_a_later_frame(spatial: int, temporal: int) -> None:
    vae = exact_vae(spatial, temporal)
    video = video_of(vae, 3, 1, 2).requires_grad_()
    latent = vae.encode(video)
    assert latent.shape == (1, 4, 3, 1, 2)
    for j in range(3):
        (slope,) = torch.autograd.grad(latent[:, :, j].square().sum(), video, retain_graph=True)
        moved = slope.abs().amax(dim=(0, 1, 3, 4)) > 0  # by frame
        assert not moved[1 + j * temporal :].any()
        assert moved[: 1 + j * temporal].all()  # and it does use every frame of its past


@pytest.mark.parametrize(("spatial", "temporal"), STRIDES)
def test_no_frame_depends_on_a_later_latent(spatial: int, temporal: int) -> None:
    vae = exact_vae(spatial, temporal)
    latent = vae.encode(video_of(vae, 3, 1, 2)).detach().requires_grad_()
    video = vae.decode(latent)
    for k in range(video.shape[2]):
        (slope,) = torch.autograd.grad(video[:, :, k].square().sum(), latent, retain_graph=True)
        moved = slope.abs().amax(dim=(0, 1, 3, 4)) > 0
        present = -(-k // temporal)
        assert not moved[present + 1 :].any() and moved[present]


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_changing_a_frame_leaves_earlier_latents_alone(data: st.DataObject) -> None:
    spatial, temporal = data.draw(st.sampled_from(STRIDES))
    vae = exact_vae(spatial, temporal)
    video = video_of(vae, 4)
    frame = data.draw(st.integers(0, video.shape[2] - 1))
    changed = video.clone()
    changed[:, :, frame:] = torch.rand(
        changed[:, :, frame:].shape, generator=generator(), dtype=video.dtype
    )
    first = -(-frame // temporal)  # the first latent that may know of it
    before, after = vae.encode(video), vae.encode(changed)
    assert_equal(after[:, :, :first], before[:, :, :first], atol=0)
    assert (after[:, :, first] - before[:, :, first]).abs().max() > 1e-3


@pytest.mark.parametrize(("spatial", "temporal"), STRIDES)
def test_an_image_is_the_first_latent_of_every_video_it_begins(spatial: int, temporal: int) -> None:
    vae = exact_vae(spatial, temporal)
    video = video_of(vae, 3)
    latent = vae.encode(video)
    image = vae.encode(video[:, :, :1])
    assert_equal(image, latent[:, :, :1])
    assert_equal(vae.decode(image), vae.decode(latent)[:, :, :1])


# ---- streams ----


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize(("spatial", "temporal"), [(8, 4), (4, 2), (8, 1)])
def test_streamed_equals_whole(spatial: int, temporal: int, chunks: tuple[int, ...]) -> None:
    vae = exact_vae(spatial, temporal)
    video = video_of(vae, 4, batch=2)
    latent = vae.encode(video)
    lengths = [n * temporal for n in chunks]
    lengths[0] += 1 - temporal  # the first latent frame holds one frame
    pieces = list(vae.encode_stream(video.split(lengths, dim=2)))
    assert [piece.shape[2] for piece in pieces] == list(chunks)
    assert_equal(torch.cat(pieces, dim=2), latent)
    decoded = list(vae.decode_stream(latent.split(list(chunks), dim=2)))
    assert [piece.shape[2] for piece in decoded] == lengths
    assert_equal(torch.cat(decoded, dim=2), vae.decode(latent))


def test_what_a_stream_remembers_does_not_grow() -> None:
    vae = exact_vae()
    encoded: dict[nn.Module, Tensor] = {}
    decoded: dict[nn.Module, Tensor] = {}
    sizes = []
    for length in (1, 4, 8, 4, 12):
        chunk = torch.rand(1, 3, length, 16, 16, dtype=torch.float64).requires_grad_()
        z = vae.posterior(chunk, encoded).mean
        vae.decode(vae.normalize(z), decoded)
        held = [*encoded.values(), *decoded.values()]
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in held))
        assert not any(tensor.requires_grad for tensor in held)  # a graph would keep every chunk
    assert len(set(sizes)) == 1
    mixes = [m for m in vae.modules() if isinstance(m, CausalMix)]
    assert len(held) == len(mixes)


def test_a_stream_takes_one_chunk_at_a_time_and_lets_go_of_it() -> None:
    vae = exact_vae()
    alive: list[weakref.ref[Tensor]] = []

    def chunks() -> Iterator[Tensor]:
        for i in range(6):
            chunk = torch.rand(1, 3, 4 if i else 1, 8, 8, dtype=torch.float64)
            alive.append(weakref.ref(chunk))
            yield chunk
            del chunk

    for i, _ in enumerate(vae.decode_stream(vae.encode_stream(chunks()))):
        assert len(alive) == i + 1
        assert sum(ref() is not None for ref in alive) <= 1


# ---- tiles ----


@given(height=st.integers(1, 40), width=st.integers(1, 40), tile=st.integers(2, 12), data=st.data())
@settings(max_examples=25, deadline=None)
def test_blending_tiles_of_a_picture_gives_the_picture(
    height: int, width: int, tile: int, data: st.DataObject
) -> None:
    overlap, scale = data.draw(st.integers(1, tile // 2)), data.draw(st.sampled_from([1, 2]))
    picture = torch.randn(1, 1, 1, height * scale, width * scale, dtype=torch.float64)

    def cut(top: int, left: int, h: int, w: int) -> Tensor:
        assert h <= tile and w <= tile
        rows = slice(top * scale, (top + h) * scale)
        return picture[..., rows, left * scale : (left + w) * scale]

    assert_equal(blend_tiles(cut, (height, width), tile, overlap, scale), picture)
    starts = tile_starts(width, tile, overlap)
    if width > tile:
        ends = [start + tile for start in starts]
        assert starts[0] == 0 and ends[-1] == width
        assert all(end - start >= overlap for end, start in zip(ends, starts[1:], strict=False))


def test_ramps_cross_in_the_middle_of_the_overlap() -> None:
    """Two tiles of constant 0 and 1: the blend rises evenly, and only where both are."""
    out = blend_tiles(
        lambda _, left, h, w: torch.full((1, 1, 1, h, w), float(left > 0)), (4, 12), 8, 4, 1
    )
    wanted = torch.tensor([0.0] * 4 + [0.125, 0.375, 0.625, 0.875] + [1.0] * 4)
    assert_equal(out[0, 0, 0], wanted.expand(4, -1), atol=1e-6)


def test_one_tile_is_the_whole() -> None:
    vae = exact_vae()
    video = video_of(vae, 2, 3, 5)
    latent = vae.encode(video)
    assert_equal(encode_tiled(vae, video, tile=5, overlap=2), latent)
    assert_equal(decode_tiled(vae, latent, tile=8, overlap=1), vae.decode(latent))


def test_far_from_every_cut_tiles_change_nothing() -> None:
    """The encoder of this VAE sees 2 latent positions to each side, so 3 from a cut all is exact."""
    vae = exact_vae()
    video = video_of(vae, 1, 12, 20)
    whole, tiled = vae.encode(video), encode_tiled(vae, video, tile=12, overlap=4)
    error = (tiled - whole).abs().amax(dim=(0, 1, 2, 3))  # by column: the second tile begins at 8
    assert error[:5].max() < 1e-10 and error[15:].max() < 1e-10
    assert error[8:12].max() > 1e-6


def shipped_vae() -> VideoVAE | None:
    try:
        folder = data_file("checkpoints/moving-mnist")
    except DataError:
        return None
    from minisora import load

    return load(folder).vae if (folder / "vae.safetensors").exists() else None


def test_tiled_and_whole_agree_on_a_real_clip() -> None:
    """Stated bound: tiled and whole decodes differ by less than 1/255 on average, and no pixel of
    a trained VAE by more than 0.1 (an untrained one has no reason to be that smooth)."""
    trained = shipped_vae()
    torch.manual_seed(0)
    vae = trained or VideoVAE(VAE)
    vae.requires_grad_(False)
    video = MovingMNIST(WorldConfig(5, 112, 128), seed=3)[0].video[None]
    whole = vae.encode(video)
    tiled = encode_tiled(vae, video, tile=8, overlap=3)
    assert (tiled - whole).square().mean().sqrt() < 0.05 * whole.std()
    pixels = vae.decode(whole)
    difference = (decode_tiled(vae, whole, tile=8, overlap=3) - pixels).abs()
    assert difference.mean() < 1 / 255
    assert trained is None or difference.max() < 0.1


# ---- sizes, latents, posterior ----


@given(
    strides=st.sampled_from(STRIDES),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    latent_frames=st.integers(1, 3),
)
@settings(max_examples=8, deadline=None)
def test_any_size_on_the_grid_goes_through_and_back(
    strides: tuple[int, int], h: int, w: int, latent_frames: int
) -> None:
    vae = tiny_vae(spatial=strides[0], temporal=strides[1])
    video = video_of(vae, latent_frames, h, w)
    latent = vae.encode(video)
    assert tuple(latent.shape[1:]) == vae.config.latent_shape(*video.shape[2:])
    assert latent.shape[2:] == (latent_frames, h, w)
    again = vae.reconstruct(video)
    assert again.shape == video.shape and again.min() >= 0 and again.max() <= 1


def test_a_batch_is_its_clips_one_by_one() -> None:
    vae = exact_vae()
    video = video_of(vae, 3, batch=3)
    latent = vae.encode(video)
    assert_equal(torch.cat([vae.encode(clip[None]) for clip in video]), latent)
    assert_equal(torch.cat([vae.decode(z[None]) for z in latent]), vae.decode(latent))


def test_normalisation_round_trip_and_its_place_in_the_weights() -> None:
    vae = exact_vae()
    z = torch.randn(2, 4, 3, 2, 2, generator=generator(), dtype=torch.float64)
    assert_equal(vae.denormalize(vae.normalize(z)), z)
    raw = vae.posterior(video_of(vae, 2)).mean
    channel = (raw[:, 1] - vae.latent_mean[1]) / vae.latent_std[1]
    assert_equal(vae.encode(video_of(vae, 2))[:, 1], channel)
    copy = VideoVAE(vae.config).double()
    assert copy.latent_std.eq(1).all() and copy.latent_mean.eq(0).all()
    copy.load_state_dict(vae.state_dict())
    assert_equal(copy.encode(video_of(vae, 2)), vae.encode(video_of(vae, 2)))


def test_statistics_make_latents_unit_sized() -> None:
    vae, world = tiny_vae(), MovingMNIST(WorldConfig(5, 32, 32), seed=4)
    vae.set_latent_statistics(torch.zeros(4), torch.ones(4))
    fit_latent_statistics(vae, world, clips=12)
    video = torch.stack([world[i].video for i in range(12)])
    latent = vae.encode(video).transpose(0, 1).flatten(1)
    assert latent.mean(dim=1).abs().max() < 1e-4
    assert (latent.std(dim=1) - 1).abs().max() < 1e-4


def test_kl_equals_torchs() -> None:
    shape = (2, 3, 2, 4, 4)
    mean, logvar = (2 * torch.randn(shape, generator=generator(i)).double() for i in (0, 1))
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    wanted = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean()
    assert_equal(Posterior(mean, logvar).kl(), wanted)
    assert Posterior(torch.zeros(shape), torch.zeros(shape)).kl() == 0


def test_draws_have_the_mean_and_variance_they_should() -> None:
    mean, logvar = torch.tensor([1.0, -2.0]), torch.tensor([0.0, -3.0])
    q = Posterior(mean.view(1, 2, 1, 1, 1).expand(1, 2, 1, 100, 100), logvar.view(1, 2, 1, 1, 1))
    drawn = q.sample(generator()).transpose(0, 1).flatten(1)
    torch.testing.assert_close(drawn.mean(1), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.var(1), logvar.exp(), rtol=0.06, atol=0)
    assert q.sample(generator(3)).equal(q.sample(generator(3)))


def test_encode_draws_only_if_given_a_generator() -> None:
    vae = exact_vae()
    video = video_of(vae, 2)
    q = vae.posterior(video)
    assert_equal(vae.encode(video), vae.normalize(q.mean))
    assert_equal(vae.encode(video, generator(1)), vae.normalize(q.sample(generator(1))))


# ---- parts ----


def test_causal_mix_is_a_causal_convolution() -> None:
    mix = CausalMix(5)
    x = torch.randn(2, 6, 3, 4, 5, generator=generator())
    conv = nn.Conv3d(5, 5, (3, 1, 1))
    with torch.no_grad():
        conv.weight.copy_(mix.linear.weight.unflatten(1, (3, 5)).transpose(1, 2)[..., None, None])
        assert mix.linear.bias is not None and conv.bias is not None
        conv.bias.copy_(mix.linear.bias)
    padded = nn.functional.pad(x.permute(0, 4, 1, 2, 3), (0, 0, 0, 0, 2, 0), mode="replicate")
    wanted = conv(padded).permute(0, 2, 3, 4, 1)
    assert_equal(mix(x), wanted, atol=1e-5)


def test_fold_puts_each_block_of_positions_into_channels() -> None:
    x = torch.randn(2, 4, 6, 9, 2, generator=generator())
    y = fold(x, time=2, space=3)
    assert y.shape == (2, 2, 2, 3, 36)
    for t, h, w in itertools.product(range(2), range(2), range(3)):
        block = x[:, 2 * t : 2 * t + 2, 3 * h : 3 * h + 3, 3 * w : 3 * w + 3]
        assert y[:, t, h, w].equal(block.flatten(1))
    assert unfold(y, time=2, space=3).equal(x)


# ---- errors ----


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"temporal": 3}, "temporal=3.*1, 2 or 4"),
        ({"spatial": 7}, "spatial=7.*even"),
        ({"spatial": 0}, "spatial=0"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        VAEConfig(**changes)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((3, 5, 16, 16), r"shape \(3, 5, 16, 16\).*\(B, 3, T, H, W\)"),
        ((1, 4, 5, 16, 16), r"takes \(B, 3, T, H, W\)"),
        ((1, 3, 4, 16, 16), r"4 frames.*1 \+ 4k"),
        ((1, 3, 0, 16, 16), r"0 frames.*1 \+ 4k"),
        ((1, 3, 5, 16, 20), "16x20 pixels.*multiples of 8.*16x16"),
        ((1, 3, 5, 4, 64), "4x64 pixels.*8x64"),
        ((1, 3, 5, 0, 8), "0x8 pixels.*8x8"),
    ],
)
def test_a_video_off_the_grid_is_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        tiny_vae().encode(torch.zeros(shape))
    assert "\n" not in str(error.value)


def test_a_later_chunk_of_a_stream_has_another_rule() -> None:
    vae = tiny_vae()
    stream = vae.encode_stream([torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 3, 5, 8, 8)])
    next(stream)
    with pytest.raises(ValueError, match="5 frames: the VAE takes 4k frames"):
        next(stream)


@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 5), (1, 1)])
def test_tiles_must_overlap_by_at_most_half(tile: int, overlap: int) -> None:
    vae = tiny_vae()
    with pytest.raises(ValueError, match=f"tile={tile}, overlap={overlap}"):
        encode_tiled(vae, torch.zeros(1, 3, 1, 16, 16), tile, overlap)
    with pytest.raises(ValueError, match="half a tile"):
        decode_tiled(vae, torch.zeros(1, 4, 1, 2, 2), tile, overlap)
