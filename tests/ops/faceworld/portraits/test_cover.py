import numpy as np
import pytest
import torch

from ops.faceworld.portraits.cover import Head, Viewpoint, cast_shadow, paint_before, paint_behind
from ops.faceworld.shape import faceworld_model
from ops.geometry.camera import Camera, camera_from_world, project_points

SIDE = 64


@pytest.fixture
def head() -> Head:
    model = faceworld_model()
    points = model.mean_mm[model.landmarks].double().numpy()
    return Head(landmarks_mm=points, skin=np.array((0.7, 0.5, 0.4)), hair=np.array((0.1, 0.1, 0.1)))


@pytest.fixture
def camera(head: Head) -> Camera:
    middle = torch.from_numpy(head.landmarks_mm.mean(0)).float()
    return Camera(
        (middle + torch.tensor([200.0, 50, 700])).unsqueeze(0), middle.unsqueeze(0), torch.tensor([3.0]), torch.zeros(1)
    )


@pytest.fixture
def view(camera: Camera) -> Viewpoint:
    return Viewpoint(
        rotation=camera_from_world(camera)[0].double().numpy(),
        eye_mm=camera.eye_mm[0].double().numpy(),
        focal=float(camera.focal),
        crop=np.array([[0.9, 0.1, 0.05], [-0.1, 0.9, 0.02]]),
        side_px=SIDE,
    )


def test_viewpoint_projects_as_the_camera_does(head: Head, camera: Camera, view: Viewpoint) -> None:
    seen = project_points(camera, torch.from_numpy(head.landmarks_mm).float().unsqueeze(0))[0].double().numpy()
    np.testing.assert_allclose(view(head.landmarks_mm), (seen @ view.crop[:, :2].T + view.crop[:, 2]) * SIDE, atol=1e-2)


def test_what_is_drawn_before_a_face_is_said_to_hide_it(head: Head, view: Viewpoint) -> None:
    hid = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        picture = np.full((SIDE, SIDE, 3), 0.5, np.float32)
        hidden = paint_before(rng, picture, view, head)
        changed = np.abs(picture - 0.5).max(-1) > 0.02
        hid += int(hidden.any())
        assert np.isfinite(picture).all()
        assert not (hidden & ~changed).mean() > 0.01
    assert 10 < hid < 30


def test_what_is_drawn_behind_changes_the_picture(head: Head, view: Viewpoint) -> None:
    picture = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    paint_behind(np.random.default_rng(1), picture, view, head)
    assert (np.abs(picture - 0.5).max(-1) > 0.02).mean() > 0.1


def test_shadows_leave_some_light() -> None:
    shadows = [cast_shadow(np.random.default_rng(seed), SIDE) for seed in range(40)]
    drawn = [shadow for shadow in shadows if shadow is not None]
    assert 5 < len(drawn) < 30
    assert all(shadow.min() > 0.2 and shadow.max() <= 1 for shadow in drawn)
