import torch

from ops.face.dense_points import DenseSight, choose_dense_points
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.fit.landmark_problem import LandmarkProblem, LandmarkStageConfig
from ops.fit.landmark_stage import fit_landmarks, identity_covariance
from ops.fit.uncertainty import shape_spread
from ops.geometry.camera import Camera, project_points
from ops.networks.dense_landmarks import DenseLandmarks, DenseNetwork, see_densely

POINTS = 150
ALONE = torch.tensor((0, 1))


def seen_people(shape: MorphableModel) -> tuple[torch.Tensor, DenseSight, torch.Tensor]:
    """Two people from the front and the side: noisy 68 points, exact dense ones, true identities."""
    generator = torch.Generator().manual_seed(3)
    identity = torch.randn(2, shape.identity_size, generator=generator)
    vertices = shape.vertices_mm(identity, torch.zeros(2, shape.expression_size))
    centre = shape.mean_mm[shape.landmarks].mean(0)
    eye = centre + torch.tensor(((0.0, 0.0, 1200.0), (400.0, 60.0, 1100.0)))
    camera = Camera(eye, centre.expand(2, 3), torch.full((2,), 5.0), torch.zeros(2))
    dense = choose_dense_points(shape, POINTS).vertices
    landmarks = project_points(camera, vertices[:, shape.landmarks])
    noise = 0.01 * torch.randn(landmarks.shape, generator=generator)
    sight = DenseSight(
        points=project_points(camera, vertices[:, dense]).double(),
        deviations=torch.full((2, POINTS), 0.004, dtype=torch.float64),
        vertices=dense,
    )
    return landmarks + noise, sight, identity


def test_the_jacobian_of_dense_points_is_the_derivative_of_their_residuals() -> None:
    shape = faceworld_model()
    landmarks, sight, _ = seen_people(shape)
    problem = LandmarkProblem(shape, landmarks, ALONE, LandmarkStageConfig(), dense=sight)
    theta = problem.solve(2)
    direction = torch.randn(theta.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, expected = torch.func.jvp(problem.residual, (theta,), (direction.expand_as(theta),))
    torch.testing.assert_close(problem.jacobian(theta) @ direction, expected)


def test_dense_points_tell_more_of_a_shape_than_its_landmarks() -> None:
    shape = faceworld_model()
    landmarks, sight, identity = seen_people(shape)
    config = LandmarkStageConfig(dense_floor=0.001)
    without = fit_landmarks(shape, landmarks, ALONE, steps=8)
    with_dense = fit_landmarks(shape, landmarks, ALONE, steps=8, config=config, dense=sight)
    spread = shape_spread(shape)
    wrong = [fit.identity - identity for fit in (without, with_dense)]
    before, after = (float(((off @ spread) * off).sum()) for off in wrong)
    assert after < 0.4 * before
    unsure = [
        float((identity_covariance(shape, landmarks, ALONE, fit, config=config, dense=seen) * spread).sum())
        for fit, seen in ((without, None), (with_dense, sight))
    ]
    assert unsure[1] < 0.5 * unsure[0]


def test_points_the_network_is_unsure_of_count_for_less() -> None:
    shape = faceworld_model()
    landmarks, sight, _ = seen_people(shape)
    shifted = sight._replace(points=sight.points + 0.05)
    unsure = shifted._replace(deviations=torch.full_like(sight.deviations, 10.0))
    without = fit_landmarks(shape, landmarks, ALONE, steps=8).identity
    ignored = fit_landmarks(shape, landmarks, ALONE, steps=8, dense=unsure).identity
    believed = fit_landmarks(shape, landmarks, ALONE, steps=8, dense=shifted).identity
    torch.testing.assert_close(ignored, without, atol=0.01, rtol=0)
    assert float((believed - without).abs().max()) > 0.1


def test_a_crop_without_landmarks_is_not_looked_at() -> None:
    torch.manual_seed(0)
    shape = faceworld_model()
    network = DenseLandmarks(DenseNetwork(choose_dense_points(shape, POINTS)).eval())
    landmarks = 112 + 60 * (torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(2)) - 0.5)
    landmarks[1, 3] = torch.nan
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    sight = see_densely(network, images, landmarks)
    crop = (images[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    found = network.find_about(crop, landmarks[:1].numpy())
    torch.testing.assert_close(224 * sight.points[0].float(), torch.from_numpy(found.points_px[0]))
    torch.testing.assert_close(224 * sight.deviations[0].float(), torch.from_numpy(found.deviations_px[0]))
    assert bool(sight.points[1].isnan().all())
    assert bool(sight.deviations[1].isnan().all())
