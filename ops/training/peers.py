"""Workers that train one network together, each on its share of every batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Peers:
    """The workers that train together; `torch.distributed` is set up where there are several."""

    rank: int = 0
    count: int = 1

    def mean_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over the workers."""
        if self.count == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean_value(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the workers."""
        if self.count == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.count

    def all_agree(self, sound: Tensor) -> bool:
        """Whether a condition holds on every worker."""
        value = sound.float()
        if self.count > 1:
            torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MIN)
        return bool(value > 0)
