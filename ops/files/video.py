"""Frames drawn from a video, found by counting decoded frames and never by seeking.

Drawn frames are held as PNG, so that many large ones fit into memory; the others are forgotten at once.
Seeking trusts the file's index, which on damaged files silently gives other frames than those asked for.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from ops.errors import UnreadableInputError
from ops.files.avi import count_empty_frames
from ops.files.hdr import is_hdr, sdr_image
from ops.files.photo import MAX_SIDE_PX, decode_png, encode_png

# Container formats outside this list are refused: a play list (HLS, ffconcat) would open other files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,mpegtsraw,mjpeg,mjpeg_2000,mpjpeg,flv,asf,m4v,"
    "h264,hevc,ogg,dv,mxf,gif,ivf,nut,wtv"
)
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
_JPEG_START, _JPEG_CLIPS = b"\xff\xd8\xff", (".mjpg", ".mjpeg")


class VideoFrame(NamedTuple):
    """One decoded frame, upright, with square pixels."""

    image_png: bytes
    frame_index: int
    """The number of frames decoded before this one."""
    time_s: float | None
    """The presentation time, where the file gives one."""
    width_px: int
    height_px: int
    """The upright size at full resolution."""

    @property
    def image_rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """The pixels, at most `MAX_SIDE_PX` a side."""
        return decode_png(self.image_png)


class VideoSample(NamedTuple):
    """The drawn frames, and what decoding the whole clip told."""

    frames: tuple[VideoFrame, ...]
    decoded_count: int
    declared_count: int | None
    """What the container says, where it says anything, without frames that an edit list cuts or that are empty."""
    damage: str
    """What the decoder complained about, empty where it did not."""

    @property
    def truncated(self) -> bool:
        """Whether frames that the file promises are missing, or damaged."""
        return bool(self.damage) or self.decoded_count < (self.declared_count or 0)


class _Decoding:
    """One pass over a clip, in decode order."""

    def __init__(self, path: Path, **options: str) -> None:
        self.path = path
        self.options = _OPTIONS | options
        self.declared_count: int | None = None
        self.stream_index = 0
        self.pixel_aspect = 1.0
        self.damage = ""

    def frames(self) -> Iterator[Any]:
        import av

        try:
            # JPEGs one after the other have no header, and FFmpeg's guess by their content is at times another format.
            form = "mjpeg" if _is_jpegs(self.path) else None
            with av.open(str(self.path), format=form, options=self.options, metadata_errors="ignore") as container:
                if not container.streams.video:
                    raise UnreadableInputError("the file has no video stream")
                stream = container.streams.video[0]
                # One decoding thread: with several, what a damaged clip yields depends on their timing.
                stream.codec_context.thread_count = 1
                self.declared_count = stream.frames or None
                self.stream_index = stream.index
                self.pixel_aspect = float(stream.sample_aspect_ratio or 1)
                yield from self._packet_frames(container, stream)
        except (av.FFmpegError, OSError) as error:
            self.damage = self.damage or _one_line(error)

    def _packet_frames(self, container: Any, stream: Any) -> Iterator[Any]:
        import av

        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    if frame.is_corrupt:
                        self.damage = self.damage or "a frame is damaged"
                    yield frame
            except av.FFmpegError as error:
                self.damage = self.damage or _one_line(error)


def _is_jpegs(path: Path) -> bool:
    """By name and content: a photo that is called a clip of another kind is none."""
    if path.suffix.lower() not in _JPEG_CLIPS:
        return False
    with path.open("rb") as file:
        return file.read(len(_JPEG_START)) == _JPEG_START


def uniform_indices(total: int, count: int) -> tuple[int, ...]:
    """The middle frames of `count` equal parts of a clip of `total` frames; every frame where it has no more."""
    count = min(count, total)
    return tuple((2 * part + 1) * total // (2 * count) for part in range(count))


def sample_video(path: Path, count: int) -> VideoSample:
    """Draw `count` frames uniformly over the frames that decode.

    The declared frame count is taken as a guess; where decoding proves it wrong, the clip is decoded a second time.

    Raises:
        UnreadableInputError: not a single frame decodes.
    """
    first = _Decoding(path)
    guess: Sequence[int] = ()
    drawn: dict[int, VideoFrame] = {}
    total = 0
    for frame in first.frames():
        if total == 0:
            guess = uniform_indices(first.declared_count or 1, count)
        if total in guess:
            drawn[total] = _upright(frame, total, first.pixel_aspect)
        total += 1
    if total == 0:
        raise UnreadableInputError(f"no frame can be decoded: {first.damage or 'the clip is empty'}")
    indices = uniform_indices(total, count)
    if any(index not in drawn for index in indices):
        drawn = {frame.frame_index: frame for frame in read_frames(path, indices)}
    frames = tuple(drawn[index] for index in indices if index in drawn)
    declared = first.declared_count
    if declared is not None and total < declared and not first.damage and _all_frames_are_there(first):
        declared = total
    return VideoSample(frames, total, declared, first.damage)


def read_frames(path: Path, indices: Collection[int]) -> Iterator[VideoFrame]:
    """The frames of these indices, ascending; those that do not decode are left out."""
    clip = _Decoding(path)
    for index, frame in enumerate(clip.frames()):
        if index in indices:
            yield _upright(frame, index, clip.pixel_aspect)


def _all_frames_are_there(clip: _Decoding) -> bool:
    """Whether what decoded falls short of the declared count only by what an edit list cuts, or by empty frames."""
    whole = _Decoding(clip.path, ignore_editlist="1")
    found = sum(1 for _ in whole.frames()) + count_empty_frames(clip.path, clip.stream_index)
    return not whole.damage and found >= (clip.declared_count or 0)


def _upright(frame: Any, index: int, pixel_aspect: float) -> VideoFrame:
    width = max(1, round(frame.width * pixel_aspect))
    factor = -(-max(width, frame.height) // MAX_SIDE_PX)
    reduced = max(1, width // factor), max(1, frame.height // factor)
    if is_hdr(frame):
        image = sdr_image(frame, *reduced)
    else:
        image = frame.to_ndarray(format="rgb24", width=reduced[0], height=reduced[1], interpolation="BICUBIC")
    image, swapped = _displayed(image, frame)
    size = (frame.height, width) if swapped else (width, frame.height)
    return VideoFrame(encode_png(np.ascontiguousarray(image)), index, frame.time, *size)


def _displayed(
    image: UInt8[np.ndarray, "height width 3"], frame: Any
) -> tuple[UInt8[np.ndarray, "shown_height shown_width 3"], bool]:
    """The image as its display matrix shows it, to the nearest quarter turn, and whether that swaps width and height.

    A pixel (x, y) is shown at (a x + c y, b x + d y), where the matrix begins with a, b, u, c, d.
    """
    matrices = [bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return image, False
    a, b, _, c, d = np.frombuffer(matrices[0], np.int32)[:5].tolist()
    swapped = abs(a) + abs(d) < abs(b) + abs(c)
    if swapped:
        image = image.transpose(1, 0, 2)
    mirrored_x, mirrored_y = (c < 0, b < 0) if swapped else (a < 0, d < 0)
    return image[:: -1 if mirrored_y else 1, :: -1 if mirrored_x else 1], swapped


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
