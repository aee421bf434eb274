"""Checkpoints: weights and training states on disk that survive a kill, a full disk, a flipped bit.

Stands beside the pipeline: `train` and `model` use it, and it knows nothing of networks. A *weights
file* is one safetensors file with its config inside. A *state folder* holds the last few training
states, each a pair

    step-00001234.safetensors    all tensors under flat names: model.*, ema.*, optimizer.*, ...
    step-00001234.json           step, other facts, and the size and SHA-256 of the file above

written in that order: a state exists from the moment its JSON file does. All are written atomically
and sealed (see `sealed`). Only one process may write to a folder (rank 0 in distributed training).
"""

import hashlib
import itertools
import json
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from minisora.sealed import BLANK_SEAL, CheckpointError, read_sealed, seal, write_atomic

CAST_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STATE_FILE = re.compile(r"step-(\d{8,})(\.\d+)?\.(json|safetensors)")


class TrainState(NamedTuple):
    """What `load_state` returns: the step, the flat dict of tensors and the JSON-able facts."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


# ---- weights files ----


def save_weights(
    path: str | Path,
    tensors: dict[str, Tensor],
    config: dict[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write one safetensors file with its config inside, atomically.

    tensors: name -> tensor of any shape, dtype and device.
    config: what JSON can hold; it comes back from `read_config` and `load_weights`.
    dtype: cast floating tensors to this for shipping (e.g. bfloat16); None keeps them bit for bit.
    Raises CheckpointError if the disk is full, or if a value does not fit into `dtype`.
    """
    _check_dtype(dtype)
    cast = {name: _cast(name, tensor.detach(), dtype) for name, tensor in tensors.items()}
    write_atomic(path, _pack(cast, config))


def load_weights(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify a file of `save_weights`; returns (tensors, config).

    dtype: floating tensors are cast to it (whole numbers stay); None returns them as stored.
    Raises CheckpointError if the file is missing, truncated or altered.
    """
    _check_dtype(dtype)
    stored = safetensors.torch.load(read_sealed(path))
    tensors = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in stored.items()
    }
    return tensors, read_config(path)


def fill(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Put the weights of a file into a module; raises CheckpointError if they are those of another network."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:  # its message lists every tensor
        raise CheckpointError(
            f"{path} holds the weights of another {type(module).__name__} than this version of minisora builds; "
            "use the version that wrote it, or train it again."
        ) from error


def read_config(path: str | Path) -> dict[str, Any]:
    """The config of a weights file from its header alone: fast, and without the SHA-256 check.

    Raises CheckpointError if there is no such file or its header does not fit its length.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            return json.loads(file.metadata()["minisora"])["config"]
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} is no whole minisora checkpoint: its header cannot be read ({error})."
        ) from error


def _pack(tensors: dict[str, Tensor], config: dict[str, Any]) -> bytes:
    """The bytes of a sealed safetensors file, the same for the same content."""
    storages: set[int] = set()
    packed = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory, as tied weights do.
        packed[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    # One entry, since safetensors writes several in a random order; "sha256" stands before any
    # other that the config may contain.
    metadata = {"minisora": _to_json({"sha256": BLANK_SEAL, "config": config})}
    try:
        return seal(safetensors.torch.save(packed, metadata))
    except (KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"These tensors do not fit into safetensors: {error}.") from error


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if (cast.isinf() & ~tensor.isinf()).any():
        raise CheckpointError(f"Tensor {name} has values too large for {dtype}; use float32.")
    return cast


def _check_dtype(dtype: torch.dtype | None) -> None:
    if dtype is not None and dtype not in CAST_DTYPES:
        raise CheckpointError(f"Cannot cast weights to {dtype}: choose of {CAST_DTYPES} or None.")


def _to_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config and meta must be what JSON can hold: {error}.") from error


# ---- state folders ----


def save_state(
    folder: str | Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any], keep: int = 2
) -> Path:
    """Add a training state to `folder`, then drop all but the newest `keep`; returns its JSON file.

    step: optimizer steps done, >= 0. tensors: flat dict, kept bit for bit.
    meta: what JSON can hold (tuples come back as lists, keys as text).
    Killed at any moment, what the folder held before can still be loaded. Raises CheckpointError if
    the disk is full (the saved states then stay), or if the folder already holds a later step.
    """
    if step < 0 or keep < 1:
        raise CheckpointError(f"step must be >= 0 and keep >= 1, but got step={step}, keep={keep}.")
    folder = Path(folder)
    _refuse_later_steps(folder, step)
    for stale in folder.glob(".step-*.tmp"):  # of a killed process; now, since it takes space
        stale.unlink()
    data = _pack(tensors, {"step": step})
    weights = _new_weights_path(folder, step)
    digest = hashlib.sha256(data).hexdigest()
    facts = {"file": weights.name, "bytes": len(data), "sha256": digest}
    # The seal comes first, so that no other "sha256" is taken for it.
    record = {"sha256": BLANK_SEAL, "step": step, "weights": facts, "meta": meta}
    record_path = folder / f"step-{step:08d}.json"
    sealed_record = seal(_to_json(record).encode())
    try:
        write_atomic(weights, data)
        write_atomic(record_path, sealed_record)
    except BaseException:
        # An interrupt may come just after the rename; then the state exists and needs its tensors.
        if not record_path.exists() or record_path.read_bytes() != sealed_record:
            weights.unlink(missing_ok=True)
        raise
    _prune(folder, step, keep)
    return record_path


def load_state(folder: str | Path) -> TrainState | None:
    """The newest training state of `folder` that is whole, on the CPU, or None if it holds none.

    A damaged state is skipped with a warning that says what is wrong with it.
    Raises CheckpointError if the folder holds states and none of them can be read.
    """
    steps = saved_steps(folder)
    for step in steps:
        try:
            return _load_step(Path(folder), step)
        except CheckpointError as error:
            warnings.warn(f"Training state {step} is skipped: {error}", stacklevel=2)
    if steps:
        raise CheckpointError(
            f"None of the {len(steps)} training states in {folder} can be read; "
            "restore one from a copy, or choose another folder to start anew."
        )
    return None


def saved_steps(folder: str | Path) -> list[int]:
    """The steps of all training states in `folder`, newest first, not verified."""
    names = (STATE_FILE.fullmatch(path.name) for path in Path(folder).glob("step-*.json"))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def _load_step(folder: Path, step: int) -> TrainState:
    record = json.loads(read_sealed(folder / f"step-{step:08d}.json"))
    weights = folder / record["weights"]["file"]
    data = read_sealed(weights)
    if hashlib.sha256(data).hexdigest() != record["weights"]["sha256"]:
        raise CheckpointError(f"Checkpoint {weights} is not the one that step {step} was saved as.")
    return TrainState(record["step"], safetensors.torch.load(data), record["meta"])


def _new_weights_path(folder: Path, step: int) -> Path:
    """A name not in use: saving a step again must not harm its first copy before it is replaced."""
    names = (f"step-{step:08d}{f'.{i}' if i else ''}.safetensors" for i in itertools.count())
    return next(folder / name for name in names if not (folder / name).exists())


def _refuse_later_steps(folder: Path, step: int) -> None:
    """Later states are damaged ones that training fell back from, or belong to another run."""
    for later in (saved for saved in saved_steps(folder) if saved > step):
        try:
            _load_step(folder, later)
        except CheckpointError:
            continue
        raise CheckpointError(
            f"Cannot save step {step} in {folder}: it already holds step {later}; "
            "resume from there or choose another folder."
        )


def _prune(folder: Path, step: int, keep: int) -> None:
    """Keep `step` and the newest states before it, `keep` in all; remove all our other files."""
    kept: set[str] = set()
    for saved in saved_steps(folder):
        if saved > step or len(kept) == 2 * keep:  # later ones are damaged: see above
            continue
        record_path = folder / f"step-{saved:08d}.json"
        try:
            weights = json.loads(read_sealed(record_path))["weights"]
            if (folder / weights["file"]).stat().st_size == weights["bytes"]:
                kept |= {record_path.name, weights["file"]}
        except (CheckpointError, OSError):
            continue  # damaged: it must not take the place of a whole one
    ours = (path for path in folder.iterdir() if STATE_FILE.fullmatch(path.name))
    for path in sorted(ours, key=lambda path: path.suffix):  # JSON first, so that none dangles
        if path.name not in kept:
            path.unlink()


# ---- optimizers ----


def flatten_optimizer(state_dict: dict[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """Split `optimizer.state_dict()` into named tensors and a JSON-able skeleton, losing nothing.

    Returns (tensors, skeleton): tensors such as "state.0.exp_avg", and everything else. Works for
    any nesting of dicts, lists and tuples.
    """
    tensors: dict[str, Tensor] = {}

    def split(value: Any, name: str) -> Any:
        # JSON has only lists and text keys, so tuples and dicts (parameter numbers) are marked.
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
            return {"tensor": name}
        if isinstance(value, dict):
            return {"dict": [[key, split(item, join(name, key))] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            items = [split(item, join(name, i)) for i, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        return value

    def join(name: str, key: Any) -> str:
        return f"{name}.{key}" if name else str(key)

    return tensors, split(state_dict, "")


def unflatten_optimizer(tensors: dict[str, Tensor], skeleton: Any) -> Any:
    """The inverse of `flatten_optimizer`: an equal dict, for `optimizer.load_state_dict`."""
    if isinstance(skeleton, list):
        return [unflatten_optimizer(tensors, item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(unflatten_optimizer(tensors, item) for item in content)
    return {key: unflatten_optimizer(tensors, value) for key, value in content}
