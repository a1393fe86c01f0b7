import numpy as np
import pytest
import torch

from ops.face.landmark_points import choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.portraits.stream import PaintedLooks, Portrait, PortraitSettings, PortraitStream
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.fit.landmark_bias import LandmarkBias
from ops.fit.parameters import LIGHT_UNITS
from ops.geometry.camera import camera_from_vector, project_points
from ops.training.regressor_samples import CROP_PX, RegressorSamples
from ops.training.stream_samples import SIDE_PX, TrueLandmarks, stream_samples

NUMBERS = range(6, 12)


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def stream(shape: MorphableModel) -> PortraitStream:
    settings = PortraitSettings(side_px=SIDE_PX, seed=3, looks=2, points=150)
    return PortraitStream(shape, PaintedLooks(AlbedoPainter(faceworld_canonical_map(96))), settings)


@pytest.fixture(scope="module")
def samples(stream: PortraitStream, shape: MorphableModel) -> RegressorSamples:
    return stream_samples(stream, TrueLandmarks(shape, landmark_surface(shape).of(shape), None), NUMBERS)


@pytest.fixture(scope="module")
def portraits(stream: PortraitStream) -> list[Portrait]:
    return list(stream.portraits(NUMBERS.start, NUMBERS.stop))


def test_the_truth_of_a_sample_projects_to_its_landmarks(
    samples: RegressorSamples, portraits: list[Portrait], shape: MorphableModel
) -> None:
    assert samples.seeds.tolist() == list(NUMBERS)
    points = landmark_surface(shape).of(shape)
    for row, portrait in enumerate(portraits):
        camera = camera_from_vector(torch.from_numpy(portrait.camera).unsqueeze(0))
        known = (torch.from_numpy(column[row : row + 1]) for column in (samples.identity, samples.expression))
        seen = project_points(camera, choose_landmarks(points.vertices_mm(*known), camera))[0].numpy()
        # The crop is a similarity of the camera's picture.
        design = np.concatenate((seen, np.ones((68, 1))), 1)
        affine, *_ = np.linalg.lstsq(design, samples.landmarks[row], rcond=None)
        np.testing.assert_allclose(design @ affine, samples.landmarks[row], atol=2e-4)


def test_crops_show_the_portrait(samples: RegressorSamples, portraits: list[Portrait]) -> None:
    for row, portrait in enumerate(portraits):
        seen = portrait.visible[17:68]
        places = portrait.points_px[17:68][seen].astype(int)
        there = (samples.landmarks[row, 17:][seen] * CROP_PX).astype(int).clip(0, CROP_PX - 1)
        before = portrait.image_rgb[places[:, 1], places[:, 0]].astype(float).mean(1)
        after = samples.crops_rgba[row][there[:, 1], there[:, 0], :3].astype(float).mean(1)
        assert np.corrcoef(before, after)[0, 1] > 0.8


def test_a_known_bias_is_put_on_as_fits_take_it_off(
    stream: PortraitStream, samples: RegressorSamples, shape: MorphableModel
) -> None:
    coefficients = 0.02 * torch.randn(4, 68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coefficients[1:] *= 0.2
    bias = LandmarkBias(coefficients=coefficients)
    points = landmark_surface(shape).of(shape)
    biased = stream_samples(stream, TrueLandmarks(shape, points, bias), NUMBERS[:3])
    corrected = bias.taken_off(shape, torch.from_numpy(biased.landmarks)).numpy()
    for row in range(3):
        first, second = (np.concatenate((p, np.ones((68, 1))), 1) for p in (corrected[row], samples.landmarks[row]))
        # The crops follow the biased points, so they differ by a similarity.
        affine, *_ = np.linalg.lstsq(first, second[:, :2], rcond=None)
        eyes = np.linalg.norm(second[36] - second[45])
        assert np.linalg.norm(first @ affine - second[:, :2], axis=1).max() < 0.03 * eyes
        assert np.linalg.norm(biased.landmarks[row] - samples.landmarks[row], axis=1).max() > 0.1 * eyes


def test_albedo_and_light_are_those_of_the_picture(samples: RegressorSamples, portraits: list[Portrait]) -> None:
    for row, portrait in enumerate(portraits):
        np.testing.assert_allclose(samples.light[row] * LIGHT_UNITS, portrait.light, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(samples.texture[row], portrait.albedo)
    assert samples.texture.min() >= 0
    assert samples.texture.max() <= 1
    assert samples.texture.std() > 0.05
    assert np.ptp(samples.light[:, 3:6], axis=1).max() == 0
