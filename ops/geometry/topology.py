"""What the vertices of a mesh share whatever their positions: triangles and texture coordinates."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Triangles and the texture coordinates of their corners.

    UV origin is the texture's bottom left (OBJ): row 0 of a texture is v = 1, column 0 is u = 0.

    Raises:
        ValueError: a triangle names texture coordinates that do not exist, or some are not finite.
    """

    triangles: Int32[Tensor, "triangle 3"]
    uv: Float[Tensor, "uv 2"]
    uv_triangles: Int32[Tensor, "triangle 3"]

    def __post_init__(self) -> None:
        if len(self.triangles) != len(self.uv_triangles):
            message = f"expected a uv triangle a triangle, got {len(self.uv_triangles)} for {len(self.triangles)}"
            raise ValueError(message)
        if len(self.uv_triangles):
            low, high = (int(bound) for bound in self.uv_triangles.aminmax())
            if low < 0 or high >= len(self.uv):
                message = f"expected uv triangles over {len(self.uv)} coordinates, got indices from {low} to {high}"
                raise ValueError(message)
        if not self.uv.isfinite().all():
            message = f"expected finite texture coordinates, got {int((~self.uv.isfinite()).sum())} that are not"
            raise ValueError(message)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Topology":
        """The same on another device, with texture coordinates of another type."""
        return Topology(
            triangles=self.triangles.to(device),
            uv=self.uv.to(device=device, dtype=dtype),
            uv_triangles=self.uv_triangles.to(device),
        )
