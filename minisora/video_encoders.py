"""Encode uint8 RGB images into a container: FFmpeg's encoders for moving pictures, PNG for strips.

Below `video_writer`, which turns tensors into images and makes a file appear whole or not at all.
Every encoder takes images one by one, all of one size, then is finished or abandoned.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from minisora.containers import VideoError
from minisora.video_pixels import enlarge, size_note

if TYPE_CHECKING:
    import av
    from av.filter import Graph
    from av.video.stream import VideoStream

_SMALL = 512  # mp4: clips whose larger side is at most so many pixels are enlarged
_LOSSLESS = 128 * 128  # webp: up to so many pixels a frame are stored exactly
_MAX_STRIP = 65_500  # png: wider images are refused by browsers


@dataclass(frozen=True)
class _Format:
    """How FFmpeg calls a kind of file, and the settings we encode it with."""

    container: str
    codec: str
    pixel_format: str
    codec_options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


FORMATS = {
    # 4:2:0 is all that browsers play; faststart puts the index first, so playing starts at once.
    ".mp4": _Format("mp4", "libx264", "yuv420p", {"crf": "16"}, {"movflags": "+faststart"}),
    ".webp": _Format("webp", "libwebp_anim", "bgra", {"quality": "90"}, {"loop": "0"}),
    ".gif": _Format("gif", "gif", "pal8", {}, {"loop": "0"}),
    ".png": _Format("image2", "png", "rgb24"),
}


class Encoder(Protocol):
    """What the writer needs of an encoder."""

    def add(self, image: np.ndarray) -> None:
        """Append one uint8 RGB image (H, W, 3)."""

    def finish(self) -> None:
        """Write all that is left; there must have been one image at least."""

    def abandon(self) -> None:
        """Close without caring for what was written."""


def make_encoder(
    target: Path | BytesIO, suffix: str, fps: float, scale: int | None, prompt: str
) -> Encoder:
    """The encoder for a suffix of FORMATS; arguments and errors as in `VideoWriter`."""
    if not 0 < fps < float("inf"):
        raise VideoError(f"fps={fps} must be a positive number of frames per second.")
    if scale is not None and (not isinstance(scale, int) or scale < 1):
        raise VideoError(f"scale={scale} must be a whole number, 1 or more, or None.")
    if suffix == ".png":
        return _Strip(target, scale or 1)
    return _FFmpeg(target, FORMATS[suffix], fps, scale, prompt)


class _FFmpeg:
    """Stream frames through an FFmpeg encoder into a container."""

    def __init__(
        self, target: Path | BytesIO, kind: _Format, fps: float, scale: int | None, prompt: str
    ) -> None:
        import av

        self._kind, self._scale = kind, scale
        self._rate = Fraction(fps).limit_denominator(100_000)
        # The prefix keeps FFmpeg from taking a name like "a:b.mp4" for a URL.
        place = f"file:{target}" if isinstance(target, Path) else target
        options = kind.container_options if isinstance(target, Path) else {}
        self._container = av.open(place, "w", format=kind.container, options=options)
        self._container.metadata["title"] = prompt.encode("utf-8", "replace").decode()
        self._count = 0

    def _start(self, height: int, width: int) -> None:
        """Settle all that hangs on the size of the first frame."""
        mp4 = self._kind.codec == "libx264"
        scale = self._scale or (_default_scale(max(height, width)) if mp4 else 1)
        options = dict(self._kind.codec_options)
        if self._kind.codec == "libwebp_anim" and height * width * scale**2 <= _LOSSLESS:
            options = {"lossless": "1"}
        added = self._container.add_stream(self._kind.codec, rate=self._rate, options=options)
        stream = cast("VideoStream", added)
        stream.pix_fmt = self._kind.pixel_format
        stream.height, stream.width = height * scale, width * scale
        if mp4:
            stream.height, stream.width = (n + n % 2 for n in (height * scale, width * scale))
            self._container.metadata["comment"] = size_note(height, width, scale)
            # BT.709, video range (both 1 in FFmpeg's enums): a player that must guess may be wrong.
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = 1
            context.color_range = 1
        self._stream, self._scale = stream, scale
        self._palette = _palette_graph(stream) if self._kind.codec == "gif" else None

    def add(self, image: np.ndarray) -> None:
        import av

        if self._count == 0:
            self._start(*image.shape[:2])
        image = enlarge(image, self._scale or 1, even=self._kind.codec == "libx264")
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._count, 1 / self._rate
        if self._palette is not None:
            self._palette.vpush(frame)
            frame = self._palette.vpull()
        else:
            frame = self._converted(frame)
        self._container.mux(self._stream.encode(frame))
        self._count += 1

    def _converted(self, frame: av.VideoFrame) -> av.VideoFrame:
        """To the encoder's pixel format; the colour of a 2x2 block is its mean."""
        if self._kind.pixel_format == "bgra":
            return frame.reformat(format="bgra", threads=1)
        return frame.reformat(
            format=self._kind.pixel_format,
            dst_colorspace="ITU709",
            dst_color_range="MPEG",
            interpolation="AREA",
            threads=1,
        )

    def finish(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()

    def abandon(self) -> None:
        with suppress(Exception):  # closing a file that could not be written fails once more
            self._container.close()


def _default_scale(side: int) -> int:
    """An enlargement for clips with this larger side: to about 256 pixels; even, to fit 4:2:0."""
    return max(2, 256 // side // 2 * 2) if side <= _SMALL else 1


def _palette_graph(stream: VideoStream) -> Graph:
    """A filter that gives every frame the 256 colours that suit it best, without dithering."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=stream.width,
        height=stream.height,
        format=av.VideoFormat("rgb24"),
        time_base=1 / stream.codec_context.framerate,
    )
    split, generate = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1:dither=none"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(generate, 0, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


class _Strip:
    """Keep all frames, then write them side by side as one PNG image."""

    def __init__(self, target: Path | BytesIO, scale: int) -> None:
        self._target, self._scale = target, scale
        self._images: list[np.ndarray] = []

    def add(self, image: np.ndarray) -> None:
        self._images.append(enlarge(image, self._scale, even=False))
        if len(self._images) * self._images[0].shape[1] > _MAX_STRIP:
            raise VideoError(
                f"A PNG strip is at most {_MAX_STRIP} pixels wide; write fewer frames, or an .mp4."
            )

    def finish(self) -> None:
        import av

        strip = np.concatenate(self._images, axis=1)  # (H, T*W, 3)
        encoder = av.CodecContext.create("png", "w")
        encoder.height, encoder.width, encoder.pix_fmt = *strip.shape[:2], "rgb24"
        encoder.time_base = Fraction(1)
        frame = av.VideoFrame.from_ndarray(strip, format="rgb24")
        data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
        if isinstance(self._target, Path):
            self._target.write_bytes(data)
        else:
            self._target.write(data)

    def abandon(self) -> None:
        self._images.clear()
