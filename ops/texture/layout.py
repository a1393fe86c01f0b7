"""UV atlases for painting: where each part of a shape model lies, and the canonical face coordinates of its texels.

The layout `ict-atlas-v1` redraws ICT-FaceKit's face patch, which spends half of its square on scalp, ears and neck:
eyes, nose and mouth are widened by monotone curves, the neck is gathered towards the middle, and the two bottom corners
it leaves hold the eyeballs (seen from the front), one tooth-coloured and one mouth-coloured spot.
"""

import dataclasses
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ops.errors import ConfigurationError
from ops.face.landmark_parts import NASION
from ops.face.morphable_model import MorphableModel
from ops.faceworld.canonical import EYE_X_MM, EYE_Y_MM, CanonicalMap, Part, canonical_landmarks, smoothstep
from ops.render.rasterize import select_rasterizer

ATLAS_LAYOUT = "ict-atlas-v1"
EYEBALL_PARTS = ("iris", "sclera")
EYE_SIDES = ("_l", "_r")
HEAD_AXIS_DEPTH_MM = 95.0
"""The head's vertical axis lies this far behind the nasion."""

_U_KNOTS, _U_VALUES = (0.0, 0.15, 0.30, 0.42, 0.5), (0.0, 0.205, 0.395, 0.468, 0.5)
_V_KNOTS, _V_VALUES = (0.0, 0.20, 0.27, 0.56, 0.85, 1.0), (0.0, 0.10, 0.155, 0.505, 0.865, 1.0)
_NECK_GATHER, _NECK_TOP, _NECK_BOTTOM = 0.56, 0.21, 0.135
EYE_PATCH_CENTRE, EYE_PATCH_RADIUS = (0.074, 0.070), 0.060
"""Of the eye at image left; the other one mirrors it."""
EYE_PATCH_ANGLE = np.deg2rad(75.0)
"""Angle from the eye's axis at the rim of its patch; what lies further back is drawn on the rim."""
EYEBALL_RADIUS_MM = 12.0
TEETH_SPOT, MOUTH_SPOT, SPOT_RADIUS = (0.180, 0.035), (0.180, 0.100), 0.026
COLOUR_SPOTS = (TEETH_SPOT, MOUTH_SPOT)
"""Where the parts of one colour have it; spots are counted from 1."""
SPOT_TOLERANCE = 1e-5
"""How far, in UV, a corner may lie from its spot by rounding."""
NECK_SPOT = (0.5, 0.01)
_LANDMARK_FADE = 0.12
"""Distance in UV over which the landmarks' pull on canonical coordinates dies out beyond them."""


def procedural_layout(model: MorphableModel) -> MorphableModel:
    """The model with its corner UVs redrawn on `ict-atlas-v1`; geometry and triangles stay as they are.

    Raises:
        ConfigurationError: a model that does not name its face, eyeballs and mouth as ICT-FaceKit does.
    """
    if model.metadata.uv_layout == ATLAS_LAYOUT:
        return model
    if model.triangle_regions is None or not {"face", "iris_l", "iris_r"} <= set(model.region_names):
        raise ConfigurationError(
            f"expected a model with the triangle regions face, iris_l and iris_r for the layout {ATLAS_LAYOUT}, "
            f"got {', '.join(model.region_names) or 'no regions'} in {model.metadata.name}"
        )
    places = np.empty((*model.triangles.shape, 2))
    regions = model.triangle_regions.numpy()
    uv, uv_triangles = model.uv.double().numpy(), model.uv_triangles.long().numpy()
    vertices, triangles = model.mean_mm.double().numpy(), model.triangles.long().numpy()
    for index, name in enumerate(model.region_names):
        chosen = regions == index
        if name == "face":
            places[chosen] = stretch_face(uv[uv_triangles[chosen]])
        elif name.startswith(EYEBALL_PARTS):
            continue
        elif name == "head_neck":
            places[chosen] = NECK_SPOT
        else:
            places[chosen] = TEETH_SPOT if name == "teeth" else MOUTH_SPOT
    for side in EYE_SIDES:
        parts = [i for i, name in enumerate(model.region_names) if name.startswith(EYEBALL_PARTS) and name[-2:] == side]
        chosen = np.isin(regions, parts)
        places[chosen] = _eyeball_places(vertices, triangles[chosen])
    corners, index = np.unique(places.reshape(-1, 2).round(7), axis=0, return_inverse=True)
    return dataclasses.replace(
        model,
        uv=torch.from_numpy(corners).to(model.uv.dtype),
        uv_triangles=torch.from_numpy(index.reshape(-1, 3).astype(np.int32)),
        metadata=dataclasses.replace(model.metadata, uv_layout=ATLAS_LAYOUT),
    )


def stretch_face(uv: Float64[np.ndarray, "*batch 2"]) -> Float64[np.ndarray, "*batch 2"]:
    """ICT-FaceKit's face UV to the atlas: monotone in u and in v, symmetric, injective."""
    from scipy.interpolate import PchipInterpolator

    v = PchipInterpolator(_V_KNOTS, _V_VALUES)(uv[..., 1])
    offset = uv[..., 0] - 0.5
    across = np.sign(offset) * PchipInterpolator(_U_KNOTS, _U_VALUES)(np.minimum(np.abs(offset), 0.5))
    gather = _NECK_GATHER + (1 - _NECK_GATHER) * smoothstep(_NECK_BOTTOM, _NECK_TOP, v)
    return np.stack([0.5 + across * gather, v], -1)


def spot_of_texels(side: int) -> Int64[Tensor, "side side"]:
    """The colour spot of every texel of `ict-atlas-v1`, 0 where there is none; row 0 lies at v = 1."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    texel = torch.stack(torch.meshgrid(centres, centres.flip(0), indexing="xy"), -1)
    spots = torch.zeros(side, side, dtype=torch.int64)
    for number, spot in enumerate(COLOUR_SPOTS, 1):
        spots[((texel - texel.new_tensor(spot)).abs() < SPOT_RADIUS + 0.5 / side).all(-1)] = number
    return spots


def spot_of_triangles(model: MorphableModel) -> Int64[Tensor, " triangle"]:
    """The colour spot that every triangle of a model on `ict-atlas-v1` has its colour from, 0 for the others."""
    corners = model.uv.cpu().double()[model.uv_triangles.cpu().long()]
    spots = torch.zeros(len(corners), dtype=torch.int64)
    for number, spot in enumerate(COLOUR_SPOTS, 1):
        spots[((corners - corners.new_tensor(spot)).abs() < SPOT_TOLERANCE).all(-1).all(-1)] = number
    return spots


def canonical_map(model: MorphableModel, side: int) -> CanonicalMap:
    """Canonical face coordinates of every texel of a model's layout; texels outside every patch repeat the nearest.

    Raises:
        ConfigurationError: a layout that has no canonical coordinates.
    """
    if model.metadata.uv_layout != ATLAS_LAYOUT:
        raise ConfigurationError(
            f"expected a model on the layout {ATLAS_LAYOUT}, {model.metadata.name} is on {model.metadata.uv_layout}"
        )
    assert model.triangle_regions is not None
    face = model.triangle_regions == model.region_names.index("face")
    vertices, corners = model.triangles[face].long().flatten(), model.uv_triangles[face].long().flatten()
    used, first = np.unique(corners.numpy(), return_index=True)
    positions = model.mean_mm[vertices[torch.from_numpy(first)]].double().numpy()
    attributes = np.zeros((len(model.uv), 3))
    attributes[used] = _canonical_attributes(model, model.uv[torch.from_numpy(used)].double().numpy(), positions)
    drawn, covered = bake(model.uv.numpy(), model.uv_triangles[face].numpy(), attributes, side)
    part = np.full((side, side), Part.SKIN, np.uint8)
    _add_patches(drawn, covered, part)
    rows, columns = nearest_covered(covered)
    x, y, angle = (drawn[rows, columns, channel].astype(np.float32) for channel in range(3))
    return CanonicalMap(x_mm=x, y_mm=y, angle=angle, part=part[rows, columns], open_holes=True)


def nearest_covered(covered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the covered texel nearest to every texel."""
    from scipy.ndimage import distance_transform_edt

    found = cast(np.ndarray, distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return found[0], found[1]


def bake(
    uv: np.ndarray, uv_triangles: np.ndarray, attributes: np.ndarray, side: int
) -> tuple[Float64[np.ndarray, "side side channel"], np.ndarray]:
    """Draw attributes of UV vertices into an image (row 0 at v = 1); also returns where it is covered."""
    clip = torch.zeros(1, len(uv), 4)
    clip[0, :, :2] = 2 * torch.from_numpy(uv) - 1
    clip[0, :, 3] = 1
    triangles = torch.from_numpy(np.ascontiguousarray(uv_triangles, np.int32))
    pixels = select_rasterizer(clip.device, clip.dtype)(clip, triangles, side, side)[0].double().numpy()
    covered = pixels[..., 3] > 0
    corners = attributes[uv_triangles[pixels[..., 3].astype(np.int64)[covered] - 1]]
    weights = np.stack([pixels[..., 0], pixels[..., 1], 1 - pixels[..., 0] - pixels[..., 1]], -1)[covered]
    image = np.zeros((side, side, attributes.shape[1]))
    image[covered] = (corners * weights[..., None]).sum(1)
    return image, covered


def _canonical_attributes(model: MorphableModel, uv: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Canonical x, y and wrap angle of face vertices: frontal position, pulled so that the landmarks agree."""
    from scipy.interpolate import RBFInterpolator

    landmarks = model.mean_mm[model.landmarks].double().numpy()
    frontal = landmarks - landmarks[NASION]
    landmark_uv = uv[_nearest_rows(positions, landmarks)]
    pull = RBFInterpolator(
        landmark_uv, canonical_landmarks() - frontal[:, :2], kernel="thin_plate_spline", smoothing=1e-4
    )
    low, high = landmark_uv.min(0), landmark_uv.max(0)
    beyond = np.maximum(np.maximum(low - uv, uv - high), 0).max(1)
    fade = np.exp(-((beyond / _LANDMARK_FADE) ** 2))
    offsets = positions - landmarks[NASION]
    xy = offsets[:, :2] + pull(uv) * fade[:, None]
    angle = np.arctan2(offsets[:, 0], offsets[:, 2] + HEAD_AXIS_DEPTH_MM)
    return np.concatenate([xy, angle[:, None]], 1)


def _nearest_rows(positions: np.ndarray, points: np.ndarray) -> np.ndarray:
    return ((positions[None] - points[:, None]) ** 2).sum(-1).argmin(1)


def _eyeball_places(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """UVs of an eyeball's corners: angle from the axis that looks out of the face, drawn as distance."""
    used = np.unique(triangles)
    centre = (vertices[used].min(0) + vertices[used].max(0)) / 2
    rays = vertices[triangles] - centre
    across = np.linalg.norm(rays[..., :2], axis=-1)
    distance = np.minimum(np.arctan2(across, rays[..., 2]) / EYE_PATCH_ANGLE, 1.0) * EYE_PATCH_RADIUS
    middle = _eye_patch_centre(float(np.sign(centre[0])))
    return middle + rays[..., :2] / np.maximum(across, 1e-9)[..., None] * distance[..., None]


def _eye_patch_centre(sign: float) -> np.ndarray:
    u, v = EYE_PATCH_CENTRE
    return np.array([u if sign < 0 else 1 - u, v])


def _add_patches(drawn: np.ndarray, covered: np.ndarray, part: np.ndarray) -> None:
    """Draw eyeballs, teeth and mouth into the corners the neck leaves, in place."""
    side = len(part)
    centres = (np.arange(side) + 0.5) / side
    texel = np.stack(np.meshgrid(centres, centres[::-1]), -1)
    for sign in (-1.0, 1.0):
        offset = texel - _eye_patch_centre(sign)
        distance = np.hypot(offset[..., 0], offset[..., 1])
        inside = (np.abs(offset) < EYE_PATCH_RADIUS + 1.5 / side).all(-1)
        theta = np.minimum(distance / EYE_PATCH_RADIUS, 1.0) * EYE_PATCH_ANGLE
        reach = EYEBALL_RADIUS_MM * np.sin(theta) / np.maximum(distance, 1e-9)
        eye = np.stack([sign * EYE_X_MM + offset[..., 0] * reach, EYE_Y_MM + offset[..., 1] * reach], -1)
        drawn[inside, :2], drawn[inside, 2] = eye[inside], 0
        part[inside], covered[inside] = Part.EYEBALL, True
    spots = spot_of_texels(side).numpy()
    for number, kind in enumerate((Part.TEETH, Part.MOUTH), 1):
        inside = spots == number
        drawn[inside] = (0.0, -150.0, 0.0)
        part[inside], covered[inside] = kind, True
