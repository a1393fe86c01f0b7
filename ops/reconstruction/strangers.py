"""Faces among a person's images that are somebody else's."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from ops.face.clustering import cluster_faces, unit_rows
from ops.networks.recognition import RecognitionNetwork
from ops.reconstruction.face_choice import FaceCrop


def stranger_text(similarity: float, same_person: float) -> str:
    """What is said of a stranger's image."""
    return f"similarity {similarity:.2f} to the person's other faces, expected {same_person:.2f}"


@torch.no_grad()
def embed_face(recognition: RecognitionNetwork, crop: FaceCrop) -> Float32[np.ndarray, " channel"]:
    """The embedding of one crop, computed alone so that it depends on nothing else."""
    image = torch.from_numpy(crop).permute(2, 0, 1).unsqueeze(0).float() / 255
    return recognition(image).embedding[0].numpy()


def embed_both_ways(recognition: RecognitionNetwork, crop: FaceCrop) -> Float32[np.ndarray, " channel"]:
    """The mean of the unit embeddings of a crop and of its mirror image, which are one person.

    Among the many pairs of a large folder it errs less than the crop's own: see docs/experiments/inputs.md.
    """
    both = [embed_face(recognition, image) for image in (crop, np.ascontiguousarray(crop[:, ::-1]))]
    return unit_rows(np.stack(both)).mean(0)


def find_strangers(
    recognition: RecognitionNetwork, people: Sequence[str], crops: Sequence[FaceCrop | None], same_person: float
) -> list[float | None]:
    """For every image whose face is not its person's: the mean cosine with the person's faces; None for all others.

    The person is whom most of the images show: faces are grouped by average linkage at the cosine `same_person`, and
    the largest group is taken, the first one of equal ones.
    """
    images_of: defaultdict[str, list[int]] = defaultdict(list)
    for image, (person, crop) in enumerate(zip(people, crops, strict=True)):
        if crop is not None:
            images_of[person].append(image)
    strange: list[float | None] = [None] * len(people)
    for images in images_of.values():
        if len(images) < 2:
            continue
        unit = unit_rows(np.stack([embed_face(recognition, crop) for i in images if (crop := crops[i]) is not None]))
        groups = cluster_faces(unit, same_person)
        largest = groups == np.bincount(groups).argmax()
        similarity = (unit @ unit[largest].T).mean(1)
        for image, belongs, value in zip(images, largest.tolist(), similarity.tolist(), strict=True):
            if not belongs:
                strange[image] = value
    return strange
