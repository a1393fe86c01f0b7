"""A texture model learned from photos of many people, by expectation maximisation with imputation.

Every photo shows a part of a face only, so what is not seen has to be known to learn from it, and what has been learned
tells what is not seen (missing data in principal components, Tipping and Bishop 1999; Roweis 1998). In turn,

E: each person's texture is completed by the model of now where its photos do not show it, or show what few modes of the
   model cannot follow: glasses, a fringe, a hand (`complete_person`);
M: mean and principal components of the completed textures and of their mirror images are the next model
   (`learned_texture`), with the tones of the texture model of before as pseudo-samples.

What is antisymmetric in a face is mostly light that was not removed, and is held back. The prior's modes are blurred
first: skin tones and what no photo shows come from it, features do not. Only sketches of the completed textures are
kept (`ops.texture.sketches`), so any number of people fits into memory.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import ConfigurationError
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import UV_LAYOUT as FACEWORLD_LAYOUT
from ops.texture.atlas import Atlas, make_atlas
from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.completion import (
    CHROMA_SCALE,
    EYE_WEIGHT,
    SeenTexture,
    agreement,
    complete_eyeballs,
    complete_spots,
    complete_texture,
    seen_share,
    told_shares,
)
from ops.texture.interface import TextureModel
from ops.texture.layout import ATLAS_LAYOUT
from ops.texture.pca import PcaTexture
from ops.texture.procedural import canvas_for, texel_weight
from ops.texture.sketches import Mirroring, Parts, TextureSketch, principal_combinations, sketch_textures

PRIOR_PEOPLE = 25.0
"""How many people the prior's tones count as."""
PRIOR_BLUR = 9 / 256
"""Standard deviation of the blur of the prior's modes, texture sides: what is finer there is paint, not skin."""
NOISE = 0.05
"""Standard deviation of a texel's residual."""
REDUNDANT_TEXELS = 40.0
"""Texels, at 256 a side, that tell one thing: residuals of neighbours are not independent."""
FEW_MODES = 16
"""Modes that decide what to trust; more would follow a single person's glasses."""
TRUST_LEARNED, TRUST_FIRST = 0.08, 0.14
"""Luma differences at which a texel is half believed: to learned modes, and to the fit's texture at first."""
TRUST_ROUNDS = 2
OTHER_WEIGHT = 0.3
"""Weight of the fitted texture where no part of the model lies."""
ODD_SHARE = 0.5
"""Factor of the antisymmetric part."""


class LearnedTexture(NamedTuple):
    """A linear texture model in luma, Cb, Cr."""

    mean: Float[Tensor, "3 side side"]
    modes: Float[Tensor, "mode 3 side side"]
    """Offsets of one standard deviation, by falling variance."""

    def pca(self, uv_layout: str) -> PcaTexture:
        """The same model in RGB, as the fit takes it."""
        return PcaTexture(
            mean=rgb_from_luma_chroma(self.mean).contiguous(),
            basis=rgb_from_luma_chroma(self.modes).contiguous(),
            uv_layout=uv_layout,
        )


class SeenPerson(NamedTuple):
    """A person to learn from; luma, Cb, Cr."""

    seen: SeenTexture
    fitted: Float[Tensor, "3 side side"]
    """The texture of the person's fit."""


class Completed(NamedTuple):
    """A person's complete texture."""

    texture: Float[Tensor, "3 side side"]
    left: float
    """Mean absolute luma difference between photos and model where they are seen."""
    trusted: float
    """Share of what is seen that was believed."""
    told: Float[Tensor, "3 side side"]
    """How far every texel is what photos show, in [0, 1]; the rest is guessed."""


@dataclass(frozen=True, kw_only=True)
class TextureLearner:
    """What stays the same over people and iterations."""

    atlas: Atlas
    importance: Float[Tensor, "side side"]
    """How much a texel counts when modes are chosen and latents found."""
    prior: PcaTexture
    """The model of before, of the atlas' side."""
    mode_count: int = 100

    @property
    def mirroring(self) -> Mirroring:
        """Which texels mirror each other."""
        eyeballs = self.atlas.eyeballs | self.atlas.eyeballs.flip(-1)
        return Mirroring(mirrored=self.atlas.mirrored & ~eyeballs)

    @property
    def weight(self) -> Float[Tensor, "3 side side"]:
        """Importance per channel."""
        scale = self.importance.new_tensor((1.0, CHROMA_SCALE, CHROMA_SCALE))
        return self.importance * scale[:, None, None] ** 2

    def metric(self) -> Parts:
        """Of the sketches."""
        return self.mirroring.metric(self.weight)

    def complete_person(self, person: SeenPerson, model: LearnedTexture | None) -> Completed:
        """The E-step for one person; without a model, by the fit's own texture."""
        face, spots, seen = self.atlas.face, self.atlas.spots > 0, person.seen
        learned = self.atlas.covered | spots
        if model is None:
            expected = person.fitted
            trust = agreement(seen.albedo, expected, TRUST_FIRST, chroma=False)
        else:
            told = torch.where(learned, seen.albedo, person.fitted)
            weight = torch.where(learned, seen.weight, OTHER_WEIGHT)
            trust = torch.ones_like(self.importance)
            few = LearnedTexture(model.mean, model.modes[:FEW_MODES])
            for _ in range(TRUST_ROUNDS):
                coarse = self.explain(few, told, weight * trust)
                trust = torch.where(face, agreement(seen.albedo, coarse, TRUST_LEARNED, chroma=False), 1.0)
            expected = self.explain(model, told, weight * trust)
        full = torch.where(face, complete_texture(expected, seen, self.atlas, face, trust), expected)
        share = told_shares(seen.weight, self.atlas, face, trust)[0]
        if bool(self.atlas.eyeballs.any()):
            share = torch.where(self.atlas.eyeballs, seen_share(EYE_WEIGHT * seen.weight), share)
            full = torch.where(self.atlas.eyeballs, complete_eyeballs(expected, seen, self.atlas), full)
        full = torch.where(spots, complete_spots(expected, seen, self.atlas), full)
        share = torch.where(spots, seen.weight, share)
        shown = seen.luma_weight * face
        total = float(shown.sum().clamp_min(1e-6))
        left = float(((seen.albedo[0] - expected[0]).abs() * shown).sum()) / total
        return Completed(full, left, float((trust * shown).sum()) / total, share)

    def explain(
        self,
        model: LearnedTexture,
        told: Float[Tensor, "3 side side"],
        weight: Float[Tensor, "3 side side"],
    ) -> Float[Tensor, "3 side side"]:
        """The model's texture under the posterior mean of the latent, given a texture that is partly told."""
        redundant = REDUNDANT_TEXELS * (self.atlas.side / 256) ** 2
        precision = (weight * self.weight).flatten() / (NOISE**2 * redundant)
        used = precision > 0
        rows, root = model.modes.flatten(1)[:, used], precision[used].sqrt()
        scaled = rows * root
        normal = (scaled @ scaled.mT).double() + torch.eye(len(rows), dtype=torch.float64)
        right = scaled @ (root * (told - model.mean).flatten()[used])
        latent = torch.linalg.solve(normal, right.double()).float()
        return model.mean + (latent @ model.modes.flatten(1)).unflatten(0, model.mean.shape)

    def sketch(self, textures: Float[Tensor, "person 3 side side"]) -> TextureSketch:
        """What is kept of completed textures."""
        return sketch_textures(textures, self.mirroring, self.metric())

    def learned_texture(self, sketch: TextureSketch) -> LearnedTexture:
        """The M-step: mean and modes of everything in a sketch, and of the prior's tones."""
        metric, mirroring = self.metric(), self.mirroring
        prior = mirroring.split(self._prior_tones())
        total = sketch.textures + PRIOR_PEOPLE
        share = (PRIOR_PEOPLE / total) ** 0.5
        even = torch.cat((sketch.even / total**0.5, prior.even * share))
        odd = torch.cat((sketch.odd * (ODD_SHARE / total**0.5), prior.odd * share))
        values: list[Tensor] = []
        modes: list[Tensor] = []
        for rows, weight, join in ((even, metric.even, mirroring.join_even), (odd, metric.odd, mirroring.join_odd)):
            variance, vectors = principal_combinations(rows, weight)
            kept = min(self.mode_count, len(rows))
            values.append(variance[:kept])
            modes.append(join(vectors[:, :kept].mT @ rows, 3))
        order = torch.cat(values).argsort(descending=True, stable=True)[: self.mode_count]
        mean = mirroring.join_even(sketch.mean.unsqueeze(0), 3)[0]
        return LearnedTexture(mean, torch.cat(modes)[order])

    def _prior_tones(self) -> Float[Tensor, "mode 3 side side"]:
        """The prior's modes, blurred inside the face."""
        import cv2

        face = self.atlas.face
        mask: Any = face.float().numpy()
        sigma = PRIOR_BLUR * self.atlas.side
        norm = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma)) + 1e-4
        modes = luma_chroma_from_rgb(self.prior.basis)
        blurred = [
            np.asarray(cv2.GaussianBlur(one * mask, (0, 0), sigma)) / norm for one in modes.flatten(0, 1).numpy()
        ]
        return torch.where(face, torch.from_numpy(np.stack(blurred)).unflatten(0, modes.shape[:2]), modes)


def make_learner(shape: MorphableModel, prior: TextureModel, side: int, mode_count: int) -> TextureLearner:
    """What learning a texture model of a side for a shape model needs.

    Raises:
        ConfigurationError: a prior that is no PCA, or has another number of texels than the side or a multiple of it.
    """
    if not isinstance(prior, PcaTexture):
        raise ConfigurationError("expected a bundle with a PCA texture to learn another from, got a generator")
    if prior.resolution == side or side in prior.levels:
        mean, basis = prior.at_level(side)
        prior = PcaTexture(mean=mean, basis=basis, uv_layout=prior.uv_layout)
    else:
        raise ConfigurationError(f"expected a side out of {', '.join(map(str, prior.levels))} texels, got {side}")
    return TextureLearner(
        atlas=make_atlas(shape, side), importance=texel_importance(shape, side), prior=prior, mode_count=mode_count
    )


def texel_importance(shape: MorphableModel, side: int) -> Float[Tensor, "side side"]:
    """How much a texel counts: features most where the layout says where they lie, else all alike."""
    if shape.metadata.uv_layout in (ATLAS_LAYOUT, FACEWORLD_LAYOUT):
        return torch.from_numpy(texel_weight(canvas_for(shape, side)))
    return torch.ones(side, side)
