import pytest
import torch

from ops.face.landmark_points import choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.fit.landmark_stage import LandmarkFit, fit_landmarks, identity_covariance
from ops.fit.uncertainty import shape_spread
from ops.geometry.camera import Camera, project_points


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


def fitted(shape: MorphableModel, views: int) -> tuple[torch.Tensor, torch.Tensor, LandmarkFit]:
    points = landmark_surface(shape).points_mm(shape.mean_mm)
    centre = points.mean(0)
    turn = torch.linspace(-0.5, 0.5, views) if views > 1 else torch.zeros(1)
    eye = centre + 1200 * torch.stack((turn.sin(), torch.zeros(views), turn.cos()), 1)
    camera = Camera(eye, centre.expand(views, 3), torch.full((views,), 5.0), torch.zeros(views))
    seen = project_points(camera, choose_landmarks(points.expand(views, -1, 3), camera))
    group = torch.zeros(views, dtype=torch.int64)
    return seen, group, fit_landmarks(shape, seen, group, steps=4)


def test_more_views_leave_less_uncertainty_than_one_and_one_less_than_none(shape: MorphableModel) -> None:
    spread = shape_spread(shape)
    one, five = (float((identity_covariance(shape, *fitted(shape, views))[0] * spread).sum()) for views in (1, 5))
    assert 0 < five < 0.9 * one < 0.81 * float(spread.trace())


def test_a_mode_that_only_moves_and_scales_the_face_does_not_count(shape: MorphableModel) -> None:
    import dataclasses

    scaled = 0.01 * (shape.mean_mm - shape.mean_mm.mean(0)) + torch.tensor((1.0, 2.0, 3.0))
    basis = torch.cat((scaled.unsqueeze(0), shape.identity_basis_mm[:1]))
    spread = shape_spread(dataclasses.replace(shape, identity_basis_mm=basis))
    assert float(spread[0].abs().max()) < 1e-6
    assert float(spread[1, 1]) > 1e-3
