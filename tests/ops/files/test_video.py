import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ops.errors import UnreadableInputError
from ops.files.video import read_frames, sample_video, uniform_indices

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


def write_image(path: Path, image: np.ndarray) -> Path:
    """A clip that shows the same picture for three frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = image.shape[:2]
        stream.bit_rate = 4_000_000
        for _ in range(3):
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


def test_frames_are_read_by_their_indices(tmp_path: Path) -> None:
    frames = list(read_frames(write_clip(tmp_path / "a.mp4"), (40, 3, 7000)))
    assert [frame.frame_index for frame in frames] == [3, 40]
    assert [level(frame.image_rgb) for frame in frames] == pytest.approx([3, 40], abs=1)


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


def shown_by(clip: Path, matrix: tuple[int, int, int, int]) -> Path:
    """A copy of an MP4 clip with another track matrix; a, b, c and d are whole numbers."""
    data = clip.read_bytes()
    a, b, c, d = (value * 65536 for value in matrix)
    identity, changed = (
        np.array(values, ">i4").tobytes()
        for values in ((65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    )
    at = data.index(identity, data.index(b"tkhd"))
    copy = clip.with_name("shown.mp4")
    copy.write_bytes(data[:at] + changed + data[at + len(identity) :])
    return copy


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_a_display_matrix_turns_and_mirrors(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    quadrants = np.zeros((64, 96, 3), np.uint8)
    quadrants[:32, :48], quadrants[:32, 48:], quadrants[32:, :48] = 240, 160, 80
    clip = write_image(tmp_path / "flat.mp4", quadrants)
    image = sample_video(shown_by(clip, matrix), 1).frames[0].image_rgb
    a, b, c, d = matrix
    for x, y, grey in ((-1, -1, 240), (1, -1, 160), (-1, 1, 80), (1, 1, 0)):
        shown_x, shown_y = a * x + c * y, b * x + d * y
        row = image.shape[0] // 4 * (2 + shown_y)
        column = image.shape[1] // 4 * (2 + shown_x)
        assert abs(int(image[row, column, 0]) - grey) < 6
    assert image.shape == ((96, 64, 3) if b else (64, 96, 3))


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


def test_frames_that_an_edit_list_cuts_are_not_missing(tmp_path: Path) -> None:
    whole, trimmed = write_clip(tmp_path / "whole.mp4"), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        shift = round(Fraction(7, 30) / source.streams.video[0].time_base)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream, packet.pts, packet.dts = stream, packet.pts - shift, packet.dts - shift
                target.mux(packet)
    sample = sample_video(trimmed, 5)
    assert sample.decoded_count == FRAMES - 7
    assert not sample.truncated
    assert level(sample.frames[0].image_rgb) == pytest.approx(7 + sample.frames[0].frame_index, abs=1)


def with_empty_chunks(clip: Path, every: int) -> Path:
    """A copy of an AVI clip with an empty chunk behind every so many frames, as writers repeat a frame."""
    data = clip.read_bytes()
    movie, index = data.index(b"movi"), data.index(b"idx1")
    entries = struct.iter_unpack("<4sIII", data[index + 8 : index + 8 + struct.unpack_from("<I", data, index + 4)[0]])
    body, table, count = b"movi", b"", 0
    for number, (kind, flags, offset, size) in enumerate(entries):
        table += struct.pack("<4sIII", kind, flags, len(body), size)
        body += data[movie + offset : movie + offset + 8 + size + size % 2]
        count += 1
        if number % every == every - 1:
            table += struct.pack("<4sIII", kind, 0, len(body), 0)
            body += struct.pack("<4sI", kind, 0)
            count += 1
    header = bytearray(data[: movie - 8])
    struct.pack_into("<I", header, header.index(b"avih") + 24, count)
    struct.pack_into("<I", header, header.index(b"strh") + 40, count)
    lists = struct.pack("<4sI", b"LIST", len(body)) + body + struct.pack("<4sI", b"idx1", len(table)) + table
    struct.pack_into("<I", header, 4, len(header) + len(lists) - 8)
    copy = clip.with_name("empty.avi")
    copy.write_bytes(bytes(header) + lists)
    return copy


def test_empty_chunks_of_an_avi_are_not_missing(tmp_path: Path) -> None:
    sample = sample_video(with_empty_chunks(write_clip(tmp_path / "a.avi"), 10), 5)
    assert sample.decoded_count == FRAMES
    assert not sample.truncated


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_cut_avi_is_truncated(tmp_path: Path, share: float) -> None:
    whole = with_empty_chunks(write_clip(tmp_path / "a.avi"), 10)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(share * data.index(b"idx1"))])
    assert sample_video(whole, 5).truncated


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_clips_have_the_colours_of_sdr(tmp_path: Path, transfer: int) -> None:
    patches = np.array([(30, 30, 30), (118, 118, 118), (200, 150, 130), (120, 60, 40), (60, 90, 160)])
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9
        signal = hdr_signal(patches, hlg=transfer == 18)
        image = np.repeat(np.broadcast_to(signal, (64, 5, 3)), 32, 1)
        frame = av.VideoFrame.from_ndarray(np.round(image * 65535).astype(np.uint16), "rgb48le")
        frame = frame.reformat(format="yuv420p10le", dst_colorspace=9)
        frame.color_trc, frame.color_primaries = transfer, 9
        for _ in range(2):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    decoded = sample_video(path, 1).frames[0].image_rgb[32, 16::32]
    np.testing.assert_allclose(decoded, patches, atol=4)


def hdr_signal(srgb: np.ndarray, *, hlg: bool) -> np.ndarray:
    """PQ or HLG of sRGB colours whose white has 203 cd/m2 (BT.2408), by the equations of BT.2100."""
    value = srgb / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = light @ np.array(((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956))).T
    if not hlg:
        power = (light * 203 / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    display = light * 203 / 1000
    scene = display * ((display @ (0.2627, 0.6780, 0.0593)) ** (1 / 1.2 - 1))[..., None]
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )
