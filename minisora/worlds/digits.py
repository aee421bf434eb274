"""Real handwritten digits (MNIST, LeCun et al. 1998): the actors of the Moving-MNIST world.

Shipped: 5,000 digits in `data/mnist_5k.npz` (450 a class to train on, 50 a class to test with, a
fixed split). Optional, if the user puts them into the data folder: the full MNIST as four IDX
files, and the official Moving-MNIST test file (Srivastava et al. 2015, arXiv 1502.04681). Every
file is checked against its checksum before it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from ..paths import DataError, data_file

Split = Literal["train", "test"]
SPLITS: tuple[str, ...] = ("train", "test")
SOURCES: tuple[str, ...] = ("mnist_5k", "mnist")

TRAIN_PER_CLASS = 450  # of the 500 digits a class in mnist_5k.npz; the last 50 are the test split
MNIST_5K_SHA256 = "e613f869dab204a63ca426b433eb82b9fbeea13c331b12de387c1c5339df8224"
MNIST_MD5 = {  # as published with MNIST's mirrors
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
MOVING_MNIST_TEST_MD5 = "be083ec986bfe91a449d63653c411eb2"  # as torchvision checks it


@dataclass(frozen=True, eq=False)
class Digits:
    """Digits: `images` uint8 (N, 28, 28), ink 255 on paper 0, and `labels` int64 (N,), 0..9."""

    images: np.ndarray
    labels: np.ndarray

    @cached_property
    def _boxes(self) -> list[list[int]]:
        """The box of each digit's ink: N x [top, bottom, left, right]."""
        ink = self.images > 0
        rows, columns = _extent(np.any(ink, axis=2)), _extent(np.any(ink, axis=1))
        return np.stack([*rows, *columns], axis=1).tolist()

    @cached_property
    def _by_label(self) -> list[list[int]]:
        return [np.flatnonzero(self.labels == label).tolist() for label in range(10)]

    def __len__(self) -> int:
        return len(self.labels)

    def with_label(self, label: int) -> list[int]:
        """The indices of all digits of one class."""
        return self._by_label[label]

    def crop(self, index: int) -> np.ndarray:
        """One digit cut to the box of its ink, uint8 (h, w)."""
        top, bottom, left, right = self._boxes[index]
        return self.images[index, top:bottom, left:right]


def load_digits(split: Split = "train", source: str = "mnist_5k") -> Digits:
    """Load one split of the digits; checked, and kept in memory for the next call.

    Args:
        split: "train" or "test".
        source: "mnist_5k" (shipped) or "mnist" (the four gzipped IDX files in the data folder).

    Raises:
        DataError: unknown split or source, a file that is missing, or one whose checksum is wrong.
    """
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; choose one of {', '.join(SPLITS)}.")
    if source not in SOURCES:
        raise DataError(f"source is {source!r}; choose one of {', '.join(SOURCES)}.")
    path = data_file("mnist_5k.npz" if source == "mnist_5k" else _idx_name(split, "images"))
    return _load(split, source, path)


@lru_cache(maxsize=4)
def _load(split: Split, source: str, path: Path) -> Digits:
    if source == "mnist_5k":
        return _read_mnist_5k(path, split)
    return _read_idx_pair(path, data_file(_idx_name(split, "labels")))


def load_moving_mnist_test() -> np.ndarray:
    """The official Moving-MNIST test clips, uint8 (10000, 20, 64, 64).

    They are mapped from disk, not read into memory; checking the checksum takes seconds.

    Raises:
        DataError: `mnist_test_seq.npy` is not in the data folder, or is not the published file.
    """
    path = data_file("mnist_test_seq.npy")
    with path.open("rb") as file:
        _check(path, hashlib.file_digest(file, "md5").hexdigest(), MOVING_MNIST_TEST_MD5)
    return np.load(path, mmap_mode="r").swapaxes(0, 1)


def _read_mnist_5k(path: Path, split: Split) -> Digits:
    content = path.read_bytes()
    _check(path, hashlib.sha256(content).hexdigest(), MNIST_5K_SHA256)
    with np.load(io.BytesIO(content)) as archive:
        images, labels = archive["images"], archive["labels"].astype(np.int64)
    in_train = np.arange(len(labels)) % 500 < TRAIN_PER_CLASS  # the file is sorted, 500 a class
    keep = in_train if split == "train" else ~in_train
    return Digits(images[keep], labels[keep])


def _read_idx_pair(images: Path, labels: Path) -> Digits:
    """MNIST's own format: a 16- or 8-byte header (shape and type), then the bytes."""
    pixels, classes = (_read_checked_gzip(path) for path in (images, labels))
    return Digits(
        np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(classes, np.uint8, offset=8).astype(np.int64),
    )


def _read_checked_gzip(path: Path) -> bytes:
    content = path.read_bytes()
    _check(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), MNIST_MD5[path.name])
    return gzip.decompress(content)


def _check(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(
            f"{path} is not the published file (checksum {found[:12]}…, expected {expected[:12]}…):"
            " it is damaged or another one; replace it as data/README.md says."
        )


def _idx_name(split: Split, kind: str) -> str:
    prefix = "train" if split == "train" else "t10k"
    return f"{prefix}-{kind}-{'idx3' if kind == 'images' else 'idx1'}-ubyte.gz"


def _extent(used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last True along the last axis of (N, 28)."""
    return used.argmax(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1)
