"""Stage two draws textures coarse to fine, where it is told to."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.errors import ConfigurationError
from ops.face.prior import CameraLightPrior
from ops.faceworld.shape import faceworld_model
from ops.fit import FitConfig, FitInput, FitModels, fit_faces, preset
from ops.fit.config import LearningRates
from ops.fit.regression import mean_start
from ops.texture.pca import PcaTexture
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_recognition

SIDE = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotedTexture(PcaTexture):
    """Notes the level of every call."""

    asked: list[int] = dataclasses.field(default_factory=list[int])

    def __call__(self, latent: Tensor, level: int | None = None) -> Tensor:
        self.asked.append(self.resolution if level is None else level)
        return super().__call__(latent, level)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShadedTexture(NotedTexture):
    """Draws the levels below the largest in another brightness."""

    shade: float

    def __call__(self, latent: Tensor, level: int | None = None) -> Tensor:
        drawn = super().__call__(latent, level)
        return drawn if drawn.shape[-1] == self.resolution else drawn + self.shade


@pytest.fixture
def models(rng: torch.Generator) -> FitModels:
    """The face world under smooth textures of 128 texels."""
    shape = faceworld_model()
    coarse = torch.randn(4, 3, 8, 8, generator=rng)
    texture = NotedTexture(
        mean=torch.full((3, 128, 128), 0.5),
        basis=0.1 * torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear"),
        uv_layout=shape.metadata.uv_layout,
    )
    recognition = load_recognition(resolve_bundle("embedded").recognition)
    return FitModels(shape=shape, texture=texture, recognition=recognition, prior=CameraLightPrior())


@pytest.fixture
def inputs(models: FitModels, rng: torch.Generator) -> FitInput:
    return FitInput(
        images=torch.rand(2, 3, SIDE, SIDE, generator=rng),
        valid=torch.ones(2, SIDE, SIDE, dtype=torch.bool),
        landmarks_px=mean_start(models.shape).landmarks.expand(2, -1, -1) * SIDE,
        group=torch.tensor([0, 1]),
        seeds=torch.arange(2),
    )


def asked_levels(models: FitModels, inputs: FitInput, config: FitConfig) -> list[int]:
    """Levels that stage two draws for the first face, in order, without repetitions."""
    assert isinstance(models.texture, NotedTexture)
    models.texture.asked.clear()
    fit_faces(models, inputs.rows(slice(1)), config)
    asked = models.texture.asked
    return [level for level, before in zip(asked, [0, *asked], strict=False) if level != before]


ENDS = (0.25, 0.5, 0.75)
STILL = LearningRates(identity=0.0, expression=0.0, texture=0.0, camera=0.0, light=0.0)


def short(name: str = "default", **changes: Any) -> FitConfig:
    changes = {"steps": 8, "texture_level_ends": ENDS, **changes}
    return dataclasses.replace(preset(name), render_px=SIDE, landmark_steps=2, views=1, **changes)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((32, 64, 128, 256, 512), (64, 64, 128, 128, 256, 256, 512, 512, 512)),
        ((32, 64, 128), (64, 64, 64, 64, 64, 64, 128, 128, 128)),
        ((64,), (64,) * 9),
        ((32,), (32,) * 9),
    ],
)
def test_levels_follow_the_progress_up_to_the_largest(levels: tuple[int, ...], expected: tuple[int, ...]) -> None:
    config = FitConfig(steps=8, texture_level_ends=ENDS, coarsest_texels=64)
    assert tuple(config.texture_level(levels, step) for step in range(9)) == expected


def test_without_ends_every_step_sees_the_largest_level() -> None:
    assert {FitConfig(steps=8).texture_level((32, 64, 128), step) for step in range(9)} == {128}


@pytest.mark.parametrize("ends", [(0.5, 0.5), (0.0,), (1.0,), (0.8, 0.2)])
def test_ends_that_do_not_rise_are_refused(ends: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match="rising between 0 and 1"):
        FitConfig(texture_level_ends=ends)


def test_a_fit_draws_coarse_to_fine_and_the_presets_do_not(models: FitModels, inputs: FitInput) -> None:
    assert asked_levels(models, inputs, short()) == [64, 128]
    assert asked_levels(models, inputs, short(coarsest_texels=32)) == [32, 64, 128]
    for name in ("default", "faceworld", "paper"):
        throughout = short(name, texture_level_ends=preset(name).texture_level_ends)
        assert asked_levels(models, inputs, throughout) == [128]


@pytest.mark.parametrize("window", [2, 20])
def test_a_face_that_stands_still_goes_to_the_largest_level_and_stops_there_after_as_many_steps(
    models: FitModels, inputs: FitInput, window: int
) -> None:
    """Half a window on the coarse level and half a window on the largest."""
    hopeless = short(steps=36, early_stop_window=window, early_stop_tolerance=0.99)
    assert asked_levels(models, inputs, hopeless) == [64, 128]
    coarse_to_fine = fit_faces(models, inputs, hopeless).iterations
    throughout = fit_faces(models, inputs, dataclasses.replace(hopeless, texture_level_ends=())).iterations
    assert throughout.tolist() == coarse_to_fine.tolist() == [window + 1] * 2


@pytest.mark.parametrize("shade", [-0.3, 0.0, 0.3])
def test_the_jump_of_the_loss_between_two_levels_is_no_progress(
    models: FitModels, inputs: FitInput, shade: float
) -> None:
    """A face with still parameters stops as if the levels drew the same, whichever is closer to the photo."""
    assert isinstance(models.texture, NotedTexture)
    window, change = 20, 6
    given = {
        field.name: getattr(models.texture, field.name) for field in dataclasses.fields(models.texture) if field.init
    }
    shaded = dataclasses.replace(models, texture=ShadedTexture(**given, shade=shade))
    config = short(
        steps=40,
        texture_level_ends=(change / 40,),
        early_stop_window=window,
        learning_rates=STILL,
        second_render=False,
    )
    assert fit_faces(shaded, inputs, config).iterations.tolist() == [change + window // 2] * 2


def test_a_person_whose_images_stand_still_at_different_times_stays_together(
    models: FitModels, inputs: FitInput
) -> None:
    """Nobody of a group is let go or sent ahead while one of its images still improves."""
    together = inputs._replace(group=torch.tensor([0, 0]))
    result = fit_faces(models, together, short(steps=30, early_stop_window=3, early_stop_tolerance=0.003))
    assert result.iterations[0] == result.iterations[1]
    assert 0 < int(result.iterations[0]) <= 30


def test_faces_at_different_levels_do_not_influence_each_other(models: FitModels, inputs: FitInput) -> None:
    config = short(steps=30, early_stop_window=3, early_stop_tolerance=0.003)
    both = fit_faces(models, inputs, config)
    for image in range(2):
        alone = fit_faces(models, inputs.rows(slice(image, image + 1))._replace(group=torch.tensor([0])), config)
        assert torch.equal(alone.texture[0], both.texture[image])
        assert int(alone.iterations[0]) == int(both.iterations[image])


def test_the_result_is_measured_at_the_largest_level(models: FitModels, inputs: FitInput) -> None:
    """With no step taken after the coarse levels, nothing of them is left in what is reported."""
    frozen = short(learning_rates=STILL)
    coarse_to_fine = fit_faces(models, inputs, frozen)
    throughout = fit_faces(models, inputs, dataclasses.replace(frozen, texture_level_ends=()))
    assert torch.equal(coarse_to_fine.loss_total, throughout.loss_total)
