"""The training loop: one generator for every network of the package.

`fit` trains a module on an objective and yields a `Record` a step, so that the caller owns the progress bar,
the plot and the decision to stop. It stands above all networks and knows none of them: what is learned is
the objective's business (`objectives`), what is read is the dataset's (`latents`, `worlds`).

A run is a function of (config, seed) alone: every random number of step n comes from a generator seeded with
(seed, n). A run killed at any step and resumed therefore ends in the same bits as one never killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisora.checkpoint import flatten_optimizer, load_state, save_state, unflatten_optimizer
from minisora.config import TrainConfig
from minisora.optim import PowerEMA, learning_rate, make_optimizers

Objective = Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]
"""(step, generator) -> (scalar loss, named parts to log). All its randomness comes from the generator.

A part called "clips" says how many clips the step held, where that is not `TrainConfig.batch`."""


class DivergedError(RuntimeError):
    """The loss is no longer a number; the last checkpoint on disk is still good."""


@dataclass(frozen=True)
class Record:
    """What one step reports.

    Attributes:
        step: steps done, from 1.
        loss: the objective, averaged over the batch.
        lr: step size used.
        grad_norm: length of the gradient before clipping.
        seconds: wall-clock of this step.
        clips_per_second: clips in the batch / seconds.
        parts: what the objective names beside its loss.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float
    clips_per_second: float
    parts: dict[str, float] = field(default_factory=dict)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of all random numbers of one step. On the CPU, so that every device draws the same."""
    return torch.Generator().manual_seed((seed + 1) * 1_000_003 + step)


class Trainer:
    """A module with its optimizers and averaged weights; knows how to step, save and restore.

    Args:
        module: what to train.
        config: how.
        facts: what else fixes the run, JSON-able, e.g. the data it is trained on; a checkpoint of other
            facts is not resumed.
    """

    def __init__(
        self, module: nn.Module, config: TrainConfig, facts: dict[str, Any] | None = None
    ) -> None:
        self.module, self.config = module, config
        self.settings = json.loads(json.dumps(asdict(config) | (facts or {})))  # as it is read back
        del self.settings["checkpoint_every"]  # changes no number
        self.optimizers = make_optimizers(
            module, config.lr, config.weight_decay, config.muon, config.muon_convs
        )
        self.ema = PowerEMA(module, config.ema_gamma)
        self.step = 0

    def train_step(self, objective: Objective) -> Record:
        """One optimizer step on `objective`.

        Raises:
            DivergedError: if loss or gradient is not finite; the weights are left as they were.
        """
        started, config = time.perf_counter(), self.config
        factor = learning_rate(self.step, config.steps, config.warmup, config.cooldown)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * factor
        loss, parts = objective(self.step, step_generator(config.seed, self.step))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise DivergedError(
                f"Step {self.step + 1}: loss {loss.item()}, gradient norm {norm.item()}. Training stopped and the "
                f"last checkpoint is kept; resume from it with a smaller lr (this run used {config.lr})."
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.ema.update(self.module, self.step)
        seconds = time.perf_counter() - started
        return Record(
            self.step,
            loss.item(),
            config.lr * factor,
            norm.item(),
            seconds,
            parts.get("clips", config.batch) / seconds,
            parts,
        )

    def save(self, folder: Path) -> None:
        """Write weights, averaged weights and optimizer states to `folder`, atomically."""
        tensors = {f"model.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.shadow.items()}
        states = []
        for i, optimizer in enumerate(self.optimizers):
            flat, rest = flatten_optimizer(optimizer.state_dict())
            tensors |= {f"optimizer{i}.{k}": v for k, v in flat.items()}
            states.append(rest)
        save_state(folder, self.step, tensors, {"settings": self.settings, "optimizers": states})

    def restore(self, folder: Path) -> bool:
        """Continue from the newest checkpoint in `folder` that verifies; False if there is none.

        A run may be made longer or shorter until its cool-down begins: so far it is then the same run.

        Raises:
            CheckpointError: if there are checkpoints and none can be read.
            ValueError: if the checkpoint belongs to a run with another configuration.
        """
        found = load_state(folder)
        if found is None:
            return False
        step, tensors, meta = found
        theirs, ours = meta["settings"], self.settings
        changed = [k for k in ours if theirs.get(k) != ours[k]]
        if set(changed) <= {"steps", "cooldown"} and same_rates(theirs, ours, step):
            changed = []
        if changed:
            listed = ", ".join(f"{k}: {theirs.get(k)} -> {ours[k]}" for k in changed)
            raise ValueError(
                f"{folder} holds a run with other settings ({listed}); use another folder or these."
            )
        try:
            self.module.load_state_dict(part(tensors, "model."))
        except RuntimeError as error:  # its message lists every tensor
            raise ValueError(
                f"{folder} holds a run of another network; use another folder or that network's settings."
            ) from error
        self.ema.shadow = {
            k: v.to(self.ema.shadow[k].device) for k, v in part(tensors, "ema.").items()
        }
        for i, optimizer in enumerate(self.optimizers):
            flat = part(tensors, f"optimizer{i}.")
            optimizer.load_state_dict(unflatten_optimizer(flat, meta["optimizers"][i]))
        self.step = step
        return True

    def averaged(self) -> dict[str, Tensor]:
        """State dict with the averaged weights in place of the last ones; buffers as they are."""
        return self.module.state_dict() | self.ema.shadow


def same_rates(theirs: dict[str, Any], ours: dict[str, Any], steps: int) -> bool:
    """Whether two runs' settings gave the same step sizes in the first `steps` steps."""
    schedules = [(s["steps"], s["warmup"], s["cooldown"]) for s in (theirs, ours)]
    return all(
        learning_rate(n, *schedules[0]) == learning_rate(n, *schedules[1]) for n in range(steps)
    )


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose name begins with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def fit(trainer: Trainer, objective: Objective, folder: Path | None = None) -> Iterator[Record]:
    """Train to the end of the schedule, yielding a `Record` after every step.

    Args:
        trainer: fresh, or restored from a checkpoint: it goes on where it stands.
        objective: see `Objective`.
        folder: where checkpoints go every `checkpoint_every` steps and at the end; None writes none.
    """
    config = trainer.config
    while trainer.step < config.steps:
        record = trainer.train_step(objective)
        if folder is not None and (
            record.step % config.checkpoint_every == 0 or record.step == config.steps
        ):
            trainer.save(folder)
        yield record
