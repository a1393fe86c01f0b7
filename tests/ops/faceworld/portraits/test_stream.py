import dataclasses

import numpy as np
import pytest
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.portraits.stream import BLOCK, PaintedLooks, Portrait, PortraitSettings, PortraitStream
from ops.geometry.camera import camera_from_vector, project_points

SETTINGS = PortraitSettings(side_px=96, seed=4, looks=3, points=150)


@pytest.fixture(scope="module")
def stream(world_model: MorphableModel, painter: AlbedoPainter) -> PortraitStream:
    return PortraitStream(world_model, PaintedLooks(painter), SETTINGS)


@pytest.fixture(scope="module")
def some(stream: PortraitStream) -> list[Portrait]:
    return list(stream.portraits(0, 2 * BLOCK))


def test_a_portrait_depends_on_seed_and_number_alone(
    stream: PortraitStream, some: list[Portrait], world_model: MorphableModel, painter: AlbedoPainter
) -> None:
    fresh = PortraitStream(world_model, PaintedLooks(painter), SETTINGS)
    for number, portrait in zip((BLOCK - 1, BLOCK), fresh.portraits(BLOCK - 1, BLOCK + 1), strict=True):
        for ours, theirs in zip(portrait, some[number], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(some[0].image_rgb, some[1].image_rgb)


def test_points_are_where_model_camera_and_crop_put_them(
    stream: PortraitStream, some: list[Portrait], world_model: MorphableModel
) -> None:
    for portrait in some[:4]:
        identity, expression = torch.from_numpy(portrait.identity), torch.from_numpy(portrait.expression)
        points = world_model.vertices_mm(identity, expression)[stream.dense.vertices].unsqueeze(0)
        camera = camera_from_vector(torch.from_numpy(portrait.camera).unsqueeze(0))
        seen = project_points(camera, points)[0].numpy() @ portrait.crop[:, :2].T + portrait.crop[:, 2]
        np.testing.assert_allclose(portrait.points_px, seen * SETTINGS.side_px, atol=0.02)


def test_faces_are_about_upright_inside_and_partly_seen(some: list[Portrait]) -> None:
    for portrait in some:
        points = portrait.points_px
        inside = ((points > 0) & (points < SETTINGS.side_px)).all(1)
        assert inside.mean() > 0.9
        assert not (portrait.visible & ~inside).any()
        assert points[36:48, 1].mean() < points[48:, 1].mean() < points[8, 1] + 0.15 * SETTINGS.side_px
    shares = np.array([portrait.visible.mean() for portrait in some])
    assert 0.4 < shares.mean() < 0.98


def test_far_sides_of_turned_heads_are_hidden(some: list[Portrait]) -> None:
    turned = 0
    for portrait in some:
        camera = camera_from_vector(torch.from_numpy(portrait.camera))
        away = camera.eye_mm - camera.target_mm
        yaw = float(torch.atan2(away[0], away[2]))
        if abs(yaw) > 0.6:
            turned += 1
            right, left = portrait.visible[[0, 1, 2, 3]], portrait.visible[[16, 15, 14, 13]]
            assert not (right if yaw > 0 else left).any()
    assert turned > 0


def test_several_pictures_of_a_person_show_one_face(world_model: MorphableModel, painter: AlbedoPainter) -> None:
    settings = dataclasses.replace(SETTINGS, looks=50, pictures_each=4)
    drawn = list(PortraitStream(world_model, PaintedLooks(painter), settings).portraits(4, 12))
    for first, others in ((drawn[0], drawn[1:4]), (drawn[4], drawn[5:])):
        for other in others:
            np.testing.assert_array_equal(first.identity, other.identity)
            assert not np.array_equal(first.expression, other.expression)
            ratio = other.albedo / first.albedo
            assert ratio.std((1, 2)).max() < 0.05, "one albedo but for a tint"
    assert not np.array_equal(drawn[3].identity, drawn[4].identity)
