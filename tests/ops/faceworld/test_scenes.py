import dataclasses

import numpy as np
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.backgrounds import paint_background, paint_occluder
from ops.faceworld.people import Person, sample_expression
from ops.faceworld.scenes import FacePlace, SceneSettings, degrade, expose_for_faces, face_box, render_scene

CLEAN = SceneSettings(side_px=96, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, occlusion=0.0, degradation=0.0)


def test_scene_is_a_function_of_its_seed(world_model: MorphableModel, people: list[Person]) -> None:
    faces = [(people[0], FacePlace(0.5, 0.5, 0.6))]
    settings = SceneSettings(side_px=64)
    first, again, other = (render_scene(world_model, faces, seed, settings) for seed in (1, 1, 2))
    assert np.array_equal(first.image_rgb, again.image_rgb)
    assert np.array_equal(first.landmarks_px, again.landmarks_px)
    assert not np.array_equal(first.image_rgb, other.image_rgb)


def test_face_lies_where_it_was_placed(world_model: MorphableModel, people: list[Person]) -> None:
    for x, y, height in ((0.5, 0.5, 0.6), (0.3, 0.65, 0.3)):
        scene = render_scene(world_model, [(people[0], FacePlace(x, y, height))], 3, CLEAN)
        landmarks = scene.landmarks_px[0] / CLEAN.side_px
        middle = (landmarks.min(0) + landmarks.max(0)) / 2
        assert np.abs(middle - (x, y)).max() < 0.15 * height
        assert 0.75 * height < np.ptp(landmarks[:, 1]) < 1.15 * height


def test_landmarks_sit_on_what_is_drawn(world_model: MorphableModel, people: list[Person]) -> None:
    """The pupils are darker than the whites beside them, the scene differs from its background inside the face."""
    scene = render_scene(world_model, [(people[0], FacePlace(0.5, 0.5, 0.8))], 4, CLEAN)
    empty = render_scene(world_model, [], 4, CLEAN)
    inside = scene.landmarks_px[0, 27:48].round().astype(int)
    difference = np.abs(scene.image_rgb.astype(int) - empty.image_rgb.astype(int)).sum(-1)
    assert (difference[inside[:, 1], inside[:, 0]] > 0).mean() > 0.95
    corners = difference[[0, 0, -1], [0, -1, 0]]
    assert corners.max() <= 3 * 60


def test_yaw_turns_the_nose(world_model: MorphableModel, people: list[Person]) -> None:
    settings = dataclasses.replace(CLEAN, yaw_deg=1000.0, yaw_limit_deg=40.0)
    ratios: list[float] = []
    for seed in range(6):
        points = render_scene(world_model, [(people[1], FacePlace(0.5, 0.5, 0.7))], seed, settings).landmarks_px[0]
        ratios.append(float((points[30, 0] - points[36, 0]) / (points[45, 0] - points[36, 0])))
    assert all(abs(ratio - 0.5) > 0.15 for ratio in ratios)


def test_empty_scene_has_no_faces(world_model: MorphableModel) -> None:
    scene = render_scene(world_model, [], 7, SceneSettings(side_px=48))
    assert scene.landmarks_px.shape == (0, 68, 2)
    assert scene.boxes_xyxy_px.shape == (0, 4)
    assert scene.image_rgb.shape == (48, 48, 3)


def test_cameras_expose_for_the_faces() -> None:
    """By the published luma weights: dark faces are lifted, bright ones lowered, others and empty pictures kept."""
    face = np.array([[[0.25, 0.25], [0.75, 0.75]]], np.float32).repeat(34, 1)
    for grey, exposed in ((0.1, 0.3), (0.5, 0.5), (0.9, 0.75)):
        picture = np.full((3, 32, 32), grey, np.float32)
        picture[:, :4] = 0.2
        expose_for_faces(picture, face)
        np.testing.assert_allclose(picture[:, 16, 16], exposed, atol=1e-6)
        np.testing.assert_allclose(picture[:, 0, 0], 0.2 * exposed / grey, atol=1e-6)
    blue = np.zeros((3, 32, 32), np.float32)
    blue[2] = 0.5
    expose_for_faces(blue, face)
    np.testing.assert_allclose(blue[2], 0.3 / 0.114, rtol=1e-5)
    expose_for_faces(empty := np.full((3, 32, 32), 0.01, np.float32), np.zeros((0, 68, 2), np.float32))
    assert (empty == np.float32(0.01)).all()


def test_box_holds_the_landmarks_and_the_forehead() -> None:
    points = np.zeros((68, 2), np.float32)
    points[0], points[1] = (10, 20), (30, 60)
    np.testing.assert_allclose(face_box(points), (0, -18, 30, 60), atol=1e-4)


def test_backgrounds_vary_and_stay_in_range() -> None:
    pictures = [paint_background(np.random.default_rng(seed), 32) for seed in range(12)]
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in pictures)
    assert np.std([picture.mean() for picture in pictures]) > 0.02


def test_occluder_covers_a_part_near_its_place() -> None:
    picture = np.full((3, 64, 64), -1.0, np.float32)
    covered = []
    for seed in range(20):
        picture[:] = -1
        paint_occluder(np.random.default_rng(seed), picture, (0.5, 0.5), 0.4)
        covered.append(float((picture[0] >= 0).mean()))
    assert 0.01 < np.mean(covered) < 0.5


def test_no_degradation_keeps_the_picture_up_to_tone() -> None:
    picture = np.linspace(0, 1, 3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16)
    image = degrade(np.random.default_rng(0), picture, 0.0)
    assert (np.diff(image[..., 0].ravel().astype(int)) >= 0).all()


def test_expressions_respect_their_kind(world_model: MorphableModel) -> None:
    kind = dataclasses.replace(world_model.metadata, expression_kind="blendshape")
    blend = dataclasses.replace(world_model, metadata=kind)
    weights = torch.stack([sample_expression(blend, np.random.default_rng(seed)) for seed in range(20)])
    assert weights.min() >= 0
    assert weights.max() <= 1
    gaussian = torch.stack([sample_expression(world_model, np.random.default_rng(seed)) for seed in range(20)])
    assert gaussian.min() < -0.5
