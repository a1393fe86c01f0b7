"""Items to images: photos are checked and passed on as they are, clips are sampled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ops.errors import UnreadableInputError, UnsupportedInputError
from ops.files.photo import MAX_PIXELS, decode_photo, encode_jpeg
from ops.files.video import VideoSample, sample_video, uniform_indices
from pipeline.input.locations import local_file, read_location
from pipeline.input.planner import FrameChoice
from pipeline.stages.child_process import ChildCrashError, ChildProcess, ChildTimeoutError
from pipeline.stages.stage import naming
from pipeline.tables.schema import ALIGNED, DECODED, ITEMS, Frame, Reason, Status, table_from_frames

MIN_SIDE_PX = 32
"""An image with a shorter side cannot hold a usable face."""
CHOICES = 3
"""Frames drawn from every part of a clip; the middle one is used, another where that one shows no usable face."""
LOOKED_AT = 6
"""Frames that are looked at for every one that is used, where the best are chosen."""
MAX_ENCODED_BYTES = 16_000_000
"""A photo file larger than this travels re-encoded."""


CHECKED_PX = 1024
"""To which a photo that travels as it came is decoded, to see that it can be: a JPEG takes a fifth of the time."""


@dataclass(frozen=True, kw_only=True)
class ReadFrames:
    """Gives one row per photo, and for each clip its frames and others in reserve; what cannot be read is a row too.

    Where frames are chosen uniformly, those in reserve are spares of their part of the clip; where the best are chosen,
    `LOOKED_AT` times as many as are used are drawn, among which detection chooses.
    """

    frames: int = 5
    """Frames of a clip that are used."""
    frame_choice: FrameChoice = "uniform"
    clip_timeout_s: float = 600.0
    """Seconds a clip may take to decode."""

    @property
    def inputs(self) -> pa.Schema:
        """Planned items."""
        return ITEMS

    @property
    def outputs(self) -> pa.Schema:
        """Encoded images."""
        return DECODED

    def load(self) -> ChildProcess:
        """Where clips are decoded: damaged ones may hang the decoder or crash it."""
        return ChildProcess()

    def __call__(self, loaded: ChildProcess, table: pa.Table) -> pa.Table:
        """Read every item of a block."""
        rows: list[Frame] = []
        for item in table.to_pylist():
            with naming(self, item["item_id"]):
                rows.extend(self._read(loaded, item))
        return table_from_frames(rows, DECODED)

    def _read(self, decoder: ChildProcess, item: dict[str, Any]) -> list[Frame]:
        blank = blank_frame(item)
        if item["surplus"]:
            message = "the person has more images than are used of one person"
            return [replace(blank, status=Status.REJECTED, reason=Reason.SURPLUS, message=message)]
        try:
            if item["kind"] == "image":
                return [_photo_frame(blank, read_location(item["location"]))]
            with local_file(item["location"]) as path:
                drawn = self.frames * (LOOKED_AT if self.frame_choice == "best" else CHOICES)
                sample = decoder.call(sample_video, self.clip_timeout_s, path, drawn)
                return list(self._video_frames(blank, sample))
        except UnsupportedInputError as error:
            return [replace(blank, status=Status.REJECTED, reason=Reason.TOO_LARGE, message=str(error))]
        except UnreadableInputError as error:
            return [replace(blank, status=Status.FAILED, reason=Reason.UNREADABLE, message=str(error))]
        except ChildTimeoutError as error:
            return [replace(blank, status=Status.FAILED, reason=Reason.TIMEOUT, message=f"decoding {error}")]
        except ChildCrashError as error:
            message = f"decoding it ended the process: {error}"
            return [replace(blank, status=Status.FAILED, reason=Reason.WORKER_CRASH, message=message)]

    def _video_frames(self, blank: Frame, sample: VideoSample) -> Iterator[Frame]:
        reason, message = Reason.NONE, ""
        if sample.truncated:
            declared = "an unknown number of" if sample.declared_count is None else str(sample.declared_count)
            reason = Reason.TRUNCATED_VIDEO
            message = f"{sample.decoded_count} frames decoded of {declared} declared"
            message += f" ({sample.damage})" if sample.damage else ""
        places: Sequence[tuple[int | None, int]] = [(None, 0)] * len(sample.frames)
        if self.frame_choice == "uniform":
            used = uniform_indices(sample.decoded_count, self.frames)
            places = _places([frame.frame_index for frame in sample.frames], used)
        for frame, (part, spare) in zip(sample.frames, places, strict=True):
            row = replace(
                blank,
                image_id=f"{blank.item_id}-f{frame.frame_index:06d}",
                frame_index=frame.frame_index,
                time_s=frame.time_s,
                width_px=frame.width_px,
                height_px=frame.height_px,
                reason=reason,
                message=message,
                part=part,
                spare=spare,
            )
            yield _too_small(row) or replace(row, image=frame.image_png)


def blank_frame(item: dict[str, Any]) -> Frame:
    """The row of a planned item of which nothing is known yet."""
    return Frame(
        image_id=item["item_id"],
        identity_id=item["identity_id"],
        uri=item["uri"],
        shard=item["shard"],
        item_id=item["item_id"],
        stem=item["stem"],
    )


def give_up_items(items: pa.Table, message: str) -> pa.Table:
    """The aligned rows of planned items that cannot be worked on."""
    blanks = map(blank_frame, items.to_pylist())
    fields: dict[str, Any] = {"status": Status.FAILED, "reason": Reason.WORKER_CRASH, "message": message}
    return table_from_frames([replace(blank, **fields) for blank in blanks], ALIGNED)


def _photo_frame(blank: Frame, data: bytes) -> Frame:
    as_it_came = len(data) <= MAX_ENCODED_BYTES
    photo = decode_photo(data, CHECKED_PX)
    if not as_it_came or photo.width_px * photo.height_px > MAX_PIXELS:
        photo = decode_photo(data)
    sized = replace(blank, width_px=photo.width_px, height_px=photo.height_px)
    if rejected := _too_small(sized):
        return rejected
    return replace(sized, image=data if as_it_came else encode_jpeg(photo.image_rgb))


def _places(drawn: Sequence[int], used: Sequence[int]) -> list[tuple[int, int]]:
    """Part and rank of every drawn frame: the frames that are used, and after each the nearest of the others."""
    nearest = [min(range(len(used)), key=lambda part: (abs(used[part] - index), part)) for index in drawn]
    ranked = sorted(range(len(drawn)), key=lambda place: (nearest[place], abs(used[nearest[place]] - drawn[place])))
    places = [(0, 0)] * len(drawn)
    for order, place in enumerate(ranked):
        first = next(start for start, other in enumerate(ranked) if nearest[other] == nearest[place])
        places[place] = (nearest[place], order - first)
    return places


def _too_small(frame: Frame) -> Frame | None:
    if min(frame.width_px or 0, frame.height_px or 0) >= MIN_SIDE_PX:
        return None
    message = f"{frame.width_px} x {frame.height_px} px: expected at least {MIN_SIDE_PX} px a side"
    return replace(frame, status=Status.REJECTED, reason=Reason.TOO_SMALL, message=message)
