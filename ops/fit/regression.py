"""FastGANFit's answer as parameters of a fit: the regressor on the recognition template, within the models' limits."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ops.errors import ConfigurationError
from ops.face.alignment import apply_affine, crop_from_image, resample_window
from ops.face.dense_points import outline_landmarks
from ops.face.landmark_points import JAW, choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.fit.batching import batching_of
from ops.fit.config import FitConfig
from ops.fit.constraints import constrain
from ops.fit.initial_camera import PORTRAIT_DISTANCE_MM, initial_camera
from ops.fit.landmark_problem import IdentityPrior
from ops.fit.objective import INITIAL_LIGHT, FitInput, FitModels, with_recognition
from ops.fit.parameters import CAMERA_UNITS, FitParameters, images_of_group, mean_over_groups, to_camera
from ops.fit.views import make_views
from ops.geometry.camera import Camera, camera_to_vector, project_points
from ops.networks.recognition import CROP_PX, Recognition
from ops.networks.regressor import Regressor, RegressorLayout, RegressorStart

OUTLIER_FACTOR = 30.0
"""Landmarks of which faces leave so many times the usual unexplained are not believed: they miss by some 4 % of the
outer-eye distance, each for itself."""


def mean_start(shape: MorphableModel) -> RegressorStart:
    """The mean face from the front at portrait distance, in an aligned crop, under the light all fits start from."""
    points = shape.mean_mm[landmark_vertices(shape)].unsqueeze(0)
    centre = shape.mean_mm[shape.landmarks].mean(0)
    ahead = centre + centre.new_tensor((0.0, 0.0, PORTRAIT_DISTANCE_MM))
    front = Camera(ahead[None], centre[None], centre.new_ones(1), centre.new_zeros(1))
    chosen = choose_landmarks(points, front)
    seen = project_points(front, chosen)
    landmarks = apply_affine(crop_from_image(seen, 1), seen)
    camera = camera_to_vector(initial_camera(chosen[:, JAW:], landmarks[:, JAW:]))
    return RegressorStart(landmarks[0], (camera / camera.new_tensor(CAMERA_UNITS))[0], centre.new_tensor(INITIAL_LIGHT))


def new_regressor(models: FitModels) -> Regressor:
    """A regressor for some models that answers with the prior's mean."""
    device = models.device
    with torch.no_grad():
        seen = models.recognition(torch.zeros(1, 3, CROP_PX, CROP_PX, device=device))
    layout = RegressorLayout(
        identity=models.shape.identity_size,
        expression=models.shape.expression_size,
        texture=models.texture.latent_size,
        embedding=seen.embedding.shape[1],
        taps=tuple((int(value.shape[1]), int(value.shape[-1])) for value in seen.features),
    )
    return Regressor(layout, mean_start(models.shape)).to(device)


def recognition_crops(images: Float[Tensor, "image 3 side side"]) -> Float[Tensor, "image 3 112 112"]:
    """Aligned crops on the recognition template."""
    vertical, horizontal = (matrix.to(images) for matrix in make_views(1, images.shape[-1])[0])
    return resample_window(images, vertical, horizontal)


def regress(
    models: FitModels,
    images: Float[Tensor, "image 3 side side"],
    landmarks: Float[Tensor, "image 68 2"],
    recognition: Recognition | None = None,
    points: Float[Tensor, "image 68 2"] | None = None,
) -> FitParameters:
    """The regressor's answer for aligned crops and their landmarks in crop sides, not constrained; differentiable.

    What recognition sees in the crops is looked at here where it is not given. The identity answers `points` where
    there are any.

    Raises:
        ConfigurationError: the models have no regressor.
    """
    if models.regressor is None:
        raise ConfigurationError("expected models with a regressor, found none: add the role regressor to the bundle")
    crops = recognition_crops(images)
    if recognition is None:
        with torch.no_grad():
            recognition = models.recognition(crops)
    return FitParameters(*models.regressor(crops, recognition, landmarks, points))


def knows_texture(models: FitModels) -> bool:
    """Whether the regressor answers coefficients of the models' texture model."""
    return models.regressor is not None and models.regressor.knows_texture


def refines_answer(models: FitModels, config: FitConfig) -> bool:
    """Whether stage one's points tell more of a shape than the regressor; not where its answer alone is wanted."""
    return config.method == "ganfit++" and models.dense is not None


def start_from_regressor(
    models: FitModels, inputs: FitInput, points: Float[Tensor, "image 68 2"] | None = None
) -> tuple[FitParameters, Bool[Tensor, " image"]]:
    """A start for every image, and which are finite.

    The images of a person share the identity that all their answers together make likely, and the mean texture.
    Identities are answered to `points` where there are any, crop sides; the cameras are then those that see the
    answered faces where the landmarks are.
    """
    landmarks = inputs.landmarks_px / inputs.images.shape[-1]
    together = batching_of(landmarks.device).split(len(landmarks))
    seen = inputs.recognised
    answers = [
        regress(
            models,
            inputs.images[rows],
            landmarks[rows],
            None if seen is None else seen.rows(rows),
            None if points is None else points[rows],
        )
        for rows in together
    ]
    parameters = FitParameters(*(torch.cat(column) for column in zip(*answers, strict=True)))
    finite = torch.isfinite(torch.cat(list(parameters), 1)).all(1)
    parameters = constrain(parameters.apply(torch.nan_to_num), models)
    weight = finite.to(landmarks.dtype)
    assert models.regressor is not None
    pictures = images_of_group(finite, inputs.group).clamp_min(1)
    identity = mean_over_groups(parameters.identity, inputs.group, weight)
    shared = parameters._replace(
        identity=identity * models.regressor.agreement(pictures),
        texture=mean_over_groups(parameters.texture, inputs.group, weight),
    )
    if points is None:
        return shared, finite
    safe = torch.where(finite[:, None, None], landmarks, models.regressor.mean_landmarks)
    cameras = [_camera(models, shared.apply(lambda value, r=rows: value[r]), safe[rows]) for rows in together]
    return shared._replace(camera=torch.cat(cameras)), finite


def _camera(
    models: FitModels, answer: FitParameters, landmarks: Float[Tensor, "image 68 2"]
) -> Float[Tensor, "image 8"]:
    """The camera, solver units, that sees answered faces where landmarks (crop sides) are."""
    vertices = models.landmark_surface.of(models.shape).vertices_mm(answer.identity, answer.expression)
    camera = camera_to_vector(initial_camera(choose_landmarks(vertices, to_camera(answer.camera)), landmarks))
    return camera / camera.new_tensor(CAMERA_UNITS)


def identity_points(models: FitModels, inputs: FitInput, config: FitConfig) -> Float[Tensor, "image 68 2"] | None:
    """The 68 points among the dense ones, crop sides, where identities are answered to them; None: to the landmarks.

    Where stage one goes on from an answer, it is to the landmarks: stage one sees the dense points itself.

    Raises:
        ConfigurationError: there are none where the regressor asks for them.
    """
    if not models.regresses_dense or config.method != "fastganfit":
        return None
    if models.dense is None or inputs.dense is None:
        raise ConfigurationError(
            "the regressor is given dense points, and the models have none: add the role dense_landmarks to the bundle"
        )
    return outline_landmarks(inputs.dense.points, models.dense.dense.jaw).to(inputs.landmarks_px)


def with_identity_prior(models: FitModels, inputs: FitInput, config: FitConfig) -> FitInput:
    """The same with what the regressor tells of every person's identity, and how far it errs, for stage one.

    Unchanged without a regressor, where it has been asked, and where the configuration does not ask it or has no stage
    one.
    """
    has_stage_one = config.start == "landmarks" or refines_answer(models, config)
    asked = config.identity_prior == "regressor" and has_stage_one
    if models.regressor is None or inputs.identity_prior is not None or not asked:
        return inputs
    inputs = with_recognition(models, inputs)
    with torch.no_grad():
        answer, finite = start_from_regressor(models, inputs.without_bias(models))
    pictures = images_of_group(finite, inputs.group)
    precision = models.regressor.precision(pictures.clamp_min(1))
    known = (pictures > 0).unsqueeze(1)
    prior = IdentityPrior(torch.where(known, answer.identity, 0), torch.where(known, precision, 1))
    return inputs._replace(identity_prior=prior)


def reliable_landmarks(models: FitModels, inputs: FitInput, answer: FitParameters) -> Float[Tensor, "image 68 2"]:
    """The landmarks of every image in pixels; the answer's own where the given ones are scattered as no face's are.

    Landmarks that all miss alike look like those of a face, and are believed.
    """
    assert models.regressor is not None
    side = inputs.images.shape[-1]
    regressor = models.regressor
    scattered = regressor.rest(regressor.centred(inputs.landmarks_px / side)) > OUTLIER_FACTOR * regressor.usual_rest
    points = models.landmark_surface.of(models.shape)
    believed = inputs.landmarks_px.clone()
    for image in torch.nonzero(scattered).squeeze(1).split(1):
        camera = to_camera(answer.camera[image])
        vertices = points.vertices_mm(answer.identity[image], answer.expression[image])
        believed[image] = side * project_points(camera, choose_landmarks(vertices, camera))
    return believed
