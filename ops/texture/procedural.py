"""The PCA texture of procedurally painted faces, for any model whose layout can be painted; built once and cached.

The set is made for photographs of anybody: no hair on the scalp, every feature drawn independently of the others, and
smooth tonal fields on top, so that the modes can follow a real face's brows, eyes, lips, beard and shading apart from
each other. The modes are chosen under an inner product that counts eyes, brows, nose and mouth several times, skin on
the front once, and scalp, ears and neck hardly at all.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import Appearance, sample_appearance
from ops.faceworld.canonical import EYE_X_MM, EYE_Y_MM, MOUTH_Y_MM, CanonicalMap, Part, brow_middle, bump
from ops.faceworld.shape import UV_LAYOUT as FACEWORLD_LAYOUT
from ops.faceworld.shape import faceworld_canonical_map
from ops.texture.atlas import make_atlas
from ops.texture.layout import canonical_map
from ops.texture.locality import face_windows, localised
from ops.texture.pca import PcaTexture, fit_pca_texture, load_pca_texture, save_pca_texture
from ops.texture.sketches import Mirroring

RECIPE_VERSION = 3
"""Raise it when the paint or the layout changes, so that cached textures are built anew."""
BACKGROUND_WEIGHT, SKIN_WEIGHT, FEATURE_WEIGHT, EYEBALL_WEIGHT = 0.05, 1.0, 6.0, 3.0


@dataclass(frozen=True, kw_only=True)
class TextureRecipe:
    """What shapes a procedural PCA texture besides the model it is drawn on."""

    resolution: int = 256
    """Side in texels."""
    mode_count: int = 100
    """Number of modes of the whole face."""
    local_modes: int = 300
    """Number of modes once half of their variance is confined to parts of the face (`ops.texture.locality`); 0: do not
    confine it."""
    sample_count: int = 1200
    """Number of painted faces."""
    hair: bool = False
    """Whether hair is painted on the scalp; a set for photographs has none, so that foreheads stay skin."""
    freedom: float = 0.16
    """Scale of the smooth tonal fields; see `sample_appearance`."""
    seed: int = 0
    """Of the painted faces."""


def load_or_build_texture(model: MorphableModel, cache_dir: Path, recipe: TextureRecipe | None = None) -> PcaTexture:
    """The procedural PCA texture of a model's layout, from the cache or built (about a CPU-minute) and cached.

    The model must carry the layout the texture is wanted on (see `procedural_layout`).
    """
    recipe = recipe or default_recipe(model)
    path = texture_path(model, cache_dir, recipe)
    if not path.is_file():
        save_pca_texture(build_texture(model, recipe), path)
    return load_pca_texture(path)


def default_recipe(model: MorphableModel) -> TextureRecipe:
    """The recipe for a model.

    The face world's own people are painted by the same painter, and no more differ part by part than its modes do.
    """
    own = wears_hair(model)
    return TextureRecipe(hair=own, local_modes=0 if own else TextureRecipe.local_modes)


def wears_hair(model: MorphableModel) -> bool:
    """Whether hair is painted on a model's scalp: only on the face world's own people."""
    return model.metadata.uv_layout == FACEWORLD_LAYOUT


def sample_painted_face(rng: np.random.Generator, *, hair: bool, plain: bool = False) -> Appearance:
    """A face with all its detail, as the face world's people have it, or for photographs of anybody without hair.

    A plain one has none of what lies elsewhere on every face and teaches a texture model nothing but noise: spots
    at random places, pores, streaks.
    """
    if plain:
        return _plain_appearance(rng, TextureRecipe(hair=hair))
    if hair:
        return sample_appearance(rng, float(rng.choice((-1.0, 1.0))))
    return sample_appearance(rng, hair=False, freedom=TextureRecipe.freedom)


def texture_path(model: MorphableModel, cache_dir: Path, recipe: TextureRecipe) -> Path:
    """Where the cache keeps a texture; the name is a digest of everything that shapes it."""
    digest = hashlib.sha256(json.dumps([RECIPE_VERSION, dataclasses.asdict(recipe)], sort_keys=True).encode())
    for tensor in (model.mean_mm, model.uv, model.uv_triangles, model.landmarks):
        digest.update(tensor.contiguous().numpy().tobytes())
    return cache_dir / f"texture-{model.metadata.uv_layout}-{digest.hexdigest()[:16]}.safetensors"


def build_texture(model: MorphableModel, recipe: TextureRecipe) -> PcaTexture:
    """Paint the faces and find their principal components; deterministic."""
    canvas = canvas_for(model, recipe.resolution)
    samples = paint_samples(canvas, recipe)
    weight = torch.from_numpy(texel_weight(canvas))
    texture = fit_pca_texture(samples, weight, mode_count=recipe.mode_count, uv_layout=model.metadata.uv_layout)
    if not recipe.local_modes:
        return texture
    windows = face_windows(model, make_atlas(model, recipe.resolution))
    apart = Mirroring(mirrored=torch.zeros_like(weight, dtype=torch.bool))
    local = localised(texture.basis, windows, apart, apart.metric(weight.expand(3, -1, -1)), recipe.local_modes)
    return dataclasses.replace(texture, basis=local.modes, whole=local.whole)


def canvas_for(model: MorphableModel, side: int) -> CanonicalMap:
    """Canonical coordinates of the texels of any layout that can be painted.

    Raises:
        ConfigurationError: another layout.
    """
    if model.metadata.uv_layout == FACEWORLD_LAYOUT:
        return faceworld_canonical_map(side)
    return canonical_map(model, side)


def paint_samples(canvas: CanonicalMap, recipe: TextureRecipe) -> Tensor:
    """Painted faces, float16 [sample, 3, side, side]."""
    painter = AlbedoPainter(canvas)
    side = len(canvas.x_mm)
    samples = torch.empty(recipe.sample_count, 3, side, side, dtype=torch.float16)
    for index in range(recipe.sample_count):
        rng = np.random.default_rng((recipe.seed, index))
        samples[index] = torch.from_numpy(painter(_plain_appearance(rng, recipe)))
    return samples


def texel_weight(canvas: CanonicalMap) -> Float32[np.ndarray, "side side"]:
    """How much a texel counts when the modes are chosen."""
    ax, x, y = canvas.abs_x, canvas.x_mm, canvas.y_mm
    brow = bump(ax, y - brow_middle(ax), (32, 0), (18, 5), 4)
    eye = bump(ax, y, (EYE_X_MM, EYE_Y_MM + 1), (18, 9), 4)
    nose = 0.5 * bump(x, y, (0, -35), (17, 20), 4)
    mouth = bump(x, y, (0, MOUTH_Y_MM), (28, 13), 4)
    features = np.maximum.reduce([brow, eye, nose, mouth])
    face = canvas.front * bump(x, y, (0, -35), (75, 88), 6)
    weight = BACKGROUND_WEIGHT + SKIN_WEIGHT * face + FEATURE_WEIGHT * features * canvas.front
    weight = np.where(
        canvas.part == Part.EYEBALL, EYEBALL_WEIGHT * bump(ax, y, (EYE_X_MM, EYE_Y_MM), (8, 8), 4), weight
    )
    return np.where(canvas.part > Part.EYEBALL, BACKGROUND_WEIGHT, weight).astype(np.float32)


def _plain_appearance(rng: np.random.Generator, recipe: TextureRecipe) -> Appearance:
    """A face without what linear modes cannot carry."""
    masculinity = float(rng.choice((-1.0, 1.0))) if recipe.hair else 0.0
    look = sample_appearance(rng, masculinity, hair=recipe.hair, detail=0.0, freedom=recipe.freedom)
    return dataclasses.replace(look, moles=0, freckles=0.0, age_spots=0.0)
