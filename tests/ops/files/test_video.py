from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ops.errors import UnreadableInputError
from ops.files.video import sample_video, uniform_indices

FRAMES = 60
STEP = 4


def write_clip(
    path: Path, *, codec: str = "mpeg4", options: dict[str, str] | None = None, **stream_fields: object
) -> Path:
    """A clip whose frame i has the left half at grey level STEP * i and the right half black."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        for name, value in stream_fields.items():
            setattr(stream, name, value)
        for index in range(FRAMES):
            image = np.zeros((64, 96, 3), np.uint8)
            image[:, :48] = STEP * index
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


def level(image: np.ndarray) -> float:
    return float(image[20:40, 8:40].mean()) / STEP


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(10, 5, (1, 3, 5, 7, 9)), (3, 5, (0, 1, 2)), (1, 1, (0,)), (7, 1, (3,))]
)
def test_uniform_indices(total: int, count: int, expected: tuple[int, ...]) -> None:
    assert uniform_indices(total, count) == expected


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("b.avi", "mpeg4"), ("c.mpg", "mpeg2video"), ("d.mjpeg", "mjpeg")]
)
def test_frames_are_those_counted(tmp_path: Path, name: str, codec: str) -> None:
    sample = sample_video(write_clip(tmp_path / name, codec=codec), 5)
    assert sample.decoded_count == FRAMES
    assert [frame.frame_index for frame in sample.frames] == [6, 18, 30, 42, 54]
    assert [level(frame.image_rgb) for frame in sample.frames] == pytest.approx([6, 18, 30, 42, 54], abs=1)
    assert not sample.truncated


def test_jpegs_one_after_the_other_need_no_guess(tmp_path: Path) -> None:
    # FFmpeg takes a part of this noise for another format.
    noise = np.random.default_rng(36)
    path = tmp_path / "noise.mjpeg"
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for _ in range(8):
            image = noise.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    with pytest.raises(av.FFmpegError):
        av.open(str(path)).close()
    assert sample_video(path, 5).decoded_count == 8


def test_times_follow_the_rate(tmp_path: Path) -> None:
    sample = sample_video(write_clip(tmp_path / "a.mp4"), 5)
    assert [frame.time_s for frame in sample.frames] == pytest.approx([index / 30 for index in (6, 18, 30, 42, 54)])


def test_a_short_clip_gives_every_frame(tmp_path: Path) -> None:
    sample = sample_video(write_clip(tmp_path / "a.mp4"), 100)
    assert [frame.frame_index for frame in sample.frames] == list(range(FRAMES))


def test_a_truncated_clip_gives_what_decodes_and_says_so(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", options={"movflags": "faststart"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    sample = sample_video(cut, 5)
    assert sample.truncated
    assert sample.declared_count == FRAMES
    assert 10 < sample.decoded_count < FRAMES
    assert [frame.frame_index for frame in sample.frames] == list(uniform_indices(sample.decoded_count, 5))
    assert [level(frame.image_rgb) for frame in sample.frames[:4]] == pytest.approx(
        [frame.frame_index for frame in sample.frames[:4]], abs=1
    )


def test_pixels_become_square(tmp_path: Path) -> None:
    sample = sample_video(write_clip(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(4, 3)), 1)
    assert sample.frames[0].image_rgb.shape == (64, 128, 3)
    assert (sample.frames[0].width_px, sample.frames[0].height_px) == (128, 64)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [
        # The track matrix of a phone held upright (a quarter turn clockwise), and of one upside down.
        ((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), "top"),
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), "right"),
    ],
)
def test_the_rotation_of_a_phone_is_undone(tmp_path: Path, matrix: tuple[int, ...], bright: str) -> None:
    data = write_clip(tmp_path / "flat.mp4").read_bytes()
    identity = np.array((65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), ">i4").tobytes()
    track = data.index(b"tkhd")
    at = data.index(identity, track)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data[:at] + np.array(matrix, ">i4").tobytes() + data[at + len(identity) :])
    image = sample_video(turned, 1).frames[0].image_rgb
    half = image[: image.shape[0] // 2] if bright == "top" else image[:, image.shape[1] // 2 :]
    rest = image[image.shape[0] // 2 :] if bright == "top" else image[:, : image.shape[1] // 2]
    assert image.shape == ((96, 64, 3) if bright == "top" else (64, 96, 3))
    assert half.mean() > 90
    assert rest.mean() < 20


@pytest.mark.parametrize("data", [b"", b"hello\n" * 100, b"\0" * 5000, b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"])
def test_what_is_no_video_is_unreadable(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(UnreadableInputError, match="no frame can be decoded"):
        sample_video(path, 5)


def test_a_play_list_opens_no_other_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "other.mp4")
    path = tmp_path / "list.mp4"
    path.write_bytes(b"ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(UnreadableInputError):
        sample_video(path, 5)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match="No such file"):
        sample_video(tmp_path / "none.mp4", 5)


def test_sound_alone_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableInputError, match="no video stream"):
        sample_video(path, 5)
