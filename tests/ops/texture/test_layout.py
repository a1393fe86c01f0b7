from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError
from ops.face.morphable_model import MorphableModel
from ops.faceworld.canonical import EYE_X_MM, MOUTH_Y_MM, Part, canonical_landmarks
from ops.faceworld.shape import faceworld_model
from ops.importers.ict import import_ict
from ops.texture.layout import ATLAS_LAYOUT, bake, canonical_map, procedural_layout, stretch_face


@pytest.fixture(scope="module")
def atlas_model(model_dir: Path) -> MorphableModel:
    return procedural_layout(import_ict(model_dir / "ict_facekit_face.npz"))


def test_stretch_keeps_order_symmetry_and_square() -> None:
    ticks = np.linspace(0, 1, 101)
    u, v = np.meshgrid(ticks, ticks)
    stretched = stretch_face(np.stack([u, v], -1))
    assert (np.diff(stretched[..., 0], axis=1) > 0).all()
    assert (np.diff(stretched[..., 1], axis=0) > 0).all()
    np.testing.assert_allclose(stretched[:, ::-1, 0], 1 - stretched[..., 0], atol=1e-12)
    assert stretched.min() >= 0
    assert stretched.max() <= 1


def test_bake_interpolates_linearly() -> None:
    uv = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    image, covered = bake(uv, triangles, np.concatenate([3 * uv[:, :1], uv[:, 1:]], 1).astype(float), 8)
    centres = (np.arange(8) + 0.5) / 8
    assert covered.all()
    np.testing.assert_allclose(image[..., 0], np.broadcast_to(3 * centres, (8, 8)), atol=1e-5)
    np.testing.assert_allclose(image[..., 1], np.broadcast_to(centres[::-1, None], (8, 8)), atol=1e-5)


def test_models_without_the_needed_parts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"face, iris_l and iris_r.*got head in faceworld"):
        procedural_layout(faceworld_model())
    with pytest.raises(ConfigurationError, match="ict-atlas-v1"):
        canonical_map(faceworld_model(), 32)


@pytest.mark.models
def test_atlas_changes_texture_coordinates_alone(atlas_model: MorphableModel, model_dir: Path) -> None:
    before = import_ict(model_dir / "ict_facekit_face.npz")
    assert atlas_model.metadata.uv_layout == ATLAS_LAYOUT
    assert torch.equal(atlas_model.triangles, before.triangles)
    assert torch.equal(atlas_model.mean_mm, before.mean_mm)
    assert atlas_model.uv.min() >= 0
    assert atlas_model.uv.max() <= 1
    assert procedural_layout(atlas_model) is atlas_model


@pytest.mark.models
def test_face_patch_is_not_folded(atlas_model: MorphableModel) -> None:
    assert atlas_model.triangle_regions is not None
    face = atlas_model.triangle_regions == atlas_model.region_names.index("face")
    a, b, c = atlas_model.uv[atlas_model.uv_triangles[face].long()].unbind(1)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).float().mean() > 0.99


@pytest.mark.models
def test_landmarks_lie_at_their_canonical_places(atlas_model: MorphableModel) -> None:
    side = 512
    canvas = canonical_map(atlas_model, side)
    corner_of_vertex = torch.zeros(len(atlas_model.mean_mm), dtype=torch.long)
    corner_of_vertex[atlas_model.triangles.flatten().long()] = atlas_model.uv_triangles.flatten().long()
    uv = atlas_model.uv[corner_of_vertex[atlas_model.landmarks]].numpy()
    column, row = (uv[:, 0] * side).astype(int), ((1 - uv[:, 1]) * side).astype(int)
    found = np.stack([canvas.x_mm[row, column], canvas.y_mm[row, column]], 1)
    distance = np.linalg.norm(found - canonical_landmarks(), axis=1)
    assert np.median(distance) < 1.0
    assert distance.max() < 4.0


@pytest.mark.models
def test_eyeballs_look_ahead_from_their_patches(atlas_model: MorphableModel) -> None:
    canvas = canonical_map(atlas_model, 256)
    eyes = canvas.part == Part.EYEBALL
    assert {-1.0, 1.0} == set(np.sign(canvas.x_mm[eyes]))
    assert np.abs(np.abs(canvas.x_mm[eyes]) - EYE_X_MM).max() <= 12.0 + 1e-3
    assert (canvas.part == Part.TEETH).any()
    assert np.abs(canvas.y_mm - MOUTH_Y_MM).min() < 0.5
