"""Cached latents: built piece by piece, refused when stale, drawn in their shares with true captions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MINI, generator, tiny_vae

from minisora import latents
from minisora.checkpoint import CheckpointError, load_weights, save_weights
from minisora.config import ClipSize, MixEntry
from minisora.latents import LatentDataset, build_latents, fingerprint, world_seed
from minisora.worlds import VOCABULARY, MovingMNIST, Scene, WorldConfig, caption

SMALL, WIDE = ClipSize(5, 32, 32), ClipSize(1, 32, 48)
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium",), "large": ("large", "big")}
MIX = (MixEntry(SMALL, 0.6), MixEntry(WIDE, 0.4))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "SHARD", 10)


def build(folder: Path, clips: int = 50, seed: int = 9, **how: int) -> list[int]:
    return list(build_latents(tiny_vae(), MIX, clips, folder, seed, **how))


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- building ----


def test_shards_hold_the_latents_of_the_worlds_clips(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done == [10, 20, 30, 40, 50]
    names = [f"5x32x32-00{i}" for i in range(3)] + [f"1x32x48-00{i}" for i in range(2)]
    assert sorted(shards(tmp_path)) == sorted(f"{name}.safetensors" for name in names)
    vae = tiny_vae()
    world = MovingMNIST(
        WorldConfig(1, 32, 48), seed=world_seed(9, WIDE)
    )  # each size has a world of its own
    tensors, config = load_weights(tmp_path / "1x32x48-001.safetensors", dtype=None)
    assert tensors["latents"].dtype == torch.float16 and config["vae"] == fingerprint(vae)
    for i, facts in enumerate(config["scenes"]):
        clip = world[10 + i]
        assert Scene.from_dict(facts) == clip.facts
        wanted = vae.normalize(vae.posterior(clip.video[None]).mean)[0]
        torch.testing.assert_close(tensors["latents"][i].float(), wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("batch", [4, 7, 10, 64])
def test_the_batch_of_the_encoder_does_not_matter(tmp_path: Path, batch: int) -> None:
    build(tmp_path / "tens")
    done = build(tmp_path / "other", batch=batch)
    assert done[-1] == 50
    for path in sorted((tmp_path / "tens").iterdir()):
        tens, config = load_weights(path)
        others, same = load_weights(tmp_path / "other" / path.name)
        assert config == same
        for name, value in tens.items():
            torch.testing.assert_close(others[name], value, rtol=2e-3, atol=2e-3)


def test_shares_need_not_sum_to_one(tmp_path: Path) -> None:
    mix = [MixEntry(SMALL, 6.0), MixEntry(WIDE, 4.0)]
    assert list(build_latents(tiny_vae(), mix, 50, tmp_path, 9))[-1] == 50


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    build(tmp_path / "whole")
    begun = build_latents(tiny_vae(), MIX, 50, tmp_path / "parts", 9, batch=5)
    for _ in range(5):  # two shards and a half
        next(begun)
    begun.close()
    before = shards(tmp_path / "parts")
    assert len(before) == 2
    assert build(tmp_path / "parts") == [30, 40, 50]  # the half shard is begun anew
    after = shards(tmp_path / "parts")
    assert {name: after[name] for name in before} == before  # untouched
    assert {name: data for name, data in after.items() if name not in before} == {
        name: data for name, data in shards(tmp_path / "whole").items() if name not in before
    }
    assert build(tmp_path / "parts") == []  # nothing left to do


def test_latents_of_another_vae_are_refused(tmp_path: Path) -> None:
    build(tmp_path)
    other = tiny_vae(seed=1)
    with pytest.raises(ValueError, match="another VAE") as error:
        list(build_latents(other, MIX, 50, tmp_path, 9))
    assert "\n" not in str(error.value) and fingerprint(other) in str(error.value)


def test_the_fingerprint_tells_weights_and_statistics_apart() -> None:
    vae = tiny_vae()
    first = fingerprint(vae)
    assert first == fingerprint(tiny_vae()) and len(first) == 12
    vae.latent_std[0] += 1e-3
    assert fingerprint(vae) != first


def test_a_missing_size_and_a_damaged_shard_are_told(tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(FileNotFoundError, match="No latents of size 9x32x32"):
        LatentDataset(tmp_path, [MixEntry(ClipSize(9, 32, 32), 1.0)])
    path = tmp_path / "5x32x32-001.safetensors"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="altered"):
        LatentDataset(tmp_path, MIX)


# ---- drawing ----


@given(
    shares=st.lists(st.floats(0.01, 10), min_size=1, max_size=6),
    batch=st.integers(1, 64),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50, deadline=None)
def test_counts_are_the_shares_rounded(shares: list[float], batch: int, seed: int) -> None:
    dataset = object.__new__(LatentDataset)
    dataset.shares = [share / sum(shares) for share in shares]
    counts = dataset.counts(batch, generator(seed))
    assert sum(counts) == batch
    for count, share in zip(counts, dataset.shares, strict=True):
        assert math.floor(batch * share - 1e-9) <= count <= math.ceil(batch * share + 1e-9)


def test_counts_are_right_on_average() -> None:
    dataset = object.__new__(LatentDataset)
    dataset.shares = [0.55, 0.35, 0.08, 0.02]
    g = generator()
    mean = torch.tensor([dataset.counts(6, g) for _ in range(4000)]).double().mean(0)
    torch.testing.assert_close(mean, 6 * torch.tensor(dataset.shares).double(), rtol=0, atol=0.03)


def test_a_batch_is_made_of_all_sizes(dataset: LatentDataset) -> None:
    z, texts = dataset.batch(10, generator())
    shapes = [tuple(latent.shape) for latent in z]
    assert shapes == [(4, 2, 4, 4)] * 6 + [(4, 1, 4, 6)] * 4
    assert len(texts) == 10 and all(latent.dtype == torch.float32 for latent in z)
    assert list(dataset.groups) == [entry.size for entry in MINI.mix]


def test_a_batch_depends_on_its_generator_alone(dataset: LatentDataset) -> None:
    torch.manual_seed(0)
    first, texts = dataset.batch(8, generator(5))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again, same = dataset.batch(8, generator(5))
    assert texts == same and all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert torch.get_rng_state().equal(state)  # nothing global is touched
    other, different = dataset.batch(8, generator(6))
    assert different != texts and not other[0].equal(first[0])


def test_every_clip_is_drawn_and_comes_with_its_facts(dataset: LatentDataset) -> None:
    group = dataset.groups[MINI.mix[0].size]
    z, scenes = group.draw(4000, generator())
    index = torch.tensor([group.scenes.index(scene) for scene in scenes])
    assert len(index.unique()) == len(group.scenes)
    assert z.equal(group.latents[index].float())


def indexed_dataset(folder: Path, count: int = 40) -> LatentDataset:
    """Latents whose value is the number of their scene, so that a batch shows what it drew."""
    world = MovingMNIST(WorldConfig(5, 64, 64), seed=3)
    numbers = torch.arange(count).half().view(-1, 1, 1, 1, 1)
    facts = [world.scene(i).to_dict() for i in range(count)]
    path = folder / "5x64x64-000.safetensors"
    save_weights(path, {"latents": numbers}, {"vae": "", "scenes": facts})
    return LatentDataset(folder, [MixEntry(ClipSize(5, 64, 64), 1.0)])


def test_captions_are_of_their_clip_at_both_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = indexed_dataset(tmp_path)
    world = MovingMNIST(WorldConfig(5, 64, 64), seed=3)
    written: list[str] = []
    monkeypatch.setattr(
        latents,
        "caption",
        lambda scene, level, rng: written.append(level) or f"{level}: {caption(scene, level, rng)}",
    )
    z, texts = dataset.batch(1500, generator())
    for latent, text in zip(z, texts, strict=True):
        if not text:
            continue
        level, words = text.split(": ")
        scene = world.scene(int(latent))
        spoken = words.replace(",", "").split()
        assert set(spoken) <= set(VOCABULARY)
        for digit in scene.digits:
            assert digit.color in spoken
            assert {str(digit.label), NUMERALS[digit.label]} & set(spoken)
        if level == "detailed":
            assert scene.background.split()[0] in spoken
            for digit in scene.digits:
                assert set(SIZE_WORDS[digit.size]) & set(spoken)
    kept = [text for text in texts if text]
    assert abs(len(kept) / 1500 - 0.90) < 0.04  # five standard deviations
    assert abs(sum(t.startswith("detailed") for t in kept) / len(kept) - 0.65) < 0.065
    assert len(set(kept)) > 400  # the words vary from draw to draw


@pytest.mark.parametrize(("dropped", "detailed"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_levels_and_dropout_at_their_ends(
    dataset: LatentDataset, dropped: float, detailed: float
) -> None:
    _, texts = dataset.batch(30, generator(), detailed=detailed, dropped=dropped)
    assert all(text == "" for text in texts) if dropped else all(texts)
    if not dropped:
        length = sum(len(text.split()) for text in texts) / 30
        assert length > 9 if detailed else length < 9
