"""The judge's questions, the suite's sources and figures, and `minisora evaluate` on a handful of clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Run, assert_one_sentence, tiny_model

from benchmarks.metric_validity import DAMAGED_SEED, WHOLE_SEED, damaged, scenes
from minisora.metrics import judge as judges
from minisora.metrics import suite
from minisora.metrics.corruptions import CORRUPTIONS
from minisora.metrics.distance import kernel_distance
from minisora.metrics.judge import (
    ANSWERS,
    DAMAGE,
    FEATURES,
    Judge,
    JudgeConfig,
    example,
    judge_world,
    load_judge,
    make_judge,
    save_judge,
    train_judge,
    truth,
)
from minisora.metrics.reader import load_reader
from minisora.metrics.table import run_facts, table
from minisora.worlds import COLORS, DIRECTIONS, SIZES, MovingMNIST, WorldConfig

SMALL = JudgeConfig(widths=(4, 8, 8, 8), steps=4, batch=4)
CONFIG = suite.EvaluationConfig(clips=24, size=(9, 64, 64), draws=20)


@pytest.fixture(scope="module")
def seer() -> Judge:
    return make_judge(0, SMALL).eval()


# ---- the judge ----


def test_the_right_answers_are_the_facts() -> None:
    scene = MovingMNIST(WorldConfig(min_digits=2), seed=3).scene(0)
    answers = dict(zip(ANSWERS, truth(scene, 0).split(list(ANSWERS.values())), strict=True))
    for digit in scene.digits:
        color = list(COLORS).index(digit.color)
        assert answers["digit"][digit.label] == 1
        assert answers["color digit"].view(-1, 10)[color, digit.label] == 1
        size = answers["color size"].view(-1, len(SIZES))[color]
        assert list(SIZES)[int(size.argmax())] == digit.size
        direction = answers["color direction"].view(-1, len(DIRECTIONS))[color]
        assert list(DIRECTIONS)[int(direction.argmax())] == digit.direction
    assert answers["background"].sum() == 1 and answers["disorder"].tolist() == [1, 0, 0, 0]
    assert answers["color digit"].sum() == answers["color speed"].sum() == 2
    damaged = dict(zip(ANSWERS, truth(scene, 2).split(list(ANSWERS.values())), strict=True))
    assert damaged["disorder"].tolist() == [0, 0, 1, 0]
    assert not damaged["color direction"].any() and not damaged["color speed"].any()


def test_examples_are_the_worlds_clips_and_one_in_four_is_out_of_order() -> None:
    world = judge_world(0, (9, 32, 32))
    kinds = []
    for i in range(60):
        video, answers = example(world, i)
        again, same = example(world, i)
        assert video.equal(again) and answers.equal(same)
        kinds.append(int(answers[-1 - len(DAMAGE) :].argmax()))
        if kinds[-1] == 0:
            assert video.equal(world[i].video)
    assert 5 <= sum(kind > 0 for kind in kinds) <= 28 and set(kinds) == {0, 1, 2, 3}


def test_judges_learn_in_worlds_of_their_own() -> None:
    seeds = {judge_world(n).seed for n in (0, 1)}
    used = {suite.PROMPT_SEED, suite.REAL_SEED, suite.REAL_SEED + 1, suite.TRAIN_SEED}
    assert len(seeds) == 2 and not seeds & used


def test_a_judge_trains_and_comes_back_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = make_judge(1, SMALL)
    records = list(train_judge(judge, seed=1, size=(9, 32, 32)))
    assert [step for step, _, _ in records] == [1, 2, 3, 4]
    assert all(np.isfinite(loss) and 0 <= right <= 1 for _, loss, right in records)
    path = tmp_path / "judge-1.safetensors"
    save_judge(judge, path, seed=1)
    monkeypatch.setattr(judges, "data_file", lambda name: tmp_path / Path(name).name)
    video = torch.rand(3, 3, 9, 32, 32)
    loaded = load_judge(1)
    torch.testing.assert_close(loaded.embed(video), judge.embed(video), rtol=0.02, atol=0.02)
    assert loaded.embed(video).shape == (3, FEATURES)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_any_size_and_length_has_features(seer: Judge) -> None:
    for shape in ((1, 32, 32), (17, 48, 96), (33, 64, 64)):
        assert seer.embed(torch.rand(2, 3, *shape)).shape == (2, FEATURES)


# ---- the suite ----


def gather(source: suite.Source, seer: Judge, config: suite.EvaluationConfig) -> dict[str, object]:
    for scores in suite.score(source, config, [seer], load_reader()):  # noqa: B007
        pass
    return suite.report(scores, config, suite.known_features(config, [seer]))


def test_references_stand_where_they_must(seer: Judge) -> None:
    reports = {n: gather(suite.REFERENCES[n], seer, CONFIG) for n in ("real", "frozen", "mean")}
    fidelity = {n: r["fidelity"]["all"]["value"] for n, r in reports.items()}  # type: ignore[index]
    assert fidelity["real"] >= 0.85 and fidelity["frozen"] <= 0.1 and fidelity["mean"] == 0
    distance = {n: r["distance"]["judge 0"]["kernel"]["value"] for n, r in reports.items()}  # type: ignore[index]
    assert distance["mean"] > 5 * abs(distance["real"])
    physics = {n: r["physics"] for n, r in reports.items()}
    assert physics["real"]["count_constant"]["value"] >= 0.9  # type: ignore[index]
    json.dumps(reports)


def test_of_a_short_prompt_only_what_it_states_counts(seer: Judge) -> None:
    config = replace(CONFIG, clips=12, level="short")
    scenes, captions = suite.prompts(config)
    for scores in suite.score(suite.real, config, [seer], load_reader()):  # noqa: B007
        pass
    assert all("digit" in counted for counted in scores.counted)
    for caption, counted in zip(captions, scores.counted, strict=True):
        assert ("background" in counted) == (" on " in f" {caption} " or "over" in caption)
    assert len(scenes) == 12


def test_a_source_may_be_a_model_or_its_vae() -> None:
    model, config = tiny_model(), replace(CONFIG, clips=3, size=(5, 32, 32))
    scenes, captions = suite.prompts(config)
    for source in (
        suite.generated(model, config, batch=2, steps=2),
        suite.reconstructed(model, batch=2),
        suite.mismatched,
        suite.shuffled,
    ):
        videos = list(source(scenes, captions))
        assert [tuple(v.shape) for v in videos] == [(3, 5, 32, 32)] * 3
    alone = model.generate(captions[2], frames=5, size=(32, 32), steps=2, seed=2).video
    made = list(suite.generated(model, config, batch=2, steps=2)(scenes, captions))
    torch.testing.assert_close(made[2], alone, rtol=0, atol=1e-4)


# ---- the command ----


def test_evaluate_prints_a_table_and_writes_every_figure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seer: Judge
) -> None:
    monkeypatch.setattr(judges, "load_judge", lambda n: seer)
    out = tmp_path / "deep" / "real.json"
    status, output, _ = run("evaluate", "--baseline", "real", "--clips", 12, "-o", out)
    assert status == 0 and output.startswith("real, 12 clips") and str(out) in output
    report = json.loads(out.read_text())
    assert report["config"]["clips"] == 12 and report["source"] == "real"
    assert report["run"] == run_facts() and len(report["distance"]) == 2
    for name, figure in report["fidelity"].items():
        assert figure["low"] <= figure["value"] <= figure["high"], name
        assert f"{name} right" in output
    assert table(report) in output


def test_a_missing_judge_is_told_in_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges, "data_file", lambda name: tmp_path / Path(name).name)
    result = run("evaluate", "--baseline", "real", "--clips", 2, "-o", tmp_path / "x.json")
    assert_one_sentence(result, "judge-0.safetensors")


# ---- the shipped judges ----


@pytest.mark.parametrize("number", [0, 1])
def test_distances_rise_with_every_kind_of_damage(number: int) -> None:
    """`benchmarks/metric_validity.py` in small: fewer clips, and two strengths of four."""
    judge, count = load_judge(number), 40
    facts = scenes(DAMAGED_SEED, count)
    world = MovingMNIST(WorldConfig(split="test", held_out="any"), seed=WHOLE_SEED)
    with torch.inference_mode():
        whole = judge.embed([world[i].video for i in range(count)])
        clean = judge.embed(damaged("", 0, facts))
        for name in list(CORRUPTIONS)[number::2]:  # each judge looks at every other kind
            steps = [judge.embed(damaged(name, strength, facts)) for strength in (2, 4)]
            zero, two, four = (kernel_distance(x, whole, 4).value for x in (clean, *steps))
            assert zero < two < four, name
