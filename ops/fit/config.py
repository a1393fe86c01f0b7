"""What a fit optimises, for how long and how fast; the presets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Literal, get_args

from ops.errors import ConfigurationError

Method = Literal["ganfit", "fastganfit", "ganfit++"]
"""ganfit: landmarks, then optimisation; fastganfit: the regressor's answer; ganfit++: optimisation from there."""


LAST_SCALE = 0.1
"""Factor of the step sizes that a cosine ends at."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms of the objective; every term is a sum over one image, never a mean over a batch.

    A term of weight 0 is left out with everything that only it needs.
    """

    identity: float = 2.0
    """1 - cosine between the embeddings of input and render."""
    identity_second: float = 2.0
    """The same for the second, randomised render."""
    content: float = 50.0
    """Unsquared norms of the feature differences, each over its number of elements."""
    pixel: float = 1.0
    """Mean absolute colour difference over the compared pixels."""
    landmark: float = 0.001
    """Norm of the 68 landmark differences in crop pixels."""
    eyelid: float = 0.0
    """Sum of the norms of the four differences of eyelid openings in crop pixels."""
    shape: float = 0.05
    """Squared norm of the identity and expression coefficients, in standard deviations."""
    light: float = 0.01
    """Squared distance of light colour and ambient from the light prior's mean."""
    light_chroma: float = 0.0
    """Squared spread over R, G, B of light colour and ambient: keeps the light white, so skin tone is texture."""
    texture: float = 0.0
    """Squared norm of the texture latent, in standard deviations."""
    expression: float = 0.0
    """Squared norm of the expression coefficients, on top of `shape`."""
    posterior: float = 0.0
    """Squared Mahalanobis distance of the identity from stage one's posterior of the person; only with dense points or
    where the landmarks' bias is known, as what points say of a shape is to be trusted only then."""


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Adam step sizes by parameter group, in solver units (see `ops.fit.parameters`)."""

    identity: float = 0.01
    expression: float = 0.01
    texture: float = 0.01
    camera: float = 0.01
    light: float = 0.01


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """One configuration of the two-stage fit."""

    render_px: int = 224
    """Side of the aligned crop and of the first render, pixels."""
    start: Literal["landmarks", "regressor"] = "landmarks"
    """What stage two starts from: stage one's fit of the landmarks, or the regressor's answer."""
    appearance_start: Literal["prior", "pixels"] = "prior"
    """Texture and light that stage two starts from after stage one: the prior's mean, or what the photos' pixels tell
    of them on stage one's shape (a linear texture model has them at once, see `ops.texture.appearance`, and a
    generator with a linear image those of its linear part). A regressor answers them; pixels tell them where it was
    trained with another texture model."""
    identity_prior: Literal["population", "regressor"] = "population"
    """What stage one takes for likely before it looks at points: the mean face, as everybody's prior says, or the
    regressor's answer with the errors it is known to make (where the models have one)."""
    landmark_solver: Literal["levenberg-marquardt", "adam"] = "levenberg-marquardt"
    """Solver of stage one."""
    landmark_steps: int = 12
    """Iterations of stage one."""
    steps: int = 60
    """Iterations of stage two at most."""
    weights: LossWeights = field(default_factory=LossWeights)
    learned_posterior: float | None = None
    """The weight `posterior` where the texture model was learned from photos: a shape need not make up for paint then,
    and may be held more firmly. None: the same weight."""
    images_that_share_texture_prior: int = 1
    """The term `texture` is divided among a person's images, up to so many: what they share is one texture, of which
    more images tell more. 1: each image has the whole term, so that several never outweigh it."""
    learning_rates: LearningRates = field(default_factory=LearningRates)
    pixel_range: float = 1.0
    """What white is in the pixel term."""
    landmark_term: Literal["norm", "squares"] = "norm"
    """The norm of all landmark differences, or the sum of their squares."""
    nesterov: bool = False
    """Adam with Nesterov's momentum in stage two (Nadam)."""
    cosine_decay: bool = False
    """Lower the step sizes along half a cosine, to a tenth of the given ones at the end."""
    composite: bool = False
    """Show recognition the first render over the input instead of over black."""
    views: int = 1
    """Number of fixed crops (shifted, scaled, mirrored alike for input and render) recognition looks at in turn."""
    skin_mask: bool = False
    """Compare pixels only inside the landmark hull, the forehead included."""
    texture_level_ends: tuple[float, ...] = ()
    """Progress of stage two, in (0, 1), at which it leaves each of the texture's levels below the largest, the next
    below it last; none: the largest level throughout. A face that would stop early goes on at the largest one."""
    coarsest_texels: int = 64
    """Texture levels of a smaller side are not used."""
    second_render: bool = True
    """Render the same person a second time under a random pose, expression and light."""
    recognition_precision: Literal["float32", "bfloat16"] = "float32"
    """What the optimised recognition network computes in. Losses and every figure that is reported stay float32."""
    early_stop_window: int = 30
    """A face stops when its smoothed loss has not fallen for this many iterations; 0 never stops early."""
    early_stop_tolerance: float = 1e-3
    """Relative fall of the smoothed loss that counts as progress."""

    def __post_init__(self) -> None:
        if self.render_px < 32 or self.steps < 0 or self.landmark_steps < 1 or self.views < 1:
            raise ConfigurationError(
                "expected render_px >= 32, steps >= 0, landmark_steps >= 1 and views >= 1, got "
                f"{self.render_px}, {self.steps}, {self.landmark_steps}, {self.views}"
            )
        if self.images_that_share_texture_prior < 1:
            raise ConfigurationError(
                f"expected images_that_share_texture_prior >= 1, got {self.images_that_share_texture_prior}"
            )
        ends = (0.0, *self.texture_level_ends, 1.0)
        if any(end <= start for start, end in pairwise(ends)):
            raise ConfigurationError(
                f"expected texture_level_ends rising between 0 and 1, got {self.texture_level_ends}"
            )

    @property
    def method(self) -> Method:
        """What this configuration is called."""
        if self.start == "landmarks":
            return "ganfit"
        return "ganfit++" if self.steps else "fastganfit"

    def by(self, method: Method) -> "FitConfig":
        """The same configuration for a method; without a second render where nothing is optimised.

        Raises:
            ConfigurationError: no such method, or one that optimises with no steps to do so.
        """
        if method not in get_args(Method):
            raise ConfigurationError(f"expected a method out of {', '.join(get_args(Method))}, got {method!r}")
        start: Literal["landmarks", "regressor"] = "landmarks" if method == "ganfit" else "regressor"
        changed = replace(self, start=start)
        if method == "fastganfit":
            changed = replace(changed, steps=0, second_render=False)
        if changed.method != method:
            raise ConfigurationError(f"the method {method} optimises: expected steps > 0, got {self.steps}")
        return changed

    def with_texture(self, *, learned: bool) -> "FitConfig":
        """The same configuration for a texture model that was learned from photos, or for another one."""
        if not learned or self.learned_posterior is None:
            return self
        return replace(self, weights=replace(self.weights, posterior=self.learned_posterior))

    def step_scale(self, step: int) -> float:
        """Factor of all step sizes at iteration `step` of stage two."""
        if not self.cosine_decay:
            return 1.0
        return (1 + LAST_SCALE) / 2 + (1 - LAST_SCALE) / 2 * math.cos(math.pi * step / self.steps)

    def texture_level(self, levels: Sequence[int], step: int) -> int:
        """Which of a texture's levels (ascending) iteration `step` of stage two renders; the largest after the last."""
        levels_below = sum(step < end * self.steps for end in self.texture_level_ends)
        useful = [side for side in levels if side >= self.coarsest_texels] or list(levels[-1:])
        return useful[max(len(useful) - 1 - levels_below, 0)]

    def terms(self) -> frozenset[str]:
        """Names of the terms that count: those with a weight, the second render's only where there is one."""
        weighted = {field.name for field in fields(self.weights) if getattr(self.weights, field.name)}
        return frozenset(weighted if self.second_render else weighted - {"identity_second"})


def paper_preset() -> FitConfig:
    """GANFIT as published (Gecer et al., CVPR 2019): Adam throughout, the published weights and step size.

    What the paper leaves open is read so that these weights give such fits as it shows: squared landmark distances in
    pixels, colours in [-1, 1] summed over R, G and B, the render over the photo and compared with it where the face is,
    all iterations. Other readings give faces in green and purple, see docs/experiments/objective.md.
    """
    return FitConfig(
        landmark_solver="adam",
        landmark_steps=200,
        steps=600,
        landmark_term="squares",
        pixel_range=6.0,
        composite=True,
        skin_mask=True,
        early_stop_window=0,
    )


def default_preset() -> FitConfig:
    """The same objective with the levers that measured better on real photos at a fraction of the iterations."""
    return FitConfig(
        steps=60,
        appearance_start="pixels",
        identity_prior="regressor",
        weights=LossWeights(
            content=200.0,
            landmark=0.015,
            eyelid=0.05,
            shape=0.004,
            light=0.05,
            light_chroma=2.0,
            texture=0.002,
            expression=0.1,
            pixel=5.0,
            posterior=0.016,
        ),
        learned_posterior=0.04,
        images_that_share_texture_prior=4,
        learning_rates=LearningRates(identity=0.1, expression=0.06, texture=0.2, camera=0.02, light=0.04),
        cosine_decay=True,
        nesterov=True,
        composite=True,
        views=8,
        skin_mask=True,
    )


def faceworld_preset() -> FitConfig:
    """The default for people of the face world, whose heads the models draw exactly: what differs is the fit's fault.

    Pixels decide, priors and landmarks hardly count, and there is no second render: it holds a shape back where pixels
    leave it free, and these pixels tell more of the shape than recognition from another side does.
    """
    default = default_preset()
    weights = replace(
        default.weights, content=50.0, pixel=320.0, shape=0.0006, landmark=0.003, eyelid=0.0, posterior=0.0
    )
    rates = LearningRates(identity=0.04, expression=0.04, texture=0.08, camera=0.01, light=0.03)
    return replace(
        default,
        steps=240,
        appearance_start="prior",
        identity_prior="population",
        weights=weights,
        learned_posterior=None,
        images_that_share_texture_prior=1,
        learning_rates=rates,
        second_render=False,
    )


def preset(name: str) -> FitConfig:
    """The preset called `name`.

    Raises:
        ConfigurationError: no such preset.
    """
    presets = {"default": default_preset, "faceworld": faceworld_preset, "paper": paper_preset}
    if name not in presets:
        raise ConfigurationError(f"expected a preset out of {', '.join(sorted(presets))}, got {name!r}")
    return presets[name]()
