"""Captioner, recaptioning and their commands: any size, exact resume, nothing written twice or lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Run, assert_one_sentence, generator, randomize, tiny_model, tiny_vae

from minisora import captioner_preset, latents, train_captioner, train_expander
from minisora.caption import FILES, VideoCaptioner, load_captioner
from minisora.captioner import Captioner, CaptionerConfig, read_captioner
from minisora.captioner_preset import CAPTIONER, CaptionerPreset, Glance, Look
from minisora.checkpoint import CheckpointError, load_weights, save_weights
from minisora.config import Phase, TrainConfig
from minisora.decoding import Decoding
from minisora.eyes import EyesConfig, tubelets
from minisora.language import LanguageConfig, next_token_loss
from minisora.latents import LatentDataset, build_latents, fingerprint
from minisora.loading import load
from minisora.metrics.captions import agreement, caption_figures, mark_caption, order_shows
from minisora.presets import mixture
from minisora.recaption import BlendedCaptions, original_caption, read_plan, recaption, sidecar
from minisora.rendered import RenderedDataset
from minisora.train import Trainer, fit
from minisora.train_captioner import FixedCaptions, caption_objective
from minisora.train_eyes import in_turn, phrase_loss, phrase_objective, phrase_table, word_weights
from minisora.video import VideoClip, write_video
from minisora.worlds import VOCABULARY, MovingMNIST, Scene, WorldConfig, describe
from minisora.worlds.alt_text import alt_text
from minisora.worlds.statements import parse, phrases

LANGUAGE = LanguageConfig(width=32, depth=2, num_heads=2)
CONFIG = CaptionerConfig(VOCABULARY, EyesConfig(4, width=8, depth=1), LANGUAGE)  # latents
PIXELS = CaptionerConfig(
    VOCABULARY, EyesConfig(12, width=8, depth=1, stages=((4, 0), (6, 1)), window=3), LANGUAGE
)
MINI = CaptionerPreset(
    config=PIXELS,
    clips=10,
    looks=(
        Look(
            TrainConfig(steps=3, batch=4, lr=2e-3, warmup=1, checkpoint_every=2),
            (
                Glance(1, 6, mixture((1, 32, 32, 1.0))),
                Glance(2, 4, mixture((1, 32, 48, 0.5), (5, 32, 32, 0.5)), rarity=1.0),
            ),
        ),
        Look(
            TrainConfig(steps=2, batch=4, lr=2e-3, warmup=1, checkpoint_every=1, seed=1),
            (Glance(2, 4, mixture((1, 32, 32, 1.0)), rarity=1.0),),
            single_fraction=0.2,
        ),
    ),
    single_fraction=0.5,
    mix=mixture((5, 32, 32, 0.6), (1, 32, 48, 0.4)),
    batch=4,
    labelled=8,
    noise=0.1,
    pretrain=TrainConfig(steps=6, batch=4, lr=2e-3, warmup=2, checkpoint_every=2),
    tune=TrainConfig(steps=3, batch=4, lr=1e-3, warmup=1, checkpoint_every=2),
)


def captioner(seed: int = 0, config: CaptionerConfig = CONFIG) -> Captioner:
    model = Captioner(config)
    randomize(model, seed)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a random captioner of each style."""
    home = tmp_path_factory.mktemp("words")
    tiny_model().save(home)
    key = fingerprint(load(home).vae)
    for seed, name in enumerate(FILES.values()):
        captioner(seed).save(home / name, key)
    return home


@pytest.fixture
def shards(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(latents, "SHARD", 6)
    home = tmp_path / "latents"
    for _ in build_latents(load(folder).vae, mixture((5, 32, 32, 1.0)), 12, home, seed=3):
        pass
    return home


# ---- the captioner ----


@pytest.mark.parametrize("config", [CONFIG, PIXELS])
def test_a_batch_of_mixed_sizes_is_read_as_each_clip_alone(config: CaptionerConfig) -> None:
    model, g = captioner(config=config), generator()
    channels, side = (12, 8) if config.eyes.sees_pixels else (4, 1)
    clips = [
        torch.randn(channels, t, h * side, w * side, generator=g)
        for t, h, w in ((2, 4, 4), (1, 4, 6), (2, 4, 4))
    ]
    texts = ["a red 3 on navy", "a 7", "a large blue digit four"]
    packed, ids = model.pack_captions(clips, texts)
    rows, targets = model(packed).view(3, -1, len(model.tokenizer)), ids.view(3, -1)
    for place, i in enumerate(packed.order):
        alone, own = model.pack_captions([clips[i]], [texts[i]])
        torch.testing.assert_close(
            next_token_loss(rows[place], targets[place], model.tokenizer.end_id)[0],
            next_token_loss(model(alone), own, model.tokenizer.end_id)[0],
        )
        assert model.tokenizer.decode(targets[place]) == texts[i]


@pytest.mark.parametrize("config", [CONFIG, PIXELS])
@pytest.mark.parametrize("shape", [(3, 1, 32, 32), (3, 7, 45, 80), (1, 5, 300, 200), (3, 2, 5, 9)])
def test_any_video_is_described(shape: tuple[int, ...], config: CaptionerConfig) -> None:
    describer = VideoCaptioner(tiny_vae(), captioner(config=config))
    video = torch.rand(shape, generator=generator())
    fitted = describer.fit(video)
    frames, height, width = fitted.shape[1:]
    assert frames % 4 == 1 and height % 16 == width % 16 == 0 and max(height, width) <= 128
    (text,) = describer.caption([video])
    assert isinstance(text, str)
    if shape == (3, 1, 32, 32):
        assert torch.equal(fitted, video)


def test_a_tubelet_is_four_frames_of_one_place() -> None:
    video = torch.rand(2, 3, 9, 8, 6, generator=generator())
    found = tubelets(video, 4).unflatten(1, (3, 4))  # color, frame
    assert found.shape == (2, 3, 4, 3, 8, 6)
    for t, frame in ((0, 0), (1, 1), (1, 4), (2, 5), (2, 8)):
        inside = (frame - 1) % 4 if t else 2  # the first is the first frame four times
        torch.testing.assert_close(found[:, :, inside, t], 2 * video[:, :, frame] - 1)


def test_eyes_on_pixels_see_as_many_places_as_eyes_on_latents() -> None:
    video = torch.rand(1, 3, 5, 32, 48, generator=generator())
    seen = {}
    for config in (CONFIG, PIXELS):
        describer = VideoCaptioner(tiny_vae(), captioner(config=config))
        (features,) = describer.captioner.eyes([describer.views(video)])
        seen[config.eyes.sees_pixels] = features.shape
    assert seen[True] == seen[False] == (1, 2, 4, 6, 8)


def test_a_window_averages_what_is_seen_around_each_place() -> None:
    wide = captioner(config=PIXELS)
    narrow = Captioner(replace(PIXELS, eyes=replace(PIXELS.eyes, window=1))).eval()
    narrow.load_state_dict(wide.state_dict())
    views = torch.randn(1, 12, 1, 32, 32, generator=generator())
    (sharp,), (blurred,) = narrow.eyes([views]), wide.eyes([views])
    torch.testing.assert_close(blurred[0, 0, 1, 2], sharp[0, 0, 0:3, 1:4].mean(dim=(0, 1)))
    torch.testing.assert_close(blurred[0, 0, 0, 0], sharp[0, 0, :2, :2].mean(dim=(0, 1)))


def test_clips_of_several_sizes_come_back_in_order() -> None:
    describer = VideoCaptioner(tiny_vae(), captioner())
    g = generator(1)
    videos = [torch.rand(3, 5, 32, 32 + 16 * (i % 2), generator=g) for i in range(4)]
    together = describer.caption(videos, batch=1)
    assert together == [describer.caption([video])[0] for video in videos]
    beam = describer.caption(videos, Decoding("beam", beams=2))
    assert len(beam) == 4
    how = Decoding("nucleus")
    assert describer.caption(videos, how, generator(2)) == describer.caption(
        videos, how, generator(2)
    )


def test_it_learns_colors_from_few_examples() -> None:
    """Latents that are one color each, and captions that name it: after some steps it names them rightly."""
    colors = ("red", "green", "blue", "white")
    g = generator(3)
    centres = torch.randn(4, 4, 1, 1, 1, generator=g)

    def objective(step: int, g: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        picks = torch.randint(4, (16,), generator=g)
        z = [
            centres[i].expand(4, 1, 4, 4) + 0.1 * torch.randn(4, 1, 4, 4, generator=g)
            for i in picks
        ]
        packed, ids = model.pack_captions(z, [f"a {colors[i]} digit" for i in picks])
        loss, right = next_token_loss(model(packed), ids, model.tokenizer.end_id)
        return loss, {"words_right": right.item()}

    torch.manual_seed(0)
    model = Captioner(CONFIG)
    trainer = Trainer(model, TrainConfig(steps=60, batch=16, lr=5e-3, warmup=5))
    losses = [record.loss for record in fit(trainer, objective)]
    assert losses[-1] < 0.2 < losses[0]
    z = torch.stack([centres[i].expand(4, 1, 4, 4) for i in range(4)])
    assert model.eval().caption(z) == [f"a {color} digit" for color in colors]


def test_a_clip_says_what_it_shows(folder: Path) -> None:
    clip = VideoClip(torch.rand(3, 5, 32, 32, generator=generator()))
    wanted = load_captioner(folder).caption([clip.video])[0]
    assert clip.caption(folder) == wanted
    short = load_captioner(folder, "short").caption([clip.video])[0]
    assert clip.caption(folder, style="short") == short != wanted


def test_a_captioner_of_another_vae_or_none_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose one of detailed, short"):
        load_captioner(folder, "long")  # type: ignore[arg-type]
    tiny_model(1).save(tmp_path)
    with pytest.raises(ValueError, match="holds no detailed captioner"):
        load_captioner(tmp_path)
    shutil.copy(folder / FILES["detailed"], tmp_path)
    with pytest.raises(ValueError, match="latents of another VAE"):
        load_captioner(tmp_path)


# ---- training ----


class Stop(BaseException):
    """Stands for a kill between two steps."""


def stop_at(title: str, step: int) -> Any:
    def show(items: Iterator[Any], total: int, name: str) -> Iterator[Any]:
        for item in items:
            yield item
            if name == title and (item if isinstance(item, int) else item.step) == step:
                raise Stop

    return show


def test_training_killed_anywhere_ends_in_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_captioner, "WEIGHED", 20)
    cpu, never = torch.device("cpu"), stop_at("", -1)
    train_captioner.train_captioner(MINI, tmp_path / "whole", cpu, never)
    kills = (("eyes-0", 2), ("eyes-1", 1), ("base", 5), ("captioner-short", 2), ("captioner", 2))
    for title, step in kills:
        with pytest.raises(Stop):
            train_captioner.train_captioner(MINI, tmp_path / "parts", cpu, stop_at(title, step))
    train_captioner.train_captioner(MINI, tmp_path / "parts", cpu, never)
    for name in ("eyes-0.safetensors", "eyes-1.safetensors", "base.safetensors", *FILES.values()):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    bodies = {(tmp_path / "whole" / name).read_bytes() for name in FILES.values()}
    assert len(bodies) == 2
    for name in FILES.values():
        shutil.copy(tmp_path / "whole" / name, tmp_path)
    for name in ("vae", "generator"):
        shutil.copy(folder / f"{name}.safetensors", tmp_path)
    assert isinstance(load_captioner(tmp_path).caption([torch.rand(3, 5, 32, 32)])[0], str)


def test_a_data_set_keeps_its_captions_and_only_some_are_labelled(shards: Path) -> None:
    mix = mixture((5, 32, 32, 1.0))
    data = LatentDataset(shards, mix, FixedCaptions(alt_text, 1))
    first = {t for s in range(5) for t in data.batch(12, generator(s), dropped=0.0)[1]}
    again = {t for s in range(50) for t in data.batch(12, generator(s), dropped=0.0)[1]}
    assert first <= again and len(again) <= 12
    few = train_captioner.first_clips(data, 5)
    assert len(few.groups[mix[0].size].scenes) == 5 and len(data.groups[mix[0].size].scenes) == 12
    loss, parts = caption_objective(captioner(), few, 4, 0.1)(0, generator())
    assert loss.isfinite() and parts["clips"] == 4


def test_rendered_clips_are_the_worlds_and_the_first_are_few() -> None:
    mix = mixture((5, 32, 32, 0.75), (1, 32, 48, 0.25))
    data = RenderedDataset(mix, 6, 4, 3, FixedCaptions(alt_text, 1), max_digits=1)
    views, texts = data.batch(40, generator(), dropped=0.0)
    assert [len(views), len(texts)] == [40, 40] and len(set(texts)) <= 12
    shapes = [tuple(x.shape) for x in views]
    assert shapes.count((12, 2, 32, 32)) == 30 and shapes.count((12, 1, 32, 48)) == 10
    group = data.groups[mix[0].size]
    wanted = [tubelets(group.world[i].video[None], 4)[0] for i in range(6)]
    assert all(any(x.equal(w) for w in wanted) for x in views[:30])
    few = train_captioner.first_clips(data, 4)
    assert {group.clips for group in few.groups.values()} == {3, 1}
    again, _ = few.batch(12, generator(), dropped=0.0)
    assert all(any(x.equal(w) for w in wanted[:3]) for x in again[:9])
    none, facts = group.draw(0, generator())
    assert none.shape == (0, 12, 2, 32, 32) and facts == []


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_rare_words_weigh_more_and_all_weigh_one_on_average(power: float) -> None:
    model = captioner()
    texts = ["a red 3", "a red 5", "a blue 3", "a red 3"]
    weights = word_weights(model, texts, power)
    ids = {word: int(model.tokenizer.encode(word)[0]) for word in ("a", "red", "blue", "3", "5")}
    found = {word: weights[i].item() for word, i in ids.items()}
    assert found["red"] == pytest.approx(found["3"])
    assert found["a"] == 0.0 < found["red"] < found["5"]
    ratio = (np.log(4) / np.log(4 / 3)) ** power
    assert found["blue"] / found["red"] == pytest.approx(ratio, rel=1e-4)
    table = phrase_table(model, texts)
    assert (table * weights).sum().item() == pytest.approx(table.sum().item(), rel=1e-5)
    assert weights[int(model.tokenizer.encode("green")[0])] == 0.0


def test_phases_come_in_turn_and_the_last_stays() -> None:
    def named(name: float) -> Any:
        return lambda step, g: (torch.tensor(name), {})

    phases = [Phase(2, 1, ()), Phase(3, 1, ()), Phase(1, 1, ())]
    objective = in_turn(phases, [named(0.0), named(1.0), named(2.0)])
    found = [objective(step, generator())[0].item() for step in range(8)]
    assert found == [0, 0, 1, 1, 1, 2, 2, 2]


def test_the_phrase_loss_is_that_of_a_mixture_of_places() -> None:
    model, g = captioner(), generator(5)
    texts = ["a red 3 and a blue 7 on gray", "a 3"]
    clips = [torch.randn(4, *size, generator=g) for size in ((2, 4, 4), (1, 4, 6))]
    packed, _ = model.pack_captions(clips, texts)
    seen, ordered = model.look(packed), [texts[i] for i in packed.order]
    found = phrase_loss(model, seen, phrase_table(model, ordered))
    total, count = 0.0, 0
    for features, text in zip(seen, ordered, strict=True):
        p = model.eyes.words(features).softmax(dim=-1).flatten(0, 3)  # (places, V)
        weight = model.eyes.voice(features).flatten().softmax(dim=0)[:, None]
        for phrase in phrases(text):
            ids = [int(model.tokenizer.encode(word)[0]) for word in phrase.split()]
            total += -(weight * p[:, ids].prod(dim=1, keepdim=True)).sum().log().item()
            count += len(ids)
    assert found.item() == pytest.approx(total / count, rel=1e-4)


def test_eyes_learn_which_words_belong_together(shards: Path) -> None:
    """Two things a clip, each with a digit, captions in random order: the places tell which go together."""
    g = generator(6)
    things = torch.randn(2, 2, 4, generator=g)  # by color, by digit: what a place of it looks like
    names = [[f"a {look} {digit}" for digit in (3, 7)] for look in ("small red", "large blue")]

    def objective(step: int, g: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        latents, texts = [], []
        for digit in torch.randint(2, (16,), generator=g).tolist():
            z = 0.1 * torch.randn(4, 1, 2, 4, generator=g)
            z[..., 0] += things[0, digit, :, None, None]
            z[..., 3] += things[1, 1 - digit, :, None, None]
            latents.append(z)
            pair = [names[0][digit], names[1][1 - digit]]
            texts.append(" and ".join(pair if torch.rand((), generator=g) < 0.5 else pair[::-1]))
        packed, _ = model.pack_captions(latents, texts)
        table = phrase_table(model, [texts[i] for i in packed.order])
        return phrase_loss(model, model.look(packed), table), {}

    torch.manual_seed(1)  # eyes this small may also end with one place that speaks of both
    model = Captioner(replace(CONFIG, eyes=EyesConfig(4, width=32, depth=1)))
    train = TrainConfig(steps=150, batch=16, lr=1e-2, warmup=5, muon=False)
    for _ in fit(Trainer(model, train), objective):
        pass
    z = torch.zeros(4, 1, 2, 4)
    z[..., 0], z[..., 3] = things[0, 0, :, None, None], things[1, 1, :, None, None]
    model.eval()
    clip, _ = model.pack_captions([z], [""])
    losses = [
        phrase_loss(model, model.look(clip), phrase_table(model, [text])).item()
        for text in ("a small red 3 and a large blue 7", "a small red 7 and a large blue 3")
    ]
    assert losses[0] < losses[1] - 0.5


def test_eyes_learn_from_shards(shards: Path) -> None:
    def color(scene: Scene, rng: np.random.Generator) -> str:
        return f"a {scene.digits[0].color} digit"

    data = LatentDataset(shards, mixture((5, 32, 32, 1.0)), FixedCaptions(color, 1))
    model = captioner().train().requires_grad_(True)
    objective = phrase_objective(model, data, 12)
    first, _ = objective(0, generator())
    train = TrainConfig(steps=60, batch=12, lr=3e-3, warmup=5, muon=False)
    *_, last = fit(Trainer(model, train), objective)
    assert np.log(3) < last.loss < 0.8 * first.item()  # three words, in no order


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "captioner.safetensors"
    captioner().save(path, "a vae")
    tensors, config = load_weights(path)
    del tensors["loudness"]
    save_weights(path, tensors, config)
    with pytest.raises(CheckpointError, match="another Captioner"):
        read_captioner(path)


def test_what_ships_stays_small() -> None:
    from minisora.expand import Expander

    models = Captioner(CAPTIONER.config), Expander(train_expander.EXPANDER.config)
    size = sum(2 * p.numel() for model in models for p in model.parameters())
    assert size < 3.95 * 2**20  # fp16; 4 MiB are allowed, words and names of weights included


@pytest.mark.parametrize("frames", [1, 5])
def test_a_detailed_caption_leaves_nothing_out_and_says_nothing_twice(frames: int) -> None:
    describer = VideoCaptioner(tiny_vae(), captioner(), detailed=True)
    for text in describer.caption(list(torch.rand(4, 3, frames, 32, 32, generator=generator()))):
        told = parse(text)
        assert 1 <= len(told.digits) <= 2 and told.tint is not None and told.pattern is not None
        for digit in told.digits:
            assert None not in (digit.color, digit.label, digit.size)
            assert ((digit.direction, digit.speed) == (None, None)) == (frames == 1)
        assert (told.front is not None) == (len({d.color for d in told.digits}) == 2)


# ---- recaptioning ----


def describer(folder: Path) -> VideoCaptioner:
    return load_captioner(folder)


def test_eyes_on_pixels_read_latents_that_are_decoded(shards: Path, folder: Path) -> None:
    one = VideoCaptioner(load(folder).vae, captioner(config=PIXELS), detailed=True)
    tensors, _ = latents.load_weights(next(shards.glob("*.safetensors")))
    videos = one.vae.decode(tensors["latents"]).clamp(0, 1)
    found = one.caption_latents(tensors["latents"], Decoding(), None)
    assert found == one.caption(list(videos))


def test_recaptioning_goes_on_where_it_stopped(shards: Path, folder: Path) -> None:
    rounds = recaption(shards, describer(folder), batch=4)
    for done, total in rounds:
        assert total == 12
        if done >= 8:  # in the second shard
            rounds.close()
            break
    first, second = sorted(shards.glob("*.safetensors"))
    assert sidecar(first).exists() and not sidecar(second).exists()
    stamp = sidecar(first).stat().st_mtime_ns
    assert next(again := recaption(shards, describer(folder), batch=4)) == (6, 12)
    assert list(again)[-1] == (12, 12)
    assert sidecar(first).stat().st_mtime_ns == stamp and sidecar(second).exists()
    entries = json.loads(sidecar(second).read_text())
    tensors, config = latents.load_weights(second)
    facts = [Scene.from_dict(scene) for scene in config["scenes"]]
    assert [e["original"] for e in entries] == [original_caption(scene) for scene in facts]
    written = [e["synthetic"] for e in entries]
    assert written == describer(folder).caption_latents(tensors["latents"], Decoding(), None)
    assert written != describer(folder).captioner.caption(tensors["latents"])  # held to no form
    assert all(d.direction and d.speed for text in written for d in parse(text).digits)


def test_training_mixes_captions_by_the_blend(shards: Path, folder: Path) -> None:
    mix = mixture((5, 32, 32, 1.0))
    with pytest.raises(ValueError, match="has no captions yet"):
        BlendedCaptions(shards)
    list(recaption(shards, describer(folder), blend=0.75))
    assert read_plan(shards)["blend"] == 0.75  # type: ignore[index]
    blended = BlendedCaptions(shards)
    originals = {both.original for both in blended.table.values()}
    _, texts = LatentDataset(shards, mix, blended).batch(2000, generator(), dropped=0.0)
    assert np.mean([t in originals for t in texts]) == pytest.approx(0.25, abs=0.04)
    for blend, share in ((0.0, 1.0), (1.0, 0.0)):
        write = BlendedCaptions(shards, blend)
        _, texts = LatentDataset(shards, mix, write).batch(50, generator(), dropped=0.0)
        assert np.mean([t in originals for t in texts]) == share


def test_recaptioning_refuses_in_one_sentence(shards: Path, folder: Path, tmp_path: Path) -> None:
    one = describer(folder)
    with pytest.raises(ValueError, match="from 0 to 1"):
        list(recaption(shards, one, blend=95))
    with pytest.raises(ValueError, match="is no folder"):
        list(recaption(tmp_path / "none", one))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no clip"):
        list(recaption(tmp_path / "empty", one))
    list(recaption(shards, one))
    with pytest.raises(ValueError, match="captions of another captioner"):
        list(recaption(shards, load_captioner(folder, "short")))


# ---- marks ----


def test_marks_of_captions() -> None:
    world = MovingMNIST(WorldConfig(min_digits=2), seed=8)
    scene = next(scene for scene in map(world.scene, range(20)) if order_shows(scene))
    right = mark_caption(scene, describe(scene))
    assert set(right.values()) == {"right"} and len(right) == 9
    back, front = scene.digits
    other = next(c for c in ("red", "green", "blue") if c not in (back.color, front.color))
    wrong = mark_caption(
        scene, describe(replace(scene, digits=(replace(back, color=other), front)))
    )
    assert wrong["color"] == "wrong" and wrong["label"] == wrong["size"] == "right"
    swapped = mark_caption(scene, describe(replace(scene, digits=(front, back))))
    assert swapped.pop("front") == "wrong" and set(swapped.values()) == {"right"}
    one = mark_caption(scene, f"a {front.color} digit")
    assert one["count"] == "wrong" and one["label"] == "missing" and one["background"] == "missing"
    image = replace(scene, frames=1)
    assert mark_caption(image, describe(scene))["invented"] == "wrong"
    figures = caption_figures([right, wrong])
    assert figures["color"]["right"]["value"] == 0.5 and figures["all"]["value"] == 0.5
    assert agreement("a 3", "a red 3 on navy") and not agreement("a 3", "a red 4")
    assert agreement("five digits", "a 3") is None


def test_order_shows_only_where_digits_cover_each_other() -> None:
    first, second = MovingMNIST(WorldConfig(1, min_digits=2), seed=8).scene(0).digits
    scene = replace(MovingMNIST(WorldConfig(1, min_digits=2), seed=8).scene(0), digits=())
    apart = (replace(first, start=(16.0, 16.0)), replace(second, start=(48.0, 48.0)))
    across = (replace(first, start=(32.0, 32.0)), replace(second, start=(32.0, 32.0)))
    assert order_shows(replace(scene, digits=across))
    for digits in (apart, apart[:1]):
        assert not order_shows(lone := replace(scene, digits=digits))
        assert "front" not in mark_caption(lone, describe(lone))


# ---- commands ----


def test_caption_and_recaption_from_the_command_line(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    video = MovingMNIST(WorldConfig(5, 32, 32), seed=1)[0].video
    for i in range(2):
        write_video(video, clips / f"{i}.mp4", 8, prompt=f"clip {i}")
    status, output, _ = run("caption", clips / "0.mp4", "--checkpoint", folder, "--method", "beam")
    assert status == 0 and len(output.splitlines()) == 1
    status, output, _ = run("recaption", clips, "--blend", 0.8, "--checkpoint", folder)
    assert status == 0 and "2 clips have captions" in output
    told = json.loads((clips / "1.captions.json").read_text())
    assert told["original"] == "clip 1" and set(told) == {"original", "synthetic"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("caption", "none.mp4"), "none.mp4"),
        (("caption", "none.mp4", "--top-p", 0), "top_p"),
        (("recaption", "none"), "is no folder"),
        (("recaption", ".", "--blend", 2), "from 0 to 1"),
    ],
)
def test_commands_refuse_in_one_sentence(
    run: Run, folder: Path, arguments: tuple[object, ...], says: str
) -> None:
    assert_one_sentence(run(*arguments, "--checkpoint", folder), says)


def test_train_captioner_from_the_command_line(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_captioner, "WEIGHED", 20)
    monkeypatch.setattr(captioner_preset, "CAPTIONER", MINI)
    out = tmp_path / "out"
    status, output, messages = run("train-captioner", "-o", out, "--device", "cpu")
    assert status == 0 and "Copy them" in output and "words_right" in messages
    assert all((out / name).exists() for name in FILES.values())
