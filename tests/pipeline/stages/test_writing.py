from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest
import torch
from PIL import Image

from ops.face.morphable_model import MorphableModel
from ops.files.photo import encode_png
from ops.geometry.mesh import read_mesh
from ops.reconstruction.fitting import LOSS_NAMES
from ops.weights.bundle import ModelBundle
from ops.weights.models import ModelRef
from pipeline.run.shards import ShardStore, ShardSummary
from pipeline.stages.stage import Fused, StageFailure, run_stage
from pipeline.stages.writing import CommitOnce, RehearseWriting, WriteShard, doubtful_images, mixed_people
from pipeline.storage.store import open_storage
from pipeline.tables.schema import ModelSizes, fitted_schema, frames_schema, identities_schema

SIZES = ModelSizes(identity=1, expression=1, texture=2)
NO_FILE = ModelRef(kind="none", path=None, sha256=None)
BUNDLE = ModelBundle(
    name="grid", shape=NO_FILE, texture=NO_FILE, recognition=NO_FILE, detector=NO_FILE, landmarks=NO_FILE,
    prior=NO_FILE, judge=None,
)  # fmt: skip


def writer(root: Path, *formats: Any) -> WriteShard:
    return WriteShard(
        store=ShardStore(open_storage(root)),
        bundle=BUNDLE,
        sizes=SIZES,
        device="cpu",
        mesh_formats=formats,
        method="ganfit test",
        fingerprint="f1",
    )


def picture(colour: tuple[int, ...], side: int = 16) -> bytes:
    return encode_png(np.full((side, side, len(colour)), colour, np.uint8))


def row(image: str, person: str, **changes: Any) -> dict[str, Any]:
    fitted: dict[str, Any] = {
        "image_id": image, "identity_id": person, "uri": f"{image}.jpg", "status": "ok", "reason": "", "message": "",
        "item_id": image, "stem": f"{person}-stem", "shard": 4, "identity": [1.0], "texture": [0.5, -0.5],
        "expression": [0.25], "identity_similarity": 0.6, "judge_similarity": None, "landmark_error": 0.03,
        "fit_seconds": 2.0, "crop_png": picture((10, 20, 30, 255)), "render_png": picture((90, 90, 90, 255)),
        "shape_png": picture((5, 5, 5)), "texture_png": picture((200, 150, 120)),
    }  # fmt: skip
    return fitted | changes


def unfit(image: str, person: str, status: str, reason: str, **changes: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("identity", "texture", "expression", "identity_similarity", "landmark_error", "fit_seconds", "render_png",
         "shape_png", "texture_png")
    )  # fmt: skip
    return row(image, person, status=status, reason=reason, **(empty | changes))


ROWS = [
    row("a1", "anna"),
    unfit("a2", "anna", "rejected", "no_face"),
    row("a3", "anna", texture_png=None, identity_similarity=0.8),
    unfit("b1", "bob/../x", "rejected", "no_face", crop_png=None, stem="bob-stem"),
    unfit("c1", "cy", "rejected", "low_score"),
    unfit("c2", "cy", "failed", "unreadable", crop_png=None),
]


def write(root: Path, tiny_shape: MorphableModel, rows: list[dict[str, Any]], *formats: Any) -> ShardSummary:
    table = pa.Table.from_pylist(rows, schema=fitted_schema(SIZES, LOSS_NAMES))
    result = run_stage(writer(root, *(formats or ("glb",))), tiny_shape, table)
    return ShardSummary.from_json(result.column("summary")[0].as_py())


def test_every_row_arrives_and_is_counted(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    summary = write(tmp_path, tiny_shape, ROWS)
    assert summary == ShardStore(open_storage(tmp_path)).summary(4)
    assert summary.items == 6
    assert summary.frames == {"failed unreadable": 1, "ok": 2, "rejected low_score": 1, "rejected no_face": 2}
    assert summary.identities == {"failed unreadable": 1, "ok": 1, "rejected no_face": 1}
    assert summary.fit_seconds == 2.0
    folder = tmp_path / "shards" / "00004"
    frames = pd.read_parquet(folder / "frames.parquet")
    assert frames["image_id"].tolist() == [entry["image_id"] for entry in ROWS]
    assert pa.parquet.read_schema(folder / "frames.parquet").equals(frames_schema(SIZES, LOSS_NAMES))
    assert pa.parquet.read_schema(folder / "identities.parquet").equals(identities_schema(SIZES))


def test_persons_without_an_image_say_why(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    write(tmp_path, tiny_shape, ROWS)
    people = pd.read_parquet(tmp_path / "shards" / "00004" / "identities.parquet").set_index("identity_id")
    assert people["n_images"].to_dict() == {"anna": 3, "bob/../x": 1, "cy": 2}
    assert people["n_ok"].to_dict() == {"anna": 2, "bob/../x": 0, "cy": 0}
    assert people.loc["bob/../x", ["status", "reason"]].tolist() == ["rejected", "no_face"]
    assert people.loc["cy", ["status", "reason"]].tolist() == ["failed", "unreadable"]
    assert people.loc["cy", "message"] == "no usable image: 1 failed unreadable, 1 rejected low_score"
    assert pd.isna(people.loc["cy", "mesh_path"])
    assert people.loc["anna", "identity_similarity"] == pytest.approx(0.7)
    assert people.loc["anna", ["method", "fingerprint"]].tolist() == ["ganfit test", "f1"]


def test_the_meshes_are_the_neutral_face(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    write(tmp_path, tiny_shape, ROWS, "obj", "glb", "ply")
    folder = tmp_path / "shards" / "00004"
    people = pd.read_parquet(folder / "identities.parquet").set_index("identity_id")
    assert people.loc["anna", "mesh_path"] == "meshes/anna-stem.obj"
    expected = tiny_shape.vertices_mm(torch.ones(1), torch.zeros(1)).numpy()
    for suffix in ("obj", "ply", "glb"):
        mesh = read_mesh(folder / "meshes" / f"anna-stem.{suffix}")
        np.testing.assert_allclose(mesh.vertices[: len(expected)], expected, atol=1e-3)
    names = sorted(path.name for path in (folder / "meshes").iterdir())
    assert names == ["anna-stem.glb", "anna-stem.mtl", "anna-stem.obj", "anna-stem.ply", "anna-stem.png"]
    with Image.open(folder / people.loc["anna", "texture_path"]) as texture:
        assert texture.getpixel((0, 0)) == (200, 150, 120)


def test_a_texture_from_photos_has_the_model_s_and_the_weights_beside_it(
    tmp_path: Path, tiny_shape: MorphableModel
) -> None:
    told = {"model_texture_png": picture((1, 2, 3)), "texture_weight_png": picture((255, 0, 0)), "texture_seen": 0.4}
    rows = [
        row("a1", "anna", **told, judge_similarity_crossed=0.7),
        row("a2", "anna", texture_png=None, texture_seen=0.4, judge_similarity_crossed=0.8),
        row("b1", "bob"),
    ]
    write(tmp_path, tiny_shape, rows)
    folder = tmp_path / "shards" / "00004"
    names = sorted(path.name for path in (folder / "textures").iterdir())
    assert names == ["anna-stem.model.png", "anna-stem.png", "anna-stem.weight.png", "bob-stem.png"]
    for kind, colour in (("model", (1, 2, 3)), ("weight", (255, 0, 0))):
        with Image.open(folder / "textures" / f"anna-stem.{kind}.png") as image:
            assert image.getpixel((0, 0)) == colour
    people = pd.read_parquet(folder / "identities.parquet").set_index("identity_id")
    assert people.loc["anna", "texture_seen"] == pytest.approx(0.4)
    assert pd.isna(people.loc["bob", "texture_seen"])
    crossed = pd.read_parquet(folder / "frames.parquet").set_index("image_id")["judge_similarity_crossed"]
    assert crossed[["a1", "a2"]].tolist() == pytest.approx([0.7, 0.8])
    assert pd.isna(crossed["b1"])


def test_the_contact_sheet_has_a_row_an_image(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    write(tmp_path, tiny_shape, ROWS)
    with Image.open(tmp_path / "shards" / "00004" / "contact_sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20) or []}
        assert {(10, 20, 30), (90, 90, 90), (5, 5, 5), (200, 150, 120)} <= colours
        six = sheet.height
    write(tmp_path / "half", tiny_shape, ROWS[:3])
    with Image.open(tmp_path / "half" / "shards" / "00004" / "contact_sheet.png") as sheet:
        assert 1.8 < six / sheet.height < 2


def test_pictures_are_those_of_the_first_fitted_image_of_a_person(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    write(tmp_path, tiny_shape, [unfit("a0", "anna", "rejected", "no_face"), *ROWS])
    pictures = pd.read_parquet(tmp_path / "shards" / "00004" / "pictures.parquet")
    assert pictures[["identity_id", "image_id"]].to_numpy().tolist() == [["anna", "a1"]]
    assert pictures["render_png"][0] == picture((90, 90, 90, 255))


def test_all_shards_are_read_as_one_table(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    write(tmp_path, tiny_shape, ROWS)
    write(tmp_path, tiny_shape, [entry | {"shard": 5} for entry in ROWS[:1]])
    files = sorted(tmp_path.glob("shards/*/frames.parquet"))
    assert pyarrow.dataset.dataset([str(path) for path in files]).count_rows() == 7


def test_a_failure_leaves_no_shard_and_names_the_person(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    unreadable = row("d1", "dora", texture_png=b"no picture")
    with pytest.raises(StageFailure, match="WriteShard on dora: UnidentifiedImageError"):
        write(tmp_path, tiny_shape, [*ROWS, unreadable])
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_committed_shard_is_not_made_again(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    first = write(tmp_path, tiny_shape, ROWS)
    once = CommitOnce(store=ShardStore(open_storage(tmp_path)), stage=Fused(stages=(writer(tmp_path, "glb"),)))
    table = pa.Table.from_pylist(ROWS[:1], schema=once.inputs)
    before = (tmp_path / "shards" / "00004" / "frames.parquet").stat().st_mtime_ns
    again = run_stage(once, [None], table)
    assert ShardSummary.from_json(again.column("summary")[0].as_py()) == first
    assert (tmp_path / "shards" / "00004" / "frames.parquet").stat().st_mtime_ns == before


def test_a_rehearsal_leaves_nothing_and_fails_where_writing_would(tmp_path: Path, tiny_shape: MorphableModel) -> None:
    rehearsal = RehearseWriting(stage=writer(tmp_path, "glb"))
    table = pa.Table.from_pylist(ROWS, schema=rehearsal.inputs)
    assert run_stage(rehearsal, tiny_shape, table).equals(table)
    assert list(tmp_path.iterdir()) == []
    unreadable = pa.Table.from_pylist([row("d1", "dora", texture_png=b"no picture")], schema=rehearsal.inputs)
    with pytest.raises(StageFailure, match="WriteShard on dora: UnidentifiedImageError"):
        run_stage(rehearsal, tiny_shape, unreadable)


def test_a_person_of_whom_half_the_faces_are_strangers_is_named() -> None:
    seen = {"landmarks_px": [0.0] * 136}
    stranger = {"status": "rejected", "reason": "other_person"}
    rows = [
        *(row(f"a{number}", "ann", **seen, **(stranger if number else {})) for number in range(3)),
        *(row(f"b{number}", "bob", **seen, **({} if number else stranger)) for number in range(3)),
    ]
    assert mixed_people(rows) == {"ann": "2 of 3 faces are other people's"}


def test_images_that_did_not_pass_are_named_whatever_became_of_them() -> None:
    rows = [
        row("a1", "anna", quality=0.4),
        row("a2", "anna", quality=-0.2, message="noted"),
        unfit("b1", "bob", "rejected", "low_quality", quality=-1.0, message="why"),
        unfit("c1", "cy", "rejected", "no_face", quality=None),
    ]
    assert doubtful_images(rows) == {"a2": "noted", "b1": "why"}
