"""Where the data that comes with minisora lies: digits, checkpoints, and files the user adds.

Three places are known: the folder named by the environment variable `MINISORA_DATA`, the `data/`
folder of a checkout (or of an editable install), and `minisora/_data` inside an installed wheel.
Nothing is ever downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path

ENV_VARIABLE = "MINISORA_DATA"
_PACKAGE = Path(__file__).resolve().parent
_MARKER = (
    "mnist_5k.npz"  # a folder named data/ beside the package is ours only if this file is in it
)


class DataError(ValueError):
    """A data file is missing, damaged, or not the file it is said to be."""


def shipped_data_dir() -> Path:
    """The folder with minisora's own data: `data/` of a checkout, else `_data` of a wheel."""
    checkout = _PACKAGE.parent / "data"
    return checkout if (checkout / _MARKER).is_file() else _PACKAGE / "_data"


def data_dir() -> Path:
    """The data folder in use: `$MINISORA_DATA` if it is set, else the shipped one.

    Raises:
        DataError: `MINISORA_DATA` names something that is not a folder.
    """
    chosen = os.environ.get(ENV_VARIABLE)
    if not chosen:
        return shipped_data_dir()
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{ENV_VARIABLE} is {chosen!r}, which is not a folder; create it or unset the variable."
        )
    return folder


def data_file(name: str) -> Path:
    """The path of the data file (or folder) `name`: in `data_dir()`, else in the shipped folder.

    So a user's own folder needs to hold only what differs from the shipped data.

    Raises:
        DataError: no such file in either place.
    """
    places = list(dict.fromkeys((data_dir(), shipped_data_dir())))
    for place in places:
        if (place / name).exists():
            return place / name
    looked = " or ".join(str(place) for place in places)
    raise DataError(
        f"{name} was not found in {looked}; put it there, or set {ENV_VARIABLE} to the folder"
        " that has it (data/README.md says where each file comes from)."
    )
