"""The two-stage fit of a batch of images of several people (Gecer et al. 2019, section 3.4)."""

import time
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from ops.fit.batching import batching_of
from ops.fit.config import FitConfig
from ops.fit.losses import landmark_error
from ops.fit.objective import FitInput, FitLosses, FitModels, Held, Objective, with_dense_points, with_recognition
from ops.fit.parameters import FitParameters, to_camera, to_light
from ops.fit.regression import (
    identity_points,
    knows_texture,
    refines_answer,
    reliable_landmarks,
    start_from_regressor,
    with_identity_prior,
)
from ops.fit.stage_one import fit_stage_one, hold_identity, see_appearance, with_stage_one
from ops.fit.stage_two import Ended, StageTwo, Watch
from ops.geometry.camera import camera_to_vector
from ops.render.lighting import light_to_vector
from ops.render.render import SurfaceView, join_views


class FitResult(NamedTuple):
    """What a fit found, on the CPU but for the last two. Rows of failed images hold their last finite parameters."""

    identity: Float[Tensor, "group identity"]
    texture: Float[Tensor, "group latent"]
    expression: Float[Tensor, "image expression"]
    camera: Float[Tensor, "image 8"]
    """(eye mm, target mm, focal in crop sides, roll rad) in the crop's frame, see `ops.geometry.camera`."""
    light: Float[Tensor, "image 9"]
    """(position mm, colour, ambient), see `ops.render.lighting`."""
    identity_similarity: Float[Tensor, " image"]
    """Cosine between input and render by the network that was optimised."""
    judge_similarity: Float[Tensor, " image"]
    """The same by the judge, nan without one."""
    landmark_error: Float[Tensor, " image"]
    """Mean distance of the fitted to the detected landmarks over the outer eye distance."""
    loss_total: Float[Tensor, " image"]
    losses: FitLosses
    iterations: Int32[Tensor, " image"]
    diverged: Bool[Tensor, " image"]
    """The image's loss or gradient stopped being finite; its group went on without it."""
    seconds: Float[Tensor, " group"]
    """Wall time shared out by image-iterations."""
    view: SurfaceView
    """The fitted surfaces as the cameras see them in the crops, on the device of the fit."""
    textures: Float[Tensor, "group 3 texel texel"]
    """The largest level of every person's texture, not clamped, on that device."""


class _Measures(NamedTuple):
    """What is said of some images' final parameters."""

    similarity: Float[Tensor, " image"]
    judge: Float[Tensor, " image"]
    landmarks_px: Float[Tensor, "image 68 2"]
    terms: Float[Tensor, "image term"]
    texture: Float[Tensor, "image 3 texel texel"]


def fit_faces(models: FitModels, inputs: FitInput, config: FitConfig, watch: Watch | None = None) -> FitResult:
    """Fit every image of the batch; images of one group share identity and texture.

    Stage one fits landmarks alone, or asks the regressor, whose own landmarks then stand in for scattered ones; with
    dense points, and where the answer is not all that is wanted, it takes the shape from these. Texture and light start
    from the mean, the answer or the photos' pixels. Stage two minimises the whole objective by Adam; after every step
    the copies of identity and texture are replaced by their mean over the images of the person (Gecer et al. 2019,
    section 3.5).
    Where the models know the landmarks' bias, it is taken off first, also for the landmark error that is reported.
    Losses are summed per image and random draws come from the crop, so a result does not depend on who shares
    the batch. Textures are rendered coarse to fine, at the levels the configuration gives. A face whose smoothed loss
    no longer falls goes on at the largest level, and leaves the batch when it no longer falls there; an image with a
    non-finite loss or gradient leaves alone, marked `diverged`.

    Raises:
        ConfigurationError: a start from a regressor that the models do not have.
    """
    started = time.perf_counter()
    held: Held | None = None
    config = config.with_texture(learned=models.learned_texture)
    inputs = with_dense_points(models, inputs, config)
    with torch.no_grad():
        inputs = with_identity_prior(models, inputs, config).without_bias(models)
        if config.start == "regressor":
            inputs = with_recognition(models, inputs)
            parameters, finite = start_from_regressor(models, inputs, identity_points(models, inputs, config))
            believed = reliable_landmarks(models, inputs, parameters)
            if refines_answer(models, config):
                trusted = finite & (believed == inputs.landmarks_px).flatten(1).all(1)
                parameters = with_stage_one(models, inputs, config, parameters, trusted)
            else:
                trusted = torch.zeros_like(finite)
        else:
            parameters, finite = fit_stage_one(models, inputs, config)
            believed, trusted = inputs.landmarks_px, finite
        if not knows_texture(models) if config.start == "regressor" else config.appearance_start == "pixels":
            parameters = see_appearance(models, inputs, parameters, finite)
        holds = models.holds_identity or inputs.identity_prior is not None
        if holds and config.weights.posterior and bool(trusted.any()):
            held = hold_identity(models, inputs, parameters, trusted)
    objective = Objective(models, inputs._replace(landmarks_px=believed), config, held)
    ended = StageTwo(objective, parameters).run(~finite, watch)
    elapsed = time.perf_counter() - started
    return _finish(ended, parameters, objective, inputs, elapsed)


def _finish(ended: Ended, layout: FitParameters, objective: Objective, inputs: FitInput, elapsed: float) -> FitResult:
    """Measure the final parameters and bring everything to the CPU."""
    config = objective.config
    parameters = layout.split(ended.unknowns)
    groups = int(inputs.group.max()) + 1
    representative = torch.zeros(groups, dtype=torch.int64, device=ended.diverged.device)
    order = torch.argsort(ended.diverged.int(), descending=True, stable=True)
    representative[inputs.group[order]] = order
    with torch.no_grad():
        together = batching_of(inputs.images.device).split(len(inputs.group))
        parts = [_measure(objective, parameters.apply(lambda v, r=rows: v[r]), rows) for rows in together]
        found = _Measures(*(torch.cat(values) for values in zip(*(part for part, _ in parts), strict=True)))
        terms = FitLosses(*found.terms.unbind(1))
        iterations = ended.iterations + 1.0
        share = torch.zeros(groups, device=iterations.device).index_add_(0, inputs.group, iterations)
        return FitResult(
            identity=parameters.identity[representative].cpu(),
            texture=parameters.texture[representative].cpu(),
            expression=parameters.expression.cpu(),
            camera=camera_to_vector(to_camera(parameters.camera)).cpu(),
            light=light_to_vector(to_light(parameters.light)).cpu(),
            identity_similarity=found.similarity.cpu(),
            judge_similarity=found.judge.cpu(),
            landmark_error=landmark_error(found.landmarks_px, inputs.landmarks_px).cpu(),
            loss_total=terms.total(config).cpu(),
            losses=FitLosses(*(term.cpu() for term in terms)),
            iterations=ended.iterations.cpu(),
            diverged=ended.diverged.cpu(),
            seconds=(elapsed * share / share.sum()).cpu(),
            view=join_views([view for _, view in parts]),
            textures=found.texture[representative],
        )


def _measure(objective: Objective, parameters: FitParameters, images: slice) -> tuple[_Measures, SurfaceView]:
    """Look at some images on the exact template view, at full texture size; also the surfaces that were seen."""
    targets = objective.targets(images)
    rendered = objective.render_first(parameters, targets)
    last = objective.config.steps
    terms = objective.compare(rendered, parameters, targets, last)
    straight = objective.sees_straight(last)
    measures = _Measures(
        similarity=1 - terms.identity if straight else objective.similarity(targets, rendered.composite),
        judge=objective.judge_similarity(targets, rendered.composite),
        landmarks_px=rendered.landmarks_px,
        terms=torch.stack(terms, 1),
        texture=rendered.texture,
    )
    return measures, rendered.view
