"""The command line: each command end to end on a miniature, and every mistake one sentence and status 2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import MINI, Run, assert_one_sentence, tiny_model

from minisora import cli, latents, presets, recipe
from minisora.checkpoint import load_weights, saved_steps
from minisora.loading import load
from minisora.video import read_video, write_video
from minisora.worlds import MovingMNIST, WorldConfig


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.webp"  # exact at this size
    write_video(MovingMNIST(WorldConfig(9, 48, 64), seed=1)[0].video[:, :7, :44, :60], path)
    return path


# ---- generate ----


def test_generate_writes_a_clip_and_says_where(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.webp"
    status, output, _ = run(
        "generate", "a red 3", "-o", out, "--checkpoint", checkpoint,
        "--frames", 5, "--size", "32x48", "--steps", 2, "--seed", 4, "--sampler", "euler",
    )  # fmt: skip
    assert status == 0 and output.startswith(f"{out}: 5 frames of 32x48 in ")
    wanted = load(checkpoint).generate(
        "a red 3", frames=5, size=(32, 48), steps=2, seed=4, sampler="euler"
    )
    video = read_video(out).video
    assert video.shape == (3, 5, 32, 48)
    torch.testing.assert_close(video, wanted.video, rtol=0, atol=0.01)


def test_generate_keeps_away_from_a_negative_prompt(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "image.png"
    small = ("--frames", 1, "--size", "32x32", "--steps", 6, "--checkpoint", checkpoint)
    told = ("--negative-prompt", "a blue 3", "--contrast-scale", 1.5)
    assert run("generate", "a red 3", "-o", out, *small, *told)[0] == 0
    how = {"frames": 1, "size": (32, 32), "steps": 6}
    model = load(checkpoint)
    wanted = model.generate("a red 3", negative_prompt="a blue 3", contrast_scale=1.5, **how).video
    found, plain = read_video(out).video, model.generate("a red 3", **how).video
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.01)
    assert (found - plain).abs().max() > 0.01


def test_generate_tells_of_unknown_words_in_one_line(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.png"
    small = ("--frames", 1, "--size", "16x16", "--steps", 1, "--checkpoint", checkpoint)
    status, _, messages = run("generate", "a red zebra", "-o", out, *small)
    told = [line for line in messages.splitlines() if "zebra" in line]
    assert status == 0 and out.exists()
    assert len(told) == 1 and told[0].startswith("minisora: The model never saw 'zebra'")
    assert ".py" not in messages


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "60x64"), "the nearest is (64, 64)"),
        (("--size", "64"), "write HEIGHTxWIDTH"),
        (("--size", "64x64x3"), "write HEIGHTxWIDTH"),
        (("--frames", 6), "the nearest is 5"),
        (("--steps", 0), "give at least 1"),
        (("--sampler", "ddim"), "choose one of euler, heun, dpmpp_2m"),
        (("--device", "toaster"), "choose one of auto, "),
        (("--checkpoint", "nonsense"), "was not found"),
        (("-o", "no/such/folder/clip.mp4"), "create it first"),
        (("-o", "clip.xyz"), "must end in one of"),
    ],
)
def test_generate_refuses_in_one_sentence(
    run: Run, checkpoint: Path, tmp_path: Path, arguments: tuple[object, ...], says: str
) -> None:
    base = ["generate", "a red 3", "--frames", 1, "--size", "16x16", "--steps", 1]
    base += ["-o", tmp_path / "clip.mp4"] if "-o" not in arguments else []
    base += ["--checkpoint", checkpoint] if "--checkpoint" not in arguments else []
    assert_one_sentence(run(*base, *arguments), says)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to use")
def test_a_missing_gpu_is_told(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    result = run(
        "generate", "a", "--device", "cuda", "--checkpoint", checkpoint, "-o", tmp_path / "a.mp4"
    )
    assert_one_sentence(result, "Device 'cuda' is not usable here")


def test_a_damaged_checkpoint_is_told(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-1])
    assert_one_sentence(
        run("generate", "a red 3", "--checkpoint", tmp_path), "truncated or altered"
    )


def test_wrong_arguments_exit_with_2_and_no_traceback(run: Run) -> None:
    for arguments in (("generate",), ("genrate",), (), ("generate", "a", "--frames", "many")):
        status, output, messages = run(*arguments)
        assert status == 2 and "Traceback" not in output + messages


def test_stopping_it_is_no_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Generate, "run", stop)
    status, _, messages = run("generate", "a red 3")
    assert (status, messages) == (130, "minisora: stopped; what was saved is kept.\n")


# ---- info ----


def test_info_lists_presets_sizes_and_words(run: Run, checkpoint: Path) -> None:
    status, output, messages = run("info", "--checkpoint", checkpoint)
    assert status == 0 and messages == ""
    for text in ("moving-mnist", "wan-14b", "13.0 B", "7 steps, 21 clips", "5x32x32, 1x32x48"):
        assert text in output
    assert "4 channels, time /4, space /8" in output
    assert {"red", "magenta", "gradient"} <= set(output.splitlines()[-1].split())


def test_info_of_a_checkpoint_without_facts(run: Run, tmp_path: Path) -> None:
    tiny_model().save(tmp_path)
    status, output, _ = run("info", "--checkpoint", tmp_path)
    assert status == 0 and "not recorded" in output


def test_info_of_nothing(run: Run, tmp_path: Path) -> None:
    assert_one_sentence(run("info", "--checkpoint", tmp_path / "none"), "was not found")


# ---- reconstruct ----


def test_reconstruct_cuts_to_the_grid_and_prints_the_psnr(
    run: Run, checkpoint: Path, film: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again.webp"
    status, output, _ = run("reconstruct", film, "-o", out, "--checkpoint", checkpoint)
    assert status == 0 and "5x40x56 (frames x height x width)" in output
    video = read_video(film).video[:, :5, :40, :56]
    with torch.no_grad():
        wanted = load(checkpoint).vae.reconstruct(video[None])[0]
    psnr = -10 * torch.log10((wanted - video).square().mean()).item()
    assert float(output.split("PSNR ")[1].split()[0]) == pytest.approx(psnr, abs=0.02)
    torch.testing.assert_close(read_video(out).video, wanted, rtol=0, atol=0.01)


def test_reconstruct_at_another_size(
    run: Run, checkpoint: Path, film: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again.mp4"
    arguments = ("--checkpoint", checkpoint, "--size", "32x64", "--frames", 5)
    status, output, _ = run("reconstruct", film, "-o", out, *arguments)
    assert status == 0 and "5x32x64" in output and out.exists()


def test_reconstruct_refuses_in_one_sentence(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    base = ("--checkpoint", checkpoint, "-o", tmp_path / "out.mp4")
    assert_one_sentence(run("reconstruct", tmp_path / "none.mp4", *base), "none.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    assert_one_sentence(run("reconstruct", text, *base), "text.mp4")
    dot = tmp_path / "dot.png"
    write_video(torch.rand(3, 1, 4, 30), dot)
    assert_one_sentence(run("reconstruct", dot, *base), "multiples of 8")
    assert not (tmp_path / "out.mp4").exists()


# ---- train ----


@pytest.fixture
def mini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "mini", MINI)
    monkeypatch.setattr(latents, "SHARD", 10)
    monkeypatch.setattr(recipe, "LOG_EVERY", 4)
    statistics = recipe.fit_latent_statistics
    monkeypatch.setattr(
        recipe, "fit_latent_statistics", lambda vae, world: statistics(vae, world, 8)
    )


class Stop(BaseException):
    """Stands for a kill between two steps."""


def stopping(stage: str, at: int) -> Callable[..., Iterator[Any]]:
    """Bars that stop the program at one moment of one stage."""

    def show(self: cli.Bars, items: Iterator[Any], total: int, title: str) -> Iterator[Any]:
        for item in items:
            yield item
            if title == stage and (item if isinstance(item, int) else item.step) == at:
                raise Stop

    return show


def test_train_from_nothing_interrupted_everywhere(
    run: Run, mini: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    status, output, messages = run("train", "mini", "-o", whole, "--device", "cpu")
    assert status == 0 and f"Model in {whole / 'model'}" in output
    assert "vae" in messages and "generator" in messages and "clips_per_s" in messages

    moments = (("vae", 5), ("latents", 30), ("generator", 2), ("generator", 7))
    for stage, at in moments:
        with monkeypatch.context() as patch:
            patch.setattr(cli.Bars, "__call__", stopping(stage, at))
            with pytest.raises(Stop):
                run("train", "mini", "-o", parts, "--device", "cpu")
    assert saved_steps(parts / "generator-state") == [6, 4]
    assert run("train", "mini", "-o", parts, "--device", "cpu")[0] == 0

    for name in ("vae.safetensors", "model/vae.safetensors", "model/generator.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    for name, every in (("vae", [4, 8]), ("generator", [4, 8, 9])):
        logs = [
            [json.loads(line) for line in (folder / f"log-{name}.jsonl").read_text().splitlines()]
            for folder in (whole, parts)
        ]
        assert [[line["step"] for line in log] for log in logs] == [every, every]
        assert logs[0][-1]["loss"] == pytest.approx(logs[1][-1]["loss"])
    for folder in (whole, parts):
        assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")

    before = (whole / "model/generator.safetensors").stat().st_mtime_ns
    assert run("train", "mini", "-o", whole, "--device", "cpu")[0] == 0  # all is done
    assert (whole / "model/generator.safetensors").stat().st_mtime_ns == before
    assert_usable(run, whole)


def assert_usable(run: Run, folder: Path) -> None:
    """What was trained is a model: it loads, generates and is described."""
    model = load(folder / "model")
    assert model.config == recipe.model_config(MINI)
    latent, _ = load_weights(folder / "vae.safetensors")
    torch.testing.assert_close(model.vae.latent_std, latent["latent_std"], rtol=1e-3, atol=1e-3)
    clip = model.generate("a red 3", frames=5, size=(32, 32), steps=2)
    assert clip.video.isfinite().all()
    status, output, _ = run("info", "--checkpoint", folder / "model")
    assert status == 0 and "9 steps, 60 clips" in output and "1x32x32, 1x32x48, 5x32x32" in output


def test_train_logs_to_tensorboard_if_asked(run: Run, mini: None, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = tmp_path / "log"
    arguments = ("--device", "cpu", "--tensorboard", log)
    assert run("train", "mini", "-o", tmp_path / "run", *arguments)[0] == 0
    accumulator = events.EventAccumulator(str(log)).Reload()
    steps = [event.step for event in accumulator.Scalars("generator/loss")]
    assert steps == list(range(1, 10))
    assert len(accumulator.Scalars("vae/loss")) == 8


def test_a_log_torn_by_a_kill_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 20, "loss": 1.0}\n{"step": 40, "loss": 0.5}\n{"step": 60, "lo')
    assert list(recipe.logged(iter([]), path, start=40)) == []
    assert [line["step"] for line in recipe.read_log(path)] == [20, 40]
    assert list(recipe.logged(iter([]), path, start=30)) == []
    assert [line["step"] for line in recipe.read_log(path)] == [20]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("huge",), "Unknown preset 'huge'; choose one of tiny, moving-mnist"),
        (("wan-14b",), "a size only; train 'tiny' or 'moving-mnist'"),
        (("mini", "--device", "toaster"), "Device 'toaster' is not usable here"),
    ],
)
def test_train_refuses_in_one_sentence(
    run: Run, mini: None, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert_one_sentence(run("train", *arguments, "-o", tmp_path / "out"), says)


def test_train_refuses_the_folder_of_another_run(run: Run, mini: None, tmp_path: Path) -> None:
    from dataclasses import replace

    assert run("train", "mini", "-o", tmp_path, "--device", "cpu")[0] == 0
    (tmp_path / "model/generator.safetensors").unlink()
    presets.PRESETS["mini"] = replace(MINI, train=replace(MINI.train, lr=1.0))
    assert_one_sentence_after_bars(
        run("train", "mini", "-o", tmp_path, "--device", "cpu"), "lr: 0.002 -> 1.0"
    )


def assert_one_sentence_after_bars(result: tuple[int, str, str], says: str) -> None:
    status, _, messages = result
    assert status == 2 and "Traceback" not in messages
    assert messages.splitlines()[-1].startswith("minisora: ") and says in messages.splitlines()[-1]
