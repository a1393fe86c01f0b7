import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

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


def frame(number: int, expression: float, **changes: Any) -> dict[str, Any]:
    """A frame of the clip that is Anna's first file."""
    place = {"frame_index": number, "time_s": number / 10, "camera": [number * 10.0, 0, 500, 0, 0, 0, 1.5, 0.1]}
    return image(f"a-f{number:06d}", "in/a.mp4", expression) | place | changes


def shown_in(glb: Path, time_s: float, shape: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in the model's frame, and in pixels of the clip, when an animated file has been played for a time."""
    data = glb.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    content, body = json.loads(data[20 : 20 + size]), data[28 + size :]

    def values(accessor: int) -> np.ndarray:
        entry = content["accessors"][accessor]
        start = content["bufferViews"][entry["bufferView"]]["byteOffset"]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
        return np.frombuffer(body, "<f4", entry["count"] * width, start).reshape(-1, width).astype(np.float64)

    (animation,) = content["animations"]
    played: dict[str, np.ndarray] = {}
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        times, outputs = values(sampler["input"])[:, 0], values(sampler["output"])
        outputs = outputs.reshape(len(times), -1)
        played[channel["target"]["path"]] = np.array([np.interp(time_s, times, column) for column in outputs.T])
    primitive = content["meshes"][0]["primitives"][0]
    vertices = values(primitive["attributes"]["POSITION"])
    for weight, target in zip(played.get("weights", ()), primitive.get("targets", ()), strict=True):
        vertices = vertices + weight * values(target["POSITION"])
    vertices = 1000 * vertices[: len(shape.mean_mm)]
    rotation = Rotation.from_quat(played["rotation"]).as_matrix()
    x, y, z = (vertices @ rotation.T + 1000 * played["translation"]).T
    lens = content["cameras"][0]["perspective"]
    focal = 75 / np.tan(lens["yfov"] / 2)
    return vertices, np.array((100, 75)) + focal * np.stack((x, -y), -1) / -z[:, None]


def test_a_clip_is_played_as_it_was_fitted(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    fitted = [frame(3, 1.0), frame(1, 4.0), frame(8, -2.0, status="rejected", reason="no_face"), frame(9, 0.0)]
    run = make_run({"anna": [*fitted, image("b", "b.jpg", 9.0)]})
    assert export_run(run, tmp_path / "to", ExportConfig(pose="clip")) == (1, 0)
    (entry,) = index_of(tmp_path / "to")["files"]
    assert (entry["uri"], entry["times_s"]) == ("in/a.mp4", [0.1, 0.3, 0.9])
    assert entry["image_ids"] == ["a-f000001", "a-f000003", "a-f000009"]
    glb = tmp_path / "to" / entry["files"][0]
    for number, expression in ((1, 4.0), (3, 1.0), (9, 0.0)):
        vertices, pixels = shown_in(glb, number / 10, tiny_shape)
        posed = moved(tiny_shape, (0, int(3 * expression), 10))
        np.testing.assert_allclose(vertices, posed, atol=1e-3)
        expected = run.project(f"a-f{number:06d}", posed)
        assert np.linalg.norm(pixels - expected, axis=1).max() < 0.03 * np.ptp(expected, axis=0).max()
    between, _ = shown_in(glb, 0.2, tiny_shape)
    np.testing.assert_allclose(between[:, 1] - tiny_shape.mean_mm[:, 1].numpy(), 7.5, atol=1e-3)


def test_modes_that_a_clip_does_not_use_are_left_out(make_run: Callable[..., Run], tmp_path: Path) -> None:
    still = [frame(number, 0.01, time_s=None) for number in range(5)]
    export_run(make_run({"anna": still}), tmp_path / "still", ExportConfig(pose="clip"))
    (entry,) = index_of(tmp_path / "still")["files"]
    assert entry["times_s"] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    data = (tmp_path / "still" / entry["files"][0]).read_bytes()
    assert b"targets" not in data
    assert b"weights" not in data


def test_motion_is_smoothed_where_asked_to(
    make_run: Callable[..., Run], tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    run = make_run({"anna": [frame(number, 1.0 + (number == 2)) for number in range(5)]})
    export_run(run, tmp_path / "to", ExportConfig(pose="clip", smooth_s=0.5))
    vertices, _ = shown_in(next((tmp_path / "to").rglob("*.glb")), 0.2, tiny_shape)
    raised = (vertices[:, 1] - tiny_shape.mean_mm[:, 1].numpy()) / 3
    np.testing.assert_allclose(raised, 1.2, atol=0.05)


def test_clips_without_a_face_are_named(make_run: Callable[..., Run], tmp_path: Path) -> None:
    nobody = frame(2, 0.0, status="rejected", reason="no_face")
    broken = frame(0, 0.0, image_id="c", uri="c.mp4", frame_index=None, status="failed", reason="unreadable")
    run = make_run({"anna": [frame(1, 0.0)], "bob": [nobody], "carl": [broken]})
    assert export_run(run, tmp_path / "to", ExportConfig(pose="clip")) == (1, 2)
    missing = index_of(tmp_path / "to")["missing"]
    assert {row["identity_id"]: row["reason"] for row in missing} == {"bob": "no_face", "carl": "unreadable"}


def test_photos_alone_are_no_clips(make_run: Callable[..., Run], tmp_path: Path) -> None:
    photo = image("a", "a.jpg", 1.0) | {"frame_index": None}
    with pytest.raises(ConfigurationError, match="found photos alone"):
        export_run(make_run({"anna": [photo]}), tmp_path / "to", ExportConfig(pose="clip"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pose": "clip", "formats": ("glb", "obj")}, "glb alone"),
        ({"pose": "clip", "blendshapes": True}, "no blendshapes"),
        ({"pose": "photo", "smooth_s": 0.1}, "smooth_s"),
        ({"pose": "clip", "smooth_s": float("nan")}, "smooth_s"),
    ],
)
def test_settings_that_clips_do_not_have_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ExportConfig(**settings)


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
