import numpy as np
import pytest

from evaluation.face_regions import Region, label_regions
from ops.faceworld.shape import faceworld_model


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    model = faceworld_model()
    vertices = model.mean_mm.double().numpy()
    return vertices, vertices[model.landmarks.numpy()]


@pytest.mark.parametrize(
    ("landmark", "region"),
    [(30, Region.NOSE), (33, Region.NOSE), (37, Region.EYES), (45, Region.EYES), (51, Region.MOUTH), (8, Region.JAW)],
)
def test_landmarks_lie_in_their_own_region(face: tuple[np.ndarray, np.ndarray], landmark: int, region: Region) -> None:
    vertices, landmarks = face
    assert label_regions(landmarks[[landmark]], landmarks)[0] == list(Region).index(region)
    assert set(label_regions(vertices, landmarks)) == set(range(len(Region)))


def test_cheeks_lie_to_both_sides_and_the_forehead_above(face: tuple[np.ndarray, np.ndarray]) -> None:
    _, landmarks = face
    cheeks = [(landmarks[wing] + landmarks[jaw]) / 2 for wing, jaw in ((31, 2), (35, 14))]
    above = landmarks[19:25].mean(0) + np.array([0.0, 25.0, 0.0])
    labels = [list(Region)[place] for place in label_regions(np.stack((*cheeks, above)), landmarks)]
    assert labels == [Region.CHEEKS, Region.CHEEKS, Region.FOREHEAD]


def test_a_moved_and_grown_face_has_the_same_regions(face: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, landmarks = face
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    moved = label_regions(1.7 * vertices @ turn.T + 30, 1.7 * landmarks @ turn.T + 30)
    assert (moved == label_regions(vertices, landmarks)).mean() > 0.999
