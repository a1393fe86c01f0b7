import pyarrow as pa
import pytest

from pipeline.tables.schema import (
    ALIGNED,
    DECODED,
    DETECTED,
    Frame,
    ModelSizes,
    fitted_schema,
    frames_from_table,
    frames_schema,
    identities_schema,
    table_from_frames,
)

SIZES = ModelSizes(identity=3, expression=2, texture=4)

FRAME_COLUMNS = [
    "image_id", "identity_id", "uri", "frame_index", "time_s", "status", "reason", "message", "width_px", "height_px",
    "box_xyxy_px", "detection_score", "landmarks_px", "frame_score", "crop_from_image", "landmark_shift", "quality",
    "expression", "camera", "light",
    "identity_similarity", "judge_similarity", "judge_similarity_crossed", "landmark_error",
    "loss_total", "loss_identity", "loss_pixel", "iterations",
]  # fmt: skip
IDENTITY_COLUMNS = [
    "identity_id", "status", "reason", "message", "n_images", "n_ok", "identity", "texture", "mesh_path",
    "texture_path", "identity_similarity", "judge_similarity", "landmark_error", "quality",
    "fit_seconds", "shape_std_mm", "texture_seen",
    "method", "fingerprint", "page_path",
]  # fmt: skip


def test_the_public_columns_are_as_promised() -> None:
    frames = frames_schema(SIZES, ("identity", "pixel"))
    assert frames.names == FRAME_COLUMNS
    assert identities_schema(SIZES).names == IDENTITY_COLUMNS
    widths = {field.name: field.type.list_size for field in frames if pa.types.is_fixed_size_list(field.type)}
    assert widths == {
        "box_xyxy_px": 4, "landmarks_px": 136, "crop_from_image": 6, "expression": 2, "camera": 8, "light": 9
    }  # fmt: skip


def test_carried_columns_never_reach_the_public_tables() -> None:
    carried = set(fitted_schema(SIZES, ()).names) - set(frames_schema(SIZES, ()).names)
    assert {"crop_png", "render_png", "shard", "stem", "item_id"} <= carried


@pytest.mark.parametrize("schema", [DECODED, DETECTED, ALIGNED])
def test_rows_make_the_round_trip(schema: pa.Schema) -> None:
    full = Frame(
        image_id="a-f000003", identity_id="anna", uri="a.mp4", shard=2, item_id="a", stem="anna-1", frame_index=3,
        time_s=0.125, status="rejected", reason="no_face", message="é", width_px=40, height_px=30,
    )  # fmt: skip
    bare = Frame(image_id="b", identity_id="bob", uri="b.jpg", shard=2, item_id="b", stem="bob-1")
    table = table_from_frames([full, bare], schema)
    assert table.schema.equals(schema)
    assert frames_from_table(table) == [full, bare]
    assert [frame.ok for frame in frames_from_table(table)] == [False, True]
