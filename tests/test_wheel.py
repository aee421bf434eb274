"""A wheel, built from the source archive, carries the digits and checkpoints and can generate."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from repo import ROOT, repository_files

LARGEST = 24 * 2**20  # bytes; the checkpoints may take 16 MiB of it


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel that was built from it, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("minisora-*-py3-none-any.whl")
    return wheel


def expected_data() -> set[str]:
    """What the wheel must carry of data/: the digits, where they come from, all that was trained."""
    folders = ("data/checkpoints/", "data/metrics/")
    shipped = {n for n in repository_files() if n.startswith(folders)}
    assert any(name.endswith(".safetensors") for name in shipped), "no checkpoint in data/"
    return shipped | {"data/mnist_5k.npz", "data/README.md"}


def test_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in repository_files() if name.startswith("minisora/")}
    data = {f"minisora/_data/{name.removeprefix('data/')}" for name in expected_data()}
    assert {name for name in names if name.startswith("minisora/_data/")} == data
    assert code <= names
    assert all(name.startswith(("minisora/", "minisora-")) for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert wheel.stat().st_size <= LARGEST


def test_wheel_has_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
    assert "minisora = minisora.cli:main" in archive.read(entry_points).decode()


def test_source_archive_holds_what_a_build_needs(built: Path) -> None:
    (path,) = built.glob("minisora-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} | expected_data() <= names
    assert not [name for name in names if name.startswith((".venv", "outputs", "shared"))]


def test_unpacked_wheel_generates_far_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import sys
sys.path.insert(0, "site")
import minisora, minisora.paths
assert minisora.__file__.startswith(sys.argv[1]), minisora.__file__
assert str(minisora.paths.data_dir()).startswith(sys.argv[1]), minisora.paths.data_dir()
model = minisora.load("moving-mnist")
clip = model.generate("a red 3 drifting up", frames=5, size=(32, 32), seed=0)
print(tuple(clip.video.shape))
"""
    command = [sys.executable, "-I", "-c", code, str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if k != "MINISORA_DATA"}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(3, 5, 32, 32)"
