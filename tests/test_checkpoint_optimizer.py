"""Optimizer states go through a checkpoint without losing a bit."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minisora.checkpoint import (
    flatten_optimizer,
    load_state,
    save_state,
    unflatten_optimizer,
)

exactly_equal = partial(torch.testing.assert_close, rtol=0, atol=0)


def make(
    kind: str,
) -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 4, bias=False))
    groups = [
        {"params": [p], "lr": lr} for p, lr in zip(model.parameters(), (0.02, 0.01), strict=True)
    ]
    optimizer = {
        "adamw": lambda: torch.optim.AdamW(groups, betas=(0.8, 0.95), amsgrad=True),
        "muon": lambda: torch.optim.Muon(groups),
        "sgd": lambda: torch.optim.SGD(groups, momentum=0.9, nesterov=True),
        "plain sgd": lambda: torch.optim.SGD(groups),
    }[kind]()
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.7)


def train(model: nn.Module, optimizer: Any, schedule: Any, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(inputs) - inputs[:, :4].sin()).square().mean().backward()
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd", "plain sgd"])
def test_restored_optimizer_trains_on_bit_for_bit(tmp_path: Path, kind: str) -> None:
    straight = make(kind)
    train(*straight, range(5))
    tensors, skeleton = flatten_optimizer(straight[1].state_dict())
    tensors = {f"optimizer.{name}": tensor for name, tensor in tensors.items()}
    tensors |= {f"model.{name}": tensor for name, tensor in straight[0].state_dict().items()}
    save_state(tmp_path, 5, tensors, {"optimizer": skeleton, "schedule": straight[2].state_dict()})

    state = load_state(tmp_path)
    parts = {
        part: {
            name.removeprefix(part): t for name, t in state.tensors.items() if name.startswith(part)
        }
        for part in ("model.", "optimizer.")
    }
    restored = unflatten_optimizer(parts["optimizer."], state.meta["optimizer"])
    original = straight[1].state_dict()
    assert restored["param_groups"] == original["param_groups"]  # tuples are tuples again
    assert restored["state"].keys() == original["state"].keys()  # and parameter numbers numbers
    resumed = make(kind)
    resumed[0].load_state_dict(parts["model."])
    resumed[1].load_state_dict(restored)
    resumed[2].load_state_dict(state.meta["schedule"])

    train(*straight, range(5, 10))
    train(*resumed, range(5, 10))
    final = [flatten_optimizer(run[1].state_dict()) for run in (straight, resumed)]
    assert final[0][1] == final[1][1]
    exactly_equal(final[0][0], final[1][0])
    exactly_equal(straight[0].state_dict(), resumed[0].state_dict())


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers(0, 9) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(nested)
def test_any_nesting_survives_json(value: object) -> None:
    tensors, skeleton = flatten_optimizer({"state": value})
    restored = unflatten_optimizer(tensors, json.loads(json.dumps(skeleton)))
    assert restored == {"state": value} and repr(restored) == repr({"state": value})
