from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.files.photo import decode_photo, decode_png, encode_png
from ops.fit import FitConfig
from ops.reconstruction.detection import DetectionConfig
from ops.reconstruction.fitting import LOSS_NAMES, FittedFace
from ops.reconstruction.quality import ranges_from_pairs
from ops.weights.bundle import ModelBundle
from pipeline.input.planner import PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.detection import DetectFaces
from pipeline.stages.fitting import FitFaces, fitted_records
from pipeline.stages.frames import ReadFrames
from pipeline.stages.gate import QualityGate
from pipeline.stages.models import load_fit_models, model_sizes
from pipeline.stages.stage import Fused, run_stage
from pipeline.tables.schema import ALIGNED, Frame, frames_from_table, table_from_frames

SIDE = 96


def frame(name: str, person: str = "anna", status: str = "ok") -> Frame:
    return Frame(image_id=name, identity_id=person, uri=name, shard=0, item_id=name, stem=person, status=status)


@pytest.fixture(params=["embedded", pytest.param("ict", marks=pytest.mark.models)])
def photos(request: pytest.FixtureRequest) -> tuple[ModelBundle, Path]:
    """Models, and people they are made for."""
    if request.param == "embedded":
        return request.getfixturevalue("embedded"), request.getfixturevalue("album")
    return request.getfixturevalue("bundle"), request.getfixturevalue("photo_dir") / "congress"


@pytest.mark.slow
def test_photos_are_fitted_and_one_with_broken_landmarks_fails_alone(photos: tuple[ModelBundle, Path]) -> None:
    bundle, folder = photos
    block = block_of(plan_shards(list_input(folder).items, PlanConfig(shard_size=100, limit=1)).rows())
    prepare = Fused(
        stages=(
            ReadFrames(),
            DetectFaces(
                detector=bundle.detector,
                landmarks=bundle.landmarks,
                recognition=bundle.recognition,
                config=DetectionConfig(),
            ),
            AlignFaces(side_px=SIDE),
        )
    )
    rows = frames_from_table(run_stage(prepare, prepare.load(), block))
    assert len(rows) == 2
    broken = replace(rows[1], image_id="broken", landmarks_px=[float("nan")] * 136)
    rejected = replace(rows[0], image_id="rejected", status="rejected", reason="no_face")
    stage = FitFaces(
        bundle=bundle,
        config=FitConfig(steps=1, render_px=SIDE),
        sizes=model_sizes(bundle),
        device="cpu",
        batch_images=8,
    )
    table = table_from_frames([broken, *rows, rejected], ALIGNED)
    results = run_stage(stage, load_fit_models(bundle, "cpu"), table).to_pylist()
    assert [(row["status"], row["reason"]) for row in results] == [
        ("failed", "diverged"), ("ok", ""), ("ok", ""), ("rejected", "no_face"),
    ]  # fmt: skip
    failed, first, second, _ = results
    assert failed["camera"] is None
    assert "diverged" in failed["message"]
    assert first["identity"] == second["identity"]
    assert first["expression"] != second["expression"]
    assert first["texture_png"] is not None
    assert second["texture_png"] is None
    for row in (first, second):
        assert 0 < row["landmark_error"] < 0.1
        assert -1 <= row["identity_similarity"] <= 1
        assert row["judge_similarity"] is not None
        assert all(np.isfinite(row[f"loss_{name}"]) for name in LOSS_NAMES)
        assert row["iterations"] == 1
        render, surface = decode_png(row["render_png"]), decode_photo(row["shape_png"]).image_rgb
        assert render.shape == (SIDE, SIDE, 4)
        assert 0.3 < (render[..., 3] > 0).mean() < 1
        assert surface.shape == (SIDE, SIDE, 3)


def fitted(judge: float) -> FittedFace:
    picture = np.full((8, 8, 3), 90, np.uint8)
    return FittedFace(
        identity=torch.ones(3), texture=torch.ones(4), expression=torch.ones(2), camera=torch.ones(8),
        light=torch.ones(9), identity_similarity=0.8, judge_similarity=judge, landmark_error=0.03, loss_total=1.0,
        losses=dict.fromkeys(LOSS_NAMES, 0.5), iterations=9, diverged=False, fit_seconds=2.0, shape_std_mm=1.0,
        render_rgba=np.dstack((picture, picture[..., 0])), shape_rgb=picture, texture_rgb=picture,
    )  # fmt: skip


def test_a_fit_that_does_not_pass_leaves_its_measures_and_no_result() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    rows = [replace(frame(name), crop_png=encode_png(noise), landmark_shift=0.01) for name in ("a", "b", "c")]
    ranges = ranges_from_pairs({"judge_similarity": [0.4, 0.8], "landmark_shift": [0.06, 0.01]})
    fits = [fitted(0.2), fitted(0.6), fitted(0.8)]
    first, second, third = fitted_records(rows, fits, QualityGate(ranges=ranges, policy="reject"))
    assert (first["status"], first["reason"]) == ("rejected", "low_quality")
    assert first["message"] == "judge_similarity 0.200, expected at least 0.400"
    assert (first["judge_similarity"], first["quality"]) == (0.2, pytest.approx(-0.5))
    assert not {"identity", "camera", "render_png", "texture_png"} & first.keys()
    assert (second["status"], second["quality"], third["quality"]) == ("ok", pytest.approx(0.5), pytest.approx(1.0))
    assert second["texture_png"], "the texture is on the first row that passes"
    assert "texture_png" not in third
    noted, *_ = fitted_records(rows, fits, QualityGate(ranges=ranges, policy="note"))
    assert (noted["status"], noted["message"], noted["quality"]) == ("ok", first["message"], first["quality"])
    assert noted["texture_png"]


def test_a_crop_that_shows_nothing_has_no_similarities() -> None:
    black = np.dstack((np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)))
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    rows = [replace(frame(name), crop_png=encode_png(crop)) for name, crop in (("a", black), ("b", noise))]
    nothing, something = fitted_records(rows, [fitted(0.9), fitted(0.9)], QualityGate())
    assert nothing["identity_similarity"] is nothing["judge_similarity"] is None
    assert nothing["landmark_error"] == 0.03
    assert (something["identity_similarity"], something["judge_similarity"]) == (0.8, 0.9)


def test_the_message_says_what_was_fitted_at_the_second_attempt() -> None:
    row = replace(frame("a"), crop_png=encode_png(np.full((SIDE, SIDE, 4), 90, np.uint8)), message="2 faces")
    (found,) = fitted_records([row], [fitted(0.9)._replace(second_attempt=True)], QualityGate())
    assert found["message"] == "2 faces; fitted at the second attempt, from another start"


@pytest.mark.slow
def test_people_get_textures_from_their_photos_where_asked(embedded: ModelBundle, album: Path) -> None:
    block = block_of(plan_shards(list_input(album).items, PlanConfig(shard_size=100, limit=1)).rows())
    prepare = Fused(
        stages=(
            ReadFrames(),
            DetectFaces(
                detector=embedded.detector,
                landmarks=embedded.landmarks,
                recognition=embedded.recognition,
                config=DetectionConfig(),
            ),
            AlignFaces(side_px=SIDE, texture_side_px=2 * SIDE),
        )
    )
    stage = FitFaces(
        bundle=embedded,
        config=FitConfig(steps=1, render_px=SIDE),
        sizes=model_sizes(embedded),
        device="cpu",
        batch_images=8,
        texture_px=256,
    )
    aligned = run_stage(prepare, prepare.load(), block)
    first, second = run_stage(stage, load_fit_models(embedded, "cpu"), aligned).to_pylist()
    for row in (first, second):
        assert 0 < row["texture_seen"] < 1
        assert -1 <= row["judge_similarity_crossed"] <= 1
    texture, model, weight = (
        decode_png(first[name]) for name in ("texture_png", "model_texture_png", "texture_weight_png")
    )
    assert texture.shape == model.shape == weight.shape == (256, 256, 3)
    assert np.abs(weight.astype(int).sum(-1) - 255).max() <= 2
    told = weight[..., 2] < 255
    assert 0.05 < told.mean() < 0.9
    assert np.abs(texture.astype(int) - model)[told].mean() > 1
    assert second["texture_weight_png"] is None
