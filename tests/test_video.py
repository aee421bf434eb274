"""Video files: every container, every kind of bad file, and files that browsers play."""

from __future__ import annotations

import base64
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora import video_writer
from minisora.containers import is_truncated, iter_webp
from minisora.video import (
    VideoClip,
    VideoError,
    VideoWriter,
    grid,
    iter_frames,
    read_video,
    strip,
    write_video,
)

FRAMES, HEIGHT, WIDTH, FPS = 9, 48, 64, 8


def moving_disks(
    frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, noise: int = 0
) -> np.ndarray:
    """Saturated disks on dark blue that move, uint8 (T, H, W, 3): hard for 4:2:0."""
    y, x = np.mgrid[:height, :width]
    video = np.full((frames, height, width, 3), (20, 20, 60), np.uint8)
    for t in range(frames):
        for i, color in enumerate([(255, 0, 0), (0, 255, 0), (255, 255, 0)]):
            center = (5 + 2 * t + 17 * i) % width
            video[t][np.hypot(y - height * (i + 1) / 4, x - center) < height / 8] = color
    rng = np.random.default_rng(0)
    return video + rng.integers(0, noise + 1, video.shape, dtype=np.uint8)


def tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (T, H, W, 3) -> float (3, T, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(3, 0, 1, 2).float() / 255


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float(-10 * (a - b).square().mean().clamp(min=1e-12).log10())


def encode(
    path: Path,
    codec: str,
    pixel_format: str,
    images: np.ndarray,
    *,
    times: list[int] | None = None,
    fps: int = FPS,
    container: str | None = None,
    options: dict[str, str] | None = None,
    prepare: Callable[[av.VideoStream], object] | None = None,
) -> Path:
    """Write with bare PyAV, independently of the package; `times` are in 1 / fps seconds."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], pixel_format
        if prepare is not None:
            prepare(stream)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            frame.pts = index if times is None else times[index]
            frame.time_base = Fraction(1, fps)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip() -> VideoClip:
    return VideoClip(tensor(moving_disks()), FPS, 'a red "disk" & friends')


# ---- Round trips of our own files ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bound"), [("a.mp4", 40), ("a.webp", 100), ("a.GIF", 35), ("a:b %d ü.mp4", 40)]
)
def test_a_saved_clip_reads_back(tmp_path: Path, clip: VideoClip, name: str, bound: float) -> None:
    path = clip.save(tmp_path / name)
    back = read_video(path)
    assert psnr(back.video, clip.video) > bound
    assert back.fps == pytest.approx(FPS)
    assert list(tmp_path.iterdir()) == [path]  # no temporary file stays
    if path.suffix == ".mp4":
        assert back.prompt == clip.prompt


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (131, 517), (600, 18)])
def test_mp4_gives_back_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    video = tensor(moving_disks(3, *size))
    back = read_video(write_video(video, tmp_path / "a.mp4"))
    assert psnr(back.video, video) > 20
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.height % 2 == stream.width % 2 == 0


def test_enlarged_blocks_keep_colours_sharp(tmp_path: Path, clip: VideoClip) -> None:
    plain = read_video(write_video(clip.video, tmp_path / "plain.mp4", scale=1))
    large = read_video(write_video(clip.video, tmp_path / "large.mp4"))
    assert psnr(large.video, clip.video) > psnr(plain.video, clip.video) + 15


def test_png_strip(tmp_path: Path, clip: VideoClip) -> None:
    back = read_video(clip.save(tmp_path / "a.png"))
    assert torch.equal(back.video[:, 0], strip(clip))
    assert strip(clip).shape == (3, HEIGHT, FRAMES * WIDTH)
    assert torch.equal(strip(clip)[:, :, WIDTH : 2 * WIDTH], clip.video[:, 1])
    with pytest.raises(VideoError, match="wide"):
        write_video(torch.zeros(1, 1200, 1, 64), tmp_path / "b.png")


def test_large_lossy_webp(tmp_path: Path) -> None:
    video = tensor(moving_disks(3, 160, 200))
    assert psnr(read_video(write_video(video, tmp_path / "a.webp")).video, video) > 25


@settings(max_examples=15, deadline=None)
@given(
    frames=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    fps=st.sampled_from([1, 7.5, 8, 24000 / 1001, 60]),
    suffix=st.sampled_from([".mp4", ".webp"]),
)
def test_shape_and_rate_survive(
    tmp_path_factory: pytest.TempPathFactory,
    frames: int,
    height: int,
    width: int,
    fps: float,
    suffix: str,
) -> None:
    path = tmp_path_factory.mktemp("shape") / f"a{suffix}"
    back = read_video(write_video(torch.rand(1, frames, height, width), path, fps))
    assert back.video.shape == (3, frames, height, width)
    # WebP keeps times in milliseconds and does not name its rate, which a single frame thus lacks.
    if suffix == ".mp4" or frames > 1:
        assert back.fps == pytest.approx(fps, rel=0.05 if suffix == ".webp" else 1e-4)


def test_writer_streams_arrays_and_tensors(tmp_path: Path, clip: VideoClip) -> None:
    images = moving_disks()
    with VideoWriter(tmp_path / "a.mp4", FPS) as writer:
        writer.add(clip.video[:, :4])
        writer.add(images[4:7])
        for image in images[7:]:
            writer.add(image)
    whole = read_video(clip.save(tmp_path / "b.mp4"))
    assert torch.equal(read_video(tmp_path / "a.mp4").video, whole.video)


# ---- Reading what others wrote -------------------------------------------------------------------

CONTAINERS = [
    ("a.mp4", "libx264", "yuv420p", 20),
    ("a.mp4", "libx264", "yuv444p", 35),
    ("a.mov", "libx264", "yuv444p10le", 35),
    ("a.mkv", "libx265", "yuv420p10le", 20),
    ("a.mkv", "ffv1", "yuv422p", 22),
    ("a.mkv", "ffv1", "bgra", 80),
    ("a.mov", "qtrle", "argb", 80),
    ("a.webm", "libvpx-vp9", "yuv420p", 20),
    ("a.avi", "mpeg4", "yuv420p", 20),
    ("a.avi", "rawvideo", "bgr24", 80),
    ("a.ts", "libx264", "yuv420p", 20),
    ("a.apng", "apng", "rgb24", 80),
    ("a.gif", "gif", "rgb8", 20),
    ("a.webp", "libwebp_anim", "yuv420p", 20),
    ("a.png", "png", "rgb24", 80),
    ("a.jpg", "mjpeg", "yuvj444p", 30),
]


@pytest.mark.parametrize(("name", "codec", "pixel_format", "bound"), CONTAINERS)
def test_any_container(
    tmp_path: Path, name: str, codec: str, pixel_format: str, bound: float
) -> None:
    still = name in ("a.png", "a.jpg")
    images = moving_disks(1 if still else FRAMES)
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / name, codec, pixel_format, images, options=quiet)
    back = read_video(path)
    assert psnr(back.video, tensor(images)) > bound
    assert back.fps == pytest.approx(FPS)
    assert not is_truncated(path)
    if not still:  # three frames from 0.5 s on: a seek, where the container can
        part = read_video(path, start=0.5, frames=3).video
        assert psnr(part, back.video[:, 4:7]) > 35


def test_gray_and_palette(tmp_path: Path) -> None:
    images = moving_disks()
    gray = np.broadcast_to(images[..., 1:2], images.shape).copy()
    for codec, pixel_format in [("ffv1", "gray"), ("ffv1", "gray10le"), ("ffv1", "gray16le")]:
        path = encode(tmp_path / f"{pixel_format}.mkv", codec, pixel_format, gray)
        assert psnr(read_video(path).video, tensor(gray)) > 45
    path = write_video(images, tmp_path / "palette.gif")
    assert psnr(read_video(path).video, tensor(images)) > 40


def test_transparent_becomes_black(tmp_path: Path) -> None:
    rgba = np.full((2, 16, 16, 4), 200, np.uint8)
    rgba[:, :, :8, 3] = 0
    rgba[:, :, 8:, 3] = 255
    for name, codec, pixel_format in [("a.png", "png", "rgba"), ("a.webp", "libwebp_anim", "bgra")]:
        with av.open(str(tmp_path / name), "w") as file:
            stream = file.add_stream(codec, rate=8, options={"lossless": "1"})
            stream.height, stream.width, stream.pix_fmt = 16, 16, pixel_format
            for image in rgba[: 1 if codec == "png" else 2]:
                frame = av.VideoFrame.from_ndarray(image, format="rgba")
                file.mux(stream.encode(frame.reformat(format=pixel_format)))
            file.mux(stream.encode())
        video = read_video(tmp_path / name).video
        assert video[..., :8].max() == 0
        assert (video[..., 8:] * 255).round().unique().tolist() == [200]


def test_webp_frames_that_cover_a_part(tmp_path: Path) -> None:
    """A hand-made animation: a small picture blended over, replaced, and cleared again."""

    def still(color: tuple[int, int, int, int], height: int, width: int) -> bytes:
        encoder = av.CodecContext.create("libwebp", "w")
        encoder.height, encoder.width, encoder.pix_fmt = height, width, "bgra"
        encoder.time_base, encoder.options = Fraction(1), {"lossless": "1"}
        image = np.full((height, width, 4), color, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format="bgra")
        data = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
        return data[data.index(b"VP8L") :]

    def chunk(name: bytes, payload: bytes) -> bytes:
        return name + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)

    def part(y: int, x: int, height: int, width: int, flags: int, picture: bytes) -> bytes:
        numbers = (x // 2, y // 2, width - 1, height - 1, 125)
        head = b"".join(n.to_bytes(3, "little") for n in numbers)
        return chunk(b"ANMF", head + bytes([flags]) + picture)

    replace, clear = 2, 1
    body = chunk(b"VP8X", b"\x12\0\0\0" + (7).to_bytes(3, "little") + (5).to_bytes(3, "little"))
    body += chunk(b"ANIM", bytes(6))
    body += part(0, 0, 6, 8, 0, still((100, 0, 0, 255), 6, 8))
    body += part(2, 4, 2, 2, clear, still((0, 200, 0, 128), 2, 2))
    body += part(0, 0, 2, 2, replace, still((0, 0, 0, 0), 2, 2))
    path = tmp_path / "a.webp"
    path.write_bytes(chunk(b"RIFF", b"WEBP" + body))
    (first, _), (second, _), (third, _) = iter_webp(path)
    assert (first == (100, 0, 0, 255)).all()
    assert second[2, 4] == pytest.approx([50, 100, 0, 255], abs=1)
    assert (second[4:] == first[4:]).all()
    assert (third[2:4, 4:6] == 0).all() and (third[:2, :2] == 0).all()
    assert (third[4:] == first[4:]).all()
    assert read_video(path).fps == pytest.approx(8)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [False, True])
def test_display_matrix(tmp_path: Path, degrees: int, mirror: bool) -> None:
    images = moving_disks(2)
    for name, codec, pixel_format in [("a.mov", "qtrle", "rgb24"), ("a.mkv", "ffv1", "bgr0")]:
        path = encode(
            tmp_path / name,
            codec,
            pixel_format,
            images,
            prepare=lambda stream: stream.set_display_rotation(degrees, hflip=mirror),
        )
        expected = np.rot90(images, degrees // 90, axes=(1, 2))  # counter-clockwise
        expected = expected[:, :, ::-1] if mirror else expected
        assert psnr(read_video(path).video, tensor(expected.copy())) > 80


def test_a_phone_held_upright(tmp_path: Path) -> None:
    """The matrix that phones write, from ISO/IEC 14496-12: (x, y) -> (-y, x), a turn clockwise."""
    images = moving_disks(2)
    one = 1 << 16
    matrix = [0, one, 0, -one, 0, 0, 0, 0, 1 << 30]
    path = encode(
        tmp_path / "a.mov",
        "qtrle",
        "rgb24",
        images,
        prepare=lambda stream: stream.set_display_matrix(matrix),
    )
    expected = np.rot90(images, -1, axes=(1, 2)).copy()
    assert psnr(read_video(path).video, tensor(expected)) > 80
    assert next(iter_frames(path, size=(20, 10))).shape == (20, 10, 3)


def test_a_photo_with_exif(tmp_path: Path) -> None:
    """Orientation 6 in EXIF: to be turned clockwise by a quarter."""
    path = encode(tmp_path / "a.jpg", "mjpeg", "yuvj444p", moving_disks(1))
    upright = read_video(path).video.rot90(-1, dims=(2, 3))
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])
    assert torch.equal(read_video(path).video, upright)


def test_wide_pixels(tmp_path: Path) -> None:
    def anamorphic(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    path = encode(tmp_path / "a.mp4", "libx264", "yuv420p", moving_disks(2), prepare=anamorphic)
    assert read_video(path).size == (HEIGHT, WIDTH * 3 // 2)


def test_colours_of_hd_and_sd_matrices(tmp_path: Path) -> None:
    """A file that names BT.709 and one that names BT.601 show the same colours."""
    images = np.full((2, 32, 32, 3), (200, 60, 30), np.uint8)
    for name, tag in [("bt709", 1), ("smpte170m", 6)]:
        path = tmp_path / f"{name}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=8, options={"crf": "1"})
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
            stream.codec_context.colorspace, stream.codec_context.color_range = tag, 1
            for image in images:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                matrix = "ITU709" if tag == 1 else "ITU601"
                file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=matrix)))
            file.mux(stream.encode())
        assert (read_video(path).video - tensor(images)).abs().max() < 4 / 255


# ---- Sampling: rate, size, length ----------------------------------------------------------------


def numbered(tmp_path: Path, name: str = "a.mkv", **kwargs: object) -> Path:
    """20 frames at 8 fps, 2.5 s; frame k has the grey value 10 k."""
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * 10
    images = np.broadcast_to(images, (20, 16, 16, 3)).copy()
    return encode(tmp_path / name, "ffv1", "bgr0", images, **kwargs)


def numbers(video: torch.Tensor) -> list[int]:
    return (video[0, :, 0, 0] * 255 / 10).round().int().tolist()


def test_frame_rates_by_time(tmp_path: Path) -> None:
    path = numbered(tmp_path)
    assert numbers(read_video(path).video) == list(range(20))
    assert numbers(read_video(path, fps=8).video) == list(range(20))
    assert numbers(read_video(path, fps=4).video) == list(range(0, 20, 2))
    assert numbers(read_video(path, fps=2).video) == list(range(0, 20, 4))
    assert read_video(path, fps=3).frames == 8  # 7.5, rounded
    assert read_video(path, fps=0.1).frames == 1
    double = numbers(read_video(path, fps=16).video)
    assert len(double) == 40 and sorted(double) == double and set(double) == set(range(20))
    assert read_video(path, fps=16).fps == 16


@settings(max_examples=25, deadline=None)
@given(fps=st.floats(0.5, 40), start=st.floats(0, 2.4), count=st.integers(1, 6))
def test_frame_rates_against_a_naive_search(
    tmp_path_factory: pytest.TempPathFactory, fps: float, start: float, count: int
) -> None:
    path = numbered(tmp_path_factory.getbasetemp(), "naive.mkv")
    if start + (count - 0.5) / fps > 2.5 - 0.01:
        return
    got = numbers(read_video(path, fps=fps, start=start, frames=count).video)
    for tick, value in enumerate(got):
        wanted = start + tick / fps
        distance = min(abs(k / 8 - wanted) for k in range(20))
        assert abs(value / 8 - wanted) <= distance + 1e-3


def test_variable_frame_rate(tmp_path: Path) -> None:
    """Frames 0-9 stand for 1/8 s each, frames 10-19 for 3/8 s each."""
    times = [*range(10), *(10 + 3 * i for i in range(10))]
    path = numbered(tmp_path, times=times)
    stored = read_video(path)
    assert numbers(stored.video) == list(range(20))
    assert stored.fps == pytest.approx(19 / (37 / 8), rel=0.01)
    even = numbers(read_video(path, fps=8).video)
    assert even[:10] == list(range(10))
    assert [even.count(k) for k in range(11, 19)] == [3] * 8
    # Files of changing resolution or rate are joined so; a seek goes by time too.
    assert numbers(read_video(path, fps=8, start=10 / 8, frames=2).video) == [10, 10]


def test_start_and_length(tmp_path: Path) -> None:
    images = moving_disks(60)
    # A keyframe every 12 frames and B-frames between: the seek has to go back and decode on.
    path = encode(tmp_path / "a.mp4", "libx264", "yuv444p", images, options={"g": "12"})
    whole = read_video(path).video
    for first in (0, 1, 11, 12, 13, 30, 59):
        part = read_video(path, start=first / FPS, frames=1).video
        assert torch.equal(part, whole[:, first : first + 1])
    assert torch.equal(read_video(path, start=2.06).video, whole[:, 16:])
    with pytest.raises(VideoError, match=r"ends at 7\.50 s"):
        read_video(path, start=7.5)
    with pytest.raises(VideoError, match="only 4 of the 5 frames"):
        read_video(path, start=7, frames=5)


def test_size_crop_and_stretch(tmp_path: Path) -> None:
    images = np.zeros((1, 40, 80, 3), np.uint8)
    for channel, columns in enumerate([slice(0, 20), slice(20, 60), slice(60, 80)]):
        images[:, :, columns, channel] = 255
    path = write_video(images, tmp_path / "a.png")
    crop = read_video(path, size=(20, 20)).video
    assert crop.shape == (3, 1, 20, 20)
    assert (crop.mean(dim=(1, 2, 3)) * 255).round().tolist() == [0, 255, 0]
    stretch = read_video(path, size=(20, 20), fit="stretch").video
    assert stretch.mean(dim=(1, 2, 3)) == pytest.approx([0.25, 0.5, 0.25], abs=0.01)
    assert read_video(path, size=(120, 100)).video.shape == (3, 1, 120, 100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": 0},
        {"fps": float("nan")},
        {"frames": 0},
        {"start": -1},
        {"size": (0, 4)},
        {"size": (4, 4, 3)},
        {"fit": "pad"},
    ],
)
def test_requests_out_of_range(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = write_video(moving_disks(1), tmp_path / "a.png")
    with pytest.raises(ValueError, match=next(iter(wrong))):
        iter_frames(path, **wrong)


MEMORY = """
import sys
import numpy as np
from minisora.video import VideoWriter, iter_frames

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

assert "av" not in sys.modules  # importing is light
y, x = np.mgrid[:192, :192]
levels = []
with VideoWriter(sys.argv[1], 24, scale=1) as writer:
    for t in range(400):  # 42 MiB as uint8, 169 MiB as floats
        writer.add(np.stack([x + t, y + t, x], axis=-1).astype(np.uint8))
        levels.append(resident())
print(max(levels) - levels[100])
levels = []
for frame in iter_frames(sys.argv[1], fps=30):
    levels.append(resident())
print(max(levels) - levels[50], len(levels))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use from /proc")
def test_streaming_needs_constant_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "long.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written, read, frames = done.stdout.split()
    assert int(frames) == 400 * 30 // 24
    assert float(written) < 24 and float(read) < 24  # MiB


# ---- Bad files: one sentence each ----------------------------------------------------------------


def one_sentence(path: Path, pattern: str) -> None:
    with pytest.raises(VideoError, match=pattern) as caught:
        read_video(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert message.endswith(".") and len(re.findall(r"\.\s", message)) == 0


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    one_sentence(tmp_path / "absent.mp4", "does not exist")
    one_sentence(tmp_path, "is a folder")
    (tmp_path / "empty.mp4").touch()
    one_sentence(tmp_path / "empty.mp4", "empty")
    for name in ("text.mp4", "text.txt", "text.json", "text.srt", "text.yuv"):
        (tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 40)
        one_sentence(tmp_path / name, "text file|not a video|no video stream|damaged")
    for data in (bytes(5000), np.random.default_rng(0).bytes(5000)):
        (tmp_path / "noise.mp4").write_bytes(data)
        one_sentence(tmp_path / "noise.mp4", "not a video")
    if os.geteuid() != 0:
        (tmp_path / "secret.mp4").write_bytes(b"1")
        (tmp_path / "secret.mp4").chmod(0)
        one_sentence(tmp_path / "secret.mp4", "may not be read")


def test_only_sound(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    one_sentence(tmp_path / "a.wav", "only sound")


def test_sound_beside_pictures(tmp_path: Path) -> None:
    """A longer sound track, a title that is not UTF-8: neither stands in the way."""
    images = moving_disks()
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "a cafe?"
        video, sound = file.add_stream("ffv1", rate=FPS), file.add_stream("pcm_s16le", rate=8000)
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "bgr0"
        sound.layout = "mono"
        for image in images:
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(video.encode())
        for second in range(3):
            silence = np.zeros((1, 8000), np.int16)
            frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, second * 8000, Fraction(1, 8000)
            file.mux(sound.encode(frame))
        file.mux(sound.encode())
    path.write_bytes(path.read_bytes().replace(b"cafe?", b"caf\xe9?"))
    clip = read_video(path)
    assert psnr(clip.video, tensor(images)) > 80
    assert clip.prompt.startswith("a caf")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    one_sentence(path, "truncated")


# MPEG-TS does not state its length.
@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "_"), [case for case in CONTAINERS if case[0] != "a.ts"]
)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.6, 0.9, 0.995])
def test_truncated_files(
    tmp_path: Path, name: str, codec: str, pixel_format: str, _: float, share: float
) -> None:
    images = moving_disks(1 if name in ("a.png", "a.jpg") else FRAMES, noise=20)
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / name, codec, pixel_format, images, options=quiet)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    one_sentence(path, "truncated|damaged|not a video")


@pytest.mark.parametrize("suffix", [".mp4", ".webp", ".gif", ".png"])
def test_every_cut_of_our_own_files_is_noticed(tmp_path: Path, suffix: str) -> None:
    data = write_video(moving_disks(5), tmp_path / f"a{suffix}").read_bytes()
    path = tmp_path / f"b{suffix}"
    for length in np.linspace(1, len(data) - 1, 25).astype(int):
        path.write_bytes(data[:length])
        one_sentence(path, "truncated|damaged|not a video")


def test_frames_before_the_cut_can_be_had(tmp_path: Path) -> None:
    images = moving_disks(40, noise=20)
    path = encode(tmp_path / "a.mkv", "ffv1", "bgr0", images)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert psnr(read_video(path, frames=8).video, tensor(images[:8])) > 80
    seen = 0
    with pytest.raises(VideoError, match=r"truncated after 2\.\d\d s"):
        for _ in iter_frames(path):
            seen += 1
    assert 15 <= seen <= 20


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", "libx264", "yuv420p", moving_disks(30, noise=20))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    path.write_bytes(data)
    one_sentence(path, "damaged after")


def test_a_download_that_stopped(tmp_path: Path) -> None:
    """The file has its full length, but its second half is still zeros."""
    for name, codec, pixel_format in [
        ("a.mkv", "ffv1", "bgr0"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mp4", "libx264", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ]:
        path = encode(tmp_path / name, codec, pixel_format, moving_disks(30, noise=20))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        one_sentence(path, "damaged|truncated|not a video")


# ---- Writing safely ------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """A file with content that a failed write must leave alone, and nothing beside it."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    yield path
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_the_block_keeps_the_old_file(old: Path, clip: VideoClip) -> None:
    with pytest.raises(RuntimeError, match="boom"), VideoWriter(old) as writer:
        writer.add(clip.video)
        raise RuntimeError("boom")
    with pytest.raises(KeyboardInterrupt), VideoWriter(old) as writer:
        raise KeyboardInterrupt


def test_bad_frames_keep_the_old_file(old: Path, clip: VideoClip) -> None:
    with pytest.raises(VideoError, match="no frames"), VideoWriter(old):
        pass
    with pytest.raises(VideoError, match="48x32 cannot follow"), VideoWriter(old) as writer:
        writer.add(clip.video)
        writer.add(clip.video[..., :32])
    with pytest.raises(VideoError, match="NaN"):
        write_video(clip.video * float("nan"), old)
    for wrong in (clip.video[0], torch.zeros(4, 1, 8, 8), np.zeros((8, 8, 3)), np.zeros((2, 8, 8))):
        with pytest.raises(VideoError, match="no video"):
            write_video(wrong, old)


def test_full_disk_keeps_the_old_file(
    old: Path, clip: VideoClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point at which the space can end: while frames, index or the last bytes are written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = tensor(moving_disks(noise=60))
    for limit in (0, 100, 5_000, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            for suffix in (".mp4", ".webp", ".gif", ".png"):
                with pytest.raises(VideoError, match="disk is full") as caught:
                    write_video(noise, old.with_suffix(suffix))
                assert "\n" not in str(caught.value)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video_writer.os, "fsync", no_space)
    with pytest.raises(VideoError, match="disk is full"):
        clip.save(old)


def test_a_killed_writer_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        try:
            VideoWriter(path).add(moving_disks(80, noise=60))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert path.read_bytes() == b"old"
    (part,) = set(tmp_path.iterdir()) - {path}
    assert part.suffix == ".part" and part.stat().st_size > 0


def test_places_that_cannot_be_written(tmp_path: Path, clip: VideoClip) -> None:
    with pytest.raises(VideoError, match=r"\.mp4, \.webp, \.gif, \.png"):
        clip.save(tmp_path / "a.txt")
    with pytest.raises(VideoError, match="does not exist"):
        clip.save(tmp_path / "no" / "a.mp4")
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(VideoError, match="folder"):
        clip.save(tmp_path / "b.mp4")
    with pytest.raises(VideoError, match="fps"):
        write_video(clip.video, tmp_path / "a.mp4", fps=0)
    with pytest.raises(VideoError, match="scale"):
        write_video(clip.video, tmp_path / "a.mp4", scale=0)
    writer = VideoWriter(tmp_path / "c.png")
    writer.add(clip.video)
    writer.close()
    writer.close()
    with pytest.raises(VideoError, match="closed"):
        writer.add(clip.video)


# ---- Playable in browsers and notebooks ----------------------------------------------------------


def boxes(data: bytes) -> list[bytes]:
    names, position = [], 0
    while position < len(data):
        names.append(data[position + 4 : position + 8])
        position += int.from_bytes(data[position : position + 4], "big")
    return names


def test_mp4_suits_browsers(tmp_path: Path) -> None:
    path = write_video(moving_disks(5, 33, 47), tmp_path / "a.mp4", scale=1)
    names = boxes(path.read_bytes())
    assert names.index(b"moov") < names.index(b"mdat")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.profile in ("Main", "High")
        assert stream.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == (34, 48)
        assert (stream.colorspace, stream.color_range) == (1, 1)
        assert len(list(file.decode(video=0))) == 5


def test_looping_animations(tmp_path: Path, clip: VideoClip) -> None:
    gif = clip.save(tmp_path / "a.gif").read_bytes()
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in gif
    webp = clip.save(tmp_path / "a.webp").read_bytes()
    place = webp.index(b"ANIM")
    assert webp[place + 12 : place + 14] == b"\0\0"  # loop count 0: for ever


def test_a_clip_shows_itself(tmp_path: Path, clip: VideoClip) -> None:
    page = clip._repr_html_()
    assert page.startswith("<video ") and page.endswith("</video>")
    for word in ("controls", "loop", "autoplay", "muted", "playsinline", "pixelated"):
        assert word in page
    assert 'title="a red &quot;disk&quot; &amp; friends"' in page
    data = re.search(r"base64,([^\"]+)", page)
    assert data is not None
    (tmp_path / "a.mp4").write_bytes(base64.b64decode(data[1]))
    assert psnr(read_video(tmp_path / "a.mp4").video, clip.video) > 40
    image = VideoClip(clip.video[:, :1])._repr_html_()
    assert image.startswith("<img ") and 'alt="VideoClip(1 frame of 48x64, 8 fps)"' in image
    assert repr(clip) == "VideoClip(9 frames of 48x64, 8 fps, 'a red \"disk\" & friends')"
    assert (clip.frames, clip.size, clip.duration) == (9, (48, 64), 9 / 8)


def test_bad_clips() -> None:
    for wrong in (torch.zeros(3, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(3, 0, 4, 4)):
        with pytest.raises(VideoError, match="no clip"):
            VideoClip(wrong)
    with pytest.raises(VideoError, match="uint8"):
        VideoClip(torch.zeros(3, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(VideoError, match="fps"):
        VideoClip(torch.zeros(3, 1, 4, 4), fps=-1)


def test_grid(clip: VideoClip) -> None:
    small = VideoClip(torch.zeros(1, 3, 20, 30), FPS, "dark")
    image = grid([clip, small, clip], pad=2)
    assert image.video.shape == (3, FRAMES, 2 * HEIGHT + 6, 2 * WIDTH + 6)
    assert torch.equal(image.video[:, :, 2 : 2 + HEIGHT, 2 : 2 + WIDTH], clip.video)
    assert (image.video[:, :, :2] == 1).all() and (image.video[..., -2:] == 1).all()
    assert image.video[:, -1, 2 + HEIGHT // 2, 4 + WIDTH + WIDTH // 2].max() == 0
    assert image.prompt == f"{clip.prompt} | dark | {clip.prompt}"
    assert grid([clip] * 3, columns=3, pad=0).size == (HEIGHT, 3 * WIDTH)
    assert grid([clip], columns=5, pad=1).size == (HEIGHT + 2, WIDTH + 2)
    with pytest.raises(VideoError, match="at least one"):
        grid([])
    with pytest.raises(VideoError, match="4, 8 fps"):
        grid([clip, VideoClip(clip.video, 4)])
