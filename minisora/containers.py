"""What FFmpeg leaves to its caller about a file: does it end too early, and animated WebP.

Lowest part of reading video. FFmpeg plays a cut-off Matroska, AVI or GIF to where it was cut and
reports nothing, and it writes animated WebP but cannot read it. Both answers lie in the containers'
own length fields: ISO/IEC 14496-12 (mp4, mov), RIFF (avi, webp), EBML / RFC 8794 (mkv, webm),
GIF89a, PNG / RFC 2083, JPEG / ITU T.81, the WebP container specification. MPEG-TS and Ogg state no
length, so a file of these that was cut between two frames cannot be told from a shorter one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import av

_ISO_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}


class VideoError(ValueError):
    """A video file that cannot be read or written, told in one sentence."""


def is_truncated(path: str | os.PathLike[str]) -> bool:
    """True if the file at `path` is shorter than its own length fields say."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _ISO_BOXES:
            end = _iso_end(file, size)
        elif head[:4] == b"RIFF":
            end = _riff_end(file, size)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            end = _ebml_end(file)
        elif head[:4] == b"GIF8":
            end = _gif_end(file, size)
        elif head[:8] == b"\x89PNG\r\n\x1a\n":
            end = _png_end(file, size)
        elif head[:3] == b"\xff\xd8\xff":
            end = _jpeg_end(file, size)
        else:
            return False
    return end > size


def _number(file: BinaryIO, count: int) -> int:
    return int.from_bytes(file.read(count), "big")


def _iso_end(file: BinaryIO, size: int) -> int:
    """Walk the top-level boxes (4-byte length, 4-byte type, payload) to where the last one ends."""
    position = 0
    while position < size:
        file.seek(position)
        length, kind = _number(file, 4), file.read(4)
        if length == 1:  # the length did not fit into 32 bits and follows in 64
            length = _number(file, 8)
        if length == 0:  # "to the end of the file"
            return size
        if length < 8:
            # Not a box: padding after the last one, or a header that was itself cut.
            return position if len(kind) == 4 else size + 1
        position += length
    return position


def _riff_end(file: BinaryIO, size: int) -> int:
    """A large AVI is several RIFF chunks in a row; anything else behind the first is ignored."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        if file.read(4) != b"RIFF":
            break
        position += 8 + int.from_bytes(file.read(4), "little")
    return position


def _ebml_end(file: BinaryIO) -> int:
    """The file is an EBML header and one segment; a live stream has a segment of unknown length."""
    file.seek(4)
    header = _ebml_length(file)
    file.seek(header or 0, os.SEEK_CUR)
    name = file.read(4)
    length = _ebml_length(file) if name == b"\x18\x53\x80\x67" else None
    if len(name) < 4:
        return file.tell() + 1
    return 0 if length is None else file.tell() + length


def _ebml_length(file: BinaryIO) -> int | None:
    """A variable-length number: as many zero bits lead the first byte as bytes follow it."""
    first = _number(file, 1)
    if first == 0:
        return None
    following = 8 - first.bit_length()
    digits = 7 * (following + 1)
    value = (first << 8 * following | _number(file, following)) & ((1 << digits) - 1)
    return None if value == (1 << digits) - 1 else value  # all ones means unknown


def _gif_end(file: BinaryIO, size: int) -> int:
    """Walk the blocks up to the trailer; a file that ends before it was cut."""
    file.seek(10)
    flags = _number(file, 1)
    file.seek(13 + _gif_palette(flags))
    while block := file.read(1):
        if block == b";":
            return file.tell()
        if block == b",":  # an image: 9 bytes, a palette of its own, 1 byte of code size
            descriptor = file.read(9)
            palette = _gif_palette(descriptor[8]) if len(descriptor) == 9 else 0
            file.seek(palette + 1, os.SEEK_CUR)
        elif block == b"!":  # an extension: 1 byte that names it
            file.seek(1, os.SEEK_CUR)
        else:
            break
        while length := _number(file, 1):
            file.seek(length, os.SEEK_CUR)
    return size + 1


def _gif_palette(flags: int) -> int:
    """Bytes of the palette that a flag byte announces."""
    return 3 * 2 ** (1 + (flags & 7)) if flags & 0x80 else 0


def _png_end(file: BinaryIO, size: int) -> int:
    """Walk the chunks (length, type, payload, checksum) up to the one named IEND."""
    position = 8
    while position < size:
        file.seek(position)
        length, kind = _number(file, 4), file.read(4)
        position += length + 12
        if kind == b"IEND":
            return position
    return size + 1


def _jpeg_end(file: BinaryIO, size: int) -> int:
    """Walk the segments (marker, length, payload) to the scan, and find the end marker in it."""
    position = 2
    while position < size:
        file.seek(position)
        marker, length = file.read(2), _number(file, 2)
        position += 2 + length
        if marker == b"\xff\xda":
            scan = file.read()
            return size if b"\xff\xd9" in scan else size + 1
    return size + 1


def is_animated_webp(path: str | os.PathLike[str]) -> bool:
    """True if the file is a WebP whose extended header has the animation flag set."""
    with open(path, "rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & 2 > 0


def iter_webp(path: str | os.PathLike[str]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (RGBA uint8 (H, W, 4), duration in ms) of each frame of an animated WebP.

    A frame is a still WebP picture that covers a part of the canvas, so each is handed to FFmpeg's
    still decoder and laid over what the frames before left. Raises VideoError where the file ends.
    """
    with open(path, "rb") as file:
        file.seek(12)
        canvas = np.zeros((0, 0, 4), np.uint8)
        for name, payload in _webp_chunks(file, path):
            if name == b"VP8X":
                width, height = (1 + int.from_bytes(payload[i : i + 3], "little") for i in (4, 7))
                canvas = np.zeros((height, width, 4), np.uint8)
            elif name == b"ANMF":
                part = _WebPFrame.parse(payload)
                part.draw(canvas)
                yield canvas.copy(), part.duration
                part.dispose(canvas)


def _webp_chunks(file: BinaryIO, path: str | os.PathLike[str]) -> Iterator[tuple[bytes, bytes]]:
    while len(header := file.read(8)) == 8:
        length = int.from_bytes(header[4:], "little")
        payload = file.read(length + length % 2)  # chunks start at even offsets
        if len(payload) < length:
            raise VideoError(f"{path} is truncated: it ends inside a frame; get the whole file.")
        yield header[:4], payload[:length]


@dataclass(frozen=True)
class _WebPFrame:
    """One frame: where on the canvas it lies, how it is mixed in, and its picture."""

    y: int
    x: int
    duration: int  # milliseconds
    blend: bool
    clear: bool
    picture: np.ndarray  # RGBA uint8 (h, w, 4)

    @classmethod
    def parse(cls, payload: bytes) -> _WebPFrame:
        """Read the payload of an ANMF chunk: a header of 16 bytes, then a still picture."""
        x, y, width, height, duration = (
            int.from_bytes(payload[i : i + 3], "little") for i in range(0, 15, 3)
        )
        picture = _decode_webp(payload[16:], height + 1, width + 1)
        flags = payload[15]
        return cls(2 * y, 2 * x, duration, not flags & 2, bool(flags & 1), picture)

    def _window(self, canvas: np.ndarray) -> np.ndarray:
        height, width = self.picture.shape[:2]
        return canvas[self.y : self.y + height, self.x : self.x + width]

    def draw(self, canvas: np.ndarray) -> None:
        """Lay the picture over the canvas, in place ("over" with straight alpha)."""
        window = self._window(canvas)
        picture = self.picture[: window.shape[0], : window.shape[1]]
        if not self.blend or (picture[..., 3] == 255).all():
            window[...] = picture
            return
        alpha = picture[..., 3:].astype(np.float32) / 255
        under = window[..., 3:].astype(np.float32) / 255 * (1 - alpha)
        total = alpha + under
        color = (picture[..., :3] * alpha + window[..., :3] * under) / np.maximum(total, 1e-6)
        window[...] = np.concatenate([color, 255 * total], axis=-1).round().astype(np.uint8)

    def dispose(self, canvas: np.ndarray) -> None:
        """Clear what the frame covered, if it asks for that."""
        if self.clear:
            self._window(canvas)[...] = 0


def _decode_webp(chunks: bytes, height: int, width: int) -> np.ndarray:
    """Decode the chunks of one still picture to RGBA uint8 (height, width, 4)."""
    import av

    if chunks[:4] == b"ALPH":  # a still with an alpha plane needs the extended header
        sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = b"VP8X\x0a\x00\x00\x00\x10\x00\x00\x00" + sizes + chunks
    still = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks
    decoder = av.CodecContext.create("webp", "r")
    frames: list[av.VideoFrame] = [*decoder.decode(av.Packet(still)), *decoder.decode(None)]
    if not frames:
        raise VideoError("A frame of the animated WebP holds no picture; get the file again.")
    return frames[0].reformat(format="rgba", threads=1).to_ndarray()
