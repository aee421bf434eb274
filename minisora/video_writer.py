"""Write clips as files that browsers play: H.264 mp4, animated WebP, GIF, or a PNG strip.

Beside `video_reader`, below `minisora.video`. Frames stream through an encoder into a temporary
file in the target's folder, which is flushed to disk and only then renamed. So a name that exists
always holds a whole file: after a crash or a full disk it is still the old one.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import torch

from minisora.containers import VideoError
from minisora.video_encoders import FORMATS, Encoder, make_encoder


def write_video(
    video: torch.Tensor | np.ndarray,
    path: str | os.PathLike[str],
    fps: float = 8,
    *,
    scale: int | None = None,
    prompt: str = "",
) -> Path:
    """Write a whole clip and return its path; arguments, formats and errors as in `VideoWriter`."""
    with VideoWriter(path, fps, scale=scale, prompt=prompt) as writer:
        writer.add(video)
    return writer.path


class VideoWriter:
    """Write frames as they come: ``with VideoWriter("a.mp4") as writer: writer.add(frames)``.

    The file gets its name when the block ends; if the block raises, whatever was there stays. (A
    killed process leaves its unfinished work beside it, under a hidden name that ends in .part.)
    Memory does not grow with length for mp4 and gif; webp keeps compressed frames, png all frames.

    Args:
        path: the suffix chooses the format.
            .mp4: H.264, 4:2:0, plays in every browser. An odd side gets its last row or column
            twice in the file; `read_video` takes that, and an enlargement, away again.
            .webp: animated, looping; exact up to 128x128 pixels, else quality 90.
            .gif: looping, 256 colours a frame, times in 1/100 s.
            .png: all frames side by side, one frame as itself; exact.
        fps: frames per second.
        scale: show each pixel as a scale x scale block. None: .mp4 files of up to 512 pixels are
            enlarged so that colours stay sharp (see `video_pixels`) and players do not blur, all
            others are not.
        prompt: stored as the title of an .mp4.

    Raises:
        VideoError: unknown suffix, no such folder, disk full, no frames, frames of several sizes,
            or pixels that are not numbers.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float = 8,
        *,
        scale: int | None = None,
        prompt: str = "",
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in FORMATS:
            allowed = ", ".join(FORMATS)
            raise VideoError(f"{path} must end in one of {allowed}, to say which format to write.")
        if not self.path.parent.is_dir():
            raise VideoError(f"The folder {self.path.parent} does not exist; create it first.")
        if self.path.is_dir():
            raise VideoError(f"{path} is a folder; choose another name for the file.")
        self._part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.part")
        suffix = self.path.suffix.lower()
        self._encoder: Encoder | None = make_encoder(self._part, suffix, fps, scale, prompt)
        self._shape: tuple[int, ...] | None = None

    def add(self, frames: torch.Tensor | np.ndarray) -> None:
        """Append frames of the size of those before.

        Args:
            frames: tensor (C, T, H, W), C 1 or 3, floats in [0, 1] (clamped) or uint8; or uint8
                array (H, W, 3) or (T, H, W, 3), as `iter_frames` yields.
        """
        if self._encoder is None:
            raise VideoError(f"{self.path} is closed; open a new VideoWriter to write more.")
        with self._all_or_nothing():
            for image in to_images(frames):
                self._shape = self._shape or image.shape
                if image.shape != self._shape:
                    (h, w, _), (height, width, _) = image.shape, self._shape
                    raise VideoError(
                        f"A frame of {h}x{w} cannot follow frames of {height}x{width} in "
                        f"{self.path}; resize all to one size."
                    )
                self._encoder.add(image)

    def close(self) -> None:
        """Finish the file and give it its name; closing twice does nothing."""
        if self._encoder is None:
            return
        with self._all_or_nothing():
            if self._shape is None:
                raise VideoError(f"{self.path} would have no frames; add one before closing.")
            self._encoder.finish()
            with open(self._part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._part, self.path)
            self._encoder = None

    def discard(self) -> None:
        """Remove what was written so far and leave an older file of that name as it is."""
        if self._encoder is not None:
            self._encoder.abandon()
            self._encoder = None
        self._part.unlink(missing_ok=True)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Discard the unfinished file on any error; tell in a sentence why a write failed."""
        try:
            yield
        except OSError as error:  # FFmpeg's errors of this kind are among them
            self.discard()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            reason = "the disk is full" if full else error.strerror or str(error)
            raise VideoError(
                f"{self.path} could not be written: {reason}; free space or choose another place "
                "(an older file of that name is untouched)."
            ) from error
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def encode_video(
    video: torch.Tensor, suffix: str, fps: float, *, scale: int | None = None
) -> bytes:
    """The bytes of the file that `write_video` would write, for pages that embed it."""
    target = BytesIO()
    encoder = make_encoder(target, suffix, fps, scale, "")
    for image in to_images(video):
        encoder.add(image)
    encoder.finish()
    return target.getvalue()


def to_images(frames: torch.Tensor | np.ndarray) -> Iterator[np.ndarray]:
    """Yield uint8 RGB images (H, W, 3) of frames in any form that `VideoWriter.add` takes."""
    if isinstance(frames, np.ndarray):
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3:
            raise VideoError(
                f"An array of {frames.dtype} {frames.shape} is no video; give uint8 (T, H, W, 3), "
                "or a tensor (C, T, H, W)."
            )
        yield from frames if frames.ndim == 4 else [frames]
        return
    if frames.ndim != 4 or frames.shape[0] not in (1, 3) or min(frames.shape[2:]) < 1:
        raise VideoError(
            f"A tensor {tuple(frames.shape)} is no video; give (C, T, H, W) with C 1 or 3."
        )
    for frame in frames.detach().unbind(1):  # (C, H, W)
        if frame.is_floating_point():
            if not frame.isfinite().all():
                raise VideoError("The video holds NaN or infinite pixels; give numbers in [0, 1].")
            frame = frame.float().clamp(0, 1).mul(255).round()
        image = frame.to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)  # (H, W, 3)
        yield image.cpu().contiguous().numpy()
