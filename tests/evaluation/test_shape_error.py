import pytest
import torch

from evaluation.shape_error import neutral_face_error_mm, neutral_surface_error_mm
from ops.faceworld.shape import faceworld_model


def test_is_zero_for_the_same_face_and_grows_with_the_difference() -> None:
    shape = faceworld_model()
    truth = torch.zeros(3, shape.identity_size)
    found = truth.clone()
    found[1, 0], found[2, 0] = 1.0, 2.0
    error = neutral_face_error_mm(shape, found, truth)
    assert error[0] < 1e-4
    assert 0.1 < error[1] < error[2]


def test_size_is_not_compared() -> None:
    shape = faceworld_model()
    truth = torch.zeros(1, shape.identity_size)
    everywhere = neutral_face_error_mm(shape, truth + 0.5, truth)
    skin = neutral_face_error_mm(shape, truth + 0.5, truth, region="skin")
    assert everywhere.item() > 0
    assert skin.item() > 0


def test_the_surface_distance_is_metric_and_knows_no_pose() -> None:
    shape = faceworld_model()
    truth = torch.zeros(4, shape.identity_size)
    found = truth.clone()
    found[1, 0], found[2, 0], found[3, 5] = 1.0, 2.0, 1.0
    error = neutral_surface_error_mm(shape, found, truth)
    assert error[0] < 1e-4
    assert 0.1 < error[1] < error[2]
    assert error[3] > 0.05
    swapped = neutral_surface_error_mm(shape, truth[:1], found[1:2])
    assert swapped.item() == pytest.approx(error[1].item(), rel=0.1)
