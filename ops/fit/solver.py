"""The two-stage fit of a batch of images of several people (Gecer et al. 2019, section 3.4)."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from ops.fit.adam import AdamState, adam_init, adam_step
from ops.fit.config import FitConfig
from ops.fit.constraints import constrain
from ops.fit.losses import landmark_error
from ops.fit.objective import FitInput, FitLosses, FitModels, Objective
from ops.fit.parameters import FitParameters, mean_over_groups, to_camera, to_light
from ops.fit.regression import believed_landmarks, start_from_regressor
from ops.fit.stage_one import fit_stage_one
from ops.geometry.camera import camera_to_vector
from ops.render.lighting import light_to_vector

SMOOTHING = 0.9
"""Decay of the running mean of the loss that early stopping watches."""
COARSE_TO_FINE_PATIENCE = 0.5
"""Part of the early-stop window after which a face stands still where textures are drawn coarse to fine: a coarse level
only prepares the next one, and the last only confirms that nothing is left to gain."""


class FitResult(NamedTuple):
    """What a fit found, on the CPU. Rows of failed images hold their last finite parameters."""

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


@dataclass(kw_only=True)
class _State:
    """The running optimisation; `active` lists the images still moving, in batch order."""

    parameters: FitParameters
    adam: AdamState
    active: Int64[Tensor, " active"]
    diverged: Bool[Tensor, " image"]
    iterations: Int32[Tensor, " image"]
    smoothed: Float[Tensor, " image"]
    best: Float[Tensor, " image"]
    best_step: Int64[Tensor, " image"]
    texels: Int64[Tensor, " image"]
    """Side of the textures with which the watched losses compare."""
    ahead: Bool[Tensor, " image"]
    """Textures of the largest level whatever the step: the coarser ones had nothing left to tell."""


class _Measures(NamedTuple):
    """What is said of some images' final parameters."""

    similarity: Float[Tensor, " image"]
    judge: Float[Tensor, " image"]
    landmarks_px: Float[Tensor, "image 68 2"]
    terms: Float[Tensor, "image term"]


Objectives = Callable[[FitParameters, Tensor, int, int], Tensor]
"""Loss of some images at a step, with textures of a side."""


def fit_faces(models: FitModels, inputs: FitInput, config: FitConfig) -> FitResult:
    """Fit every image of the batch; images of one group share identity and texture.

    Stage one fits landmarks alone, or asks the regressor, whose own landmarks then stand in for scattered ones. Stage
    two minimises the whole objective by Adam; after every step the copies of identity and texture are replaced by their
    mean over the images of the person (Gecer et al. 2019, section 3.5).
    Losses are summed per image and random draws come from the image's seed, so a result does not depend on who shares
    the batch. Textures are rendered coarse to fine, at the levels the configuration gives. A face whose smoothed loss
    no longer falls goes on at the largest level, and leaves the batch when it no longer falls there; an image with a
    non-finite loss or gradient leaves alone, marked `diverged`.

    Raises:
        ConfigurationError: a start from a regressor that the models do not have.
    """
    started = time.perf_counter()
    with torch.no_grad():
        if config.start == "regressor":
            parameters, finite = start_from_regressor(models, inputs)
            believed = believed_landmarks(models, inputs, parameters)
        else:
            parameters, finite = fit_stage_one(models, inputs, config)
            believed = inputs.landmarks_px
    objective = Objective(models, inputs._replace(landmarks_px=believed), config)

    def total(values: FitParameters, images: Tensor, step: int, texels: int) -> Tensor:
        return objective(values, images, step, texels).total(config)

    state = _start(parameters, ~finite, objective.texture_level(0))
    for step in range(config.steps):
        if not state.active.numel():
            break
        side = torch.where(state.ahead, models.texture.resolution, objective.texture_level(step))
        if bool((state.texels != side)[state.active].any()):
            _change_levels(state, total, side, step)
        state = _step(state, total, models, inputs, config, step)
    elapsed = time.perf_counter() - started
    return _finish(state, objective, inputs, elapsed)


def _start(parameters: FitParameters, diverged: Bool[Tensor, " image"], texels: int) -> _State:
    count = diverged.shape[0]
    device = diverged.device
    infinite = torch.full((count,), math.inf, device=device)
    return _State(
        parameters=parameters,
        adam=adam_init(parameters),
        active=torch.nonzero(~diverged).squeeze(1),
        diverged=diverged,
        iterations=torch.zeros(count, dtype=torch.int32, device=device),
        smoothed=infinite,
        best=infinite.clone(),
        best_step=torch.zeros(count, dtype=torch.int64, device=device),
        texels=torch.full((count,), texels, device=device),
        ahead=torch.zeros(count, dtype=torch.bool, device=device),
    )


def _change_levels(state: _State, total: Objectives, texels: Int64[Tensor, " image"], step: int) -> None:
    """Go on with textures of other sides; the watched losses follow by the ratio of the two levels' losses now."""
    changed = state.active[(state.texels != texels)[state.active]]
    ratio = torch.ones_like(state.smoothed)
    with torch.no_grad():
        for rows in _alike(texels[changed]):
            images = changed[rows]
            values = state.parameters.apply(lambda v, images=images: v[images])
            before, after = (total(values, images, step, int(side[images[0]])) for side in (state.texels, texels))
            ratio[images] = after / before
    state.smoothed *= ratio
    state.best *= ratio
    state.best_step[changed] = step - 1
    state.texels = texels


def _patience(models: FitModels, config: FitConfig) -> int:
    """Iterations without progress after which an image stands still."""
    coarse_to_fine = config.texture_level(models.texture.levels, 0) < models.texture.resolution
    return math.ceil(config.early_stop_window * (COARSE_TO_FINE_PATIENCE if coarse_to_fine else 1))


def _step(
    state: _State, total: Objectives, models: FitModels, inputs: FitInput, config: FitConfig, step: int
) -> _State:
    """One Adam step of all active images, then the mean over each person, then who stops."""
    active = state.active
    current = state.parameters.apply(lambda v: v[active])
    loss, gradient = _slope(current, state, total, step)
    with torch.no_grad():
        finite = torch.isfinite(loss)
        for grad in gradient:
            finite &= torch.isfinite(grad).all(-1)
        gradient = gradient.apply(lambda g: torch.where(finite.unsqueeze(-1), g, 0))
        moved, adam = adam_step(
            current,
            gradient,
            state.adam.rows(active),
            rates=config.step_sizes,
            scale=config.step_scale(step),
            step=step,
            nesterov=config.nesterov,
        )
        moved = constrain(moved, models)
        moved = FitParameters(*(torch.where(finite.unsqueeze(-1), m, c) for m, c in zip(moved, current, strict=True)))
        group, weight = inputs.group[active], finite.to(loss.dtype)
        moved = moved._replace(
            identity=mean_over_groups(moved.identity, group, weight),
            texture=mean_over_groups(moved.texture, group, weight),
        )
        state = _update(state, moved, adam, loss, finite, config, step)
        coarse = config.texture_level(models.texture.levels, step) < models.texture.resolution
        return _part(state, inputs.group, _patience(models, config), step, coarse=coarse)


def _slope(
    current: FitParameters, state: _State, total: Objectives, step: int
) -> tuple[Float[Tensor, " active"], FitParameters]:
    """Loss and gradient of every active image.

    On the CPU image by image: the rounding of batched products and convolutions depends on the batch, the sign of a
    gradient that is all but zero decides Adam's step, and so a face would depend on the faces beside it. It costs a
    fifth more than the batch. A GPU takes all images of a texture level together.
    """
    texels = state.texels[state.active]
    losses: list[Tensor] = []
    gradients: list[FitParameters] = []
    parts: list[Tensor] = []
    for rows in _alike(texels):
        leaves = current.apply(lambda v, rows=rows: v[rows].clone().requires_grad_())
        loss = total(leaves, state.active[rows], step, int(texels[rows[0]]))
        gradients.append(FitParameters(*torch.autograd.grad(loss.sum(), list(leaves), materialize_grads=True)))
        losses.append(loss.detach())
        parts.append(rows)
    order = torch.argsort(torch.cat(parts))
    return torch.cat(losses)[order], FitParameters(*(torch.cat(c)[order] for c in zip(*gradients, strict=True)))


def _alike(texels: Int64[Tensor, " row"]) -> Iterator[Int64[Tensor, " chosen"]]:
    """Rows that are computed together: all of a texture level, one by one on the CPU."""
    for side in texels.unique():
        level = torch.nonzero(texels == side).squeeze(1)
        yield from level.split(1 if level.device.type == "cpu" else len(level))


def _update(
    state: _State,
    moved: FitParameters,
    adam: AdamState,
    loss: Float[Tensor, " active"],
    finite: Bool[Tensor, " active"],
    config: FitConfig,
    step: int,
) -> _State:
    """Take over what a step found of the active images."""
    active = state.active

    def put(old: FitParameters, new: FitParameters) -> FitParameters:
        return FitParameters(*(o.index_copy(0, active, n) for o, n in zip(old, new, strict=True)))

    state.parameters = put(state.parameters, moved)
    state.adam = AdamState(put(state.adam.first, adam.first), put(state.adam.second, adam.second))
    state.iterations[active] += 1
    state.diverged[active[~finite]] = True
    before = state.smoothed[active]
    smoothed = torch.where(torch.isinf(before), loss, SMOOTHING * before + (1 - SMOOTHING) * loss)
    state.smoothed[active] = smoothed
    better = smoothed < state.best[active] * (1 - config.early_stop_tolerance)
    state.best[active[better]] = smoothed[better]
    state.best_step[active[better]] = step
    return state


def _part(state: _State, group: Int64[Tensor, " image"], patience: int, step: int, *, coarse: bool) -> _State:
    """Let go of images that diverged and of people who stand still; from a coarse level these go to the largest."""
    moving = ~state.diverged
    if patience > 0:
        progressing = (step - state.best_step < patience) & moving
        group_moves = torch.zeros(int(group.max()) + 1, dtype=torch.bool, device=group.device)
        group_moves[group[progressing]] = True
        still = moving & ~group_moves[group]
        if coarse:
            rising = still & ~state.ahead
            state.ahead |= rising
            still &= ~rising
        moving &= ~still
    state.active = state.active[moving[state.active]]
    return state


def _finish(state: _State, objective: Objective, inputs: FitInput, elapsed: float) -> FitResult:
    """Measure the final parameters, as images are computed (see `_slope`), and bring everything to the CPU."""
    config = objective.config
    parameters = state.parameters
    everyone = torch.arange(state.diverged.shape[0], device=state.diverged.device)
    groups = int(inputs.group.max()) + 1
    representative = torch.zeros(groups, dtype=torch.int64, device=everyone.device)
    order = torch.argsort(state.diverged.int(), descending=True, stable=True)
    representative[inputs.group[order]] = order
    with torch.no_grad():
        parts = [_measure(objective, parameters, images) for images in _alike(torch.zeros_like(everyone))]
        found = _Measures(*(torch.cat(values) for values in zip(*parts, strict=True)))
        terms = FitLosses(*found.terms.unbind(1))
        share = torch.zeros(groups, device=everyone.device).index_add_(0, inputs.group, state.iterations + 1.0)
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
            iterations=state.iterations.cpu(),
            diverged=state.diverged.cpu(),
            seconds=(elapsed * share / share.sum()).cpu(),
        )


def _measure(objective: Objective, parameters: FitParameters, images: Int64[Tensor, " active"]) -> _Measures:
    """Look at some images on the exact template view, at full texture size."""
    chosen = parameters.apply(lambda v: v[images])
    rendered = objective.render_first(chosen, images)
    return _Measures(
        similarity=objective.similarity(images, rendered.composite),
        judge=objective.judge_similarity(images, rendered.composite),
        landmarks_px=rendered.landmarks_px,
        terms=torch.stack(objective.compare(rendered, chosen, images, objective.config.steps), 1),
    )
