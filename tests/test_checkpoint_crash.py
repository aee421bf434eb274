"""Checkpoints on a full disk and under SIGKILL: what was saved before can always be loaded."""

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minisora.checkpoint import (
    CheckpointError,
    load_state,
    load_weights,
    save_state,
)


def state_of(step: int, size: int = 50) -> dict[str, Tensor]:
    return {
        "model.weight": torch.full((size,), float(step)),
        "optimizer.state.0.step": torch.tensor(float(step)),
        "rng": torch.arange(16, dtype=torch.uint8),
    }


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- full disk ----


@pytest.mark.parametrize("fail_at", [1, 2])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_full_disk_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, code: int
) -> None:
    save_state(tmp_path, 1, state_of(1), {})
    before = files_of(tmp_path)
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2 * fail_at - 1:  # each write flushes its file, then its folder
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr("minisora.sealed.os.fsync", full)
    with pytest.raises(CheckpointError, match=os.strerror(code)) as error:
        save_state(tmp_path, 2, state_of(2), {})
    assert "\n" not in str(error.value)
    assert files_of(tmp_path) == before and load_state(tmp_path).step == 1


LIMITED = """
import resource, sys, torch
from minisora.checkpoint import CheckpointError, load_state, load_weights, save_state, save_weights
folder = sys.argv[1]
save_state(folder, 1, {"x": torch.ones(100)}, {})
save_weights(folder + "/w", {"x": torch.ones(100)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for act in (
    lambda: save_state(folder, 2, {"x": torch.ones(100_000)}, {}),
    lambda: save_state(folder, 2, {"x": torch.ones(10)}, {"long": "x" * 200_000}),
    lambda: save_weights(folder + "/w", {"x": torch.ones(100_000)}, {}),
):
    try:
        act()
    except CheckpointError as error:
        print(error)
assert load_state(folder).step == 1
assert load_weights(folder + "/w")[0]["x"].numel() == 100
"""


def run_python(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name == "nt", reason="file size limits are a POSIX feature")
def test_a_write_the_system_cuts_short(tmp_path: Path) -> None:
    """The kernel refuses in the middle of write(), as a full disk does; no monkeypatch."""
    with run_python(LIMITED, tmp_path) as process:
        lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert len(lines) == 3 and all("Could not write" in line for line in lines)
    assert files_of(tmp_path) == ["step-00000001.json", "step-00000001.safetensors", "w"]


def test_files_are_flushed_before_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that also survives a power cut: tensors first, then the JSON that names them."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def note_replace(source: Path, target: Path) -> None:
        assert source.name.endswith(".tmp") and source.parent == target.parent
        events.append(target.suffix)
        replace(source, target)

    monkeypatch.setattr("minisora.sealed.os.fsync", note_fsync)
    monkeypatch.setattr("minisora.sealed.os.replace", note_replace)
    save_state(tmp_path, 1, state_of(1), {})
    assert events == ["file", ".safetensors", "folder", "file", ".json", "folder"]


# ---- SIGKILL ----

# For each line of its input, a fresh child writes checkpoints until it is killed: from outside, or
# by itself at the n-th time it is about to touch the file system (n = 0: never).
WRITER = """
import os, signal, sys, torch
from minisora.checkpoint import load_state, save_state, save_weights
folder = sys.argv[1]

def write(rounds):
    state = load_state(folder)
    step = state.step if state else 0
    for _ in range(rounds):
        step += 1
        tensors = {f"model.{i}": torch.full((100_000,), float(step)) for i in range(4)}
        save_state(folder, step, tensors, {"step": step})
        print(step, flush=True)
        save_state(folder, step, tensors, {"step": step, "again": True})  # as a resumed run may
        save_weights(folder + "/w", {"x": tensors["model.0"]}, {"step": step})

def die_at(n):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event == "open" and arguments[2] & 3 and not str(arguments[0]).endswith(".tmp"):
            os._exit(1)  # a file that may already be good is opened for writing
        if event in ("open", "os.rename", "os.remove", "fsync") and folder in str(arguments):
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
    real = os.fsync
    os.fsync = lambda handle: (sys.audit("fsync", folder), real(handle))
    sys.addaudithook(hook)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        n = int(line)
        if n:
            die_at(n)
        print(f"pid {os.getpid()}", flush=True)
        write(1 if n else 10_000)
        os._exit(0)
    print(f"end {os.waitpid(child, 0)[1]}", flush=True)
"""


def assert_nothing_is_lost(folder: Path, last: int) -> int:
    """`last`: the newest step reported as saved. Returns the newest one found."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a kill must not even leave a damaged state
        state = load_state(folder)
    if state is None:
        assert last == 0
        return 0
    assert state.step >= last and state.meta["step"] == state.step and len(state.tensors) == 4
    for tensor in state.tensors.values():
        assert torch.equal(tensor, torch.full((100_000,), float(state.step)))
    if (folder / "w").exists():
        loaded, config = load_weights(folder / "w")
        assert (loaded["x"] == config["step"]).all()
    return state.step


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """At 30 random moments, then before every single touch of the file system in turn."""
    rng, last, torn = random.Random(1), 0, 0
    with run_python(WRITER, tmp_path) as writer:

        def next_line() -> list[str]:
            return writer.stdout.readline().split()

        for n in [0] * 30 + list(range(1, 200)):
            print(n, file=writer.stdin, flush=True)
            pid = int(next_line()[1])
            if n == 0:
                time.sleep(rng.uniform(0.0, 0.1))
                os.kill(pid, signal.SIGKILL)
            line = next_line()
            while line[0] != "end":
                last = int(line[0])
                line = next_line()
            assert int(line[1]) in (0, signal.SIGKILL)
            torn += len([name for name in files_of(tmp_path) if name.endswith(".tmp")])
            last = assert_nothing_is_lost(tmp_path, last)
            if line[1] == "0":  # the child lived: it touched the file system fewer than n times
                break
        assert 20 < n < 199 and last > 10 and torn > 10
        writer.stdin.close()
    # The child that lived has swept up after the dead: two states and the weights are left.
    assert len(files_of(tmp_path)) == 5
