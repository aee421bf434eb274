"""Between decoded frames and pixels: colour, orientation, size, and the blocks of our own files.

Part of reading and writing video (`video_reader`, `video_writer`); an image is uint8 RGB (H, W, 3).
An mp4 keeps colour at half the resolution of brightness (4:2:0), which would smear a red digit over
its neighbours in a 64x64 clip. So small clips are stored enlarged, each pixel as a block, the file
says so in a comment, and reading averages the blocks back to the pixels that were written.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    import av
    from av.sidedata.sidedata import SideDataContainer

Fit = Literal["crop", "stretch"]
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def enlarge(image: np.ndarray, scale: int, even: bool) -> np.ndarray:
    """Show each pixel as a scale x scale block; `even` repeats the last row or column if odd."""
    image = image.repeat(scale, axis=0).repeat(scale, axis=1)
    pad = [(0, side % 2 if even else 0) for side in image.shape[:2]]
    return np.pad(image, [*pad, (0, 0)], mode="edge")


def size_note(height: int, width: int, scale: int) -> str:
    """The comment of a file whose frames are `enlarge`d pictures of height x width."""
    return f"minisora: {height}x{width} pixels, each stored as a {scale}x{scale} block"


def parse_size_note(comment: str) -> tuple[int, int, int] | None:
    """(height, width, scale) of a comment by `size_note`, None for any other text."""
    match = re.match(r"minisora: (\d{1,5})x(\d{1,5}) pixels, each stored as a (\d{1,5})x", comment)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


class Shaper:
    """Turn decoded frames into upright uint8 RGB (H, W, 3) of one size.

    Args:
        size: (height, width) in pixels; None takes that of the first frame for all.
        fit: how `size` meets another aspect ratio: "crop" keeps the middle, "stretch" distorts.
    """

    def __init__(self, size: tuple[int, int] | None, fit: str) -> None:
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size={size} must be (height, width), each at least 1, or None.")
        if fit not in ("crop", "stretch"):
            raise ValueError(f'fit="{fit}" must be "crop" or "stretch".')
        self.size, self.fit = size, fit

    def __call__(
        self, frame: av.VideoFrame, pixel_aspect: Fraction, stored: tuple[int, int, int] | None
    ) -> np.ndarray:
        """Convert one frame; `pixel_aspect` is a pixel's width / height, `stored` a parsed note."""
        image = _without_blocks(_rgb(frame), stored)
        if pixel_aspect != 1:
            height, width = image.shape[:2]
            image = _resize(image, (height, max(1, round(width * pixel_aspect))))
        image = _upright(image, frame)
        self.size = self.size or (image.shape[0], image.shape[1])
        if self.fit == "crop":
            image = _crop(image, self.size[1] / self.size[0])
        return np.ascontiguousarray(_resize(image, self.size))


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    """Convert any pixel format to uint8 RGB (H, W, 3), laid over black where it has alpha."""
    kind = frame.format
    # HD files that do not name their colour matrix mean BT.709, smaller ones BT.601 (the default).
    unnamed_hd = frame.colorspace == _UNSPECIFIED and frame.height >= 720 and not kind.is_rgb
    matrix = "ITU709" if unnamed_hd else None
    if kind.has_palette or any(component.is_alpha for component in kind.components):
        rgba = frame.reformat(format="rgba", src_colorspace=matrix, threads=1).to_ndarray()
        alpha = rgba[..., 3:].astype(np.uint16)
        return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return frame.reformat(format="rgb24", src_colorspace=matrix, threads=1).to_ndarray()


def _without_blocks(image: np.ndarray, stored: tuple[int, int, int] | None) -> np.ndarray:
    """Undo `enlarge`, unless another program has resized the frame since and kept the note."""
    if stored is None:
        return image
    height, width, scale = stored
    if scale < 1 or image.shape[:2] != tuple(n + n % 2 for n in (height * scale, width * scale)):
        return image
    planes = _planes(image[: height * scale, : width * scale]).float()
    return _image(F.avg_pool2d(planes, scale).round().byte())


def _upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Apply the display matrix, by quarter turns and mirrors (ISO/IEC 14496-12, 6.2.2).

    It maps a pixel (x, y) to (a x + c y, b x + d y), with a, b, c, d at places 0, 1, 3, 4.
    """
    a, b, c, d = _display_matrix(frame)
    mirror_x, mirror_y = a < 0, d < 0
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, mirror_x, mirror_y = image.swapaxes(0, 1), c < 0, b < 0
    return image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[float, float, float, float]:
    from av.sidedata.sidedata import Type

    try:
        matrix = cast("SideDataContainer", frame.side_data).get(Type.DISPLAYMATRIX)
    except ValueError:
        # PyAV 18 has no name for EXIF data, which photos carry; only the angle can be had then.
        angle = math.radians(frame.rotation)  # counter-clockwise
        return math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def _crop(image: np.ndarray, aspect: float) -> np.ndarray:
    """Cut the largest centred window with width / height = aspect out of (H, W, 3)."""
    height, width = image.shape[:2]
    new_height = max(1, min(height, round(width / aspect)))
    new_width = max(1, min(width, round(height * aspect)))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return image[top : top + new_height, left : left + new_width]


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample uint8 (H, W, 3) to size by antialiased bicubic interpolation."""
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    planes = F.interpolate(_planes(image), (height, width), mode="bicubic", antialias=True)
    return _image(planes)


def _planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]  # (1, 3, H, W)


def _image(planes: torch.Tensor) -> np.ndarray:
    return planes[0].permute(1, 2, 0).numpy()  # (H, W, 3)
