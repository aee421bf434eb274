"""The ladder of presets: exact sizes, parts that fit each other, shapes of the published models."""

from __future__ import annotations

import pytest
import torch
from tiny import MINI

from minisora.checkpoint import read_config
from minisora.dit import num_parameters
from minisora.info import describe_presets, human, parameter_counts
from minisora.legs import legs_done
from minisora.loading import checkpoint_folder
from minisora.model import MiniSora
from minisora.network import ModelConfig
from minisora.presets import PRESETS, find_preset
from minisora.recipe import model_config
from minisora.worlds import WorldConfig

PARAMETERS = {
    "tiny": {"vae": 301_904, "text": 67_392, "dit": 878_496},
    "moving-mnist": {"vae": 2_367_712, "text": 381_568, "dit": 4_170_976},
    "real-video": {"vae": 4_708_496, "text": 381_568, "dit": 6_046_016},
    "base": {"vae": 2_371_312, "text": 15_993_600, "dit": 34_660_416},
    "dit-xl": {"vae": 43_917_072, "text": 126_539_264, "dit": 461_193_856},
    "cogvideox-5b": {"vae": 43_917_072, "text": 1_008_249_856, "dit": 4_857_049_408},
    "wan-14b": {"vae": 43_917_072, "text": 4_030_811_136, "dit": 12_970_839_104},
}


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_every_preset(name: str) -> None:
    assert parameter_counts(PRESETS[name]) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "published"), [("cogvideox-5b", 5e9), ("wan-14b", 14e9)])
def test_the_big_rungs_are_as_large_as_their_models(name: str, published: float) -> None:
    assert abs(num_parameters(PRESETS[name].dit) / published - 1) < 0.15


def test_dit_xl_is_as_large_as_its_model_without_a_modulation_in_each_block() -> None:
    """DiT-XL/2 has 675 M (2212.09748), of which 28 * 6 D^2 are adaLN that we share as PixArt does."""
    dit = PRESETS["dit-xl"].dit
    without = 675e6 - dit.depth * 6 * dit.width**2
    assert abs(num_parameters(dit) / without - 1) < 0.15


@pytest.mark.parametrize("name", PRESETS)
def test_the_parts_of_a_preset_fit_each_other(name: str) -> None:
    preset = PRESETS[name]
    assert preset.dit.latent_channels == preset.vae.latent_channels
    assert preset.dit.text_width == preset.text.width
    assert all(phase.steps > 0 and phase.batch > 0 for phase in preset.phases)
    # Every size trains: the world makes it, the VAE and the patch take it.
    mixes = [stretch.mix for stretch in (*preset.phases, *preset.legs)]
    for entry in (e for mix in mixes for e in mix):
        size = entry.size
        WorldConfig(size.frames, size.height, size.width)
        preset.vae.check_video((1, 3, size.frames, size.height, size.width))
        _, t, h, w = preset.vae.latent_shape(size.frames, size.height, size.width)
        assert all(n % p == 0 for n, p in zip((t, h, w), preset.dit.patch, strict=True))
    if preset.mix:
        assert preset.latents >= 1000 and preset.train.steps > preset.train.warmup
        size, crop = preset.vae_size, preset.vae_crop
        assert all(
            c <= s for c, s in zip(crop, (size.frames, size.height, size.width), strict=True)
        )


def test_the_shipped_model_is_what_its_preset_trains() -> None:
    preset, folder = PRESETS["moving-mnist"], checkpoint_folder("moving-mnist")
    config = read_config(folder / "generator.safetensors")
    assert ModelConfig.from_dict(config) == model_config(preset)
    assert legs_done(preset, config["facts"]["steps"]) == len(preset.legs)


@pytest.mark.parametrize("name", ["tiny", "moving-mnist"])
def test_a_config_survives_json(name: str) -> None:
    import json
    from dataclasses import asdict

    config = model_config(PRESETS[name])
    again = ModelConfig.from_dict(json.loads(json.dumps(asdict(config))))
    assert again == config and hash(again) == hash(config)


def test_a_model_on_the_meta_device_takes_no_memory() -> None:
    with torch.device("meta"):
        model = MiniSora(model_config(MINI))
    assert all(p.is_meta for p in model.parameters())


def test_an_unknown_preset_is_told_what_there_is() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown preset 'huge'; choose one of tiny, moving-mnist"
    ):
        find_preset("huge")


def test_the_table_names_every_preset() -> None:
    table = describe_presets().splitlines()
    assert [line.split()[0] for line in table[1:]] == list(PRESETS)
    assert "13.0 B" in table[-1] and "needs a cluster" in table[-1]
    assert [human(n) for n in (7, 1_234, 4_712_480, 12_970_839_104)] == [
        "7", "1.2 k", "4.7 M", "13.0 B",
    ]  # fmt: skip
