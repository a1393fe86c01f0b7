"""What a dense landmark network sees in aligned crops, for stage one: points all over the face, each with a deviation.

The network's points are vertices of the shape model, so nothing has to be known of what an annotator means by them
(Wood et al., ECCV 2022).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.networks.dense_landmarks import DenseLandmarks


class DenseSight(NamedTuple):
    """Dense points of some images."""

    points: Float[Tensor, "image point 2"]
    """Crop sides."""
    deviations: Float[Tensor, "image point"]
    """Standard deviation of each coordinate by the network's own account, crop sides."""
    vertices: Int64[Tensor, " point"]
    """Of the shape model."""

    def rows(self, images: slice | Int64[Tensor, " row"]) -> "DenseSight":
        """Those of some images."""
        return DenseSight(self.points[images], self.deviations[images], self.vertices)

    def to(self, device: torch.device | str) -> "DenseSight":
        """The same on another device."""
        return DenseSight(*(value.to(device) for value in self))


def see_densely(
    network: DenseLandmarks, images: Float[Tensor, "image 3 side side"], landmarks_px: Float[Tensor, "image 68 2"]
) -> DenseSight:
    """Look at aligned crops, each by itself, from where its 68 landmarks are; not finite where these are not."""
    crops = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    around = landmarks_px.cpu().numpy().astype(np.float32)
    side, count = images.shape[-1], len(network.dense.vertices)
    points = np.full((len(crops), count, 2), np.nan, np.float32)
    deviations = np.full((len(crops), count), np.nan, np.float32)
    for image, landmarks in enumerate(around):
        if np.isfinite(landmarks).all():
            found = network.find_about(crops[image], landmarks[None])
            points[image], deviations[image] = found.points_px[0], found.deviations_px[0]
    sight = DenseSight(
        points=torch.from_numpy(points).double() / side,
        deviations=torch.from_numpy(deviations).double() / side,
        vertices=network.dense.vertices,
    )
    return sight.to(images.device)
