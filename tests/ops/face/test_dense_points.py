import pytest
import torch

from ops.errors import ConfigurationError
from ops.face.dense_points import MIRROR, choose_dense_points, outline_landmarks
from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.faceworld.shape import faceworld_model
from ops.geometry.camera import Camera, project_points
from ops.networks.face_crop import MIRRORED_68


def test_landmarks_come_first_and_no_vertex_twice() -> None:
    model = faceworld_model()
    dense = choose_dense_points(model, 200)
    assert torch.equal(dense.vertices[:68], model.landmarks)
    assert len(dense.vertices) == len(dense.mirrored) == 200
    assert len(dense.vertices[68:].unique()) == 132
    assert torch.equal(dense.vertices[dense.jaw], model.jaw_candidates)


def test_mirrored_points_are_those_of_the_symmetrical_face() -> None:
    model = faceworld_model()
    dense = choose_dense_points(model, 200)
    assert torch.equal(dense.mirrored[dense.mirrored], torch.arange(200))
    assert torch.equal(dense.mirrored[:68], torch.from_numpy(MIRRORED_68))
    points = model.mean_mm[dense.vertices].double()
    assert float((points * MIRROR - points[dense.mirrored]).norm(dim=-1).max()) < 4.0


def test_points_spread_as_they_become_more() -> None:
    model = faceworld_model()
    few, many = (model.mean_mm[choose_dense_points(model, count).vertices[146:]] for count in (180, 320))
    apart = [torch.cdist(points, points).fill_diagonal_(1e9).amin(1) for points in (few, many)]
    assert apart[0].median() > apart[1].median() > 3.0
    assert apart[1].min() > 1.0


def test_too_few_and_too_many_points_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least"):
        choose_dense_points(faceworld_model(), 68)
    with pytest.raises(ConfigurationError, match="at most"):
        choose_dense_points(faceworld_model(), 100_000)


@pytest.mark.parametrize("yaw", [-0.7, 0.0, 0.5])
def test_the_jaw_follows_the_outline_as_the_fit_has_it(yaw: float) -> None:
    model = faceworld_model()
    dense = choose_dense_points(model, 160)
    eye = torch.tensor([[900.0 * torch.tensor(yaw).sin(), 0.0, 900.0 * torch.tensor(yaw).cos()]])
    camera = Camera(eye, torch.zeros(1, 3), torch.tensor([4.0]), torch.zeros(1))
    expected = project_points(camera, choose_landmarks(model.mean_mm[landmark_vertices(model)].unsqueeze(0), camera))
    seen = project_points(camera, model.mean_mm[dense.vertices].unsqueeze(0))
    torch.testing.assert_close(outline_landmarks(seen, dense.jaw), expected)
