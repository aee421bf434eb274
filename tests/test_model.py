"""The whole model: what it makes, of which size, again and again the same, from memory and from disk."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import generator, tiny_model
from torch import Tensor

import minisora
from minisora.checkpoint import CheckpointError, read_config
from minisora.loading import load
from minisora.model import MiniSora
from minisora.patches import Layout, pack, unpack
from minisora.paths import DataError
from minisora.sample import SAMPLERS, dpmpp_2m, guided, pyramid_schedule, timesteps
from minisora.video import VideoClip

PROMPTS = [
    "a red 3 drifting up",  # 6 tokens, 8 with registers
    "a large blue digit seven moving slowly down and to the left on a navy gradient",  # 16 and more
    "",
]


@pytest.fixture(scope="module")
def model() -> MiniSora:
    return tiny_model()


def make(model: MiniSora, prompt: str = "a red 3", **how: object) -> VideoClip:
    how = {"frames": 5, "size": (32, 32), "steps": 3, "lag": 0} | how
    clip = model.generate(prompt, **how)
    assert isinstance(clip, VideoClip)
    return clip


def assert_close(ours: Tensor, theirs: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


# ---- sizes ----


@pytest.mark.parametrize("frames", [1, 5, 9])
@pytest.mark.parametrize("size", [(16, 16), (32, 48), (64, 16), (48, 96)])
def test_any_length_and_size_on_the_grid(
    model: MiniSora, frames: int, size: tuple[int, int]
) -> None:
    clip = make(model, frames=frames, size=size)
    assert clip.video.shape == (3, frames, *size)
    assert clip.video.dtype == torch.float32 and clip.video.isfinite().all()
    assert clip.video.min() >= 0 and clip.video.max() <= 1
    assert clip.fps == 8.0 and clip.prompt == "a red 3"


def test_the_clip_is_an_ordinary_tensor(model: MiniSora) -> None:
    """Tensors born in inference mode can be neither changed in place nor trained on."""
    video = make(model).video
    assert not video.is_inference()
    video.requires_grad_().square().sum().backward()
    assert video.grad is not None


# ---- seeds and batches ----


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_clip_of_a_batch_is_the_clip_made_alone(model: MiniSora, guidance_scale: float) -> None:
    """Also where the prompts differ in length: one must not lengthen the other."""
    how = {"frames": 5, "size": (32, 48), "steps": 4, "lag": 2, "guidance_scale": guidance_scale}
    clips = model.generate(PROMPTS, seed=11, **how)
    assert isinstance(clips, list) and [clip.prompt for clip in clips] == PROMPTS
    for i, clip in enumerate(clips):
        alone = make(model, PROMPTS[i], seed=11 + i, **how).video
        assert_close(alone, clip.video)
        other = make(model, PROMPTS[i - 1], seed=11 + i, **how).video
        assert (other - alone).abs().max() > 0.01  # the prompt does matter


def test_a_clip_depends_on_prompt_and_seed_alone(model: MiniSora) -> None:
    torch.manual_seed(0)
    first = make(model, seed=3).video
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert_close(make(model, seed=3).video, first, atol=0)
    assert torch.get_rng_state().equal(state)
    assert (make(model, seed=4).video - first).abs().max() > 0.05
    assert (make(model, "a blue 5", seed=3).video - first).abs().max() > 0.01


def test_a_list_gives_a_list(model: MiniSora) -> None:
    clips = model.generate(("a red 3",), frames=1, size=(16, 16), steps=1)
    assert isinstance(clips, list) and len(clips) == 1


# ---- sampling ----


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_runs(model: MiniSora, sampler: str) -> None:
    assert make(model, sampler=sampler).video.isfinite().all()


@pytest.mark.parametrize("lag", [0, 2])
def test_generate_is_the_sampler_on_two_denoisers(model: MiniSora, lag: int) -> None:
    """Prompted and unprompted clips in one sequence, against each in a sequence of its own."""
    prompt, how = PROMPTS[1], {"seed": 5, "guidance_scale": 2.5, "guidance_interval": (0.3, 0.9)}
    how["pag_scale"] = 0.0
    noise = model.noise(5, (32, 48), 5)[None]
    run = guided(model.denoiser([prompt]), model.denoiser([""]), 2.5, (0.3, 0.9))
    times = timesteps(6, model.shift(noise.shape[2:]))
    schedule = pyramid_schedule(times, noise.shape[2], lag)
    assert len(schedule) - 1 == 6 + lag  # two latent frames
    latent = noise
    with torch.no_grad():
        for step in dpmpp_2m(run, noise, schedule):
            latent = step[0]
        wanted = model.vae.decode(latent)[0].clamp(0, 1)
    assert_close(make(model, prompt, size=(32, 48), steps=6, lag=lag, **how).video, wanted)


def test_guidance_of_one_needs_half_the_work(
    model: MiniSora, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips: list[int] = []
    forward = model.net.forward

    def count(tokens: Tensor, levels: Tensor, ids: Tensor, layout: Layout, *rest: Any) -> Tensor:
        clips.append(layout.num_clips)
        return forward(tokens, levels, ids, layout, *rest)

    monkeypatch.setattr(model.net, "forward", count)
    make(model, guidance_scale=1.0, pag_scale=0.0, steps=4)
    assert clips == [1] * 4
    clips.clear()
    make(model, guidance_scale=3.0, guidance_interval=(0.5, 1.0), pag_scale=0.0, steps=4)
    assert set(clips) == {1, 2} and clips == sorted(clips, reverse=True)  # guided, then alone
    guided_steps = clips.count(2)
    clips.clear()
    make(model, guidance_scale=3.0, guidance_interval=(0.5, 1.0), pag_scale=1.0, steps=4)
    assert clips == [2, 1] * guided_steps + [1] * (4 - guided_steps)  # the blind pass beside both


def test_perturbed_attention_guidance_is_its_formula(model: MiniSora) -> None:
    """Beside classifier-free guidance, x_empty + w (x - x_empty) + s (x - x_blind without its part along x)."""
    z = model.noise(9, (32, 32), 3)[None]
    levels = torch.tensor([[0.1, 0.4, 0.9]])  # the first lies outside the interval
    ids = [tokens for text in (PROMPTS[1], "") for tokens in model.net.tokenize([text])]

    def predict(text: Tensor, blind: bool = False) -> Tensor:
        packed = pack([z[0]], [text], model.config.dit.patch)
        frames = packed.frames([levels[0]])
        out = model.net(packed.tokens, frames, packed.text_ids, packed.layout, None, blind)
        return unpack(out, packed)[0]

    seen, empty, blind = predict(ids[0]), predict(ids[1]), predict(ids[0], blind=True)
    assert (seen - blind).abs().max() > 0.01
    away = seen - blind
    across = away - (away * seen).sum(0) / seen.square().sum(0) * seen  # at each position
    wanted = empty + 3.0 * (seen - empty) + 1.5 * across
    wanted[:, 0] = seen[:, 0]
    found = model.denoiser([PROMPTS[1]], 3.0, (0.3, 1.0), pag_scale=1.5)(z, levels)[0]
    assert_close(found, wanted)


def test_contrastive_guidance_is_its_formula(model: MiniSora) -> None:
    """Beside classifier-free guidance, x_empty + w (x - x_empty) + c (x - x_negative)."""
    z = model.noise(9, (32, 32), 3)[None]
    levels = torch.tensor([[0.1, 0.4, 0.9]])  # the first lies outside the interval
    seen, empty, negative = (
        model.denoiser([text])(z, levels) for text in (PROMPTS[1], "", PROMPTS[0])
    )
    wanted = empty + 3.0 * (seen - empty)
    wanted[:, :, 2] += 1.5 * (seen - negative)[:, :, 2]  # contrast acts early alone
    wanted[:, :, 0] = seen[:, :, 0]
    how = {"contrast_scale": 1.5, "negative_prompt": PROMPTS[0]}
    found = model.denoiser([PROMPTS[1]], 3.0, (0.3, 1.0), **how)(z, levels)  # type: ignore[arg-type]
    assert (seen - negative).abs().max() > 0.01
    assert_close(found, wanted)


def test_by_default_a_clip_keeps_away_from_its_prompt_misread(model: MiniSora) -> None:
    prompt, other = "a small red 3", "a medium red 3"
    usual = make(model, prompt, steps=6).video
    assert usual.equal(make(model, prompt, steps=6, negative_prompt=other).video)
    assert usual.equal(make(model, prompt, steps=6, contrast_scale=2.5).video)
    assert not usual.equal(make(model, prompt, steps=6, contrast_scale=0.0).video)
    assert not usual.equal(make(model, prompt, steps=6, negative_prompt="a small blue 3").video)


def test_a_prompt_that_is_hard_to_misread_costs_nothing_and_changes_nothing(
    model: MiniSora,
) -> None:
    alone = make(model, "a red 3").video
    assert alone.equal(make(model, "a red 3", contrast_scale=0.0).video)
    both = model.generate(["a red 3", "a small blue 5"], frames=5, size=(32, 32), steps=2)
    one = model.generate(["a red 3"], frames=5, size=(32, 32), steps=2)
    assert_close(both[0].video, one[0].video)


def test_unknown_words_of_a_negative_prompt_are_told(model: MiniSora) -> None:
    with pytest.warns(UserWarning, match="dragon"):
        make(model, "a red 3", negative_prompt="a dragon")


def test_the_shift_grows_with_the_clip_as_in_training(model: MiniSora) -> None:
    from minisora.flow import token_shift

    small, large = model.noise(5, (32, 32), 0), model.noise(9, (64, 64), 0)
    assert model.shift(small.shape[1:]) == token_shift(2 * 2 * 2, model.config.flow)
    assert model.shift(large.shape[1:]) == token_shift(3 * 4 * 4, model.config.flow)


def test_progress_calls_back_with_the_guess_of_each_step(model: MiniSora) -> None:
    guesses: list[Tensor] = []
    clips = model.generate(
        ["a red 3", "a blue 5"], frames=5, size=(32, 48), steps=4, lag=0, progress=guesses.append
    )
    assert len(guesses) == 4 and {tuple(g.shape) for g in guesses} == {(2, 4, 2, 4, 6)}
    # The last step ends in its guess, so the last preview is the clip itself.
    with torch.inference_mode():
        last = model.vae.decode(guesses[-1]).clamp(0, 1)
    assert_close(last[1], clips[1].video)


def test_progress_true_draws_a_bar(model: MiniSora, capsys: pytest.CaptureFixture[str]) -> None:
    make(model, steps=2, progress=True)
    assert "denoise" in capsys.readouterr().err
    make(model, steps=2)
    assert capsys.readouterr() == ("", "")


# ---- words and errors ----


def test_unknown_words_are_named_and_known_ones_are_not(model: MiniSora) -> None:
    with pytest.warns(UserWarning, match="never saw 'zebra', 'dancing'"):
        make(model, "a red Zebra dancing up")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(model, "A large red 3, drifting up!")
        make(model, "")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"size": (60, 64)}, r"size=\(60, 64\).*multiples of 16.*nearest is \(64, 64\)"),
        ({"size": (64, 7)}, r"nearest is \(64, 16\)"),
        ({"size": (0, 64)}, r"nearest is \(16, 64\)"),
        ({"size": (64,)}, r"give \(height, width\)"),
        ({"size": (64, 64, 3)}, r"give \(height, width\)"),
        ({"size": 64}, r"size=64: give \(height, width\)"),
        ({"frames": 16}, r"frames=16.*1 \+ 4k.*nearest is 17"),
        ({"frames": 6}, "nearest is 5"),
        ({"frames": 0}, "nearest is 1"),
        ({"frames": -4}, "nearest is 1"),
        ({"sampler": "ddim"}, "Unknown sampler 'ddim'; choose one of euler, heun, dpmpp_2m"),
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"lag": -1}, "lag is -1; give 0 or more"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(
    model: MiniSora, how: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as error:
        make(model, **how)
    assert "\n" not in str(error.value)


def test_no_prompt_is_refused(model: MiniSora) -> None:
    with pytest.raises(ValueError, match="No prompt"):
        model.generate([])


# ---- on disk ----


@pytest.fixture(scope="module")
def saved(model: MiniSora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model.save(folder / "half", dtype=torch.float16, steps=7)
    model.save(folder / "full")
    return folder


def test_saved_and_loaded_is_the_same_model(model: MiniSora, saved: Path) -> None:
    again = load(saved / "full")
    assert again.config == model.config and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert_close(make(again, seed=2).video, make(model, seed=2).video, atol=0)


def test_half_precision_on_disk_is_half_the_size_and_nearly_the_same(
    model: MiniSora, saved: Path
) -> None:
    again = load(str(saved / "half"))
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert (make(again).video - make(model).video).abs().mean() < 0.01
    for name in ("vae", "generator"):
        half, full = (saved / kind / f"{name}.safetensors" for kind in ("half", "full"))
        assert half.stat().st_size < 0.75 * full.stat().st_size
        assert read_config(half)["facts"] == {"steps": 7}


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Iterator[Path]:
    for path in (saved / "half").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    yield tmp_path


@pytest.mark.parametrize("name", ["vae", "generator"])
@pytest.mark.parametrize("place", [0.02, 0.3, 0.999])  # in the header with the config; in weights
def test_an_altered_checkpoint_is_refused(copy: Path, name: str, place: float) -> None:
    path = copy / f"{name}.safetensors"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="altered") as error:
        load(copy)
    assert "\n" not in str(error.value) and path.name in str(error.value)


def test_an_altered_config_is_refused_before_it_is_believed(copy: Path) -> None:
    path = copy / "generator.safetensors"
    data = path.read_bytes()
    assert rb"\"depth\": 2" in data
    path.write_bytes(data.replace(rb"\"depth\": 2", rb"\"depth\": 9"))
    with pytest.raises(CheckpointError, match="altered"):
        load(copy)


def test_a_truncated_or_missing_file_is_refused(copy: Path) -> None:
    path = copy / "vae.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load(copy)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"vae\.safetensors"):
        load(copy)


def test_an_unknown_checkpoint_is_refused() -> None:
    with pytest.raises(DataError, match="checkpoints/nonsense was not found") as error:
        load("nonsense")
    assert "\n" not in str(error.value)


def test_the_denoiser_takes_a_level_for_each_frame(model: MiniSora) -> None:
    """What editing stands on: each frame at a noise level of its own, clip by clip."""
    z = torch.randn(2, 4, 3, 4, 4, generator=generator())
    levels = torch.tensor([[0.0, 0.5, 1.0], [0.9, 0.9, 0.9]])
    with torch.no_grad():
        both = model.denoiser(PROMPTS[:2])(z, levels)
        for i in range(2):
            alone = model.denoiser([PROMPTS[i]])(z[i : i + 1], levels[i : i + 1])
            assert_close(alone[0], both[i])
        swapped = model.denoiser(PROMPTS[:2])(z, levels.flip(1))
    assert (swapped[0] - both[0]).abs().max() > 1e-3


# ---- the package itself ----


def test_importing_the_package_is_silent_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, minisora; loaded = {'torch', 'av', 'tyro', 'matplotlib'} & set(sys.modules);"
        "assert not loaded, loaded;"
        "from minisora import train, objectives, latents, recipe, model;"
        "loaded = {'av', 'tyro', 'matplotlib'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_front_door_offers_what_it_names() -> None:
    assert minisora.load is load
    assert set(minisora.__all__) <= set(dir(minisora))
    for name in minisora.__all__:
        assert getattr(minisora, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = minisora.nonsense
