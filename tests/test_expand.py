"""The prompt expander: it keeps what is stated, draws the rest, repeats itself by seed, and resumes exactly."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caption_reader import read
from tiny import Run, assert_one_sentence, generator, randomize, tiny_model

from minisora import train_expander
from minisora.config import TrainConfig
from minisora.decoding import Decoding
from minisora.expand import FILE, Expander, ExpanderConfig, load_expander
from minisora.language import LanguageConfig
from minisora.loading import load
from minisora.paths import DataError
from minisora.train_expander import ExpanderPreset, expander_pairs
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig
from minisora.worlds.statements import contradictions, parse, without_motion

CONFIG = ExpanderConfig(VOCABULARY, LanguageConfig(width=32, depth=2, num_heads=2))
MINI = ExpanderPreset(CONFIG, TrainConfig(steps=6, batch=4, lr=2e-3, warmup=2, checkpoint_every=2))


@pytest.fixture(scope="module")
def expander() -> Expander:
    """Random weights: whatever it keeps, the constraint keeps."""
    model = Expander(CONFIG)
    randomize(model)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, expander: Expander) -> Path:
    home = tmp_path_factory.mktemp("expander")
    tiny_model().save(home)
    expander.save(home / FILE)
    return home


def prompts(count: int) -> list[str]:
    world = MovingMNIST(WorldConfig(split="test"), seed=77)
    return expander_pairs(world, 0, count, np.random.default_rng(0))[0]


@pytest.mark.parametrize("frames", [1, 17])
@pytest.mark.parametrize("method", ["nucleus", "greedy"])
def test_nothing_stated_is_ever_contradicted(expander: Expander, frames: int, method: str) -> None:
    asked = [*prompts(12), "a red 3 and a red 7 moving left"]
    for i, prompt in enumerate(asked):
        how = Decoding(method)  # type: ignore[arg-type]
        (text,) = expander.expand([prompt], frames=frames, generators=[generator(i)], decoding=how)
        told = read(text)
        statement = parse(prompt)
        if frames == 1:
            statement = without_motion(statement)
            assert not any("direction" in d for d in told["digits"])  # type: ignore[attr-defined]
        assert contradictions(statement, parse(text)) == [], (prompt, text)
        assert "background" in told and len(expander.tokenizer.encode(text)) <= 64


def test_beam_keeps_the_rule_too(expander: Expander) -> None:
    how = Decoding("beam", beams=3)
    (text,) = expander.expand(["a red 3 moving up"], generators=[generator()], decoding=how)
    (digit,) = read(text)["digits"]  # type: ignore[misc]
    assert (digit["color"], digit["label"], digit["direction"]) == ("red", 3, "up")


def test_each_prompt_depends_on_its_own_seed_alone(expander: Expander) -> None:
    together = expander.expand(["a 3", "a 7"], generators=[generator(4), generator(5)])
    assert together[1:] == expander.expand(["a 7"], generators=[generator(5)])
    others = {expander.expand(["a 3"], generators=[generator(s)])[0] for s in range(6)}
    assert len(others) > 3


def test_a_prompt_that_is_not_understood_stays_as_it_is(expander: Expander) -> None:
    with pytest.warns(UserWarning, match="not expanded: 'five digits' speaks of 5"):
        assert expander.expand(["five digits"], generators=[generator()]) == ["five digits"]


def test_words_it_never_saw_do_not_reach_it(expander: Expander) -> None:
    ids = expander.read(["a zebra-like three, please", "a three"])
    assert torch.equal(ids[0], ids[1])


def test_pairs_are_true_and_of_every_kind() -> None:
    world = MovingMNIST(WorldConfig(), seed=3)
    asked, told = expander_pairs(world, 0, 400, np.random.default_rng(1))
    for prompt, text in zip(asked, told, strict=True):
        assert contradictions(parse(prompt), parse(text)) == [], (prompt, text)
    assert "" in asked and len(set(asked)) > 250
    assert sum("mov" not in t and "ing" not in t for t in told) > 20  # images


# ---- in the model and on the command line ----


def test_generate_expands_by_the_clips_own_seed(folder: Path) -> None:
    model = load(folder)
    wanted = model.expand(["a 3", "a 3"], frames=5, seed=8)
    clips = model.generate(["a 3", "a 3"], frames=5, size=(32, 32), steps=1, seed=8, expand=True)
    assert [clip.prompt for clip in clips] == wanted and wanted[0] != wanted[1]
    alone = model.generate("a 3", frames=5, size=(32, 32), steps=1, seed=9, expand=True)
    assert alone.prompt == wanted[1]
    torch.testing.assert_close(alone.video, clips[1].video, rtol=1e-4, atol=1e-4)
    assert not any("lm." in name for name in model.state_dict())


def test_without_an_expander_one_is_told_how_to_get_it(tmp_path: Path, monkeypatch: Any) -> None:
    def none(name: str) -> Path:
        raise DataError(name)

    monkeypatch.setattr("minisora.expand.data_file", none)
    with pytest.raises(DataError, match="make one with `minisora train-expander`"):
        load_expander(tmp_path)


def test_expand_from_the_command_line(run: Run, folder: Path, tmp_path: Path) -> None:
    status, output, _ = run("expand", "a three", "--count", 2, "--seed", 5, "--checkpoint", folder)
    lines = output.splitlines()
    assert status == 0 and lines == load(folder).expand(["a three"] * 2, seed=5)
    assert_one_sentence(run("expand", "a 3", "--count", 0, "--checkpoint", folder), "at least 1")
    out = tmp_path / "clip.webp"
    status, output, _ = run(
        "generate", "a three", "-o", out, "--expand", "--seed", 5, "--checkpoint", folder,
        "--frames", 17, "--size", "32x32", "--steps", 1,
    )  # fmt: skip
    assert status == 0 and out.exists() and f"prompt: {lines[0]}" in output


# ---- training ----


class Stop(BaseException):
    """Stands for a kill between two steps."""


def test_training_killed_and_resumed_ends_in_the_same_bits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(items: Iterator[Any], total: int, title: str) -> Iterator[Any]:
        for item in items:
            yield item
            if item.step == 3:
                raise Stop

    cpu = torch.device("cpu")
    with pytest.raises(Stop):
        train_expander.train_expander(MINI, tmp_path / "parts", cpu, stop)
    train_expander.train_expander(MINI, tmp_path / "parts", cpu, lambda items, *_: items)
    monkeypatch.setattr(train_expander, "EXPANDER", MINI)
    status, output, _ = run("train-expander", "-o", tmp_path / "whole", "--device", "cpu")
    assert status == 0 and FILE in output
    whole, parts = (tmp_path / name / FILE for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert isinstance(load_expander(tmp_path / "whole"), Expander)
    shutil.rmtree(tmp_path / "whole")


def test_training_lowers_the_loss() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.manual_seed(0)
        model = Expander(CONFIG)
        config = TrainConfig(steps=40, batch=16, lr=5e-3, warmup=5)
        objective = train_expander.expander_objective(model, config.batch)
        trainer = train_expander.Trainer(model, config)
        losses = [record.loss for record in train_expander.fit(trainer, objective)]
    assert losses[-1] < 0.6 * losses[0]
