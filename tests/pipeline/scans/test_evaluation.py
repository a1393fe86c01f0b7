from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.face_regions import Region
from evaluation.scan_distance import at_face_size, measure_distances, sample_face
from evaluation.template import template_from_model
from ops.faceworld.shape import faceworld_model
from pipeline.scans.evaluation import (
    CEILING,
    MEAN_FACE,
    SINGLE,
    Measured,
    Subject,
    annotated,
    as_markdown,
    as_table,
    fit_ceiling,
    measure,
)
from pipeline.scans.pictures import draw_scan_picture, error_colours
from pipeline.scans.scan_folder import find_scan_folders
from tests.pipeline.scans.conftest import ScannedPerson

STORED = template_from_model(faceworld_model())


@pytest.fixture(scope="module")
def subject(scanned: ScannedPerson) -> Subject:
    (folder,) = find_scan_folders(scanned.folder.parent)
    scan = at_face_size(folder.read())
    samples = sample_face(scan)
    ceiling, labels = fit_ceiling(STORED, scan, samples)
    return Subject(folder, scan, samples, labels, ceiling, ())


def test_the_ceiling_is_closer_than_the_mean_face_and_the_truth_closest(
    subject: Subject, scanned: ScannedPerson
) -> None:
    meshes = {
        MEAN_FACE: annotated(STORED, STORED.template.mesh.vertices),
        CEILING: subject.ceiling,
        "truth": annotated(STORED, scanned.vertices_mm[STORED.model_vertices]),
    }
    rows = {name: measure(subject, name, "", mesh)[0] for name, mesh in meshes.items()}
    means = {name: row.mean_mm or np.inf for name, row in rows.items()}
    assert means["truth"] < 0.05
    assert means[CEILING] < 0.5 * means[MEAN_FACE]
    for row in rows.values():
        assert set(row.regions_mm) == {region.value for region in Region}
        assert set(row.protocols_mm) == {"paper", "deng", "now"}
        assert row.message == ""
        assert min(row.regions_mm.values()) <= (row.mean_mm or 0) <= max(row.regions_mm.values())
    for name, distance in rows["truth"].protocols_mm.items():
        assert distance < rows[MEAN_FACE].protocols_mm[name]


def test_tables_hold_every_row_and_average_photos_before_scans() -> None:
    rows = [
        Measured("a", MEAN_FACE, "", 2.0, 1.0, {"nose": 3.0}, {"now": 1.5}),
        Measured("b", MEAN_FACE, "", 1.0, 1.0, {"nose": 1.0}, {"now": 0.5}),
        Measured("a", SINGLE, "0", 1.0, 1.0),
        Measured("a", SINGLE, "1", 3.0, 1.0),
        Measured("b", SINGLE, "0", 1.5, 1.0),
        Measured("b", "other", "", message="no mesh"),
    ]
    text = as_markdown(rows)
    assert "| a | 2.000 | 2.000 |" in text
    assert "| mean | 1.500 | 1.750 |" in text
    assert "| worst ratio to the mean face | 1.000 | 1.500 |" in text
    assert f"| {MEAN_FACE} | 2.000 | none |" in text
    assert "- b, other: no mesh" in text
    table = as_table(rows)
    assert table.num_rows == 6
    assert table.column("nose_mm").to_pylist() == [3.0, 1.0, None, None, None, None]
    assert table.column("mean_mm").to_pylist()[-1] is None


def test_a_picture_shows_the_error_in_colour(subject: Subject, tmp_path: Path) -> None:
    mean = annotated(STORED, STORED.template.mesh.vertices)
    distances = measure_distances(subject.samples, mesh=mean)
    colours = error_colours(subject.samples.points_mm, subject.samples, distances)
    outside = distances.counted & (distances.signed_mm > 2.0)
    inside = distances.counted & (distances.signed_mm < -2.0)
    assert outside.any()
    assert inside.any()
    assert (colours[outside, 0] > colours[outside, 2] + 0.3).all()
    assert (colours[inside, 2] > colours[inside, 0] + 0.3).all()
    away = error_colours(subject.samples.points_mm[:3] + 100.0, subject.samples, distances)
    assert np.ptp(away) == 0
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "photo.png")
    draw_scan_picture(tmp_path / "anna.png", subject.scan, subject.samples, distances, tmp_path / "photo.png")
    with Image.open(tmp_path / "anna.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert ((pixels[..., 0] - pixels[..., 2]) > 60).any()
    assert ((pixels[..., 2] - pixels[..., 0]) > 60).any()
