"""Which images of a batch are computed together.

On the CPU one by one: the rounding of batched products and convolutions depends on the batch, the sign of a gradient
that is all but zero decides Adam's step, and so a face would depend on the faces beside it. It costs a fifth more than
the batch. A GPU computes all images together, and lets go of finished ones now and then only: whoever asks whether a
face is finished waits for the device.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How a device takes a batch."""

    one_by_one: bool
    """Whether every image is computed alone."""
    review_every: int
    """Iterations between two looks at which images have finished; until then they are computed on and left as they
    are."""

    def split(self, count: int) -> list[slice]:
        """The rows of a batch that are computed together."""
        return [slice(row, row + 1) for row in range(count)] if self.one_by_one else [slice(0, count)]


def batching_of(device: torch.device) -> Batching:
    """Independence of the batch on the CPU, throughput elsewhere."""
    if device.type == "cpu":
        return Batching(one_by_one=True, review_every=1)
    return Batching(one_by_one=False, review_every=10)
