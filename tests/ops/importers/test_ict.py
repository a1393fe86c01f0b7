import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import MissingModelFileError, ModelFormatError, UnitsError
from ops.face.morphable_model import load_morphable_model, save_morphable_model
from ops.importers.assembly import RawModel
from ops.importers.ict import face_and_eyes, import_ict
from ops.importers.ict_folder import JAW_RIGHT, LANDMARKS, POLYGON_COUNT, REGIONS, VERTEX_COUNT


def npz_content(face: RawModel) -> dict[str, np.ndarray]:
    """The toy face as a compact .npz, in centimetres, its separate square an iris."""
    triangle_is_eye = face.triangles[:, 0] >= len(face.mean_mm) - 4
    scale = np.abs(face.identity_basis_mm).max((1, 2)) / 10 / 32767
    return {
        "mean": (face.mean_mm / 10).astype(np.float32),
        "id_basis": np.round(face.identity_basis_mm / 10 / scale[:, None, None]).astype(np.int16),
        "id_scale": scale.astype(np.float32),
        "ex_basis": (face.expression_basis_mm / 10).astype(np.float32),
        "tri": face.triangles.astype(np.uint16),
        "uv": (face.mean_mm[:, :2] / 300 + 0.5).astype(np.float32),
        "tri_uv": face.triangles.astype(np.uint16),
        "lmk68": face.landmarks.landmarks.astype(np.int32),
        "jaw_r": np.arange(100, 108, dtype=np.int32),
        "jaw_l": np.arange(200, 208, dtype=np.int32),
        "vert_region": (np.arange(len(face.mean_mm)) >= len(face.mean_mm) - 4).astype(np.uint8) * 2,
        "tri_region": triangle_is_eye.astype(np.uint8) * 2,
        "tri_material": triangle_is_eye.astype(np.uint8),
        "region_names": np.array(["face", "teeth", "eyeball_l"]),
        "material_names": np.array(["M_Face", "M_IrisLeft"]),
    }


def test_a_compact_file_gives_millimetres_parts_and_jaw(toy_face: RawModel, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "ict.npz", **npz_content(toy_face))
    model = import_ict(tmp_path / "ict.npz")
    torch.testing.assert_close(model.mean_mm.double(), torch.from_numpy(toy_face.mean_mm), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        model.identity_basis_mm.double(), torch.from_numpy(toy_face.identity_basis_mm), rtol=0, atol=2e-4
    )
    torch.testing.assert_close(
        model.expression_basis_mm.double(), torch.from_numpy(toy_face.expression_basis_mm), rtol=0, atol=1e-6
    )
    assert model.metadata.expression_kind == "blendshape"
    assert model.metadata.uv_layout == "ict-facekit-native"
    assert sorted(model.regions) == ["eyeball_l", "face", "narrow_face", "skin"]
    assert int(model.regions["eyeball_l"].sum()) == 4
    assert torch.equal(model.regions["skin"], ~model.regions["eyeball_l"])
    assert model.region_names == ("face", "iris_l")
    assert model.triangle_regions is not None
    assert model.triangle_regions.tolist() == [0] * (len(toy_face.triangles) - 2) + [1, 1]
    jaw = [*range(100, 108), int(toy_face.landmarks.landmarks[8]), *range(200, 208)]
    assert model.jaw_candidates[:, 1].tolist() == jaw
    assert model.jaw_candidates[:, 0].tolist() == toy_face.landmarks.landmarks[:17].tolist()


def test_a_compact_file_without_an_array_is_refused(toy_face: RawModel, tmp_path: Path) -> None:
    content = npz_content(toy_face)
    del content["tri_uv"]
    np.savez(tmp_path / "ict.npz", **content)
    with pytest.raises(ModelFormatError, match="lacks tri_uv"):
        import_ict(tmp_path / "ict.npz")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"mean": 10.0}, UnitsError, "millimetres"),
        ({"id_scale": 100.0}, UnitsError, "standard deviations"),
        ({"mean": -1.0}, ModelFormatError, "not upright and frontal"),
    ],
)
def test_implausible_compact_files_are_refused(
    toy_face: RawModel, tmp_path: Path, change: dict[str, float], error: type[Exception], words: str
) -> None:
    content = npz_content(toy_face)
    for name, factor in change.items():
        content[name] = content[name] * np.float32(factor)
    np.savez(tmp_path / "ict.npz", **content)
    with pytest.raises(error, match=words):
        import_ict(tmp_path / "ict.npz")


@pytest.mark.parametrize("name", ["ex_basis", "id_scale", "lmk68", "jaw_l", "tri_uv", "vert_region", "mean"])
def test_arrays_that_do_not_fit_are_refused(toy_face: RawModel, tmp_path: Path, name: str) -> None:
    content = npz_content(toy_face)
    content[name] = content[name][..., 1:] if name == "ex_basis" else content[name][1:]
    np.savez(tmp_path / "ict.npz", **content)
    with pytest.raises(ModelFormatError, match=r"expected .* with shape"):
        import_ict(tmp_path / "ict.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"just text"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ict.npz").write_bytes(content)
    with pytest.raises(ModelFormatError, match="not a sound"):
        import_ict(tmp_path / "ict.npz")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="no ICT-FaceKit folder"):
        import_ict(tmp_path / "nothing")


def write_obj(path: Path, vertices: np.ndarray, faces: str = "") -> None:
    rows = "\n".join("v {:.5f} {:.5f} {:.5f}".format(*row) for row in vertices.tolist())
    path.write_text(f"# comment\nmtllib materials.mtl\n{rows}\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n{faces}\n")


@pytest.fixture(scope="module")
def obj_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the right counts and landmarks, two identity modes and one expression."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(VERTEX_COUNT, 3)) * 5
    mean[LANDMARKS[36]], mean[LANDMARKS[45]] = (-4.5, 3, 8), (4.5, 3, 8)
    mean[LANDMARKS[8]], mean[LANDMARKS[30]] = (0, -8, 9), (0, 0, 12)
    faces: list[str] = []
    for region in REGIONS:
        material = "M_IrisLeft" if region.name == "eyeball_l" else "M_Other"
        polygon = f"f {region.first_vertex + 1}/1 {region.first_vertex + 2}/2 {region.last_vertex}/3"
        faces.append(f"usemtl {material}")
        faces += [polygon] * (region.last_polygon - region.first_polygon) + [f"{polygon} {region.last_vertex + 1}/4"]
    assert len(faces) - len(REGIONS) == POLYGON_COUNT
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "FaceXModel"
    folder.mkdir()
    write_obj(folder / "generic_neutral_mesh.obj", mean, "\n".join(faces))
    write_obj(folder / "identity000.obj", mean + np.array((0.5, 0, 0)))
    write_obj(folder / "identity001.obj", mean + np.array((0, 0.25, 0)))
    write_obj(folder / "jawOpen.obj", mean + np.array((0, 0, 1)))
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": ["jawOpen"]}))
    return root


def test_the_published_folder(obj_folder: Path) -> None:
    model = import_ict(obj_folder)
    assert (len(model.mean_mm), model.identity_size, model.expression_size) == (VERTEX_COUNT, 2, 1)
    for basis, expected in (
        (model.identity_basis_mm[0], (5.0, 0, 0)),
        (model.identity_basis_mm[1], (0, 2.5, 0)),
        (model.expression_basis_mm[0], (0, 0, 10.0)),
    ):
        torch.testing.assert_close(basis, torch.tensor(expected).expand_as(basis), rtol=0, atol=2e-4)
    assert model.landmarks.tolist() == list(LANDMARKS)
    assert model.jaw_candidates[:8, 1].tolist() == list(JAW_RIGHT)
    assert len(model.triangles) == POLYGON_COUNT + len(REGIONS)
    last_fan = model.uv[model.uv_triangles[-2:].long()].tolist()
    assert last_fan == [[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]]
    assert model.triangle_regions is not None
    named = [model.region_names[index] for index in model.triangle_regions.tolist()]
    assert named.count("iris_l") == 23093 - 21496 + 2
    assert named.count("sclera_r") == 24691 - 23094 + 2
    assert int(model.regions["narrow_face"].sum()) == 6706


def test_the_folder_itself_is_enough(obj_folder: Path) -> None:
    assert torch.equal(import_ict(obj_folder / "FaceXModel").mean_mm, import_ict(obj_folder).mean_mm)


def test_a_folder_without_the_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"lacks .*generic_neutral_mesh\.obj"):
        import_ict(tmp_path)


def test_a_shape_of_another_mesh_is_refused(obj_folder: Path, tmp_path: Path) -> None:
    for file in (obj_folder / "FaceXModel").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "jawOpen.obj").unlink()
    write_obj(tmp_path / "jawOpen.obj", np.zeros((3, 3)))
    with pytest.raises(ModelFormatError, match=r"expected 26719 vertices in .*jawOpen\.obj, got 3"):
        import_ict(tmp_path)


@pytest.mark.models
@pytest.mark.parametrize(("name", "vertices"), [("face", 19_775), ("full", 26_719)])
def test_the_real_model_is_upright_metric_and_survives_a_file(
    model_dir: Path, tmp_path: Path, name: str, vertices: int
) -> None:
    model = import_ict(model_dir / f"ict_facekit_{name}.npz")
    assert (len(model.mean_mm), model.identity_size, model.expression_size) == (vertices, 100, 53)
    points = model.mean_mm[model.landmarks]
    assert model.outer_eye_distance_mm() == pytest.approx(89.18, abs=0.01)
    assert points[45, 0].item() == pytest.approx(44.59, abs=0.01)
    assert points[8, 1].item() < points[57, 1].item() < points[30, 1].item() < points[36, 1].item()
    assert points[30, 2].item() == points[:, 2].max().item()
    assert model.regions["skin"][model.landmarks].all()
    save_morphable_model(model, tmp_path / "ict.safetensors")
    again = load_morphable_model(tmp_path / "ict.safetensors")
    weights = torch.linspace(-1, 1, 100), torch.linspace(0, 1, 53)
    assert torch.equal(again.vertices_mm(*weights), model.vertices_mm(*weights))


@pytest.mark.models
def test_the_part_that_is_fitted_is_that_of_the_compact_file(model_dir: Path) -> None:
    if not (model_dir / "ict_facekit_full.npz").is_file():
        pytest.skip("needs ict_facekit_full.npz")
    part = face_and_eyes(import_ict(model_dir / "ict_facekit_full.npz"))
    compact = import_ict(model_dir / "ict_facekit_face.npz")
    for name in ("mean_mm", "triangles", "uv", "uv_triangles", "landmarks", "jaw_candidates", "triangle_regions"):
        assert torch.equal(getattr(part, name), getattr(compact, name)), name
    assert part.region_names == compact.region_names
    assert part.regions.keys() == compact.regions.keys()
    with pytest.raises(ModelFormatError, match="eyeball_r is missing"):
        face_and_eyes(dataclasses.replace(part, regions={k: v for k, v in part.regions.items() if k != "eyeball_r"}))
