import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ops.face.morphable_model import MorphableModel
from ops.faceworld.clip_styles import COOPERATIVE, INDOOR, OUTDOOR, ClipStyle
from ops.faceworld.filming import ClipFrame, draw_frames, film_clip, write_clip
from ops.faceworld.people import Person
from ops.files.video import sample_video

STYLES = {"cooperative": COOPERATIVE, "indoor": INDOOR, "outdoor": OUTDOOR}
FRAMES = 5
LEFT_EYE, RIGHT_EYE, NOSE_TIP = 45, 36, 30


def short(style: ClipStyle, **changes: object) -> ClipStyle:
    return dataclasses.replace(style, frames=FRAMES, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", STYLES)
def test_clips_decode_with_the_face_where_the_truth_says(
    world_model: MorphableModel, people: list[Person], tmp_path: Path, name: str
) -> None:
    """Decoded frames agree with the drawn ones, and differ from a frame without the person inside the face."""
    style = short(STYLES[name])
    path = tmp_path / f"clip{style.suffix}"
    landmarks = film_clip(world_model, people[0], (1, 2), style, path)
    sample = sample_video(path, FRAMES)
    assert sample.decoded_count == FRAMES
    assert not sample.damage
    drawn = list(draw_frames(world_model, people[0], (1, 2), style))
    pale = dataclasses.replace(people[0], texture=people[0].texture.new_ones(3, 1, 1))
    others = list(draw_frames(world_model, pale, (1, 2), style))
    for frame, truth, points, other in zip(sample.frames, drawn, landmarks, others, strict=True):
        assert np.array_equal(points, truth.landmarks_px)
        error = np.abs(frame.image_rgb.astype(float) - truth.image_rgb).mean()
        assert error < 8
        column, row = points[17:].round().astype(int).T
        assert (column >= 0).all()
        assert (column < style.width_px).all()
        assert (row >= 0).all()
        assert (row < style.height_px).all()
        changed = np.abs(truth.image_rgb.astype(int) - other.image_rgb).sum(-1) > 40
        assert changed[row, column].mean() > 0.9
        rows, columns = np.nonzero(changed)
        assert rows.min() < points[:, 1].min()
        assert abs(columns.mean() - points[:, 0].mean()) < 0.5 * np.ptp(points[:, 1])


def test_zooming_keeps_the_face_within_its_sizes(world_model: MorphableModel, people: list[Person]) -> None:
    style = short(INDOOR, pitch_deg=0.0, roll_deg=0.0, elevation_deg=0.0)
    heights = [np.ptp(frame.landmarks_px[:, 1]) for frame in draw_frames(world_model, people[1], 5, style)]
    low, high = style.face_px
    assert 0.7 * low < min(heights)
    assert max(heights) < 1.25 * high
    assert max(heights) > 1.1 * min(heights)


def turns(frames: list[ClipFrame]) -> np.ndarray:
    """0.5 where the nose is midway between the outer eye corners."""
    points = np.stack([frame.landmarks_px[:, 0] for frame in frames])
    return (points[:, NOSE_TIP] - points[:, RIGHT_EYE]) / (points[:, LEFT_EYE] - points[:, RIGHT_EYE])


def test_a_cooperative_head_is_seen_from_the_front_and_both_sides(
    world_model: MorphableModel, people: list[Person]
) -> None:
    turned = turns(list(draw_frames(world_model, people[0], 1, short(COOPERATIVE))))
    assert abs(turned[[0, 2, 4]] - 0.5).max() < 0.15
    assert turned[1] > 0.8
    assert turned[3] < 0.2


def test_indoor_light_is_warm_and_outdoor_light_comes_from_one_side(
    world_model: MorphableModel, people: list[Person]
) -> None:
    grey = dataclasses.replace(people[0], texture=people[0].texture.new_full((3, 1, 1), 0.6))
    still: dict[str, object] = {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, "noise": 0.0}

    def cheeks(style: ClipStyle) -> np.ndarray:
        frame = next(draw_frames(world_model, grey, 8, short(style, **still)))
        column, row = ((frame.landmarks_px[[2, 14]] + frame.landmarks_px[NOSE_TIP]) / 2).round().astype(int).T
        return frame.image_rgb[row, column].astype(float)

    indoor, near, outdoor = cheeks(INDOOR), cheeks(COOPERATIVE), cheeks(OUTDOOR)
    assert (indoor[:, 0] > 1.25 * indoor[:, 2]).all()
    assert (near[:, 0] < 1.1 * near[:, 2]).all()
    assert np.ptp(outdoor.mean(1)) > 2 * np.ptp(near.mean(1))


def test_motion_blurs(world_model: MorphableModel, people: list[Person]) -> None:
    calm, shaken = (
        next(draw_frames(world_model, people[0], 4, short(OUTDOOR, noise=0.0, shake_px=shake))).image_rgb
        for shake in (0.0, 6.0)
    )
    gradient = [np.abs(np.diff(image.astype(float), axis=axis)).mean() for image in (calm, shaken) for axis in (0, 1)]
    assert sum(gradient[2:]) < 0.9 * sum(gradient[:2])


@pytest.mark.parametrize("style", [COOPERATIVE, OUTDOOR], ids=["mjpeg", "mpeg4"])
def test_equal_images_give_equal_files(tmp_path: Path, style: ClipStyle) -> None:
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 255, (3, style.height_px // 60, style.width_px // 60, 3), np.uint8))
    images = [np.ascontiguousarray(image.repeat(60, 0).repeat(60, 1)) for image in images]
    contents = []
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}{style.suffix}", images, style)
        contents.append((tmp_path / f"{name}{style.suffix}").read_bytes())
    assert contents[0] == contents[1]
    assert len(contents[0]) > 1000


def test_frames_depend_on_the_seed_alone(world_model: MorphableModel, people: list[Person]) -> None:
    first, again, other = (next(draw_frames(world_model, people[0], seed, short(OUTDOOR))) for seed in (1, 1, 2))
    assert np.array_equal(first.image_rgb, again.image_rgb)
    assert not np.array_equal(first.image_rgb, other.image_rgb)
