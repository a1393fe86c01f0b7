import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ops.files.photo import decode_photo
from ops.files.video import uniform_indices
from pipeline.input.planner import PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input
from pipeline.stages.frames import ReadFrames
from pipeline.stages.stage import run_stage
from pipeline.tables.schema import Frame, frames_from_table

WritePhoto = Callable[..., Path]


def read(items: pa.Table, frames: int = 5, **plan: Any) -> list[Frame]:
    config = PlanConfig(shard_size=100, frames=frames, **plan)
    block = block_of(plan_shards(items, config).rows())
    stage = ReadFrames(frames=frames, frame_choice=config.frame_choice, clip_timeout_s=20)
    with stage.load() as decoder:
        return frames_from_table(run_stage(stage, decoder, block))


def read_folder(folder: Path, frames: int = 5) -> dict[str, Frame]:
    """Rows of a folder by file name (of a clip: its last row)."""
    return {Path(row.uri).name: row for row in read(list_input(folder, "mixed").items, frames)}


def test_a_photo_is_passed_on_as_it_came(tmp_path: Path, write_photo: WritePhoto) -> None:
    path = write_photo(tmp_path / "été à Nîmes.png")
    (row,) = read_folder(tmp_path).values()
    assert row.image == path.read_bytes()
    assert (row.width_px, row.height_px, row.status, row.uri) == (80, 60, "ok", str(path))


def test_a_clip_gives_its_frames(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(clip)
    drawn = read(list_input(tmp_path).items, frames=4)
    rows = [row for row in drawn if row.spare == 0]
    assert [row.frame_index for row in rows] == [5, 15, 25, 35]
    assert [row.time_s for row in rows] == pytest.approx([0.25, 0.75, 1.25, 1.75])
    assert [row.image_id for row in rows] == [f"{row.item_id}-f{row.frame_index:06d}" for row in rows]
    assert len({row.item_id for row in rows}) == 1
    spares = {row.frame_index: (row.part, row.spare) for row in drawn if row.spare}
    assert {index: place[0] for index, place in spares.items()} == {
        1: 0, 8: 0, 11: 1, 18: 1, 21: 2, 28: 2, 31: 3, 38: 3
    }  # fmt: skip
    assert all({spares[first][1], spares[second][1]} == {1, 2} for first, second in ((1, 8), (31, 38)))
    greys = [decode_photo(row.image or b"").image_rgb.mean() / 6 for row in rows]
    assert greys == pytest.approx([5, 15, 25, 35], abs=1)


def test_where_the_best_frames_are_chosen_six_times_as_many_are_looked_at(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(clip)
    drawn = read(list_input(tmp_path).items, frames=4, frame_choice="best")
    assert [row.frame_index for row in drawn] == list(uniform_indices(40, 24))
    assert {(row.part, row.spare) for row in drawn} == {(None, 0)}


def test_a_cut_clip_is_used_and_says_so(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 7 // 10])
    rows = [row for row in read(list_input(tmp_path).items) if row.spare == 0]
    assert len(rows) == 5
    assert {(row.status, row.reason) for row in rows} == {("ok", "truncated_video")}
    assert all("frames decoded of 40 declared" in row.message for row in rows)


def test_garbage_is_a_row_with_its_reason(tmp_path: Path, write_photo: WritePhoto) -> None:
    good = write_photo(tmp_path / "good.jpg", (400, 300)).read_bytes()
    (tmp_path / "corrupt.jpg").write_bytes(good[: len(good) // 3])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("this is no photo")
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "photo.mp4").write_bytes(good)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    write_photo(tmp_path / "dot.png", (1, 1))
    write_photo(tmp_path / "strip.png", (4000, 8))
    rows = read_folder(tmp_path)
    verdicts = {name: (row.status, row.reason) for name, row in rows.items()}
    unreadable, too_small = ("failed", "unreadable"), ("rejected", "too_small")
    assert verdicts == {
        "good.jpg": ("ok", ""),
        "corrupt.jpg": unreadable,
        "empty.jpg": unreadable,
        "empty.mp4": unreadable,
        "text.jpg": unreadable,
        "text.mp4": unreadable,
        "photo.mp4": unreadable,
        "loop.jpg": unreadable,
        "broken.jpg": unreadable,
        "pipe.mp4": unreadable,
        "dot.png": too_small,
        "strip.png": too_small,
    }
    assert all(row.message for name, row in rows.items() if name != "good.jpg")
    assert rows["dot.png"].message == "1 x 1 px: expected at least 32 px a side"
    assert rows["empty.jpg"].message == "the file is empty"


def test_huge_pictures_are_reduced_or_rejected(tmp_path: Path) -> None:
    Image.new("L", (20_000, 20_000), 90).save(tmp_path / "huge.jpg")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    rows = read_folder(tmp_path)
    assert (rows["huge.jpg"].status, rows["huge.jpg"].width_px) == ("ok", 20_000)
    assert max(decode_photo(rows["huge.jpg"].image or b"").image_rgb.shape) <= 4096
    assert (rows["huge.png"].status, rows["huge.png"].reason) == ("rejected", "too_large")
    assert "20000 x 20000 px is too large" in rows["huge.png"].message


def test_a_very_large_file_travels_reencoded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.bmp")
    (row,) = read_folder(tmp_path).values()
    assert row.image is not None
    assert len(row.image) < (tmp_path / "noise.bmp").stat().st_size * 0.9
    assert decode_photo(row.image).image_rgb.shape == noise.shape


def test_surplus_images_are_rejected(tmp_path: Path, write_photo: WritePhoto) -> None:
    for number in range(4):
        write_photo(tmp_path / "anna" / f"{number}.png")
    rows = read(list_input(tmp_path).items, max_images=3)
    assert [(row.status, row.reason) for row in rows] == [("ok", "")] * 3 + [("rejected", "surplus")]


HAZARDS = """
import os, signal
import ops.files.video

decode = ops.files.video.sample_video


def sample_video(path, count):
    if path.name == "hang.mp4":
        os.read(os.pipe()[0], 1)
    if path.name == "crash.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(path, count)


ops.files.video.sample_video = sample_video
"""


def test_a_hung_or_crashing_decoder_costs_its_clip_alone(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hazards").mkdir()
    (tmp_path / "hazards" / "sitecustomize.py").write_text(HAZARDS)
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("crash.mp4", "good.mp4", "hang.mp4", "last.mp4"):
        (folder / name).symlink_to(clip)
    monkeypatch.syspath_prepend(tmp_path / "hazards")
    stage = ReadFrames(frames=1, clip_timeout_s=2)
    block = block_of(plan_shards(list_input(folder).items, PlanConfig(shard_size=100, frames=1)).rows())
    with stage.load() as decoder:
        rows = {Path(row.uri).name: row for row in frames_from_table(run_stage(stage, decoder, block))}
    assert {name: (row.status, row.reason) for name, row in rows.items()} == {
        "crash.mp4": ("failed", "worker_crash"),
        "good.mp4": ("ok", ""),
        "hang.mp4": ("failed", "timeout"),
        "last.mp4": ("ok", ""),
    }
    assert rows["hang.mp4"].message == "decoding took longer than 2 s"
    assert "SIGSEGV" in rows["crash.mp4"].message
