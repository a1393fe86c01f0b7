import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.anthropometry import AVERAGE, independent_directions
from ops.faceworld.expressions import Actions, expression_offset
from ops.faceworld.head import head_grid, head_surface
from ops.faceworld.shape import EXPRESSION_MODES, IDENTITY_MODES, SIDE, faceworld_canonical_map, faceworld_model
from ops.geometry.mesh_normals import vertex_normals
from ops.networks.face_crop import MIRRORED_68


def test_sizes(world_model: MorphableModel) -> None:
    assert (world_model.identity_size, world_model.expression_size) == (IDENTITY_MODES, EXPRESSION_MODES) == (158, 29)
    assert len(world_model.mean_mm) == SIDE * SIDE
    assert world_model.metadata.expression_kind == "gaussian"


def test_two_builds_are_identical(world_model: MorphableModel) -> None:
    again = faceworld_model.__wrapped__()
    for name in ("mean_mm", "identity_basis_mm", "expression_basis_mm", "landmarks", "jaw_candidates"):
        assert torch.equal(getattr(world_model, name), getattr(again, name))


def test_neither_the_number_of_threads_nor_the_processor_matters() -> None:
    words = "from ops.faceworld.shape import faceworld_model; print(faceworld_model().checksum())"
    machines = (
        {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_CORETYPE": "Haswell"},
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", words], env=os.environ | machine, capture_output=True, text=True, check=True
        ).stdout
        for machine in machines
    }
    assert len(found) == 1


def test_average_head_has_human_measures(world_model: MorphableModel) -> None:
    points = world_model.mean_mm[world_model.landmarks]
    assert 85 < world_model.outer_eye_distance_mm() < 100
    assert 45 < float((points[48] - points[54]).norm()) < 57
    assert 105 < float((points[27] - points[8]).norm()) < 130
    assert points[30, 2] == points[:, 2].max()


def test_average_head_is_symmetric(world_model: MorphableModel) -> None:
    mean = world_model.mean_mm.unflatten(0, (SIDE, SIDE))
    torch.testing.assert_close(mean.flip(1) * torch.tensor([-1.0, 1, 1]), mean, atol=1e-3, rtol=0)
    mirrored = world_model.mean_mm[world_model.landmarks][torch.from_numpy(MIRRORED_68)]
    distance = (mirrored * torch.tensor([-1.0, 1, 1]) - world_model.mean_mm[world_model.landmarks]).norm(dim=-1)
    assert distance.max() < 3.0


def test_triangles_face_outwards(world_model: MorphableModel) -> None:
    normals = vertex_normals(world_model.mean_mm.unsqueeze(0), world_model.triangles)[0]
    front = torch.from_numpy(np.abs(head_grid().angle.ravel()) < 0.5) & world_model.regions["face"]
    assert (normals[front][:, 2] > 0).float().mean() > 0.97


def test_modes_are_orthogonal_and_sorted(world_model: MorphableModel) -> None:
    for basis in (world_model.identity_basis_mm, world_model.expression_basis_mm):
        gram = basis.double().flatten(1) @ basis.double().flatten(1).T
        length = gram.diagonal().sqrt()
        assert (length.diff() <= 1e-6 * length[0]).all()
        off = gram / (length[:, None] * length) - torch.eye(len(gram), dtype=torch.float64)
        assert off.abs().max() < 1e-3


def test_modes_reproduce_a_measurement(world_model: MorphableModel) -> None:
    """A nose one deviation longer is a short vector in the modes, and the modes give it back."""
    index = AVERAGE._fields.index("nose_length")
    longer = AVERAGE._replace(nose_length=AVERAGE.nose_length + independent_directions()[index, index])
    offset = torch.from_numpy(head_surface(longer) - head_surface(AVERAGE)).reshape(-1).float()
    basis = world_model.identity_basis_mm.flatten(1)
    weights = basis @ offset / basis.square().sum(1)
    assert weights.norm() < 1.6
    error = (weights @ basis - offset).unflatten(0, (-1, 3)).norm(dim=-1)
    assert error.max() < 0.35
    assert offset.unflatten(0, (-1, 3)).norm(dim=-1).max() > 2.5


def test_expressions_move_what_they_name() -> None:
    grid = head_grid()
    opened = expression_offset(Actions(jaw_open=1.0))
    chin = np.unravel_index(((grid.x_mm) ** 2 + (grid.y_mm + 105) ** 2).argmin(), grid.x_mm.shape)
    forehead = np.unravel_index(((grid.x_mm) ** 2 + (grid.y_mm - 40) ** 2).argmin(), grid.x_mm.shape)
    assert opened[chin][1] < -15
    assert np.abs(opened[forehead]).max() < 0.1
    left = expression_offset(Actions(smile_left=1.0))
    right = expression_offset(Actions(smile_right=1.0))
    np.testing.assert_allclose(left[:, ::-1] * (-1, 1, 1), right, atol=1e-6)


def test_jaw_candidates_run_along_their_rows(world_model: MorphableModel) -> None:
    rows = world_model.jaw_candidates // SIDE
    assert (rows == rows[:, :1]).all()
    columns = world_model.jaw_candidates % SIDE
    towards_front = (columns - (SIDE - 1) / 2).abs().diff(dim=1)
    assert (towards_front <= 0).all()
    assert (columns[0].unique().numel(), columns[8].unique().numel()) == (8, 1)


def test_canonical_map_is_the_grid() -> None:
    canvas, grid = faceworld_canonical_map(SIDE), head_grid()
    middle = SIDE // 2 - 1
    for found, true in ((canvas.x_mm, grid.x_mm), (canvas.y_mm, grid.y_mm), (canvas.angle, grid.angle)):
        assert found[middle, middle] == pytest.approx(true[middle, middle], abs=0.02)
    np.testing.assert_allclose(canvas.x_mm[:, ::-1], -canvas.x_mm, atol=1e-3)
    assert (np.diff(canvas.angle, axis=1) > 0).all()


def test_the_face_region_holds_all_landmarks(world_model: MorphableModel) -> None:
    assert world_model.regions["face"][world_model.landmarks].all()


def test_the_jaw_line_runs_along_the_face(world_model: MorphableModel) -> None:
    """From ear to chin every landmark lies lower, nearer the middle and further in front, as on the other side."""
    jaw = world_model.mean_mm[world_model.landmarks[:17]]
    down = jaw[:9].diff(dim=0)
    assert (down[:, 0] > 0).all()
    assert (down[:, 1] < 0).all()
    assert down[1:, 2].min() > -6.0
    torch.testing.assert_close(jaw.flip(0)[:8] * torch.tensor([-1.0, 1, 1]), jaw[:8], atol=1e-3, rtol=0)
