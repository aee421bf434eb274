"""Read any container that FFmpeg knows as upright RGB frames, one at a time.

Stands between files and `minisora.video`. A file streams through three steps, so that a film of
hours needs the memory of a few frames: `_decode` decodes and gives every picture its time, `sample`
chooses by time (start, frame rate, count), and `video_pixels.Shaper` turns a picture into upright
uint8 RGB of the wanted size. Decoding is FFmpeg's, through PyAV.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minisora.containers import (
    VideoError,
    is_animated_webp,
    is_truncated,
    iter_webp,
)
from minisora.video_pixels import Fit, Shaper, parse_size_note

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

DEFAULT_FPS = 8  # for files without a frame rate: still images


@dataclass(frozen=True)
class Header:
    """What a file says about itself before its first frame."""

    path: str
    fps: Fraction = Fraction(DEFAULT_FPS)
    prompt: str = ""
    pixel_aspect: Fraction = Fraction(1)  # width of a pixel / its height
    stored: tuple[int, int, int] | None = None  # (height, width, scale), see `size_note`


@dataclass(frozen=True)
class Picture:
    """A decoded frame; `time` and `duration` in seconds, the first frame of the file is at 0."""

    frame: av.VideoFrame
    time: Fraction
    duration: Fraction
    header: Header


def iter_frames(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    start: float = 0.0,
    fit: Fit = "crop",
) -> Iterator[np.ndarray]:
    """Yield the frames of a video or image file, uint8 (H, W, 3), in constant memory.

    Args:
        path: a file of any format that FFmpeg decodes; what is transparent becomes black.
        fps: frames per second to resample to. Frame k is the one nearest in time to
            start + k / fps; d seconds become d * fps frames, rounded, but one at least.
            None: every stored frame, however they are spaced.
        size: (height, width) in pixels; None keeps the file's own.
        frames: exactly so many frames; None goes on to the end of the file.
        start: seconds to skip. The first frame is the one nearest in time to it.
        fit: how `size` meets another aspect ratio: "crop" keeps the middle, "stretch" distorts.

    Raises:
        VideoError: the file is missing, empty, not a video, damaged, cut off, or too short for
            `start` and `frames`. The frames before the damage are yielded first.
        ValueError: an argument is out of its range.
    """
    shaper = Shaper(size, fit)
    pictures = sample(path, fps=fps, frames=frames, start=start)
    return (
        shaper(picture.frame, picture.header.pixel_aspect, picture.header.stored)
        for picture in pictures
    )


def sample(
    path: str | os.PathLike[str], *, fps: float | None, frames: int | None, start: float
) -> Iterator[Picture]:
    """Check the request, then choose pictures by time; arguments as in `iter_frames`."""
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps={fps} must be a positive number of frames per second, or None.")
    if frames is not None and frames < 1:
        raise ValueError(f"frames={frames} must be at least 1, or None for all.")
    if not 0 <= start < float("inf"):
        raise ValueError(f"start={start} must be a number of seconds, 0 or more.")
    name = os.fspath(path)
    _check_file(Path(name))
    step = None if fps is None else 1 / Fraction(fps).limit_denominator(100_000)
    return _counted(_nearest(name, step, Fraction(start)), name, frames, start)


def _nearest(path: str, step: Fraction | None, start: Fraction) -> Iterator[Picture]:
    """Yield the picture nearest to start, start + step, ...; with step None all from `start` on."""
    held, ticks, target = None, 0, start
    for picture in _pictures_from(path, start):
        while held is not None and target <= (held.time + picture.time) / 2:
            yield held
            ticks += 1
            if step is None:
                break
            target = start + ticks * step
        held = picture
    if held is None:
        raise VideoError(f"{path} contains no frames; give a video or image file.")
    end = held.time + held.duration
    while target < end and (ticks == 0 or step is None or target + step / 2 <= end):
        yield held
        ticks += 1
        target = end if step is None else start + ticks * step
    if ticks == 0:
        raise VideoError(f"{path} ends at {float(end):.2f} s; choose a smaller start.")


def _counted(
    pictures: Iterator[Picture], path: str, frames: int | None, start: float
) -> Iterator[Picture]:
    """Stop after `frames` pictures and refuse to yield fewer."""
    count = 0
    for count, picture in enumerate(pictures, 1):
        yield picture
        if count == frames:
            return
    if frames is not None:
        raise VideoError(
            f"{path} has only {count} of the {frames} frames asked for from {start:g} s on; "
            "ask for fewer, start earlier, or raise fps."
        )


def _pictures_from(path: str, start: Fraction) -> Iterator[Picture]:
    """Decode from the last keyframe before `start` seconds, or from the beginning."""
    if is_animated_webp(path):
        yield from _webp_pictures(path)
        return
    if start > 0:
        pictures, first = _decode(path, start), None
        with suppress(VideoError):  # whatever is wrong shows again from the beginning
            first = next(pictures, None)
        # Where a file's index is coarse, or absent, a seek may land behind its target.
        if first is not None and first.time <= start:
            yield first
            yield from pictures
            return
    yield from _decode(path, Fraction(0))


def _webp_pictures(path: str) -> Iterator[Picture]:
    import av

    time, header = Fraction(0), Header(path)
    for canvas, milliseconds in iter_webp(path):
        # Browsers show frames of 10 ms or less for 100 ms.
        duration = Fraction(milliseconds if milliseconds > 10 else 100, 1000)
        yield Picture(av.VideoFrame.from_ndarray(canvas, format="rgba"), time, duration, header)
        time += duration
    if is_truncated(path):
        raise VideoError(_damage(path, time))


def _decode(path: str, start: Fraction) -> Iterator[Picture]:
    """Yield all pictures from a keyframe before `start` on; times strictly rise."""
    import av

    last: Picture | None = None
    try:
        with _open(path) as container:
            stream = _video_stream(container, path)
            header = _header(container, stream, path)
            sought = start > 0 and _seek(container, stream, start)
            for packet in container.demux(stream):
                for frame in packet.decode():
                    last = _timed(frame, stream, header, last, sought)
                    if frame.is_corrupt and last.time + last.duration > start:
                        raise ValueError("FFmpeg calls the frame corrupt")
                    yield last
                if packet.is_corrupt:
                    raise ValueError("FFmpeg calls the packet corrupt")
            if _ends_early(container, stream, last) or is_truncated(path):
                raise ValueError("the file ends before its declared end")
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(_damage(path, last.time if last else None)) from error


def _ends_early(container: InputContainer, stream: VideoStream, last: Picture | None) -> bool:
    """True for a silent Matroska that ends before the time it declares, as half-downloads do."""
    if stream.duration is not None or not container.duration or len(container.streams) > 1:
        return False
    end = Fraction(stream.start_time or 0) * (stream.time_base or 0)
    end += 0 if last is None else last.time + last.duration
    slack = 2 * last.duration if last is not None else 0
    return end + slack < Fraction(container.duration, 1_000_000)


def _damage(path: str, time: Fraction | None) -> str:
    what = "truncated" if is_truncated(path) else "damaged"
    where = "from the start on" if time is None else f"after {float(time):.2f} s"
    return f"{path} is {what} {where}; get the whole file again, or ask only for what lies before."


def _timed(
    frame: av.VideoFrame, stream: VideoStream, header: Header, last: Picture | None, sought: bool
) -> Picture:
    """Give a decoded frame its time; where the file does not know it, one step after the last."""
    step = 1 / header.fps
    base = frame.time_base or stream.time_base or step
    if frame.pts is not None:
        time = (frame.pts - (stream.start_time or 0)) * base
    else:
        time = Fraction(10**9) if sought else Fraction(0)  # unknown: decode from the beginning
    if last is not None and (frame.pts is None or time <= last.time):
        time = last.time + step
    return Picture(frame, time, frame.duration * base if frame.duration else step, header)


def _seek(container: InputContainer, stream: VideoStream, start: Fraction) -> bool:
    """Jump to the keyframe before `start`; False where the format cannot."""
    import av

    if stream.start_time is None or not stream.time_base:
        return False
    try:
        container.seek(stream.start_time + int(start / stream.time_base), stream=stream)
    except av.FFmpegError:
        return False
    return True


def _check_file(path: Path) -> None:
    if not path.exists():
        raise VideoError(f"{path} does not exist; check the spelling of the path.")
    if path.is_dir():
        raise VideoError(f"{path} is a folder; give one video or image file in it.")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path} may not be read; change its permissions.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes); get the file again.")


def _open(path: str) -> InputContainer:
    import av

    # Without the prefix a name like "a:b.mp4" is taken for a URL; the whitelist keeps playlists,
    # which are files too, from fetching anything off the network.
    options = {"protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if is_truncated(path):
            raise VideoError(_damage(path, None)) from error
        raise VideoError(f"{path} is not a video or image that FFmpeg can read.") from error


def _video_stream(container: InputContainer, path: str) -> VideoStream:
    """The first stream of moving pictures; a song's cover is none, nor is a text file's screen."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if container.format.name == "tty":
        raise VideoError(f"{path} is a text file; give a video or image file.")
    # PyAV 18 ends the process when asked to decode a stream without a codec context.
    if streams and streams[0].codec_context is not None:
        streams[0].thread_type = "AUTO"
        return streams[0]
    if is_truncated(path):
        raise VideoError(_damage(path, None))
    only = " (only sound)" if container.streams.audio and not streams else ""
    raise VideoError(f"{path} has no video stream that can be decoded{only}; give a video file.")


def _header(container: InputContainer, stream: VideoStream, path: str) -> Header:
    tags = {name.lower(): text for name, text in container.metadata.items()}
    still = container.format.name.endswith("_pipe") or container.format.name == "image2"
    fps = None if still else stream.guessed_rate or stream.average_rate
    return Header(
        path,
        fps=fps or Fraction(DEFAULT_FPS),
        prompt=tags.get("title", ""),
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        stored=parse_size_note(tags.get("comment", "")),
    )
