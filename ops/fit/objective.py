"""The objective of stage two: two renders, one recognition pass, one value per image."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ops.face.alignment import ARCFACE_SIDE_PX, resample_window
from ops.face.dense_points import DenseSight
from ops.face.landmark_calibration import LandmarkCalibration
from ops.face.landmark_points import LandmarkSurface, choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.face.prior import CameraLightPrior
from ops.face.signal import are_grey
from ops.face.skin import skin_weight
from ops.files.photo import LUMA
from ops.fit import losses
from ops.fit.batching import batching_of
from ops.fit.config import FitConfig
from ops.fit.landmark_bias import LandmarkBias
from ops.fit.landmark_problem import (
    BESIDE_DENSE,
    BESIDE_DENSE_WITH_BIAS,
    WITHOUT_BIAS,
    IdentityPrior,
    LandmarkStageConfig,
)
from ops.fit.parameters import FitParameters, images_of_group, to_camera, to_light
from ops.fit.second_render import SecondDraws, alignment_of, at_step, choose, draw_second_renders
from ops.fit.views import View, make_views
from ops.geometry.camera import project_points
from ops.geometry.constants import constant_like
from ops.networks.dense_landmarks import DenseLandmarks, see_densely
from ops.networks.recognition import Recognition, in_bfloat16
from ops.networks.regressor import Regressor
from ops.render.rasterize import RasterizerName
from ops.render.render import Render, SurfaceView, Topology, render, view_surface
from ops.texture.appearance import AppearanceSolver
from ops.texture.gan_texture import linear_part
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture

INITIAL_LIGHT = (0.0, 0.3, 1.2, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6)
"""Where every light starts, solver units: above the camera's line of sight, white, a little darker than the albedo."""
BACKGROUND = 0.5
"""Grey behind the second render: recognition's zero."""
SEEN_IN_VIEWS = frozenset(("identity", "content"))
"""Terms for which recognition looks at the first render."""


@runtime_checkable
class RecognitionModel(Protocol):
    """What the objective asks of a recognition network."""

    def __call__(self, images: Tensor) -> Recognition:
        """Embed aligned faces."""
        ...


@dataclass(frozen=True, kw_only=True)
class FitModels:
    """The models of a fit, all on one device."""

    shape: MorphableModel
    texture: TextureModel
    recognition: RecognitionModel
    prior: CameraLightPrior
    judge: RecognitionModel | None = None
    """A second network, never optimised, only reported."""
    regressor: Regressor | None = None
    """Answers all parameters at once, see `ops.fit.regression`."""
    bias: LandmarkBias | None = None
    """What is taken off the network's landmarks before anything is fitted to them."""
    calibration: LandmarkCalibration | None = None
    """Where the landmarks lie on the shape and how they scatter; None: at its own vertices."""
    dense: DenseLandmarks | None = None
    """Points all over the face for stage one, see `ops.face.dense_points`."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a constant, not shared state
    rasterizer: RasterizerName = "warp"
    """What draws where the device is a GPU."""

    @cached_property
    def appearance(self) -> AppearanceSolver | None:
        """Finds texture and light of known shapes; None for a texture model that is not nearly linear."""
        linear = linear_part(self.texture)
        return None if linear is None else AppearanceSolver(self.shape, linear)

    @property
    def learned_texture(self) -> bool:
        """Whether the texture model was learned from photos."""
        return isinstance(self.texture, PcaTexture) and self.texture.people > 0

    @property
    def landmark_surface(self) -> LandmarkSurface:
        """Where the landmarks lie on the shape."""
        return landmark_surface(self.shape) if self.calibration is None else self.calibration.surface

    @property
    def landmark_noise(self) -> LandmarkStageConfig:
        """How far the landmarks that are fitted to scatter."""
        if self.dense is not None:
            return BESIDE_DENSE_WITH_BIAS if self.bias is None else BESIDE_DENSE
        return LandmarkStageConfig() if self.bias is None else WITHOUT_BIAS

    @property
    def regresses_dense(self) -> bool:
        """Whether the regressor answers identities to dense points."""
        return self.regressor is not None and self.regressor.points == "dense"

    @property
    def holds_identity(self) -> bool:
        """Whether what points say of a shape is to be trusted: where dense ones or the landmarks' bias are known."""
        return self.dense is not None or self.bias is not None


class Held(NamedTuple):
    """What holds the identity of every image in stage two: the posterior of stage one."""

    mean: Float[Tensor, "image identity"]
    precision: Float[Tensor, "image identity identity"]
    """Its inverse covariance; 0 where the landmarks say nothing."""

    def rows(self, images: slice | Int64[Tensor, " active"]) -> "Held":
        """Those of some images."""
        return Held(self.mean[images], self.precision[images])


class FitInput(NamedTuple):
    """Aligned crops of some people; images of one person carry the same group number."""

    images: Float[Tensor, "image 3 side side"]
    valid: Bool[Tensor, "image side side"]
    """Crop pixels that lie inside the photo."""
    landmarks_px: Float[Tensor, "image 68 2"]
    group: Int64[Tensor, " image"]
    seeds: Int64[Tensor, " image"]
    dense: DenseSight | None = None
    """What stage one has besides the landmarks."""
    identity_prior: IdentityPrior | None = None
    """What is known of every person's identity before stage one; None: what is of anybody."""
    recognised: Recognition | None = None
    """What recognition sees in the images on its exact template; None where it has not looked yet."""

    def rows(self, images: slice | Int64[Tensor, " row"]) -> "FitInput":
        """Those of some images."""
        return FitInput(
            images=self.images[images],
            valid=self.valid[images],
            landmarks_px=self.landmarks_px[images],
            group=self.group[images],
            seeds=self.seeds[images],
            dense=None if self.dense is None else self.dense.rows(images),
            identity_prior=None if self.identity_prior is None else self.identity_prior.rows(images),
            recognised=None if self.recognised is None else self.recognised.rows(images),
        )

    def to(self, device: torch.device | str) -> "FitInput":
        """The same on another device."""
        return FitInput(
            images=self.images.to(device),
            valid=self.valid.to(device),
            landmarks_px=self.landmarks_px.to(device),
            group=self.group.to(device),
            seeds=self.seeds.to(device),
            dense=None if self.dense is None else self.dense.to(device),
            identity_prior=None if self.identity_prior is None else self.identity_prior.to(device),
            recognised=None if self.recognised is None else self.recognised.to(device),
        )

    def without_bias(self, models: FitModels) -> "FitInput":
        """The same with landmarks where the shape model has them; unchanged where the network's bias is not known."""
        if models.bias is None:
            return self
        side = self.images.shape[-1]
        return self._replace(landmarks_px=side * models.bias.taken_off(models.shape, self.landmarks_px / side))


def with_dense_points(models: FitModels, inputs: FitInput, config: FitConfig) -> FitInput:
    """The same with what the models' dense landmark network sees, for stage one.

    Unchanged without a network, where it has looked, and where all that is wanted is the answer of a regressor that
    does not ask for them.
    """
    unasked = config.method == "fastganfit" and not models.regresses_dense
    if models.dense is None or inputs.dense is not None or unasked:
        return inputs
    return inputs._replace(dense=see_densely(models.dense, inputs.images, inputs.landmarks_px))


def with_recognition(models: FitModels, inputs: FitInput) -> FitInput:
    """The same with what recognition sees in the images, for regressor and objective; unchanged where it has looked."""
    if inputs.recognised is not None:
        return inputs
    straight = make_views(1, inputs.images.shape[-1])[0]
    with torch.no_grad():
        return inputs._replace(recognised=see_under(models.recognition, inputs.images, straight))


def see_under(network: RecognitionModel, images: Float[Tensor, "image 3 side side"], view: View) -> Recognition:
    """What recognition sees in crops under a view."""
    vertical, horizontal = (matrix.to(images) for matrix in view)
    together = batching_of(images.device).split(len(images))
    seen = [network(resample_window(images[rows], vertical, horizontal)) for rows in together]
    layers = zip(*(one.features for one in seen), strict=True)
    return Recognition(torch.cat([one.embedding for one in seen]), tuple(torch.cat(layer) for layer in layers))


class FitLosses(NamedTuple):
    """Unweighted terms of the objective, one value per image; nan where a term was left out."""

    identity: Float[Tensor, " image"]
    identity_second: Float[Tensor, " image"]
    content: Float[Tensor, " image"]
    pixel: Float[Tensor, " image"]
    landmark: Float[Tensor, " image"]
    eyelid: Float[Tensor, " image"]
    shape: Float[Tensor, " image"]
    expression: Float[Tensor, " image"]
    light: Float[Tensor, " image"]
    light_chroma: Float[Tensor, " image"]
    texture: Float[Tensor, " image"]
    posterior: Float[Tensor, " image"]

    def total(self, config: FitConfig) -> Float[Tensor, " image"]:
        """The weighted sum of the terms that count, one after the other: no image's rounding depends on the others."""
        terms = config.terms()
        sum_of_terms = torch.zeros_like(self.shape)
        for name, value in self._asdict().items():
            if name in terms:
                sum_of_terms = sum_of_terms + getattr(config.weights, name) * value
        return sum_of_terms


class Rendered(NamedTuple):
    """The first render of some images, in the crop's frame."""

    view: SurfaceView
    first: Render
    developed: Float[Tensor, "image 3 side side"]
    """The render in the input's colours: grey for a grey photo."""
    composite: Float[Tensor, "image 3 side side"]
    """What recognition is shown: the render over the input, or over black."""
    landmarks_px: Float[Tensor, "image 68 2"]
    texture: Float[Tensor, "image 3 texel texel"]


class Targets(NamedTuple):
    """What the objective compares some images of a batch with; the same in every iteration."""

    images: Float[Tensor, "active 3 side side"]
    skin: Float[Tensor, "active side side"]
    compared: Float[Tensor, "active side side"]
    """The skin that lies inside the photo."""
    landmarks_px: Float[Tensor, "active 68 2"]
    grey: Bool[Tensor, "active 1 1 1"] | None
    """Which photos are grey; None where none is."""
    features: tuple[Recognition, ...]
    """The input's under every view."""
    draws: SecondDraws | None
    held: Held | None
    texture_prior: Float[Tensor, " active"]
    """Each image's share of the term that holds its person's texture."""


class Objective:
    """The objective of one batch: holds what does not change during a fit.

    Holds the input's features under every view, which pixels are compared and all random draws.
    """

    def __init__(self, models: FitModels, inputs: FitInput, config: FitConfig, held: Held | None = None) -> None:
        self.models = models
        self.inputs = inputs
        self.config = config
        self.held = held
        self.exact = config.recognition_precision == "float32"
        """Whether recognition is optimised in the precision in which it is reported."""
        self.recognition = models.recognition
        if not self.exact:
            assert isinstance(models.recognition, nn.Module)
            self.recognition = in_bfloat16(models.recognition)
        shape = models.shape
        self.topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
        self.landmark_surface = models.landmark_surface
        self.terms = config.terms()
        looked_at = config.views if self.terms & SEEN_IN_VIEWS and config.steps else 1
        views = make_views(looked_at, config.render_px)
        self.views = [View(*(m.to(models.device) for m in view)) for view in views]
        with torch.no_grad():
            known = [inputs.recognised] if self.exact and inputs.recognised is not None else []
            unknown = self.views[len(known) :]
            self.input_features = known + [see_under(self.recognition, inputs.images, view) for view in unknown]
        skin = skin_weight(inputs.landmarks_px, config.render_px) if config.skin_mask else None
        self.skin = torch.ones_like(inputs.images[:, 0]) if skin is None else skin
        self.compared = self.skin * inputs.valid
        self.grey = are_grey(inputs.images)
        self.grey_images = self.grey.tolist()
        finite = (torch.isfinite(values).flatten(1).all(1) for values in (inputs.images, inputs.landmarks_px))
        sharing = images_of_group(torch.stack(tuple(finite)).all(0), inputs.group)
        self.texture_prior = 1 / sharing.clamp(1, config.images_that_share_texture_prior)
        self.light_start = inputs.images.new_tensor(INITIAL_LIGHT)
        self.draws = self._draw() if config.second_render else None

    def _draw(self) -> SecondDraws:
        shape = self.models.shape
        draws = draw_second_renders(
            self.models.prior,
            self.inputs.seeds,
            self.config.steps + 1,
            expression_size=shape.expression_size,
            blendshapes=shape.metadata.expression_kind == "blendshape",
            centre_mm=shape.mean_mm[shape.landmarks].mean(0),
        )
        device = self.models.device
        camera = type(draws.camera)(*(value.to(device) for value in draws.camera))
        light = type(draws.light)(*(value.to(device) for value in draws.light))
        return SecondDraws(camera, light, draws.expression.to(device))

    def targets(self, images: slice | Int64[Tensor, " active"]) -> Targets:
        """What some images are compared with."""
        chosen = self.grey_images[images] if isinstance(images, slice) else self.grey_images
        draws = None if self.draws is None else choose(self.draws, images)
        return Targets(
            images=self.inputs.images[images],
            skin=self.skin[images],
            compared=self.compared[images],
            landmarks_px=self.inputs.landmarks_px[images],
            grey=self.grey[images][:, None, None, None] if any(chosen) else None,
            features=tuple(seen.rows(images) for seen in self.input_features),
            draws=draws,
            held=None if self.held is None else self.held.rows(images),
            texture_prior=self.texture_prior[images],
        )

    def everyone(self) -> Targets:
        """What all images of the batch are compared with."""
        return self.targets(slice(None))

    def _developed(
        self, pictures: Float[Tensor, "active 3 height width"], targets: Targets
    ) -> Float[Tensor, "active 3 height width"]:
        """Renders in grey where the photo is grey, so that its texture may keep colour."""
        if targets.grey is None:
            return pictures
        luma = (pictures * constant_like(LUMA, pictures)[:, None, None]).sum(1, keepdim=True)
        return torch.where(targets.grey, luma, pictures)

    def texture_level(self, step: int) -> int:
        """Side of the textures that iteration `step` renders."""
        return self.config.texture_level(self.models.texture.levels, step)

    def render_first(self, parameters: FitParameters, targets: Targets, texels: int | None = None) -> Rendered:
        """Render some images in the crop's frame, with textures of a level, the largest by default."""
        shape = self.models.shape
        camera = to_camera(parameters.camera)
        vertices = shape.vertices_mm(parameters.identity, parameters.expression)
        texture = self.models.texture(parameters.texture, texels)
        side = self.config.render_px
        view = view_surface(self.topology, vertices, camera, side, rasterizer=self.models.rasterizer)
        first = view.shade(texture, to_light(parameters.light))
        points = choose_landmarks(self.landmark_surface.points_mm(vertices), camera)
        developed = composite = self._developed(first.image, targets)
        if self.config.composite:
            alpha = (targets.skin * first.mask).unsqueeze(1)
            composite = alpha * developed + (1 - alpha) * targets.images
        return Rendered(view, first, developed, composite, project_points(camera, points) * side, texture)

    def _second_face(
        self, parameters: FitParameters, texture: Tensor, targets: Targets, step: int
    ) -> Float[Tensor, "active 3 112 112"]:
        assert targets.draws is not None
        camera, light, expression = at_step(targets.draws, step)
        vertices = self.models.shape.vertices_mm(parameters.identity, expression)
        affine = alignment_of(self.landmark_surface.points_mm(vertices.detach()), camera)
        second = render(
            self.topology,
            vertices,
            texture,
            camera,
            light,
            ARCFACE_SIDE_PX,
            image_from_normalised=affine,
            rasterizer=self.models.rasterizer,
        )
        return torch.where(second.mask.unsqueeze(1), self._developed(second.image, targets), BACKGROUND)

    def __call__(self, parameters: FitParameters, targets: Targets, step: int, texels: int | None = None) -> FitLosses:
        """The terms with a weight for some images of the batch; `parameters` holds the rows of just these images.

        Textures are of a level, the largest by default.
        """
        rendered = self.render_first(parameters, targets, texels)
        return self.compare(rendered, parameters, targets, step, self.terms)

    def compare(
        self,
        rendered: Rendered,
        parameters: FitParameters,
        targets: Targets,
        step: int,
        terms: Collection[str] = FitLosses._fields,
    ) -> FitLosses:
        """The chosen terms, and those that cost nothing, of a first render that is there already.

        The second render's term is there only where there is one.
        """
        light = parameters.light
        missing = torch.full_like(light[:, 0], torch.nan)
        recognised = self._recognised(rendered, parameters, targets, step, terms)
        pixel = missing
        if "pixel" in terms:
            weight = targets.compared * rendered.first.mask
            pixel = losses.pixel_distance(rendered.developed, targets.images, weight) * self.config.pixel_range
        landmark = losses.landmark_squares if self.config.landmark_term == "squares" else losses.landmark_distance
        return FitLosses(
            identity=recognised.get("identity", missing),
            identity_second=recognised.get("identity_second", missing),
            content=recognised.get("content", missing),
            pixel=pixel,
            landmark=landmark(rendered.landmarks_px, targets.landmarks_px),
            eyelid=losses.eyelid_distance(rendered.landmarks_px, targets.landmarks_px),
            shape=losses.squared_norm(parameters.identity) + losses.squared_norm(parameters.expression),
            expression=losses.squared_norm(parameters.expression),
            light=losses.squared_norm(light - self.light_start),
            light_chroma=losses.chroma(light[:, 3:].unflatten(-1, (2, 3))),
            texture=targets.texture_prior * losses.squared_norm(parameters.texture),
            posterior=_from_posterior(parameters.identity, targets.held),
        )

    def _recognised(
        self,
        rendered: Rendered,
        parameters: FitParameters,
        targets: Targets,
        step: int,
        terms: Collection[str],
    ) -> dict[str, Float[Tensor, " active"]]:
        """The chosen terms that come from recognition, which looks at both renders at once."""
        number = step % len(self.views)
        view, target = self.views[number], targets.features[number]
        first, second = not SEEN_IN_VIEWS.isdisjoint(terms), targets.draws is not None and "identity_second" in terms
        count = rendered.composite.shape[0] if first else 0
        shown: list[Tensor] = []
        if first:
            shown.append(resample_window(rendered.composite, view.vertical, view.horizontal))
        if second:
            shown.append(self._second_face(parameters, rendered.texture, targets, step))
        if not shown:
            return {}
        seen = self.recognition(torch.cat(shown))
        found: dict[str, Tensor] = {}
        if first:
            found["identity"] = losses.identity_distance(target.embedding, seen.embedding[:count])
        if "content" in terms:
            found["content"] = losses.content_distance(target.features, [feature[:count] for feature in seen.features])
        if second:
            straight = targets.features[0].embedding
            found["identity_second"] = losses.identity_distance(straight, seen.embedding[count:])
        return found

    def similarity(self, targets: Targets, shown: Float[Tensor, "active 3 side side"]) -> Float[Tensor, " active"]:
        """Cosine between some inputs and crops shown instead, on the exact template, by the optimised network."""
        if not self.exact:
            return self._similarity_by(self.models.recognition, targets, shown)
        view = self.views[0]
        seen = self.recognition(resample_window(shown, view.vertical, view.horizontal)).embedding
        return 1 - losses.identity_distance(targets.features[0].embedding, seen)

    def sees_straight(self, step: int) -> bool:
        """Whether an iteration's identity term is that of the reported similarity: `similarity` is 1 minus it."""
        return self.exact and self.draws is None and step % len(self.views) == 0

    def judge_similarity(
        self, targets: Targets, shown: Float[Tensor, "active 3 side side"]
    ) -> Float[Tensor, " active"]:
        """The same by the judge; nan without one."""
        if self.models.judge is None:
            return torch.full_like(shown[:, 0, 0, 0], torch.nan)
        return self._similarity_by(self.models.judge, targets, shown)

    def _similarity_by(
        self, network: RecognitionModel, targets: Targets, shown: Float[Tensor, "active 3 side side"]
    ) -> Float[Tensor, " active"]:
        view = self.views[0]
        faces = torch.cat((targets.images, shown))
        seen = network(resample_window(faces, view.vertical, view.horizontal)).embedding
        first, second = seen.chunk(2)
        return 1 - losses.identity_distance(first, second)


def _from_posterior(identity: Float[Tensor, "active identity"], held: Held | None) -> Float[Tensor, " active"]:
    """Squared Mahalanobis distance of the identities from what holds them; 0 where nothing does."""
    if held is None:
        return torch.zeros_like(identity[:, 0])
    away = (identity - held.mean).unsqueeze(-1)
    return (away.mT @ held.precision @ away).flatten()
