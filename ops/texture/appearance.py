"""Texture and light of faces whose shape and camera are known, from the pixels of their photos.

At a texel that a photo shows the Phong model (see `ops.render.shading`) says

    photo = albedo (ambient + colour max(n.l, 0)) + colour highlight,

linear in the coefficients of a principal-component texture, and smooth in the light. Both are found together by
Levenberg-Marquardt on Cauchy residuals, under the texture's prior N(0, 1) and a prior of the light; the light of every
photo is eliminated, so the system is as large as the texture's however many photos a person has.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from ops.face.morphable_model import MorphableModel
from ops.files.photo import LUMA
from ops.geometry.camera import Camera, project_points
from ops.geometry.constants import constant_like
from ops.geometry.mesh_normals import vertex_normals
from ops.render.lighting import LIGHT_SIZE
from ops.render.shading import PhongMaterial
from ops.texture.atlas import make_atlas
from ops.texture.pca import PcaTexture

LEVEL = 64
"""Side of the textures that are compared."""
POSITION_MM = 1000.0
"""What a unit of the light's position is in the priors and steps."""
_MATERIAL = PhongMaterial()


@dataclass(frozen=True, kw_only=True)
class AppearanceConfig:
    """Noise, priors and iterations of the estimate."""

    noise: float = 0.04
    """Standard deviation of a texel's residual, RGB in [0, 1]."""
    redundant: float = 2.5
    """Texels of the level, compared or not, that tell one thing: residuals of neighbours are not independent."""
    outlier: float = 0.12
    """Residual at which a texel counts half (Cauchy)."""
    position_sigma: float = 0.45
    """Prior standard deviation of the light's position, metres."""
    colour_sigma: float = 1.0
    """The same of its colour and of the ambient light."""
    tint_sigma: float = 0.07
    """The same of their differences between R, G and B: light is nearly white, so skin tone is texture."""
    facing: tuple[float, float] = (0.1, 0.35)
    """Cosine between normal and line of sight below which a texel counts nothing, and above which it counts whole."""
    every: int = 2
    """One texel of the face out of so many is compared."""
    iterations: int = 4


class PosedFaces(NamedTuple):
    """Photos with the surfaces that were found in them; images of one person carry the same group number."""

    vertices_mm: Float[Tensor, "image vertex 3"]
    camera: Camera
    """In the frame of the pictures."""
    images: Float[Tensor, "image 3 side side"]
    """RGB in [0, 1]."""
    weight: Float[Tensor, "image side side"]
    """Which pixels show skin, in [0, 1]."""
    grey: Bool[Tensor, " image"]
    """Of these only the luma is compared."""
    group: Int64[Tensor, " image"]
    """0, 1, ... without gaps."""


class Appearance(NamedTuple):
    """What was found; images of one person share the texture."""

    texture: Float[Tensor, "image latent"]
    light: Float[Tensor, "image 9"]
    """(position mm, colour, ambient), see `ops.render.lighting`."""


class PcaPart(NamedTuple):
    """A linear texture model at some texels."""

    mean: Float[Tensor, "3 texel"]
    basis: Float[Tensor, "latent 3 texel"]

    def __call__(self, texture: Float[Tensor, "image latent"]) -> Float[Tensor, "image 3 texel"]:
        """RGB of the texels."""
        return torch.addmm(self.mean.flatten(), texture, self.basis.flatten(1)).unflatten(1, self.mean.shape)


class _Texels(NamedTuple):
    """What the photos show of the texels, every one at its place on the surface."""

    seen: Float[Tensor, "image 3 texel"]
    weight: Float[Tensor, "image 3 texel"]
    point_mm: Float[Tensor, "image texel 3"]
    normal: Float[Tensor, "image texel 3"]
    to_eye: Float[Tensor, "image texel 3"]


class _Slopes(NamedTuple):
    """Predicted colours and their derivatives."""

    predicted: Float[Tensor, "image 3 texel"]
    shading: Float[Tensor, "image 3 texel"]
    """By the albedo."""
    by_light: Float[Tensor, "image 3 texel 9"]


class AppearanceSolver:
    """Finds texture and light of posed faces: what does not depend on the photos."""

    def __init__(self, shape: MorphableModel, texture: PcaTexture, config: AppearanceConfig | None = None) -> None:
        self.config = config or AppearanceConfig()
        level = max((side for side in texture.levels if side <= LEVEL), default=texture.levels[0])
        atlas = make_atlas(shape, level).to(texture.mean.device)
        mean, basis = texture.at_level(level)
        self._triangles = shape.triangles
        rows, columns = torch.nonzero(atlas.face, as_tuple=True)
        chosen = rows[:: self.config.every], columns[:: self.config.every]
        self._corners, self._weights = atlas.corners[chosen], atlas.weights[chosen].unsqueeze(-1)
        self._mean, self._basis = mean[:, *chosen], basis[:, :, *chosen]
        self._luma = self._mean.new_zeros(3, 3)
        self._luma[0] = constant_like(LUMA, self._mean)

    def __call__(self, faces: PosedFaces, texture: Tensor, light: Tensor) -> Appearance:
        """Texture and light near which the photos' pixels are most likely.

        Args:
            faces: what is known.
            texture: the mean of its prior, and where it starts: [image, latent], equal rows for a person.
            light: the same: [image, 9], (position mm, colour, ambient).
        """
        texels, shown = self._look(faces)
        mix = torch.where(faces.grey[:, None, None], self._luma, torch.eye(3).to(self._luma))
        texels = texels._replace(seen=mix @ texels.seen, weight=texels.weight * (mix.abs().sum(-1, keepdim=True) > 0))
        units = light.new_tensor((POSITION_MM,) * 3 + (1.0,) * 6)
        model = PcaPart(self._mean[:, shown], self._basis[:, :, shown])
        problem = _Problem(self.config, model, texels, mix, faces.group, texture, light / units)
        found, lit = problem.solve()
        return Appearance(found, lit * units)

    def _look(self, faces: PosedFaces) -> tuple[_Texels, Bool[Tensor, " texel"]]:
        """The texels that any of the photos shows, and which these are."""
        config = self.config
        normals = vertex_normals(faces.vertices_mm, self._triangles)
        point, normal = self._at(faces.vertices_mm), normalize(self._at(normals), dim=-1)
        xy = project_points(faces.camera, point)
        to_eye = normalize(faces.camera.eye_mm.unsqueeze(1) - point, dim=-1)
        start, end = config.facing
        facing = (((normal * to_eye).sum(-1) - start) / (end - start)).clamp(0, 1)
        inside = ((xy > 0) & (xy < 1)).all(-1)
        coarse = max(1, faces.images.shape[-1] // (2 * LEVEL))
        pictures = torch.cat((faces.images, faces.weight.unsqueeze(1)), 1)
        grid = (2 * xy - 1).unsqueeze(1).to(pictures)
        seen = grid_sample(
            avg_pool2d(pictures, coarse), grid, mode="bilinear", padding_mode="border", align_corners=False
        )[:, :, 0]
        weight = seen[:, 3] * facing * inside
        # Dropping the others changes the order of sums, and with it who shares a batch would; on the CPU nobody does.
        shown = (weight > 0).any(0) if weight.device.type == "cpu" else torch.ones_like(weight[0], dtype=torch.bool)
        rows = (values[:, shown] for values in (point, normal, to_eye))
        return _Texels(seen[:, :3, shown], weight[:, None, shown].expand(-1, 3, -1), *rows), shown

    def _at(self, values: Float[Tensor, "image vertex 3"]) -> Float[Tensor, "image texel 3"]:
        return (values[:, self._corners] * self._weights).sum(-2)


class _Problem:
    """The least squares of some photos."""

    def __init__(
        self,
        config: AppearanceConfig,
        model: PcaPart,
        texels: _Texels,
        mix: Float[Tensor, "image 3 3"],
        group: Int64[Tensor, " image"],
        texture: Float[Tensor, "image latent"],
        light: Float[Tensor, "image 9"],
    ) -> None:
        self.config, self.model, self.texels, self.mix, self.group = config, model, texels, mix, group
        self.groups = int(group.max()) + 1
        self.grey = (mix[:, 1, 1] == 0).tolist()
        self.texture, self.light, self.light_precision = texture, light, _light_precision(config, light)
        self.weight = texels.weight * (config.every / (config.noise**2 * config.redundant))

    def solve(self) -> tuple[Float[Tensor, "image latent"], Float[Tensor, "image 9"]]:
        """Levenberg-Marquardt; people are independent of each other."""
        texture, light = self.texture, self.light
        damping = self.weight.new_full((self.groups,), 1e-2)
        slopes = self._slopes(texture, light)
        cost = self._cost(slopes, texture, light)
        for _ in range(self.config.iterations):
            texture_step, light_step = self._step(slopes, texture, light, damping)
            tried_texture = texture + texture_step
            tried_light = light + light_step
            tried_light = torch.cat((tried_light[:, :3], tried_light[:, 3:].clamp_min(0)), 1)
            tried = self._slopes(tried_texture, tried_light)
            tried_cost = self._cost(tried, tried_texture, tried_light)
            better = tried_cost < cost
            mine = better[self.group]
            texture = torch.where(mine[:, None], tried_texture, texture)
            light = torch.where(mine[:, None], tried_light, light)
            slopes = _Slopes(
                *(
                    torch.where(mine.view(-1, *[1] * (new.ndim - 1)), new, old)
                    for new, old in zip(tried, slopes, strict=True)
                )
            )
            cost = torch.where(better, tried_cost, cost)
            damping = torch.where(better, (damping / 5).clamp_min(1e-4), damping * 8)
        return texture, light

    def _slopes(self, texture: Tensor, light: Tensor) -> _Slopes:
        return phong_slopes(self.texels, self.model(texture), light)

    def _residual(self, slopes: _Slopes) -> Float[Tensor, "image 3 texel"]:
        return self.texels.seen - self.mix @ slopes.predicted

    def _cost(self, slopes: _Slopes, texture: Tensor, light: Tensor) -> Float[Tensor, " group"]:
        scale = self.config.outlier**2
        misfit = (self.weight * scale * torch.log1p(self._residual(slopes).square() / scale)).sum((1, 2))
        moved = light - self.light
        own = misfit + ((moved @ self.light_precision) * moved).sum(1)
        return self._summed(own) + self._first((texture - self.texture).square().sum(1))

    def _step(
        self, slopes: _Slopes, texture: Tensor, light: Tensor, damping: Float[Tensor, " group"]
    ) -> tuple[Float[Tensor, "image latent"], Float[Tensor, "image 9"]]:
        residual = self._residual(slopes)
        root = (self.weight / (1 + residual.square() / self.config.outlier**2)).sqrt()
        right = (root * residual).flatten(1)
        by_light = torch.einsum("icd,idtk->ictk", self.mix, slopes.by_light) * root.unsqueeze(-1)
        by_light = by_light.flatten(1, 2)
        own = by_light.mT @ by_light + self.light_precision
        own_gradient = (by_light.mT @ right.unsqueeze(-1)).squeeze(-1) - (light - self.light) @ self.light_precision
        own = own + torch.diag_embed(own.diagonal(dim1=1, dim2=2) * damping[self.group, None])
        size = texture.shape[1]
        normal = residual.new_zeros(len(texture), size, size)
        mixed = residual.new_zeros(len(texture), size, LIGHT_SIZE)
        gradient = torch.zeros_like(texture)
        for image in range(len(texture)):
            moved, weighted = self.model.basis * slopes.shading[image], root[image]
            if self.grey[image]:
                moved, weighted = torch.einsum("c,lct->lt", self.mix[image, 0], moved), root[image, 0]
            rows = (moved * weighted).flatten(1)
            normal[image] = rows @ rows.mT
            mixed[image] = rows @ by_light[image, : rows.shape[1]]
            gradient[image] = rows @ right[image, : rows.shape[1]]
        follow = torch.linalg.solve(own, torch.cat((mixed.mT, own_gradient.unsqueeze(-1)), -1))
        eye = torch.eye(size).to(normal)
        total = self._summed(normal)
        total = total + torch.diag_embed(total.diagonal(dim1=1, dim2=2) * damping[:, None]) + eye
        total = total - self._summed(mixed @ follow[..., :-1])
        pulled = self._summed(gradient - (mixed @ follow[..., -1:]).squeeze(-1))
        pulled = pulled - self._first(texture - self.texture)
        step = torch.linalg.solve(total.double(), pulled.double()).to(texture)[self.group]
        return step, follow[..., -1] - (follow[..., :-1] @ step.unsqueeze(-1)).squeeze(-1)

    def _summed(self, values: Float[Tensor, "image *rest"]) -> Float[Tensor, "group *rest"]:
        return values.new_zeros(self.groups, *values.shape[1:]).index_add_(0, self.group, values)

    def _first(self, values: Float[Tensor, "image *rest"]) -> Float[Tensor, "group *rest"]:
        """What the images of a person have in common, once a person."""
        counts = self._summed(torch.ones_like(values[:, :1] if values.ndim > 1 else values))
        return self._summed(values) / counts


def phong_slopes(
    texels: _Texels,
    albedo: Float[Tensor, "image 3 texel"],
    light: Float[Tensor, "image 9"],
    material: PhongMaterial = _MATERIAL,
) -> _Slopes:
    """The Phong model at the texels."""
    position, colour, ambient = (part.unsqueeze(1) for part in light.split(3, -1))
    away = position * POSITION_MM - texels.point_mm
    distance = away.norm(dim=-1, keepdim=True).clamp_min(1.0)
    to_light, normal, to_eye = away / distance, texels.normal, texels.to_eye
    cosine = (normal * to_light).sum(-1, keepdim=True)
    lit = cosine > 0
    turned = 2 * (normal * to_eye).sum(-1, keepdim=True) * normal - to_eye
    glance = torch.where(lit, (turned * to_light).sum(-1, keepdim=True), torch.zeros_like(cosine)).clamp_min(0)
    power = material.shininess
    highlight = material.specular * glance**power
    cosine_slope = lit * (normal - cosine * to_light) * (POSITION_MM / distance)
    glance_slope = material.specular * power * glance ** (power - 1) * (turned - glance * to_light)
    glance_slope = lit * glance_slope * (POSITION_MM / distance)
    diffuse, gloss = cosine.clamp_min(0).movedim(-1, 1), highlight.movedim(-1, 1)
    tints, fill = colour.movedim(-1, 1), ambient.movedim(-1, 1)
    shading = fill + tints * diffuse
    by_position = tints.unsqueeze(-1) * (albedo.unsqueeze(-1) * cosine_slope.unsqueeze(1) + glance_slope.unsqueeze(1))
    own = torch.eye(3).to(albedo)[:, None, :]
    by_colour = (albedo * diffuse + gloss).unsqueeze(-1) * own
    by_ambient = albedo.unsqueeze(-1) * own
    return _Slopes(albedo * shading + tints * gloss, shading, torch.cat((by_position, by_colour, by_ambient), -1))


def _light_precision(config: AppearanceConfig, like: Tensor) -> Float[Tensor, "9 9"]:
    precision = torch.eye(LIGHT_SIZE).to(like) / config.colour_sigma**2
    precision[:3, :3] = torch.eye(3).to(like) / config.position_sigma**2
    tint = (torch.eye(3).to(like) - 1 / 3) / config.tint_sigma**2
    for part in (slice(3, 6), slice(6, 9)):
        precision[part, part] += tint
    return precision
