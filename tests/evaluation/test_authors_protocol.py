import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.authors_protocol import (
    CROP_RADIUS,
    MM_PER_UNIT,
    TemplateUnits,
    evaluate_authors,
    landmark_alignment,
    template_units,
)
from ops.errors import TopologyMismatchError, UnitsError, UnsupportedInputError
from ops.geometry.mesh import Mesh
from ops.registration.alignment import align_points
from ops.registration.register import Template

CASES = (
    "01_identical",
    "02_scale_1.05",
    "05_sim_large",
    "06_noise_iso_1mm",
    "08_two_identities",
    "09_two_identities_tight",
    "11_close_identity",
    "13_expression",
    "14_scale_and_identity",
    "16_slide",
    "20_bad_landmarks",
)


def units(template: Template) -> Mesh:
    return Mesh(template.mesh.vertices / MM_PER_UNIT, template.mesh.triangles)


def own_truth(template: Template) -> TemplateUnits:
    return template_units(template, template.mesh.vertices, template.landmarks_mm)


def load_case(folder: Path, name: str) -> tuple[Template, TemplateUnits, Mesh, bool]:
    topology, case = np.load(folder / "topology_ict.npz"), np.load(folder / f"{name}.npz")
    template = Template(
        mesh=Mesh(topology["template"].astype(np.float64) * MM_PER_UNIT, topology["trilist"]),
        landmarks=topology["landmark_ids"].astype(np.int64),
    )
    alignment = landmark_alignment(template, case["raw_landmarks"])
    nose_tip = align_points(alignment, case["raw_landmarks"][30])
    truth = TemplateUnits(case["reg"].astype(np.float64), nose_tip, alignment.scale)
    return template, truth, Mesh(case["rec"].astype(np.float64), topology["trilist"]), bool(case["tight"])


@pytest.mark.models
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_reference_to_the_digit(oracle_dir: Path, name: str) -> None:
    template, truth, reconstruction, tight = load_case(oracle_dir, name)
    expected = json.loads((oracle_dir / "expected.json").read_text())[name]
    found = evaluate_authors(template, truth, reconstruction, tight=tight)
    assert [found.iterations1, found.iterations2] == expected["iterations"]
    assert [found.masked1, found.masked2] == expected["masked_points"]
    assert found.distance_mm == pytest.approx(expected["distance"], abs=2e-6)
    assert found.pass1_mm == pytest.approx(expected["pass1"], abs=2e-6)
    assert found.pass2_mm == pytest.approx(expected["pass2"], abs=2e-6)


@pytest.mark.models
def test_millimetres_are_refused_with_the_reason(oracle_dir: Path) -> None:
    template, truth, reconstruction, tight = load_case(oracle_dir, "22_mm_units")
    with pytest.raises(UnitsError, match="it is in millimetres"):
        evaluate_authors(template, truth, reconstruction, tight=tight)


def test_a_mesh_is_at_no_distance_from_itself_moved_and_scaled(template: Template) -> None:
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = Mesh(1.1 * units(template).vertices @ turn + 3, template.mesh.triangles)
    found = evaluate_authors(template, own_truth(template), moved, tight=False)
    assert found.distance_mm < 1e-4
    assert found.scale == pytest.approx(1 / 1.1, rel=1e-5)
    assert found.crop_radius_mm == pytest.approx(CROP_RADIUS * MM_PER_UNIT)


def test_the_tight_crop_is_smaller(template: Template) -> None:
    wide, tight = (
        evaluate_authors(template, own_truth(template), units(template), tight=tight) for tight in (False, True)
    )
    assert tight.masked1 < wide.masked1
    assert tight.crop_radius_mm == pytest.approx(60.0)


def test_a_raised_nose_is_measured(template: Template) -> None:
    vertices = template.mesh.vertices.copy()
    bump = 8 * np.exp(-np.square(vertices[:, :2]).sum(1) / 400)
    vertices[:, 2] += bump
    reconstruction = Mesh(vertices / MM_PER_UNIT, template.mesh.triangles)
    found = evaluate_authors(template, own_truth(template), reconstruction, tight=False)
    assert found.pass2_mm is not None
    assert found.distance_mm == pytest.approx((found.pass1_mm + found.pass2_mm) / 2)
    assert 0.05 < found.distance_mm < bump.max()
    assert found.median_mm < found.p95_mm < bump.max()


def test_foreign_topologies_are_refused(template: Template) -> None:
    truth, own = own_truth(template), units(template)
    with pytest.raises(TopologyMismatchError, match="vertices, got"):
        evaluate_authors(template, truth, Mesh(own.vertices[:-1], own.triangles[:100]), tight=False)
    with pytest.raises(TopologyMismatchError, match="triangles"):
        evaluate_authors(template, truth, Mesh(own.vertices, own.triangles[:-1]), tight=False)
    shuffled = np.random.default_rng(0).permutation(own.vertices)
    with pytest.raises(TopologyMismatchError, match="another order"):
        evaluate_authors(template, truth, Mesh(shuffled, own.triangles), tight=False)


@pytest.mark.parametrize(("factor", "unit"), [(100.0, "millimetres"), (10.0, "centimetres"), (0.1, "metres")])
def test_foreign_units_are_refused_by_name(template: Template, factor: float, unit: str) -> None:
    scaled = Mesh(units(template).vertices * factor, template.mesh.triangles)
    with pytest.raises(UnitsError, match=f"it is in {unit}"):
        evaluate_authors(template, own_truth(template), scaled, tight=False)


def test_the_crop_needs_its_annotation(template: Template) -> None:
    landmarks = template.landmarks_mm.copy()
    landmarks[30] = np.nan
    with pytest.raises(UnsupportedInputError, match="landmark 30"):
        template_units(template, template.mesh.vertices, landmarks)
