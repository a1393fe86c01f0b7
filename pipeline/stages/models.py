"""What a run's models look like from outside, and loading those of the fit."""

from functools import lru_cache

import torch

from ops.fit import FitModels
from ops.texture.atlas import Atlas, make_atlas
from ops.weights.bundle import (
    ModelBundle,
    load_bias,
    load_calibration,
    load_dense,
    load_prior,
    load_recognition,
    load_regressor,
    load_shape,
    load_texture,
)
from ops.weights.models import RegressorContext
from pipeline.tables.schema import ModelSizes


@lru_cache(maxsize=1)
def load_fit_models(bundle: ModelBundle, device: str) -> FitModels:
    """Every model a fit needs, once a process.

    Raises:
        ConfigurationError: the texture model is drawn on another UV layout than the shape model, or the regressor was
            trained with other models.
    """
    shape = load_shape(bundle.shape)
    texture = load_texture(bundle.texture, shape)
    context = RegressorContext(shape=shape, texture=texture, recognition_sha256=bundle.recognition.sha256)
    target = torch.device(device)
    judge = load_recognition(bundle.judge, ()).to(target) if bundle.judge else None
    return FitModels(
        shape=shape.to(device=target),
        texture=texture.to(target),
        recognition=load_recognition(bundle.recognition).to(target),
        prior=load_prior(bundle.prior),
        # Channels last, two pictures take 13 instead of 19 CPU ms.
        judge=judge and judge.to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        regressor=load_regressor(bundle.regressor, context).to(target) if bundle.regressor else None,
        bias=load_bias(bundle.landmark_bias).to(target) if bundle.landmark_bias else None,
        calibration=load_calibration(bundle.calibration, shape).to(target) if bundle.calibration else None,
        dense=load_dense(bundle.dense_landmarks, shape, device) if bundle.dense_landmarks else None,
        device=target,
    )


@lru_cache(maxsize=1)
def load_atlas(bundle: ModelBundle, device: str, side: int) -> Atlas:
    """The texels of the shape model's layout, once a process."""
    return make_atlas(load_fit_models(bundle, device).shape, side).to(device)


def model_sizes(bundle: ModelBundle) -> ModelSizes:
    """Lengths of the coefficient vectors; builds and caches a texture model that has to be built."""
    shape = load_shape(bundle.shape)
    texture = load_texture(bundle.texture, shape)
    return ModelSizes(identity=shape.identity_size, expression=shape.expression_size, texture=texture.latent_size)
