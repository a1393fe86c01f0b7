import dataclasses

import numpy as np
import pytest
import torch

from ops.errors import ModelFormatError, UnitsError
from ops.face.morphable_model import ModelMetadata
from ops.importers.assembly import (
    RawModel,
    assemble_model,
    cylindrical_layout,
    largest_component,
    millimetres_per_unit,
)
from ops.importers.landmark_file import LandmarkVertices
from ops.importers.summary import summarise_model

METADATA = ModelMetadata(name="toy", licence="CC0", source="a test", uv_layout="toy", expression_kind="gaussian")


def swapped(face: RawModel, one: int, other: int) -> RawModel:
    vertices = face.landmarks.landmarks.copy()
    vertices[[one, other]] = vertices[[other, one]]
    return dataclasses.replace(face, landmarks=LandmarkVertices(vertices, vertices[:17, None]))


def test_winding_is_turned_outwards(toy_face: RawModel) -> None:
    inwards = dataclasses.replace(toy_face, triangles=toy_face.triangles[:, ::-1])
    for face in (toy_face, inwards):
        model = assemble_model(face, METADATA)
        corners = model.mean_mm[model.triangles[:-2].long()]
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (normals[:, 2] > 0).float().mean() > 0.99


def test_skin_is_the_largest_surface_near_the_nose(toy_face: RawModel) -> None:
    model = assemble_model(toy_face, METADATA)
    nose = toy_face.mean_mm[toy_face.landmarks.landmarks[30]]
    near = torch.from_numpy(np.linalg.norm(toy_face.mean_mm - nose, axis=1) <= 110)
    assert torch.equal(model.regions["face"], near)
    assert model.regions["face"][-4:].all()
    assert not model.regions["skin"][-4:].any()
    assert torch.equal(model.regions["skin"][:-4], near[:-4])
    assert model.triangle_regions is not None
    assert model.triangle_regions.tolist() == [0] * (len(toy_face.triangles) - 2) + [1, 1]


def test_components_are_told_apart() -> None:
    triangles = np.array([[0, 1, 2], [2, 1, 3], [4, 5, 6]])
    assert largest_component(triangles, 7).tolist() == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [(36, 45, "left outer eye corner"), (8, 19, "chin"), (30, 0, "nose tip")],
)
def test_faces_that_are_not_upright_and_frontal_are_refused(
    toy_face: RawModel, one: int, other: int, words: str
) -> None:
    with pytest.raises(ModelFormatError, match=words):
        assemble_model(swapped(toy_face, one, other), METADATA)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_modes_of_inhuman_size_are_refused(toy_face: RawModel, factor: float) -> None:
    with pytest.raises(UnitsError, match="standard deviations"):
        assemble_model(dataclasses.replace(toy_face, identity_basis_mm=toy_face.identity_basis_mm * factor), METADATA)


def test_indices_beyond_the_mesh_are_refused(toy_face: RawModel) -> None:
    with pytest.raises(ModelFormatError, match="expected triangles within 0 to"):
        assemble_model(dataclasses.replace(toy_face, triangles=toy_face.triangles + 10_000), METADATA)


def test_a_nose_tip_off_the_surface_is_refused(toy_face: RawModel) -> None:
    nose = toy_face.landmarks.landmarks[30]
    without = toy_face.triangles[(toy_face.triangles != nose).all(1)]
    with pytest.raises(ModelFormatError, match="no triangle touches the nose tip"):
        assemble_model(dataclasses.replace(toy_face, triangles=without), METADATA)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 10.0, 1e3])
def test_the_unit_is_told_from_the_eyes(toy_face: RawModel, unit: float) -> None:
    assert millimetres_per_unit(toy_face.mean_mm / unit, toy_face.landmarks.landmarks) == unit


def test_an_impossible_size_has_no_unit(toy_face: RawModel) -> None:
    with pytest.raises(UnitsError, match="no metric unit"):
        millimetres_per_unit(toy_face.mean_mm * 3, toy_face.landmarks.landmarks)


def ring() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube of radius 90 about the layout's own axis, with landmarks 36, 45 at 90 mm and 28 between them."""
    angle = np.linspace(-np.pi, np.pi, 24, endpoint=False) + 0.01
    circle = np.stack((90 * np.sin(angle), np.zeros(24), 90 * np.cos(angle) - 90), -1)
    fixed = np.array([[-45.0, 0, 0], [45, 0, 0], [0, 0, 0]])
    mean = np.concatenate((circle, circle + np.array((0, 112.5, 0)), circle + np.array((0, 1e6, 0)), fixed))
    around = np.arange(24)
    following = (around + 1) % 24
    lower = np.stack((around, following, following + 24), -1)
    upper = np.stack((around, following + 24, around + 24), -1)
    landmarks = np.zeros(68, np.int64)
    landmarks[36], landmarks[45], landmarks[28] = 72, 73, 74
    return mean, np.concatenate((lower, upper)), landmarks


def test_the_generated_layout_follows_its_definition() -> None:
    mean, triangles, landmarks = ring()
    uv, corners = cylindrical_layout(mean, triangles, landmarks)
    angle = np.linspace(-np.pi, np.pi, 24, endpoint=False) + 0.01
    front = np.abs(angle) <= np.pi / 2
    np.testing.assert_allclose(uv[:24][front, 0], 0.5 + 0.4 * angle[front] / (np.pi / 2), atol=1e-9)
    np.testing.assert_allclose(uv[:24, 1], 0.5, atol=1e-9)
    np.testing.assert_allclose(uv[24:48, 1], 0.9, atol=1e-9)
    np.testing.assert_allclose(uv[48:72, 1], 1.0, atol=1e-4)
    assert uv.min() > 0
    assert uv.max() <= 1
    order = np.argsort(angle)
    assert (np.diff(uv[:24][order, 0]) > 0).all()
    widths = np.ptp(uv[corners][..., 0], axis=1)
    assert widths.max() < 0.1
    assert np.array_equal(corners < len(mean), np.isin(corners, np.arange(len(mean))))
    moved = corners >= len(mean)
    assert moved.any()
    np.testing.assert_allclose(uv[corners[moved], 1], uv[triangles[moved], 1])


def test_a_summary_names_sizes_and_extents(toy_face: RawModel) -> None:
    text = summarise_model(assemble_model(toy_face, METADATA))
    assert f"vertices    {len(toy_face.mean_mm)}" in text
    assert "identity    4 modes, 3.99 mm" in text
    assert f"x {toy_face.mean_mm[:, 0].min():.1f} to" in text
