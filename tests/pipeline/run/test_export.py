import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ops.errors import ConfigurationError, OutputError
from ops.face.morphable_model import MorphableModel
from ops.files.photo import encode_png
from ops.geometry.mesh import read_mesh
from pipeline.run.export import ExportConfig, export_run
from pipeline.run.reader import Run, open_run
from pipeline.storage.store import Storage

WriteOutput = Callable[..., None]
RECORD = {"configuration": {"fit": {"render_px": 64}}}


def image(name: str, uri: str, expression: float, **changes: Any) -> dict[str, Any]:
    person = {"identity": [2.0], "texture_path": f"textures/{name}.png"}
    return {
        "image_id": name, "uri": uri, "status": "ok", "expression": [expression], "person": person,
        "camera": [0.0, 0, 500, 0, 0, 0, 1.5, 0.1], "crop_from_image": [0.5, 0.1, -20.0, -0.1, 0.5, 7.0],
        "width_px": 200, "height_px": 150,
    } | changes  # fmt: skip


@pytest.fixture
def make_run(tmp_path: Path, write_output: WriteOutput, tiny_shape: MorphableModel) -> Callable[..., Run]:
    def make(*generations: dict[str, list[dict[str, Any]]]) -> Run:
        root = Storage(str(tmp_path / "run"))
        write_output(root, *generations, record=RECORD)
        run = open_run(root)
        vars(run)["shape"] = tiny_shape
        for folder, row in run.rows("identities"):
            if row["status"] == "ok":
                root.write(f"{folder}/{row['texture_path']}", encode_png(np.full((4, 4, 3), 90, np.uint8)))
        return run

    return make


def moved(shape: MorphableModel, by_mm: tuple[int, int, int]) -> np.ndarray:
    """The mean face elsewhere: what the one identity mode (5 mm in z) and expression mode (3 mm in y) do."""
    return shape.mean_mm.numpy() + np.array(by_mm)


def index_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "export.json").read_text())


def test_the_neutral_face_of_every_current_person_is_written(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    rejected = image("b", "b.jpg", 0.0, status="rejected", reason="no_face")
    run = make_run({"anna": [image("a", "a.jpg", 3.0)], "bob": [rejected]}, {"anna": [image("a", "a.jpg", 1.0)] * 2})
    done = export_run(run, tmp_path / "to", ExportConfig(formats=("glb", "obj", "ply")))
    assert done == (3, 1)
    expected = moved(tiny_shape, (0, 0, 10))
    for suffix in ("glb", "obj", "ply"):
        np.testing.assert_allclose(read_mesh(tmp_path / "to" / f"a.{suffix}").vertices, expected, atol=1e-3)
    assert index_of(tmp_path / "to")["missing"] == [
        {"identity_id": "bob", "status": "rejected", "reason": "no_face", "message": ""}
    ]


def test_as_in_the_photo_the_file_projects_onto_it(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    run = make_run({"anna": [image("a", "a.jpg", 4.0)]})
    export_run(run, tmp_path / "to", ExportConfig(pose="photo", formats=("glb", "ply")))
    (entry,) = index_of(tmp_path / "to")["files"]
    posed = moved(tiny_shape, (0, 12, 10))
    pixels = run.project("a", posed)
    glb, ply = (read_mesh(tmp_path / "to" / name).vertices for name in entry["files"])
    np.testing.assert_allclose(glb, posed, atol=1e-3)
    camera = entry["camera"]
    seen = (glb @ np.array(camera["rotation"]).T + camera["translation_mm"]) @ np.array(camera["intrinsics"]).T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], pixels, atol=1e-3)
    focal, (x, y) = camera["intrinsics"][0][0], np.array(camera["intrinsics"])[:2, 2]
    np.testing.assert_allclose((x, y) + focal * ply[:, :2] * (1, -1) / -ply[:, 2:], pixels, atol=1e-3)


def test_expressions_become_morph_targets_opened_as_in_the_photo(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    run = make_run({"anna": [image("a", "a.jpg", 4.0)]})
    export_run(run, tmp_path / "to", ExportConfig(pose="photo", blendshapes=True))
    glb = next((tmp_path / "to").rglob("*.glb"))
    np.testing.assert_allclose(read_mesh(glb).vertices, moved(tiny_shape, (0, 0, 10)), atol=1e-3)
    data = glb.read_bytes()
    content = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    assert content["meshes"][0]["weights"] == [4.0]
    assert content["meshes"][0]["extras"]["targetNames"] == ["expression_000"]
    assert content["meshes"][0]["extras"]["weights_unit"] == "standard deviations"
    assert content["nodes"][0]["extras"]["uri"] == "a.jpg"


def test_the_layout_of_now_is_subject_challenge_photo(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    run = make_run({"anna": [image("a", "in/S1_TA/selfie/IMG_1.jpg", 4.0)]})
    export_run(run, tmp_path / "to", ExportConfig(layout="now"))
    place = tmp_path / "to" / "S1_TA" / "selfie"
    neutral = moved(tiny_shape, (0, 0, 10))
    np.testing.assert_allclose(read_mesh(place / "IMG_1.obj").vertices, neutral, atol=1e-5)
    landmarks = np.load(place / "IMG_1.npy")
    points = tiny_shape.landmarks[[36, 39, 42, 45, 33, 48, 54]].numpy()
    np.testing.assert_allclose(landmarks, neutral[points], atol=1e-5)


def test_the_layout_of_svfr_is_participant_key_and_four_files(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    run = make_run({"anna": [image("a", "017/EMO-1-shout+laugh_156_2.png", 4.0)]})
    export_run(run, tmp_path / "to", ExportConfig(layout="nersemble-svfr"))
    place = tmp_path / "to" / "017" / "EMO-1-shout+laugh_156_2"
    names = ["landmarks_neutral.npy", "landmarks_posed.npy", "mesh_neutral.ply", "mesh_posed.ply"]
    assert sorted(path.name for path in place.iterdir()) == names
    posed, neutral = (read_mesh(place / f"mesh_{name}.ply").vertices for name in ("posed", "neutral"))
    np.testing.assert_allclose(neutral, moved(tiny_shape, (0, 0, 10)), atol=1e-5)
    np.testing.assert_allclose(posed, moved(tiny_shape, (0, 12, 10)), atol=1e-5)
    shift = np.load(place / "landmarks_posed.npy") - np.load(place / "landmarks_neutral.npy")
    np.testing.assert_allclose(shift, [[0, 12, 0]] * 7, atol=1e-5)


def test_the_layout_of_realy_is_named_as_the_photo_with_a_template(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    run = make_run({"anna": [image("a", "realy/0042.jpg", 4.0)]})
    export_run(run, tmp_path / "to", ExportConfig(layout="realy"))
    template, found = (read_mesh(tmp_path / "to" / name) for name in ("template.obj", "0042.obj"))
    np.testing.assert_array_equal(template.triangles, found.triangles)
    np.testing.assert_allclose(found.vertices - template.vertices, [[0, 12, 10]] * len(found.vertices), atol=1e-5)


@pytest.mark.parametrize(
    ("people", "layout", "message"),
    [
        ({"anna": [image("a", "x/a.jpg", 0.0), image("b", "x/b.jpg", 0.0)]}, "realy", "one usable photo per person"),
        ({"anna": [image("a", "x/a.jpg", 0.0)], "bob": [image("b", "y/a.jpg", 0.0)]}, "realy", "got several"),
        ({"anna": [image("a", "a.jpg", 0.0)]}, "now", "3 parts of the path"),
        ({"anna": [image("a", "s/../a.jpg", 0.0)]}, "nersemble-svfr", "2 parts of the path"),
    ],
)
def test_photos_that_do_not_fit_a_layout_are_refused(
    make_run: Callable[..., Run], tmp_path: Path, people: Any, layout: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        export_run(make_run(people), tmp_path / "to", ExportConfig(layout=layout))


def test_a_folder_with_something_in_it_is_refused(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run({"anna": [image("a", "a.jpg", 0.0)]})
    with pytest.raises(OutputError, match="new or empty"):
        export_run(run, tmp_path, ExportConfig())
