import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError, DivergedTrainingError
from ops.face.prior import CameraLightPrior
from ops.faceworld.shape import faceworld_model
from ops.fit import FitModels
from ops.fit.landmark_bias import LandmarkBias
from ops.fit.parameters import FitParameters
from ops.fit.regression import mean_start, new_regressor, regress
from ops.networks.detector import Detections, no_detections
from ops.texture.pca import PcaTexture
from ops.training.displacement import DisplacedBatch
from ops.training.loop import Schedule
from ops.training.regressor import (
    RegressorTraining,
    RegressorTrainingConfig,
    TrainingFiles,
    disturbed,
    learn_errors,
    ridge,
    score_regressor,
    shape_metric,
    train_regressor,
)
from ops.training.regressor_samples import (
    CROP_PX,
    FaceFinder,
    RegressorSamples,
    SampleSet,
    portrait_samples,
    write_part,
)
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_detector, load_landmarks, load_recognition


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    folder = tmp_path_factory.mktemp("samples")
    bundle = resolve_bundle("embedded")
    finder = FaceFinder(load_detector(bundle.detector), load_landmarks(bundle.landmarks))
    for part in range(2):
        made = portrait_samples(faceworld_model(), finder, range(2 * part, 2 * part + 2), 2)
        assert made is not None
        write_part(folder / f"{part:05d}", made)
    return SampleSet([folder])


@pytest.fixture(scope="module")
def models() -> FitModels:
    shape = faceworld_model()
    texture = PcaTexture(
        mean=torch.full((3, 32, 32), 0.5),
        basis=0.05 * torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(2)),
        uv_layout=shape.metadata.uv_layout,
    )
    recognition = load_recognition(resolve_bundle("embedded").recognition)
    return FitModels(shape=shape, texture=texture, recognition=recognition, prior=CameraLightPrior())


def fresh(models: FitModels, config: RegressorTrainingConfig | None = None) -> RegressorTraining:
    torch.manual_seed(0)
    config = config or RegressorTrainingConfig(start_share=0.5)
    return RegressorTraining(dataclasses.replace(models, regressor=new_regressor(models)), config)


def schedule(steps: int, every: int = 2) -> Schedule:
    return Schedule(steps=steps, batch=2, learning_rate=1e-3, checkpoint_every=every)


def files(folder: Path) -> TrainingFiles:
    return TrainingFiles(folder / "regressor.checkpoint", folder / "metrics.jsonl")


def test_samples_are_aligned_faces_with_their_truth(samples: SampleSet) -> None:
    assert len(samples) == 8
    assert samples.sizes == (158, 29)
    batch = samples.batch([7, 0])
    mean = mean_start(faceworld_model()).landmarks
    eyes = (mean[36] - mean[45]).norm()
    assert float((batch.landmarks[:, 17:] - mean[17:]).norm(dim=-1).mean() / eyes) < 0.25
    assert batch.images.shape == (2, 3, CROP_PX, CROP_PX)
    assert torch.equal(samples.batch([0]).images[0], batch.images[1])
    assert torch.equal(samples.batch([6]).identity[0], batch.identity[0])
    assert not torch.equal(batch.identity[0], batch.identity[1])
    assert all(bool(torch.isfinite(value).all()) for value in (batch.identity, batch.light, batch.texture))
    learned, held_out = samples.split(0.25, 100)
    assert (learned, held_out) == (range(6), range(6, 8))


def test_a_few_photos_are_seen_often_beside_many_portraits(tmp_path: Path) -> None:
    for name, count in (("photos", 1), ("portraits", 9)):
        rows = (np.zeros((count, 1), np.float32) for _ in RegressorSamples._fields)
        write_part(tmp_path / name / "00000", RegressorSamples(*rows))
    both = SampleSet([tmp_path / "photos", tmp_path / "portraits"])
    drawn = both.draw(np.random.default_rng(0), 4000, range(8))
    assert set(drawn.tolist()) == set(range(8)), "the last two are not learned from"
    assert (drawn == 0).mean() == pytest.approx(1 / (1 + 7**0.5), abs=0.03)


def test_landmarks_are_learned_without_their_bias(models: FitModels, samples: SampleSet) -> None:
    shift = torch.zeros(4, 68, 2, dtype=torch.float64)
    shift[0, :, 0] = 0.02
    training = fresh(dataclasses.replace(models, bias=LandmarkBias(coefficients=shift)))
    batch = samples.batch(range(2))
    seen, given = training.as_fits_take(DisplacedBatch(batch, batch.landmarks + 0.1))
    across = torch.tensor((0.02, 0.0))
    torch.testing.assert_close(given, batch.landmarks + 0.1 - across)
    torch.testing.assert_close(seen.landmarks, batch.landmarks - across)


def test_portraits_without_a_face_that_is_found_are_left_out() -> None:
    def blind(image_rgb: np.ndarray) -> Detections:
        return no_detections()

    finder = FaceFinder(blind, load_landmarks(resolve_bundle("embedded").landmarks))
    assert portrait_samples(faceworld_model(), finder, range(2), 1) is None


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found none"):
        SampleSet([tmp_path])


def test_the_metric_is_the_share_of_variance_and_blind_to_similarities() -> None:
    shape = faceworld_model()
    metric = shape_metric(shape)
    random = torch.randn(4000, shape.identity_size, generator=torch.Generator().manual_seed(0))
    assert float(((random @ metric.identity) * random).sum(1).mean()) == pytest.approx(1, abs=0.05)
    grown = shape.mean_mm[None] * 0.01 + torch.tensor((1.0, 2.0, 3.0))
    moved = dataclasses.replace(
        shape, identity_basis_mm=torch.cat((grown, shape.identity_basis_mm[:1])), expression_basis_mm=grown
    )
    forms = shape_metric(moved)
    assert float(forms.identity[0, 0]) < 1e-4
    assert float(forms.identity[1, 1]) == pytest.approx(1, abs=1e-4)
    assert float(forms.expression[0, 0]) == pytest.approx(1)


def test_ridge_finds_a_linear_map() -> None:
    rng = torch.Generator().manual_seed(0)
    inputs, map_ = torch.randn(500, 4, generator=rng) * 3 + 1, torch.randn(2, 4, generator=rng)
    weight, bias = ridge(inputs, inputs @ map_.mT + torch.tensor((5.0, -2.0)), strength=1e-6)
    torch.testing.assert_close(weight, map_, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bias, torch.tensor((5.0, -2.0)), atol=1e-3, rtol=1e-3)


def test_ridge_finds_how_little_few_samples_tell() -> None:
    rng = torch.Generator().manual_seed(0)
    map_ = torch.randn(3, 80, generator=rng) / 80**0.5
    seen, unseen = torch.randn(100, 80, generator=rng), torch.randn(2000, 80, generator=rng)
    outputs = seen @ map_.mT + 2 * torch.randn(100, 3, generator=rng)

    def error(strength: float | None) -> float:
        weight, bias = ridge(seen, outputs, strength)
        return float((unseen @ weight.mT + bias - unseen @ map_.mT).square().mean())

    assert error(None) < 1.05 < error(0.01)


def test_truth_costs_less_than_ignorance(models: FitModels, samples: SampleSet) -> None:
    training = fresh(models)
    batch = samples.batch(range(4))
    start = mean_start(models.shape)
    ignorant = FitParameters(
        torch.zeros(4, 158), torch.zeros(4, 29), torch.zeros(4, 6), start.camera.repeat(4, 1), start.light.repeat(4, 1)
    )
    informed = ignorant._replace(identity=batch.identity, expression=batch.expression, light=batch.light)
    assert (training.known(informed, batch) < training.known(ignorant, batch)).all()
    unknown = batch._replace(**{name: torch.full_like(getattr(batch, name), torch.nan) for name in batch._fields[4:]})
    loss = training.known(ignorant, unknown)
    assert torch.isfinite(loss).all()
    torch.testing.assert_close(
        loss, 10 * training.misplaced(ignorant.camera, ignorant.identity, ignorant.expression, batch.landmarks)
    )


def test_the_objective_joins_in_the_second_phase(models: FitModels, samples: SampleSet) -> None:
    training = fresh(models, RegressorTrainingConfig(start_share=0.5)).eval()
    batch = samples.batch(range(2))
    with torch.no_grad():
        early, start, late = (float(training(batch, 0, progress)) for progress in (0.0, 0.49, 0.5))
        seen, given = disturbed(batch, 0, training.mirror)
        answer = training.within_limits(regress(training.models, seen.images, given))
        objective = float(training.objective(answer, seen, 0).mean())
    assert early == start
    assert late - start == pytest.approx(training.config.weights.objective * objective, rel=1e-4)


def test_known_faces_are_learned(models: FitModels, samples: SampleSet) -> None:
    training = fresh(models, RegressorTrainingConfig(start_share=1.0))
    batch = samples.batch(range(8))
    optimiser = torch.optim.Adam(training.parameters(), 3e-3)
    ratios: list[float] = []
    for step in range(40):
        optimiser.zero_grad()
        training(batch, step, 0.0).backward()
        optimiser.step()
        if step in (0, 39):
            ratios.append(score_regressor(training, samples, range(8)).shape_ratio)
            training.train()
    assert ratios[1] < 0.8 * ratios[0]


def test_errors_are_learned_from_people_all_of_whose_portraits_are_there(models: FitModels, samples: SampleSet) -> None:
    training = fresh(models)
    with torch.no_grad():
        training.regressor.shape.weight.normal_(0, 1e-3, generator=torch.Generator().manual_seed(1))
    rows = samples.batch(range(len(samples)))
    people = (rows.seeds // 2).tolist()
    assert learn_errors(training, samples, 2) == sum(people.count(person) == 2 for person in set(people)) > 1
    answers = regress(training.models, rows.images, rows.landmarks).identity.detach()
    complete = torch.tensor([people.count(person) == 2 for person in people])
    left = (rows.identity - answers)[complete].square().mean(0)
    torch.testing.assert_close(training.regressor.explained, (1 - left).clamp(0, 1), atol=1e-4, rtol=1e-3)
    assert learn_errors(fresh(models), samples, 9) == 0


def test_an_interrupted_training_equals_an_uninterrupted_one(
    models: FitModels, samples: SampleSet, tmp_path: Path
) -> None:
    whole, broken = fresh(models), fresh(models)
    said: list[str] = []
    score = train_regressor(whole, samples, schedule(4), files(tmp_path / "whole"), said.append)
    assert score.samples == 1
    assert np.isfinite(score).all()
    assert (tmp_path / "whole" / "metrics.jsonl").read_text().count("\n") == 2

    def interrupt(line: str) -> None:
        if line.startswith("held out"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_regressor(broken, samples, schedule(4), files(tmp_path / "broken"), interrupt)
    resumed = fresh(models)
    train_regressor(resumed, samples, schedule(4), files(tmp_path / "broken"), said.append)
    assert "resumed at step 2" in said
    for ours, theirs in zip(whole.regressor.parameters(), resumed.regressor.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_that_diverges_stops_and_keeps_the_last_checkpoint(
    models: FitModels, samples: SampleSet, tmp_path: Path
) -> None:
    training = fresh(models, RegressorTrainingConfig(start_share=1.0))
    train_regressor(training, samples, schedule(2), files(tmp_path), lambda line: None)
    broken = fresh(models, RegressorTrainingConfig(start_share=1.0))
    broken.metric = broken.metric._replace(identity=broken.metric.identity * torch.nan)
    with pytest.raises(DivergedTrainingError, match=r"step 2 is not finite; the last good checkpoint is .*checkpoint"):
        train_regressor(broken, samples, schedule(4), files(tmp_path), lambda line: None)
