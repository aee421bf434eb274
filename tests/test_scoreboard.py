"""The benchmarks behind the scoreboard: lines fitted, times compared, futures predicted, tables written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import MINI, randomize

from benchmarks import eyes
from benchmarks.ladder import RUNGS, SEEDS, name_of, time_to_quality
from benchmarks.prediction import ASKED, clips, figures, futures
from benchmarks.scaling import fit_line, frontier
from minisora.captioner import Captioner
from minisora.captioner_preset import CAPTIONER
from minisora.model import MiniSora
from minisora.recipe import model_config
from minisora.worlds import MovingMNIST, WorldConfig
from runs import scoreboard


def run(distances: list[float], pace: float) -> dict[str, Any]:
    moments = enumerate(distances, 1)
    return {"curve": [{"seconds": pace * i, "kernel_distance": d} for i, d in moments]}


def test_time_to_quality_compares_with_the_best_the_baseline_reaches() -> None:
    best = {RUNGS[0].name: 1e-3, RUNGS[-1].name: 3e-3}
    known = {}
    for seed in SEEDS:
        known[name_of(RUNGS[0], 1e-3, seed)] = run([0.9, 0.5, 0.6], 10)
        known[name_of(RUNGS[-1], 3e-3, seed)] = run([0.8, 0.4, 0.1] if seed else [0.9] * 3, 4)
    found = time_to_quality(known, best)
    assert found["seed 1"] == {
        "baseline": 0.5, "baseline_seconds": 20, "seconds": 8, "times_faster": 2.5,
        "at_first_look": False,
    }  # fmt: skip
    assert found["seed 0"]["seconds"] is None
    text = scoreboard.time_to_quality(found)
    assert "2.5 times sooner" in text and "more than the whole time" in text


def test_scaling_fits_a_power_law_and_keeps_what_nothing_cheaper_beats() -> None:
    flops = np.array([1e12, 4e12, 3.2e13])
    slope, intercept = fit_line(flops, 5 * flops**-0.25)
    assert slope == pytest.approx(-0.25) and 10**intercept == pytest.approx(5)
    runs = [{"flops": f, "kernel_distance": d} for f, d in ((3, 0.5), (1, 0.9), (2, 0.95))]
    assert [r["flops"] for r in frontier(runs)] == [1, 3]


def test_futures_differ_and_a_true_answer_has_no_error() -> None:
    model = MiniSora(model_config(MINI)).eval()
    randomize(model.net)
    origin, video = clips(2)
    assert video.shape == (2, 1, 20, 64, 64) and origin
    made = futures(model, video[0], samples=2, seed=0, pag_scale=0.0)
    assert made.shape == (2, 1, ASKED, 64, 64) and not torch.equal(made[0], made[1])
    truth = video[:, :, -ASKED:]
    perfect, wrong = figures(truth, truth), figures(1 - truth, truth)
    assert perfect["mse"]["value"] == 0 and perfect["ssim"]["value"] == pytest.approx(1)  # type: ignore[index]
    assert wrong["mse"]["value"] > 1000 and len(wrong["mse_by_frame"]) == ASKED  # type: ignore


def test_a_part_that_is_not_measured_whole_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)
    assert "Not measured yet" in scoreboard.scoreboard()
    (tmp_path / "scaling.json").write_text(json.dumps({"runs": {}}))
    assert "Not measured yet" in scoreboard.scoreboard()
    (tmp_path / "scaling.json").write_text(
        json.dumps({"runs": {"a": 1, "b": 2}, "fit": {"slope": -0.25}})
    )
    assert "2 models" in scoreboard.scoreboard() and "-0.25" in scoreboard.scoreboard()


def test_the_benchmark_of_eyes_reads_the_likeliest_value_by_all_its_words() -> None:
    captioner = Captioner(CAPTIONER.config)
    p = torch.zeros(len(captioner.tokenizer))
    for word, chance in (("3", 0.3), ("7", 0.2), ("seven", 0.2), ("red", 0.1), ("little", 0.2)):
        p[int(captioner.tokenizer.encode(word)[0])] = chance
    found = {name: eyes.read(captioner, p, name) for name in eyes.WORDS}
    assert found == {"color": "red", "label": 7, "size": "small"}
    scenes = [MovingMNIST(WorldConfig(1, 32, 32, max_digits=1), seed=6).scene(i) for i in range(2)]
    shares = eyes.figures(captioner.eval(), torch.rand(2, 3, 1, 32, 32), scenes)
    assert all(share["count"] == 2 for share in shares.values())
