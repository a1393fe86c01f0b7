import numpy as np
import pytest
import torch

from ops.face.landmark_points import choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.portraits.stream import PaintedLooks, Portrait, PortraitSettings, PortraitStream
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.fit.parameters import LIGHT_UNITS
from ops.geometry.camera import camera_from_vector, project_points
from ops.networks.detector import Detections, no_detections
from ops.training.regressor_samples import FaceFinder, RegressorSamples
from ops.training.stream_samples import SIDE_PX, stream_samples
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_detector, load_landmarks

NUMBERS = range(6, 12)


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def stream(shape: MorphableModel) -> PortraitStream:
    settings = PortraitSettings(side_px=SIDE_PX, seed=3, looks=2, points=150)
    return PortraitStream(shape, PaintedLooks(AlbedoPainter(faceworld_canonical_map(96))), settings)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    bundle = resolve_bundle("embedded")
    return FaceFinder(load_detector(bundle.detector), load_landmarks(bundle.landmarks))


@pytest.fixture(scope="module")
def samples(stream: PortraitStream, finder: FaceFinder, shape: MorphableModel) -> RegressorSamples:
    found = stream_samples(stream, finder, landmark_surface(shape).of(shape), NUMBERS)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def portraits(stream: PortraitStream, samples: RegressorSamples) -> list[Portrait]:
    drawn = dict(zip(NUMBERS, stream.portraits(NUMBERS.start, NUMBERS.stop), strict=True))
    return [drawn[int(number)] for number in samples.seeds]


def test_the_truth_of_a_sample_projects_to_its_landmarks(
    samples: RegressorSamples, portraits: list[Portrait], shape: MorphableModel
) -> None:
    assert len(portraits) >= 4
    points = landmark_surface(shape).of(shape)
    for row, portrait in enumerate(portraits):
        camera = camera_from_vector(torch.from_numpy(portrait.camera).unsqueeze(0))
        known = (torch.from_numpy(column[row : row + 1]) for column in (samples.identity, samples.expression))
        seen = project_points(camera, choose_landmarks(points.vertices_mm(*known), camera))[0].numpy()
        placed = samples.placed[row]
        # The crop is a similarity of the camera's picture.
        design = np.concatenate((seen, np.ones((68, 1))), 1)
        affine, *_ = np.linalg.lstsq(design, placed, rcond=None)
        np.testing.assert_allclose(design @ affine, placed, atol=2e-4)
        eyes = np.linalg.norm(placed[36] - placed[45])
        assert np.median(np.linalg.norm(samples.landmarks[row] - placed, axis=1)) < 0.15 * eyes


def test_albedo_and_light_are_those_of_the_picture(samples: RegressorSamples, portraits: list[Portrait]) -> None:
    for row, portrait in enumerate(portraits):
        np.testing.assert_allclose(samples.light[row] * LIGHT_UNITS, portrait.light, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(samples.texture[row], portrait.albedo)
    assert samples.texture.min() >= 0
    assert samples.texture.max() <= 1
    assert samples.texture.std() > 0.05
    assert np.ptp(samples.light[:, 3:6], axis=1).max() == 0


def test_portraits_without_a_face_that_is_found_are_left_out(stream: PortraitStream, finder: FaceFinder) -> None:
    def blind(image_rgb: np.ndarray) -> Detections:
        return no_detections()

    shape = faceworld_model()
    points = landmark_surface(shape).of(shape)
    assert stream_samples(stream, finder._replace(detector=blind), points, range(2)) is None
