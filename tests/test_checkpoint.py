"""Checkpoints survive what disks and schedulers do: kills, truncation, flipped bits, full disks."""

import random
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minisora.checkpoint import (
    CheckpointError,
    load_state,
    load_weights,
    read_config,
    save_state,
    save_weights,
    saved_steps,
)
from minisora.sealed import write_atomic

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
DTYPES = [*FLOATS, torch.int64, torch.uint8, torch.bool, torch.complex64]
CONFIG = {"width": 192, "name": "klein\u00e9 \u2603", "sha256": "0" * 64, "deep": {"eps": 1e-6}}


def random_bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Any bit pattern, so NaN payloads, infinities, subnormals and -0.0 too."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).bool()
    size = torch.empty((), dtype=dtype).element_size()
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (*shape, size), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(shape)


def same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    flat = [x.contiguous().reshape(-1).view(torch.uint8) for x in (a, b)]
    return torch.equal(*flat)


def state_of(step: int, size: int = 50) -> dict[str, Tensor]:
    return {
        "model.weight": torch.full((size,), float(step)),
        "optimizer.state.0.step": torch.tensor(float(step)),
        "rng": torch.arange(16, dtype=torch.uint8),
    }


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def one_sentence(error: object) -> bool:
    text = str(error)
    return "\n" not in text and text.endswith(".") and len(text) < 400


# ---- round trips ----


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(DTYPES),
            st.lists(st.integers(0, 5), max_size=4).map(tuple),
            st.integers(0, 2**31),
        ),
        max_size=5,
    )
)
def test_round_trip_is_bit_exact(
    tmp_path_factory: pytest.TempPathFactory, specs: list[tuple[torch.dtype, tuple, int]]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    tensors = {
        f"t.{i}": random_bits(shape, dtype, seed) for i, (dtype, shape, seed) in enumerate(specs)
    }
    save_weights(folder / "w.safetensors", tensors, CONFIG)
    loaded, config = load_weights(folder / "w.safetensors", dtype=None)
    save_state(folder, 3, tensors, {"sha256": "1" * 64, "loss": 0.1 + 0.2})
    state = load_state(folder)
    assert state is not None and state.step == 3
    assert state.meta == {"sha256": "1" * 64, "loss": 0.1 + 0.2}
    assert config == CONFIG == read_config(folder / "w.safetensors")
    for result in (loaded, state.tensors):
        assert result.keys() == tensors.keys()
        assert all(same_bits(result[name], tensors[name]) for name in tensors)


def test_odd_memory_layouts_are_saved(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "whole": base,
        "tied": base,
        "slice": base[:, 1],
        "transposed": base.transpose(0, 2),
        "expanded": torch.ones(1).expand(5),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    save_weights(tmp_path / "w", tensors, {})
    loaded, _ = load_weights(tmp_path / "w")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert not any(tensor.requires_grad for tensor in loaded.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shipping_casts_floats_only_and_loads_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([2**40 + 1])
    save_weights(tmp_path / "full", {"w": weight, "steps": steps}, {})
    save_weights(tmp_path / "half", {"w": weight, "steps": steps}, {}, dtype=dtype)
    loaded, _ = load_weights(tmp_path / "half")
    assert loaded["w"].dtype == torch.float32 and torch.equal(loaded["steps"], steps)
    assert torch.equal(loaded["w"], weight.to(dtype).float())
    assert load_weights(tmp_path / "half", dtype=None)[0]["w"].dtype == dtype
    saved = (tmp_path / "full").stat().st_size - (tmp_path / "half").stat().st_size
    assert abs(saved - 2 * weight.numel()) < 64


def test_same_content_gives_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        save_weights(tmp_path / name, state_of(1), CONFIG)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- damage ----


def damaged(data: bytes, dense: int) -> list[bytes]:
    """Truncations and single-byte changes: the first `dense` offsets, then a sample."""
    rng = random.Random(0)
    offsets = {*range(min(dense, len(data))), len(data) - 1, *rng.choices(range(len(data)), k=200)}
    flips = [data[:i] + bytes([data[i] ^ (1 << rng.randrange(8))]) + data[i + 1 :] for i in offsets]
    # A space may become a tab in JSON without any parser objecting.
    blanks = [data[:i] + b"\t" + data[i + 1 :] for i in offsets if data[i : i + 1] == b" "]
    return [data[:i] for i in offsets] + flips + blanks + [data + b"\0"]


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, state_of(1, size=400), CONFIG)
    data = path.read_bytes()
    for bad in damaged(data, dense=len(data) - 1600):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError) as error:
            load_weights(path)
        assert one_sentence(error.value)
        if len(bad) < len(data):
            with pytest.raises(CheckpointError):
                read_config(path)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_damaged_state_falls_back_to_the_previous_one(tmp_path: Path, suffix: str) -> None:
    save_state(tmp_path, 10, state_of(10), {"lr": 0.1})
    newest = save_state(tmp_path, 20, state_of(20), {"lr": 0.2}).with_suffix(suffix)
    data = newest.read_bytes()
    for bad in damaged(data, dense=300):
        newest.write_bytes(bad)
        with pytest.warns(UserWarning, match="20 is skipped") as caught:
            state = load_state(tmp_path)
        assert len(caught) == 1 and one_sentence(caught[0].message)
        assert state is not None and state.step == 10 and state.meta == {"lr": 0.1}
        assert torch.equal(state.tensors["model.weight"], torch.full((50,), 10.0))
    newest.unlink()
    if suffix == ".safetensors":
        with pytest.warns(UserWarning, match="20 is skipped"):
            assert load_state(tmp_path).step == 10
    else:  # without its JSON file, a state was never finished
        assert load_state(tmp_path).step == 10


def test_swapped_tensors_are_refused(tmp_path: Path) -> None:
    """A whole file in the place of another: its own seal is right, but it is the wrong step."""
    for step in (1, 2):
        save_state(tmp_path, step, state_of(step), {})
    old = (tmp_path / "step-00000001.safetensors").read_bytes()
    (tmp_path / "step-00000002.safetensors").write_bytes(old)
    with pytest.warns(UserWarning, match="not the one"):
        assert load_state(tmp_path).step == 1


def test_nothing_and_nothing_readable_differ(tmp_path: Path) -> None:
    assert load_state(tmp_path / "absent") is None
    assert load_state(tmp_path) is None
    (tmp_path / "step-00000007.safetensors").write_bytes(b"killed before its JSON file")
    assert load_state(tmp_path) is None
    (tmp_path / "step-00000007.json").write_bytes(b"{}")
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="None of the 1"):
        load_state(tmp_path)


def test_training_goes_on_over_a_damaged_later_state(tmp_path: Path) -> None:
    for step in (10, 20):
        save_state(tmp_path, step, state_of(step), {})
    weights = tmp_path / "step-00000020.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    save_state(tmp_path, 15, state_of(15), {})
    assert saved_steps(tmp_path) == [15, 10]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_state(tmp_path).step == 15


# ---- the folder ----


def test_keeps_the_newest_and_sweeps_leftovers(tmp_path: Path) -> None:
    others = ["notes.txt", "step-00000001.png", "samples-step-00000001.json"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    for name in (".step-00000004.json.99.tmp", "step-00000003.safetensors"):
        (tmp_path / name).write_bytes(b"left by a killed process")
    for step in range(5, 10):
        save_state(tmp_path, step, state_of(step), {}, keep=3)
    steps = [f"step-0000000{i}.{suffix}" for i in (7, 8, 9) for suffix in ("json", "safetensors")]
    assert files_of(tmp_path) == sorted(others + steps)


def test_a_step_can_be_saved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a resume. A kill between its two files must not harm the first copy."""
    for value in range(4):
        save_state(tmp_path, 5, {"x": torch.tensor(value)}, {"value": value})
        state = load_state(tmp_path)
        assert state.meta == {"value": value} and state.tensors["x"] == value
        assert len(files_of(tmp_path)) == 2

    class Killed(BaseException):
        pass

    def die_at_json(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise Killed
        write_atomic(path, data)

    monkeypatch.setattr("minisora.checkpoint.write_atomic", die_at_json)
    monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: None)  # the dead do not tidy up
    for _ in range(3):
        with pytest.raises(Killed):
            save_state(tmp_path, 5, {"x": torch.tensor(9)}, {"value": 9})
        assert load_state(tmp_path).tensors["x"] == 3
    monkeypatch.undo()
    save_state(tmp_path, 5, {"x": torch.tensor(4)}, {"value": 4})
    assert load_state(tmp_path).tensors["x"] == 4 and len(files_of(tmp_path)) == 2


def test_an_interrupt_after_the_rename_keeps_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt_late(path: Path, data: bytes) -> None:
        write_atomic(path, data)
        if path.suffix == ".json":
            raise KeyboardInterrupt

    monkeypatch.setattr("minisora.checkpoint.write_atomic", interrupt_late)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, 1, state_of(1), {})
    assert load_state(tmp_path).step == 1


def test_border_checks_name_the_problem(tmp_path: Path) -> None:
    save_state(tmp_path, 7, state_of(7), {})
    cases = [
        (lambda: save_state(tmp_path, 6, state_of(6), {}), "already holds step 7"),
        (lambda: save_state(tmp_path, -1, {}, {}), "step=-1"),
        (lambda: save_state(tmp_path, 8, {}, {}, keep=0), "keep=0"),
        (lambda: save_state(tmp_path, 8, {}, {"bad": object()}), "JSON"),
        (lambda: save_weights(tmp_path / "w", {}, {"bad": {1, 2}}), "JSON"),
        (lambda: save_weights(tmp_path / "w", {}, {}, dtype=torch.int8), "int8"),
        (
            lambda: save_weights(tmp_path / "w", {"x": torch.ones(1, dtype=torch.cdouble)}, {}),
            "fit",
        ),
        (
            lambda: save_weights(tmp_path / "w", {"x": torch.tensor(1e6)}, {}, torch.float16),
            "x has",
        ),
        (lambda: load_weights(tmp_path / "absent"), "absent"),
        (lambda: read_config(tmp_path / "absent"), "absent"),
        (lambda: read_config(tmp_path), "header"),
    ]
    before = files_of(tmp_path)
    for act, message in cases:
        with pytest.raises(CheckpointError, match=message):
            act()
    assert files_of(tmp_path) == before and load_state(tmp_path).step == 7
