import torch

from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.mirror import mirror_of
from ops.faceworld.shape import faceworld_model
from ops.geometry.camera import Camera, project_points
from ops.training.displacement import mirror_samples
from ops.training.regressor_samples import SampleBatch

SIDE = 150


def _cameras(across_mm: float, count: int) -> Camera:
    centre = faceworld_model().mean_mm[faceworld_model().landmarks].mean(0)
    eye = centre + torch.tensor((across_mm, 40.0, 700.0))
    return Camera(eye.repeat(count, 1), centre.repeat(count, 1), torch.full((count,), 3.0), torch.zeros(count))


def _batch(count: int) -> SampleBatch:
    """Landmarks of random people seen from one side, in crop sides, and a ramp for a picture."""
    shape = faceworld_model()
    generator = torch.Generator().manual_seed(3)
    identity = torch.randn(count, shape.identity_size, generator=generator)
    expression = torch.randn(count, shape.expression_size, generator=generator)
    cameras = _cameras(200.0, count)
    points = shape.vertices_mm(identity, expression)
    ramp = torch.linspace(0, 1, SIDE).expand(count, 3, SIDE, SIDE)
    return SampleBatch(
        images=ramp,
        valid=ramp[:, 0] > 0.25,
        landmarks=project_points(cameras, choose_landmarks(points[:, landmark_vertices(shape)], cameras)),
        seeds=torch.arange(count),
        identity=identity,
        expression=expression,
        light=torch.arange(1.0, 10.0).repeat(count, 1),
        texture=torch.rand(count, 3, 32, 32, generator=generator),
    )


def test_mirrored_truth_explains_the_mirrored_landmarks() -> None:
    shape = faceworld_model()
    mirror = mirror_of(shape)
    assert mirror is not None
    batch = _batch(4)
    seen = mirror_samples(batch, mirror, torch.tensor((True, True, False, True)))
    cameras = _cameras(-200.0, 4)
    points = shape.vertices_mm(seen.identity, seen.expression)
    found = project_points(cameras, choose_landmarks(points[:, landmark_vertices(shape)], cameras))
    eyes = (batch.landmarks[:, 36] - batch.landmarks[:, 45]).norm(dim=-1)
    error = (found - seen.landmarks).norm(dim=-1).mean(1) / eyes
    assert (error[[0, 1, 3]] < 0.01).all()
    assert error[2] > 0.1


def test_the_others_stay_as_they_are() -> None:
    mirror = mirror_of(faceworld_model())
    assert mirror is not None
    batch = _batch(2)
    seen = mirror_samples(batch, mirror, torch.tensor((False, True)))
    for ours, theirs in zip(batch, seen, strict=True):
        torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(seen.images[1], batch.images[1].flip(-1))
    torch.testing.assert_close(seen.texture[1], batch.texture[1].flip(-1))
    assert seen.valid[1].sum() == batch.valid[1].sum()
    assert not seen.valid[1, 0, -1]
    assert seen.light[1].tolist() == [-1.0, *range(2, 10)]
    unknown = mirror_samples(batch, mirror._replace(swaps_texture=False), torch.tensor((False, True)))
    assert torch.isfinite(unknown.texture[0]).all()
    assert torch.isnan(unknown.texture[1]).all()
