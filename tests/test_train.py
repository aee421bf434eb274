"""The training loop: it learns, it stops at a NaN, and a run interrupted anywhere ends in the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from tiny import MINI, assert_same_bits, generator, randomize, state_of, tiny_vae
from torch import Tensor, nn

from minisora import latents, objectives
from minisora.checkpoint import load_state, saved_steps
from minisora.config import TrainConfig
from minisora.latents import LatentDataset
from minisora.network import TextToLatent
from minisora.objectives import diffusion_objective, random_crops, vae_objective
from minisora.presets import TINY, Preset
from minisora.recipe import build_all_latents, phased_objective
from minisora.train import DivergedError, Objective, Record, Trainer, fit, step_generator
from minisora.vae import VideoVAE
from minisora.worlds import VOCABULARY, MovingMNIST, WorldConfig

CONFIG = TrainConfig(steps=60, batch=16, lr=2e-2, warmup=5, checkpoint_every=7)


def small_net() -> nn.Module:
    """Has a matrix for Muon (its name says `blocks.`) and weights for AdamW."""
    net = nn.ModuleDict(
        {
            "in": nn.Linear(4, 16),
            "blocks": nn.ModuleList([nn.Linear(16, 16)]),
            "out": nn.Linear(16, 1),
        }
    )
    return randomize(net, seed=3)


def regression(net: nn.Module, batch: int = 16) -> Objective:
    """Learn the sum of four numbers."""

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(batch, 4, generator=generator)
        guess = net["out"](net["blocks"][0](net["in"](x).tanh()).tanh())[:, 0]
        loss = (guess - x.sum(1)).square().mean()
        return loss, {"step": float(step)}

    return objective


def run(trainer: Trainer, objective: Objective, folder: Path | None = None) -> list[Record]:
    return list(fit(trainer, objective, folder))


# ---- learning ----


@pytest.mark.parametrize("muon", [True, False])
def test_the_loss_falls_and_every_step_is_reported(muon: bool) -> None:
    net = small_net()
    config = dataclasses.replace(CONFIG, muon=muon)
    records = run(Trainer(net, config), regression(net))
    assert [r.step for r in records] == list(range(1, 61))
    assert sum(r.loss for r in records[-5:]) < 0.2 * sum(r.loss for r in records[:5])
    assert [r.lr for r in records[:5]] == pytest.approx([2e-2 * i / 5 for i in range(1, 6)])
    assert records[-1].lr < records[30].lr == 2e-2
    for r in records:
        assert r.grad_norm > 0 and r.seconds > 0
        assert r.clips_per_second == pytest.approx(16 / r.seconds)
        assert r.parts == {"step": r.step - 1}


def test_the_gradient_is_clipped_and_its_true_length_reported() -> None:
    net = nn.Linear(4, 1)
    config = dataclasses.replace(CONFIG, clip_norm=0.01)

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return 1000 * net(torch.ones(4)).sum(), {}

    record = Trainer(net, config).train_step(objective)
    assert record.grad_norm == pytest.approx(1000 * 5**0.5)
    lengths = [p.grad.norm() for p in net.parameters() if p.grad is not None]
    assert torch.stack(lengths).norm() == pytest.approx(0.01, rel=1e-4)


def test_every_step_has_random_numbers_of_its_own() -> None:
    draws = {
        (seed, step): float(torch.rand((), generator=step_generator(seed, step)))
        for seed in range(4)
        for step in range(50)
    }
    assert len(set(draws.values())) == 200
    assert draws[2, 7] == float(torch.rand((), generator=step_generator(2, 7)))


def test_the_average_is_what_is_shipped_and_buffers_come_along() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    trainer = Trainer(net, CONFIG)
    trainer.ema.shadow["0.bias"].fill_(5.0)
    averaged = trainer.averaged()
    assert averaged.keys() == net.state_dict().keys()
    assert averaged["0.bias"].eq(5).all() and not net[0].bias.eq(5).any()


# ---- a loss that is no number ----


def spoiled(objective: Objective, at: int, how: str) -> Objective:
    def spoil(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        loss, parts = objective(step, generator)
        if step == at:
            loss = loss * float("nan") if how == "nan" else (loss - loss.detach()).abs().sqrt()
        return loss, parts

    return spoil


@pytest.mark.parametrize("how", ["nan", "gradient"])  # a loss of nan; a finite one of no slope
def test_divergence_stops_with_a_message_and_harms_nothing(tmp_path: Path, how: str) -> None:
    net = small_net()
    trainer = Trainer(net, CONFIG)
    with pytest.raises(DivergedError, match=r"Step 18: loss .*last checkpoint is kept.*0\.02") as e:
        run(trainer, spoiled(regression(net), 17, how), tmp_path)
    assert "\n" not in str(e.value)
    assert trainer.step == 17
    healthy = small_net()
    wanted = Trainer(healthy, CONFIG)
    for _ in range(17):
        wanted.train_step(regression(healthy))
    assert_same_bits(state_of(trainer), state_of(wanted))  # the last good step, untouched
    again = Trainer(small_net(), CONFIG)
    assert again.restore(tmp_path) and again.step == 14
    run(again, regression(again.module), tmp_path)
    assert again.step == 60 and all(v.isfinite().all() for v in state_of(again).values())


# ---- interrupted == never interrupted ----


def assert_resumes_exactly(
    build: Callable[[int], tuple[nn.Module, Objective]],
    config: TrainConfig,
    stops: tuple[int, ...],
    folder: Path,
) -> None:
    """`build(seed)` makes the module, its first weights from `seed`, and the objective on it."""
    config = dataclasses.replace(config, checkpoint_every=1)
    module, objective = build(0)
    whole = Trainer(module, config)
    run(whole, objective)
    assert not whole.restore(folder)  # nothing there yet
    trainer = whole
    for part, stop in enumerate([*stops, config.steps]):
        # Other first weights and another global seed: all that counts must come from the folder.
        module, objective = build(part)
        torch.manual_seed(1234 + part)
        trainer = Trainer(module, config)
        assert trainer.restore(folder) == (part > 0)
        for record in fit(trainer, objective, folder):
            if record.step == stop:
                break
    assert trainer.step == config.steps
    assert_same_bits(state_of(trainer), state_of(whole))
    for ours, theirs in zip(trainer.optimizers, whole.optimizers, strict=True):
        assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]


def test_the_vae_resumes_exactly(tmp_path: Path) -> None:
    size = MINI.vae_size
    world = MovingMNIST(WorldConfig(size.frames, size.height, size.width), seed=1)
    config = MINI.vae_train

    def build(seed: int) -> tuple[nn.Module, Objective]:
        torch.manual_seed(seed)
        vae = VideoVAE(MINI.vae)
        return vae, vae_objective(vae, world, config.batch, config.steps, MINI.vae_crop)

    assert_resumes_exactly(build, config, (1, 4, 6), tmp_path)  # the crops grow at step 7


def test_the_transformer_resumes_exactly(tmp_path: Path, dataset: LatentDataset) -> None:
    config = MINI.train

    def build(seed: int) -> tuple[nn.Module, Objective]:
        torch.manual_seed(seed)
        net = TextToLatent(MINI.text, MINI.dit, VOCABULARY)
        return net, diffusion_objective(net, dataset, config.batch, MINI.flow)

    assert_resumes_exactly(build, config, (1, 2, 5, 8), tmp_path)


def test_a_run_that_is_done_stays_done(tmp_path: Path) -> None:
    net = small_net()
    first = Trainer(net, CONFIG)
    run(first, regression(net), tmp_path)
    assert saved_steps(tmp_path) == [60, 56]  # the end counts, even off the beat
    again = Trainer(small_net(), CONFIG)
    assert again.restore(tmp_path) and run(again, regression(again.module), tmp_path) == []
    assert_same_bits(state_of(again), state_of(first))


def other(value: float | bool) -> float | bool:
    return (not value) if isinstance(value, bool) else value + 1


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(TrainConfig)])
def test_another_configuration_is_refused(tmp_path: Path, field: str) -> None:
    config = dataclasses.replace(CONFIG, steps=12)
    net = small_net()
    run(Trainer(net, config), regression(net), tmp_path)
    changed = dataclasses.replace(config, **{field: other(getattr(config, field))})
    trainer = Trainer(small_net(), changed)
    before = state_of(trainer)
    if field == "checkpoint_every":  # says when to save, not what to compute
        assert trainer.restore(tmp_path)
        return
    with pytest.raises(ValueError, match=f"other settings .*{field}: .* -> ") as error:
        trainer.restore(tmp_path)
    assert "\n" not in str(error.value)
    assert_same_bits(state_of(trainer), before)


def test_a_run_may_be_made_longer_until_its_cooldown_begins(tmp_path: Path) -> None:
    long = dataclasses.replace(CONFIG, steps=90)
    straight = Trainer(small_net(), long)
    run(straight, regression(straight.module))
    begun = Trainer(small_net(), CONFIG)  # 60 steps, cool-down from step 42
    records = fit(begun, regression(begun.module), tmp_path)
    while begun.step < 40:
        next(records)
    resumed = Trainer(small_net(), long)
    assert resumed.restore(tmp_path)
    run(resumed, regression(resumed.module))
    assert_same_bits(state_of(resumed), state_of(straight))


def test_another_network_is_refused_in_one_sentence(tmp_path: Path) -> None:
    net = small_net()
    config = dataclasses.replace(CONFIG, steps=1)
    run(Trainer(net, config), regression(net), tmp_path)
    with pytest.raises(ValueError, match="another network") as error:
        Trainer(nn.Linear(3, 3), config).restore(tmp_path)
    assert "\n" not in str(error.value)


# ---- objectives ----


def test_crops_are_windows_of_their_clips_on_the_grid() -> None:
    world = MovingMNIST(WorldConfig(9, 48, 64), seed=2)
    crops = random_crops(world, 5, 4, (5, 32, 32), 8, generator())
    assert crops.shape == (4, 3, 5, 32, 32)
    for i, crop in enumerate(crops):
        clip = world[5 + i].video
        places = [
            (t, y, x)
            for t in range(5)
            for y in range(0, 17, 8)
            for x in range(0, 33, 8)
            if clip[:, t : t + 5, y : y + 32, x : x + 32].equal(crop)
        ]
        assert places
    again = random_crops(world, 5, 4, (5, 32, 32), 8, generator())
    assert again.equal(crops)


@pytest.mark.parametrize("preset", [TINY, MINI], ids=["tiny", "mini"])
def test_crops_grow_at_the_end_as_far_as_the_world_allows(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, shapes = preset.vae_size, []
    world = MovingMNIST(WorldConfig(size.frames, size.height, size.width), seed=1)
    vae = VideoVAE(MINI.vae)
    encode = vae.posterior
    monkeypatch.setattr(vae, "posterior", lambda v: shapes.append(tuple(v.shape)) or encode(v))
    objective = vae_objective(vae, world, 4, 100, preset.vae_crop)
    for step in (0, 84, 85, 99):
        loss, parts = objective(step, generator())
        assert loss.isfinite() and parts.keys() == {"psnr", "kl"}
    frames, height, width = preset.vae_crop
    late = (max(1, 4 * height * width // (size.height * size.width)), 3, frames, size.height)
    assert shapes[:2] == [(4, 3, frames, height, width)] * 2
    assert shapes[2:] == [(*late, size.width)] * 2


def test_the_vae_objective_is_the_sum_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the noise known, the loss follows by hand; in fp32 on every machine."""
    monkeypatch.setattr(objectives, "autocast", lambda device: nullcontext())
    world = MovingMNIST(WorldConfig(5, 32, 32), seed=1)
    vae = VideoVAE(dataclasses.replace(MINI.vae, kl_weight=0.7))
    loss, parts = vae_objective(vae, world, 2, 100, (5, 32, 32))(0, generator())
    g = generator()
    video = random_crops(world, 0, 2, (5, 32, 32), 8, g)
    q = vae.posterior(video)
    decoded = vae.decode(q.sample(g))
    mse = (2 * (decoded - video)).square().mean()
    wanted = mse + 0.1 * (2 * (decoded - video)).abs().mean() + 0.7 * q.kl()
    torch.testing.assert_close(loss, wanted)
    assert parts["kl"] == pytest.approx(q.kl().item(), rel=1e-4)
    psnr = 10 * torch.log10(1 / (decoded - video).square().mean()).item()
    assert parts["psnr"] == pytest.approx(psnr, rel=1e-4)


def test_the_diffusion_objective_learns(dataset: LatentDataset) -> None:
    torch.manual_seed(0)
    net = TextToLatent(MINI.text, MINI.dit, VOCABULARY)
    config = TrainConfig(steps=30, batch=8, lr=5e-3, warmup=3)
    objective = diffusion_objective(net, dataset, 8, MINI.flow)

    def mean_loss() -> float:  # always on the same clips, noise and levels
        with torch.no_grad():
            return sum(objective(i, generator(1000 + i))[0].item() for i in range(6)) / 6

    before = mean_loss()
    records = run(Trainer(net, config), objective)
    assert mean_loss() < 0.75 * before
    assert all(r.parts["tokens"] >= 8 * (8 + 6) for r in records)  # 8 of text, 6 or more of video
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without


def test_each_phase_trains_on_its_own_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "SHARD", 10)
    for _ in build_all_latents(MINI, tiny_vae(), tmp_path):
        pass
    names = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert names == {"1x32x32", "5x32x32", "1x32x48"}
    net = TextToLatent(MINI.text, MINI.dit, VOCABULARY)
    records = run(Trainer(net, MINI.train), phased_objective(net, MINI, tmp_path))
    first, last = MINI.phases
    assert first.steps + last.steps == MINI.train.steps == len(records)
    clips = [record.parts["clips"] for record in records]
    assert clips == [first.batch] * first.steps + [last.batch] * last.steps
    assert all(r.clips_per_second == pytest.approx(r.parts["clips"] / r.seconds) for r in records)
    video = 4  # tokens of a 32x32 image; whatever else the sequence holds is text
    assert all((r.parts["tokens"] - video * first.batch) % 8 == 0 for r in records[: first.steps])


# ---- SIGKILL ----

# A forked child resumes and trains, one step and one checkpoint after the other, until it is killed:
# from outside (-1), or by itself when it is about to touch the file system for the n-th time (n > 0);
# with 0 it may live to the end.
SURVIVOR = """
import os, signal, sys, time, torch
import torch._dynamo  # which every optimizer loads: once here, not in each child
sys.path.insert(0, sys.argv[2])
from test_train import KILL_CONFIG, Trainer, fit, regression, small_net
from pathlib import Path
folder = Path(sys.argv[1])

def die_at(n):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "fsync") and str(folder) in str(arguments):
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
    real = os.fsync
    os.fsync = lambda handle: (sys.audit("fsync", str(folder)), real(handle))
    sys.addaudithook(hook)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        torch.manual_seed(os.getpid())
        net = small_net()
        trainer = Trainer(net, KILL_CONFIG)
        trainer.restore(folder)
        learn = regression(net)
        def slow(step, generator):  # so that a fast machine has not finished before the last kill
            time.sleep(0.001)
            return learn(step, generator)
        print(f"pid {os.getpid()}", flush=True)
        if int(line) > 0:
            die_at(int(line))
        for record in fit(trainer, slow, folder):
            print(record.step, flush=True)
        if int(line):
            time.sleep(600)  # to be killed it must still be there
        os._exit(0)
    print(f"end {os.waitpid(child, 0)[1]}", flush=True)
"""
KILL_CONFIG = TrainConfig(steps=500, batch=4, lr=1e-2, warmup=20, checkpoint_every=1)


def digest(tensors: dict[str, Tensor]) -> str:
    parts = (name.encode() + value.numpy().tobytes() for name, value in sorted(tensors.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_twenty_times_equals_never_killed(tmp_path: Path) -> None:
    """Ten kills at a random moment, ten in the middle of writing; every state on the way is exact."""
    trainer = Trainer(small_net(), KILL_CONFIG)
    objective = regression(trainer.module)
    wanted = {record.step: digest(state_of(trainer)) for record in fit(trainer, objective)}

    rng, last, kills, torn = random.Random(0), 0, 0, 0
    process = subprocess.Popen(
        [sys.executable, "-c", SURVIVOR, str(tmp_path), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    with process:
        assert process.stdin is not None and process.stdout is not None

        def survive(touch: int, delay: float | None) -> int:
            """Start a child; returns its exit status. Updates the newest step reported as saved."""
            nonlocal last
            print(touch, file=process.stdin, flush=True)
            answer = process.stdout.readline().split()
            assert answer[0] == "pid"  # or it failed, and there is no one to kill
            if delay is not None:
                time.sleep(delay)
                os.kill(int(answer[1]), signal.SIGKILL)
            while not (line := process.stdout.readline()).startswith("end"):
                last = int(line)
            return int(line.split()[1])

        moments: list[tuple[int, float | None]] = [
            (n, None) for n in (1, 2, 3, 5, 7, 9, 12, 17, 26, 40)
        ]
        moments += [(-1, rng.uniform(0.0, 0.05)) for _ in range(10)]
        rng.shuffle(moments)
        for touch, delay in moments:
            kills += survive(touch, delay) == signal.SIGKILL
            torn += bool(list(tmp_path.glob(".step-*.tmp")))
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a kill must not even leave a damaged state
                found = load_state(tmp_path)
            step = 0 if found is None else found.step
            assert step >= last  # what was reported as saved is there
            if step:
                resumed = Trainer(small_net(), KILL_CONFIG)
                assert resumed.restore(tmp_path)
                assert digest(state_of(resumed)) == wanted[step]
        assert kills == 20 and torn > 0
        assert survive(0, None) == 0 and last == KILL_CONFIG.steps
        process.stdin.close()
    final = Trainer(small_net(), KILL_CONFIG)
    assert final.restore(tmp_path)
    assert_same_bits(state_of(final), state_of(trainer))
