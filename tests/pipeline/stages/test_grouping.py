import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ops.reconstruction.detection import DetectionConfig
from ops.weights.bundle import ModelBundle
from pipeline.input.planner import PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input
from pipeline.run.groups import read_faces
from pipeline.stages.detection import DetectFaces
from pipeline.stages.frames import ReadFrames
from pipeline.stages.grouping import EmbedItems, StoreFaces, embedded_table, give_up_faces
from pipeline.stages.stage import Fused, run_stage
from pipeline.storage.store import Storage


def test_every_file_has_one_embedding_by_which_people_are_told_apart(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    for person in ("person_00", "person_01"):
        for number in range(2):
            shutil.copy(album / person / f"photo_{number}.jpg", tmp_path / f"{person}_{number}.jpg")
    Image.new("RGB", (240, 240), (90, 120, 90)).save(tmp_path / "person_02_nobody.png")
    stage = Fused(
        stages=(
            ReadFrames(),
            DetectFaces(
                detector=embedded.detector,
                landmarks=embedded.landmarks,
                recognition=embedded.recognition,
                config=DetectionConfig(),
            ),
            EmbedItems(recognition=embedded.recognition),
        )
    )
    block = block_of(plan_shards(list_input(tmp_path, "cluster").items, PlanConfig(shard_size=100)).rows())
    found = {row["item_id"]: row["embedding"] for row in run_stage(stage, stage.load(), block).to_pylist()}
    *faces, nobody = [found[item_id] for item_id in sorted(found, key=lambda item_id: item_id.split("person")[1])]
    assert nobody is None
    unit = np.array(faces)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    cosines = unit @ unit.T
    people = embedded.people
    assert people is not None
    assert min(cosines[0, 1], cosines[2, 3]) > people.same_person
    assert cosines[:2, 2:].max() < people.same_person


def test_embeddings_are_stored_by_block_and_belong_to_their_settings(root: Storage) -> None:
    rows = [
        {"shard": 3, "item_id": "a", "identity_id": "a-1", "embedding": [0.6, 0.8]},
        {"shard": 3, "item_id": "b", "identity_id": "b-1", "embedding": None},
    ]
    stage = StoreFaces(root=root, fence=None, fingerprint="f1")
    stored = run_stage(stage, None, embedded_table(rows)).to_pylist()
    assert stored == [{"shard": 3, "items": 2, "faces": 1}]
    again = embedded_table([{**rows[0], "embedding": [1.0, 0.0]}])
    run_stage(stage, None, again)
    faces, free = read_faces(root, "f1")
    assert free == 4
    assert faces["a-1"] is not None
    assert faces["a-1"].tolist() == pytest.approx([0.6, 0.8]), "the block that was committed first stays"
    assert faces["b-1"] is None
    assert read_faces(root, "f2") == ({}, 0)


def test_items_that_are_given_up_show_no_face(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    block = block_of(plan_shards(list_input(tmp_path, "cluster").items, PlanConfig()).rows())
    (row,) = give_up_faces(block, "ended the process").to_pylist()
    assert row["embedding"] is None
    assert row["item_id"] == block.column("item_id")[0].as_py()
