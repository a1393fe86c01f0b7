from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ops.files.photo import decode_photo
from ops.fit import FitConfig
from ops.reconstruction.alignment import align_face
from ops.reconstruction.detection import DetectionConfig, DetectionNetworks, Rejection, find_faces
from ops.reconstruction.fitting import AlignedFace, FittedFace, fit_people, pack_faces
from ops.reconstruction.second_attempt import fit_again, other_start
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition
from pipeline.stages.models import load_fit_models

CONFIG = FitConfig(render_px=64, steps=2)


@pytest.fixture(scope="module")
def faces(embedded: ModelBundle, album: Path) -> list[AlignedFace]:
    """Two photos of one person and one of another."""
    networks = DetectionNetworks(
        load_detector(embedded.detector),
        load_landmarks(embedded.landmarks),
        load_recognition(embedded.recognition, ()),
    )
    aligned: list[AlignedFace] = []
    for person, number in (("person_00", 0), ("person_01", 0), ("person_00", 1)):
        photo = decode_photo((album / person / f"photo_{number}.jpg").read_bytes())
        found = find_faces(networks, photo, DetectionConfig())
        assert not isinstance(found, Rejection)
        crop = align_face(photo, found[0].landmarks_px, 64)
        aligned.append(AlignedFace(person, crop.image_rgba, crop.crop_from_image, found[0].landmarks_px))
    return aligned


def same(first: FittedFace, second: FittedFace) -> bool:
    return torch.equal(first.identity, second.identity) and torch.equal(first.camera, second.camera)


def test_only_who_falls_short_is_fitted_again_and_the_better_of_both_is_kept(
    embedded: ModelBundle, faces: list[AlignedFace]
) -> None:
    models = load_fit_models(embedded, "cpu")
    first = fit_people(models, pack_faces(faces, models.device), CONFIG)
    own = [faces[0], faces[2]]
    second = fit_people(models, pack_faces(own, models.device), CONFIG.by("ganfit++"))
    assert not same(first[0], second[0])

    def likes(good: list[FittedFace]) -> list[FittedFace]:
        def quality_of(fit: FittedFace) -> float:
            return 0.5 if any(same(fit, other) for other in good) else -0.5

        return fit_again(models, faces, first, CONFIG, quality_of, limit=8)

    mended = likes([first[1], *second])
    assert [fit.second_attempt for fit in mended] == [True, False, True]
    assert same(mended[0], second[0])
    assert same(mended[2], second[1])
    assert same(mended[1], first[1])
    assert mended[0].fit_seconds > second[0].fit_seconds
    kept = likes([first[1], first[0]])
    assert [fit.second_attempt for fit in kept] == [False] * 3, "one of two images falls short both times"
    assert all(same(fit, before) for fit, before in zip(kept, first, strict=True))


def test_a_fit_that_diverged_is_tried_again(embedded: ModelBundle, faces: list[AlignedFace]) -> None:
    models = load_fit_models(embedded, "cpu")
    alone = faces[1:2]
    fits = [fit._replace(diverged=True) for fit in fit_people(models, pack_faces(alone, models.device), CONFIG)]
    (again,) = fit_again(models, alone, fits, CONFIG, lambda fit: None, limit=8)
    assert not again.diverged
    assert again.second_attempt


def test_the_other_start_is_the_regressor_s_answer_where_there_is_one(embedded: ModelBundle) -> None:
    models = load_fit_models(embedded, "cpu")
    assert other_start(models, CONFIG) == CONFIG.by("ganfit++")
    assert other_start(models, CONFIG.by("ganfit++")) == CONFIG
    assert other_start(models, CONFIG.by("fastganfit")) is None
    assert other_start(replace(models, regressor=None), CONFIG) is None
