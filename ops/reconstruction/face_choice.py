"""Choosing the person's face among several in an image: the one most like the person's other images."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ops.face.alignment import ARCFACE_SIDE_PX, ARCFACE_TEMPLATE_PX, five_points, warp_image
from ops.geometry.similarity import fit_similarity
from ops.networks.recognition import RecognitionNetwork, cosine_similarity

FaceCrop = UInt8[np.ndarray, "112 112 3"]
"""A face aligned for recognition, RGB."""


class Choice(NamedTuple):
    """The face to take, and what to say about it."""

    face: int
    remark: str


def face_crop(image_rgb: UInt8[np.ndarray, "height width 3"], landmarks_px: Float[np.ndarray, "68 2"]) -> FaceCrop:
    """The face warped to the recognition template."""
    points = five_points(torch.from_numpy(landmarks_px.astype(np.float64)))
    similarity = fit_similarity(points, ARCFACE_TEMPLATE_PX, with_scale=True)
    linear = similarity.scale * similarity.rotation
    affine = torch.cat((linear, similarity.translation.unsqueeze(-1)), -1)
    return warp_image(image_rgb, affine.numpy(), ARCFACE_SIDE_PX)[0]


def choose_faces(
    persons: Sequence[str], candidates: Sequence[Sequence[FaceCrop]], recognition: RecognitionNetwork
) -> list[Choice]:
    """One choice per image; the candidates of an image are ordered by prominence.

    Images with a single face show who the person is. Where a person has none, the most prominent face is taken.
    """
    images_of: defaultdict[str, list[int]] = defaultdict(list)
    for image, person in enumerate(persons):
        images_of[person].append(image)
    choices = [Choice(0, "") for _ in persons]
    for images in images_of.values():
        ambiguous = [image for image in images if len(candidates[image]) > 1]
        known = [candidates[image][0] for image in images if len(candidates[image]) == 1]
        reference = _embed(known, recognition) if known and ambiguous else None
        for image in ambiguous:
            choices[image] = _choose(candidates[image], reference, recognition)
    return choices


def _choose(
    faces: Sequence[FaceCrop], reference: Float[Tensor, "face embedding"] | None, recognition: RecognitionNetwork
) -> Choice:
    if reference is None:
        return Choice(0, f"{len(faces)} faces, the most prominent is taken")
    mean = torch.nn.functional.normalize(reference, dim=-1).mean(0)
    likeness = cosine_similarity(_embed(faces, recognition), mean.expand(len(faces), -1))
    best = int(likeness.argmax())
    return Choice(
        best,
        f"{len(faces)} faces, the one most like the person's other images is taken (similarity {likeness[best]:.2f})",
    )


@torch.no_grad()
def _embed(faces: Sequence[FaceCrop], recognition: RecognitionNetwork) -> Float[Tensor, "face embedding"]:
    images = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 255
    return recognition(images).embedding
