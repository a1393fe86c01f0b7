"""Stage one of the fit: landmarks alone, by the solver the configuration names."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ops.face.landmark_points import choose_landmarks
from ops.face.signal import are_grey
from ops.face.skin import skin_weight
from ops.fit.adam import adam_init, adam_step, step_sizes
from ops.fit.config import FitConfig
from ops.fit.constraints import constrain
from ops.fit.landmark_stage import LandmarkFit, fit_landmarks, identity_precision
from ops.fit.losses import landmark_distance
from ops.fit.objective import INITIAL_LIGHT, FitInput, FitModels, Held
from ops.fit.parameters import FitParameters, mean_over_groups, to_camera, to_light, to_solver_light
from ops.geometry.camera import project_points
from ops.render.lighting import light_to_vector
from ops.texture.appearance import PosedFaces


def fit_stage_one(
    models: FitModels, inputs: FitInput, config: FitConfig
) -> tuple[FitParameters, Bool[Tensor, " image"]]:
    """Stage one, and which images came out of it finite; the others start from zero to keep the batch computable."""
    normalised = inputs.landmarks_px / config.render_px
    count = normalised.shape[0]
    usable = torch.isfinite(normalised).flatten(1).all(-1)
    typical = normalised[usable].mean(0) if bool(usable.any()) else torch.rand(68, 2, device=normalised.device)
    safe = torch.where(usable[:, None, None], normalised, typical)
    if config.landmark_solver == "levenberg-marquardt":
        persons = torch.where(usable, inputs.group, int(inputs.group.max()) + 1 + torch.arange(count).to(inputs.group))
        fitted = _each_person_alone(models, safe, inputs, persons, steps=config.landmark_steps)
    else:
        fitted = _landmarks_by_adam(models, safe, inputs, config)
    finite = usable & torch.isfinite(torch.cat((fitted.identity, fitted.expression, fitted.camera), -1)).all(-1)
    light = inputs.images.new_tensor(INITIAL_LIGHT).repeat(count, 1)
    parameters = FitParameters(
        identity=fitted.identity.float(),
        expression=fitted.expression.float(),
        texture=normalised.new_zeros(count, models.texture.latent_size).float(),
        camera=fitted.camera.float(),
        light=light,
    )
    return parameters.apply(torch.nan_to_num), finite


def with_stage_one(
    models: FitModels, inputs: FitInput, config: FitConfig, answer: FitParameters, trusted: Bool[Tensor, " image"]
) -> FitParameters:
    """A regressor's answer with shape, expression and camera of stage one where the landmarks are trusted."""
    landmarks = torch.where(trusted[:, None, None], inputs.landmarks_px, torch.nan)
    fitted, finite = fit_stage_one(models, inputs._replace(landmarks_px=landmarks), config)
    taken = finite & trusted
    identity = mean_over_groups(fitted.identity, inputs.group, taken.to(fitted.identity))
    known = mean_over_groups(taken.float().unsqueeze(1), inputs.group, torch.ones_like(taken).float()) > 0
    own = taken.unsqueeze(1)
    return answer._replace(
        identity=torch.where(known, identity, answer.identity),
        expression=torch.where(own, fitted.expression, answer.expression),
        camera=torch.where(own, fitted.camera, answer.camera),
    )


def _each_person_alone(
    models: FitModels,
    landmarks: Float[Tensor, "image 68 2"],
    inputs: FitInput,
    persons: Int64[Tensor, " image"],
    *,
    steps: int,
) -> LandmarkFit:
    """Levenberg-Marquardt person by person on the CPU, where a batched solver's rounding depends on the batch.

    The last bit matters: where a gradient is all but zero, its sign decides Adam's first step.
    """
    _, group = persons.unique(return_inverse=True)
    if landmarks.device.type != "cpu":
        return _solve(models, landmarks, inputs, group, steps)
    fitted: LandmarkFit | None = None
    for person in range(int(group.max()) + 1):
        images = torch.nonzero(group == person).squeeze(1)
        found = _solve(models, landmarks[images], inputs.rows(images), torch.zeros_like(images), steps)
        if fitted is None:
            fitted = LandmarkFit(*(value.new_zeros(len(group), value.shape[1]) for value in found))
        for rows, new in zip(fitted, found, strict=True):
            rows[images] = new
    assert fitted is not None
    return fitted


def _solve(
    models: FitModels,
    landmarks: Float[Tensor, "image 68 2"],
    inputs: FitInput,
    group: Int64[Tensor, " image"],
    steps: int,
) -> LandmarkFit:
    return fit_landmarks(
        models.shape,
        landmarks,
        group,
        steps=steps,
        config=models.landmark_noise,
        calibration=models.calibration,
        dense=inputs.dense,
        prior=inputs.identity_prior,
    )


def hold_identity(models: FitModels, inputs: FitInput, start: FitParameters, usable: Bool[Tensor, " image"]) -> Held:
    """What the landmarks say of every person's identity, as a prior of stage two.

    Every image has the whole precision: what draws a shape away from the landmarks, recognition and colours, is much
    alike in all photos of a person too, so the balance of the two is that of one photo. Person by person on the CPU,
    see `_each_person_alone`.
    """
    landmarks = inputs.landmarks_px.double() / inputs.images.shape[-1]
    group, size = inputs.group, models.shape.identity_size
    precision = start.identity.new_zeros(len(group), size, size)
    usable_images = torch.nonzero(usable).squeeze(1)
    persons = [usable_images] if len(usable_images) else []
    if group.device.type == "cpu":
        persons = [usable_images[group[usable_images] == person] for person in group[usable_images].unique().tolist()]
    for images in persons:
        _, person = group[images].unique(return_inverse=True)
        found = identity_precision(
            models.shape,
            landmarks[images],
            person,
            LandmarkFit(*(value[images].double() for value in (start.identity, start.expression, start.camera))),
            config=models.landmark_noise,
            calibration=models.calibration,
            dense=None if inputs.dense is None else inputs.dense.rows(images),
            prior=None if inputs.identity_prior is None else inputs.identity_prior.rows(images),
        )
        precision[images] = found[person].float()
    return Held(start.identity, precision)


def see_appearance(
    models: FitModels, inputs: FitInput, start: FitParameters, usable: Bool[Tensor, " image"]
) -> FitParameters:
    """The same shapes with the texture and light that the photos' pixels tell; unchanged without a linear texture.

    Person by person on the CPU, see `_each_person_alone`.
    """
    solver = models.appearance
    chosen = torch.nonzero(usable).squeeze(1)
    if solver is None or not len(chosen):
        return start
    texture, light = start.texture.clone(), start.light.clone()
    skin = skin_weight(inputs.landmarks_px, inputs.images.shape[-1]) * inputs.valid
    grey = are_grey(inputs.images)
    group, persons = inputs.group, [chosen]
    if group.device.type == "cpu":
        persons = [chosen[group[chosen] == person] for person in group[chosen].unique().tolist()]
    for images in persons:
        _, person = group[images].unique(return_inverse=True)
        faces = PosedFaces(
            models.shape.vertices_mm(start.identity[images], start.expression[images]),
            to_camera(start.camera[images]),
            inputs.images[images],
            skin[images],
            grey[images],
            person,
        )
        found = solver(faces, start.texture[images], light_to_vector(to_light(start.light[images])))
        texture[images], light[images] = found.texture, to_solver_light(found.light)
    seen = constrain(start._replace(texture=texture, light=light), models)
    good = torch.isfinite(torch.cat((seen.texture, seen.light), 1)).all(1, keepdim=True)
    return start._replace(
        texture=torch.where(good, seen.texture, start.texture), light=torch.where(good, seen.light, start.light)
    )


def _landmarks_by_adam(
    models: FitModels, normalised: Float[Tensor, "image 68 2"], inputs: FitInput, config: FitConfig
) -> LandmarkFit:
    """Stage one as published: the landmark loss alone, by Adam, from the mean face."""
    start = fit_landmarks(models.shape, normalised, inputs.group, steps=0, calibration=models.calibration)
    count = normalised.shape[0]
    parameters = FitParameters(
        identity=start.identity.float(),
        expression=start.expression.float(),
        texture=normalised.new_zeros(count, 0).float(),
        camera=start.camera.float(),
        light=normalised.new_zeros(count, 0).float(),
    )
    points = models.landmark_surface.of(models.shape)
    state, rates = adam_init(parameters.joined()), step_sizes(config.learning_rates, parameters).float()
    weight = torch.ones(count, device=normalised.device)
    blendshapes = models.shape.metadata.expression_kind == "blendshape"
    for step in range(config.landmark_steps):
        current = parameters.apply(lambda v: v.detach().requires_grad_())
        with torch.enable_grad():
            camera = to_camera(current.camera)
            seen = project_points(
                camera, choose_landmarks(points.vertices_mm(current.identity, current.expression), camera)
            )
            loss = landmark_distance(seen * config.render_px, normalised.float() * config.render_px)
            wanted = [current.identity, current.expression, current.camera]
            gradient = torch.autograd.grad(loss.sum(), wanted)
        slope = FitParameters(gradient[0], gradient[1], current.texture, gradient[2], current.light)
        moved, state = adam_step(current.joined().detach(), slope.joined().detach(), state, rates=rates, step=step)
        parameters = parameters.split(moved)
        expression = parameters.expression.clamp(0, 1) if blendshapes else parameters.expression
        parameters = parameters._replace(
            identity=mean_over_groups(parameters.identity, inputs.group, weight), expression=expression
        )
    return LandmarkFit(parameters.identity, parameters.expression, parameters.camera)
