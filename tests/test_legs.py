"""Legs: a finished model is trained further, and deepened, by the same command that made it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import MINI, assert_same_bits, randomize, tiny_model

from minisora import latents, legs, recipe
from minisora.checkpoint import load_weights, read_config
from minisora.cli import Train
from minisora.config import Leg, TrainConfig
from minisora.latents import LatentDataset
from minisora.legs import begin_from, facts_of, flow_of, legs_done, train_legs
from minisora.loading import load
from minisora.network import TextToLatent, deepen
from minisora.objectives import diffusion_objective
from minisora.presets import PRESETS, mixture
from minisora.worlds import VOCABULARY

LEG = Leg(
    TrainConfig(
        steps=6, batch=4, lr=1e-3, warmup=2, cooldown=0.9, muon=False, checkpoint_every=2, seed=1
    ),
    mixture((5, 32, 32, 0.7), (1, 32, 48, 0.3)),
    latents=20,
    single_fraction=0.0,
    deeper=1,
)
LONGER = dataclasses.replace(
    LEG,
    deeper=0,
    train=dataclasses.replace(LEG.train, seed=2),
    pattern_weights=(0.5, 0.5, 0.0, 0.0),
)
PRESET = dataclasses.replace(MINI, dit=dataclasses.replace(MINI.dit, depth=3), legs=(LEG, LONGER))
CPU = torch.device("cpu")


def quietly(items: Iterator[Any], total: int, title: str) -> Iterator[Any]:
    return items


class Killed(Exception):
    pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds a model as the first stage leaves it: two blocks, 9 steps."""
    monkeypatch.setattr(latents, "SHARD", 10)
    facts = {"steps": MINI.train.steps, "clips": 60, "sizes": [[5, 32, 32]]}
    tiny_model().save(tmp_path / "model", dtype=torch.float16, **facts)
    log = tmp_path / "log-generator.jsonl"
    log.write_text(json.dumps({"step": 9, "loss": 1.0, "clips_per_second": 50.0}) + "\n")
    return tmp_path


def test_a_deeper_network_computes_the_same_and_can_learn_more() -> None:
    net = randomize(TextToLatent(MINI.text, PRESET.dit, VOCABULARY))
    deep = deepen(net, 2)
    assert deep.dit.config.depth == len(deep.dit.blocks) == 5 and len(net.dit.blocks) == 3
    model = tiny_model()
    world = latents.MovingMNIST(latents.WorldConfig(5, 32, 32), seed=0)
    data = type("Data", (), {"batch": lambda self, n, g, d: one_batch(model.vae, world, n)})()
    losses = []
    for network in (net, deep):
        objective = diffusion_objective(network, data, 3, MINI.flow)
        losses.append(objective(0, torch.Generator().manual_seed(0))[0])
    torch.testing.assert_close(losses[1], losses[0])
    losses[1].backward()
    new = [i for i, block in enumerate(deep.dit.blocks) if not block.out.weight.any()]
    assert new == [1, 3]
    for i in new:
        assert deep.dit.blocks[i].out.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.parameters())  # not one weight is shared


def one_batch(vae: Any, world: Any, count: int) -> tuple[list[torch.Tensor], list[str]]:
    videos = torch.stack([world[i].video for i in range(count)])
    return list(vae.encode(videos)), ["a red 3", "", "a blue 7 moving left"][:count]


@pytest.mark.parametrize("blocks", [-1, 3])
def test_more_new_blocks_than_old_ones_are_refused(blocks: int) -> None:
    with pytest.raises(ValueError, match=f"Cannot add {blocks} blocks to 3"):
        deepen(TextToLatent(MINI.text, PRESET.dit, VOCABULARY), blocks)


def test_legs_go_on_from_a_model_and_replace_it(folder: Path) -> None:
    before = load(folder / "model")
    train_legs(PRESET, folder, CPU, quietly)
    after = load(folder / "model")
    assert after.config.dit == PRESET.dit and len(after.net.dit.blocks) == 3
    assert after.config.flow.pattern_weights == LONGER.pattern_weights
    assert flow_of(PRESET, LEG) == PRESET.flow
    assert facts_of(folder) == {
        "steps": 9 + 6 + 6,
        "clips": 60 + 2 * 6 * 4,
        "sizes": [[1, 32, 48], [5, 32, 32]],
    }
    for one, two in zip(before.vae.parameters(), after.vae.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(before.net.dit.final.weight, after.net.dit.final.weight)
    lines = recipe.read_log(folder / "log-generator.jsonl")
    assert [line["step"] for line in lines] == [9, 15, 20, 21]  # one log over all legs
    data = LatentDataset(folder / "leg-1" / "latents", LEG.mix)
    assert all(len(s.digits) == 2 for group in data.groups.values() for s in group.scenes)
    seen = [p.read_bytes() for p in sorted((folder / "leg-1" / "latents").iterdir())]
    new = [p.read_bytes() for p in sorted((folder / "leg-2" / "latents").iterdir())]
    assert len(seen) == len(new) and not set(seen) & set(new)
    stamp = (folder / "model" / "generator.safetensors").stat().st_mtime_ns
    train_legs(PRESET, folder, CPU, quietly)  # nothing is left to do
    assert (folder / "model" / "generator.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("last", [11, 14, 20])  # the leg's 2nd and 5th step, the next leg's 5th
def test_a_leg_killed_and_resumed_ends_in_the_same_bits(folder: Path, last: int) -> None:
    twin = folder.parent / f"{folder.name}-twin"
    shutil.copytree(folder, twin)
    train_legs(PRESET, twin, CPU, quietly)

    def die(items: Iterator[Any], total: int, title: str) -> Iterator[Any]:
        for item in items:
            if not isinstance(item, int) and item.step == last:
                raise Killed
            yield item

    with pytest.raises(Killed):
        train_legs(PRESET, folder, CPU, die)
    train_legs(PRESET, folder, CPU, quietly)
    name = "model/generator.safetensors"
    assert_same_bits(load_weights(folder / name)[0], load_weights(twin / name)[0])


def test_a_model_between_two_legs_is_refused() -> None:
    assert [legs_done(PRESET, steps) for steps in (9, 15, 21)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"trained for 10 steps: legs .* at 9, 15, 21\."):
        legs_done(PRESET, 10)


def test_the_command_goes_on_from_a_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "moving-mnist", PRESET)
    out = tmp_path / "onward"
    Train("moving-mnist", start=str(folder / "model"), out=out).run()
    assert read_config(out / "model" / "generator.safetensors")["facts"]["steps"] == 21
    assert (out / "curves.png").exists()
    lines = recipe.read_log(out / "log-generator.jsonl")
    assert [line["step"] for line in lines] == [9, 15, 20, 21]


def test_a_start_is_not_copied_over_a_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tiny_model(seed=5).save(out / "model", steps=15, clips=1, sizes=[])
    begin_from(folder / "model", out)
    assert legs.facts_of(out)["steps"] == 15


def test_own_videos_have_no_legs(tmp_path: Path) -> None:
    command = Train(start="moving-mnist")
    command.folder = dataclasses.replace(command.folder, data=tmp_path)
    with pytest.raises(ValueError, match="leave out --data"):
        command.run()
