"""The package as programs use it, and its documentation."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganfit
from ops.fit.losses import landmark_error
from ops.reconstruction.quality import ranges_from_pairs
from ops.weights.bundle import ModelBundle

ROOT = Path(__file__).parents[2]
FIT = ganfit.preset("default").by("fastganfit")


def test_the_package_is_imported_fast_and_without_heavy_libraries() -> None:
    program = (
        "import sys, time; started = time.process_time(); import ganfit; took = time.process_time() - started;"
        "assert took < 0.5, took; assert not {'torch', 'ray', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_at_most_twelve_names_all_of_which_exist() -> None:
    assert len(ganfit.__all__) <= 12
    assert all(getattr(ganfit, name) is not None for name in ganfit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        ganfit.fit_everything  # noqa: B018


@pytest.mark.ray
@pytest.mark.slow
def test_the_documentation_runs_as_it_is_written(
    album_run: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "OUT").symlink_to(album_run)
    shutil.copy(album / "person_00" / "photo_0.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102
    assert len(blocks) == 6
    for name in ("face.glb", "neutral.glb", "posed.glb", "overlay.png", "pictures.png"):
        assert (tmp_path / name).stat().st_size > 1000, name
    with Image.open(tmp_path / "overlay.png") as drawn, Image.open(names["uri"]) as photo:
        green = np.abs(np.asarray(drawn).astype(int) - (80, 255, 80)).sum(-1) == 0
        assert 0.05 < green.mean() < 0.6
        assert drawn.size == photo.size


@pytest.mark.ray
@pytest.mark.slow
def test_landmarks_of_a_run_projected_again_miss_as_far_as_it_says(album_run: Path) -> None:
    run = ganfit.open_run(album_run)
    frames = run.frames(["image_id", "status", "landmarks_px", "landmark_error"])
    assert len(frames) == 8
    for frame in frames[frames["status"] == "ok"].itertuples():
        fitted = run.project(frame.image_id, run.landmarks(frame.image_id))
        found = frame.landmarks_px.reshape(1, 68, 2).astype(np.float64)
        error = landmark_error(torch.from_numpy(fitted)[None], torch.from_numpy(found))
        assert float(error) == pytest.approx(frame.landmark_error, abs=0.003)


@pytest.mark.ray
@pytest.mark.slow
def test_photos_in_memory_become_what_a_run_makes_of_them(album_run: Path, album: Path, embedded: ModelBundle) -> None:
    run = ganfit.open_run(album_run)
    rows = run.frames().set_index("uri").loc[[str(album / "person_01" / f"photo_{number}.jpg") for number in (0, 1)]]
    arrays = [np.asarray(Image.open(uri).convert("RGB")) for uri in rows.index]
    nobody = np.full((120, 160, 3), 90, np.uint8)
    photos = [rows.index[0], nobody, arrays[1], "missing.jpg"]
    people = ["anna", "anna", "anna", "bob"]
    faces = ganfit.reconstruct_photos(photos, embedded, people=people, config=FIT)
    assert [face.ok for face in faces] == [True, False, True, False]
    assert [face.reason for face in faces] == ["", "no_face", "", "unreadable"]
    with pytest.raises(ganfit.GanfitError, match="the photo of bob was not reconstructed: unreadable"):
        _ = faces[3].mesh
    for face, (_, row) in zip((faces[0], faces[2]), rows.iterrows(), strict=True):
        for name in ("expression", "light"):
            np.testing.assert_array_equal(getattr(face, name), row[name])
        np.testing.assert_array_equal(face.camera.vector, row["camera"])
        assert face.identity_similarity == pytest.approx(row["identity_similarity"], abs=1e-6)
        assert face.iterations == row["iterations"]
        assert face.fit_seconds > 0
        posed = run.posed_mesh(row["image_id"])
        np.testing.assert_array_equal(face.posed_mesh.vertices_mm, posed.vertices_mm)
        np.testing.assert_array_equal(face.texture_rgb, posed.texture_rgb)
        np.testing.assert_allclose(
            face.camera.project(face.landmarks_mm), run.project(row["image_id"], face.landmarks_mm)
        )


@pytest.mark.slow
def test_textures_in_memory_may_have_what_the_photos_show(album: Path, embedded: ModelBundle) -> None:
    photos = [album / "person_00" / f"photo_{number}.jpg" for number in (0, 1)]
    faces = ganfit.reconstruct_photos(
        photos, embedded, people=["anna", "anna"], config=FIT, texture="photo", texture_px=512
    )
    plain = ganfit.reconstruct_photos(photos[:1], embedded, config=FIT)[0]
    assert plain.texture_weight_rgb is plain.texture_seen is plain.judge_similarity_crossed is None
    for face in faces:
        assert face.texture_rgb.shape == (512, 512, 3)
        assert face.texture_weight_rgb is not None
        assert 0.1 < (face.texture_seen or 0) < 1
        assert face.judge_similarity_crossed is not None
        assert face.judge_similarity_crossed > 0.5


@pytest.mark.slow
def test_photos_in_memory_are_searched_in_tiles_and_strangers_are_named(album: Path, embedded: ModelBundle) -> None:
    own = [np.asarray(Image.open(album / "person_00" / f"photo_{number}.jpg").convert("RGB")) for number in (0, 1)]
    stranger = album / "person_02" / "photo_0.jpg"
    small = Image.fromarray(own[0]).resize((140, 140), Image.Resampling.LANCZOS)
    large = np.full((2400, 5000, 3), own[0][0, 0], np.uint8)
    large[1500:1640, 3700:3840] = np.asarray(small)
    faces = ganfit.reconstruct_photos(
        [*own, stranger, large], embedded, people=["anna", "anna", "anna", "large"], config=FIT
    )
    assert [face.reason for face in faces] == ["", "", "other_person", ""]
    assert faces[2].message.startswith("similarity ")
    left, top = faces[3].camera.project(faces[3].landmarks_mm).min(0)
    right, bottom = faces[3].camera.project(faces[3].landmarks_mm).max(0)
    assert 3700 < left < right < 3840
    assert 1500 < top < bottom < 1640


@pytest.mark.slow
def test_photos_in_memory_pass_the_gate_or_say_why_not(album: Path, embedded: ModelBundle) -> None:
    photo = album / "person_00" / "photo_0.jpg"
    ranges = {"landmark_shift": [0.2, 0.03], "judge_similarity": [0.98, 0.99]}
    strict = replace(embedded, quality=ranges_from_pairs(ranges))
    (noted,) = ganfit.reconstruct_photos([photo], strict, config=FIT)
    assert noted.ok
    assert noted.quality is not None
    assert noted.quality < 0
    assert noted.message == f"judge_similarity {noted.judge_similarity:.3f}, expected at least 0.980"
    (rejected,) = ganfit.reconstruct_photos([photo], strict, config=FIT, quality="reject")
    assert (rejected.ok, rejected.reason, rejected.message) == (False, "low_quality", noted.message)
    assert rejected.quality == noted.quality
    (plain,) = ganfit.reconstruct_photos([photo], embedded, config=FIT)
    assert (plain.ok, plain.quality, plain.message) == (True, None, "")
    unsure = replace(embedded, quality=ranges_from_pairs({"landmark_shift": [1e-6, 0.0]}))
    (unsure_face,) = ganfit.reconstruct_photos([photo], unsure, config=FIT, quality="reject")
    assert unsure_face.reason == "low_quality"
    assert unsure_face.message.startswith("landmark_shift ")


def test_arguments_that_do_not_go_together_are_refused(embedded: ModelBundle) -> None:
    with pytest.raises(ganfit.GanfitError, match="expected a person per photo, got 1 photos and 2 people"):
        ganfit.reconstruct_photos(["a.jpg"], embedded, people=["a", "b"])
    with pytest.raises(ganfit.GanfitError, match=r"expected RGB arrays, uint8 \[height, width, 3\], got float64"):
        ganfit.reconstruct_photos([np.zeros((8, 8, 3))], embedded, config=FIT)
