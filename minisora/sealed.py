"""Files that are whole or refused: atomic writes, and a seal that shows any changed byte.

Stands under `checkpoint`, and knows nothing of tensors. A file is written under a temporary name in
its own folder, flushed to the disk and renamed, so no name ever stands for half a file. The *seal*
is a SHA-256 inside the file, taken over all its bytes with the 64 digits of the seal itself set to
zero; so it covers headers and tensors alike, and the file needs no second one beside it.
"""

import hashlib
import os
import re
from glob import escape
from pathlib import Path

BLANK_SEAL = "0" * 64
# The first "sha256" of a file, also where JSON stands inside a JSON string (then quotes are \").
SEAL = re.compile(rb'"sha256\\?": ?\\?"([0-9a-f]{64})\\?"')


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or is missing, truncated or altered."""


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write `data` so that at every moment `path` holds all of the old or all of the new.

    path: the file; its folder is made if need be. One process at a time may write it.
    Raises CheckpointError if the disk is full or the place not writable; the old file stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{escape(path.name)}.*.tmp"):
            stale.unlink()  # left by a killed process, and as large as a checkpoint
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary.exists():
            temporary.unlink()
        if isinstance(error, OSError):
            raise CheckpointError(
                f"Could not write {path}: {error.strerror or error}; what was saved before is "
                "untouched; free some space or choose another folder."
            ) from error
        raise


def seal(data: bytes) -> bytes:
    """Fill in the blank seal of `data`, which must contain `"sha256": "000..."`."""
    digest, place = _seal_of(data)
    return b"".join([data[: place.start], digest, data[place.stop :]])


def read_sealed(path: str | Path) -> bytes:
    """The bytes of a sealed file.

    Raises CheckpointError if it is missing, or if a single byte is not as it was written.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"Could not read checkpoint {path}: {error.strerror or error}; check the path."
        ) from error
    digest, place = _seal_of(data)
    if data[place] != digest:
        raise CheckpointError(
            f"Checkpoint {path} was truncated or altered (its SHA-256 does not match); "
            "restore it from a copy or write it again."
        )
    return data


def _seal_of(data: bytes) -> tuple[bytes, slice]:
    """The digest that `data` should carry, and where; without a seal, a place that matches none."""
    found = SEAL.search(data)
    place = slice(*found.span(1)) if found else slice(0, 0)
    view = memoryview(data)
    digest = hashlib.sha256(view[: place.start])
    digest.update(BLANK_SEAL.encode())
    digest.update(view[place.stop :])
    return digest.hexdigest().encode(), place


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries: without it a power cut can undo a rename."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
