"""What every rasteriser promises."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int32
from torch import Tensor

TRIANGLE_LIMIT = 2**24
"""Triangle ids travel as float32, which counts exactly up to here."""


@runtime_checkable
class Rasterizer(Protocol):
    """Finds the triangle that each pixel centre sees.

    Input are OpenGL clip coordinates: x / w and y / w in [-1, 1] inside the image, y up, and z / w in [-1, 1] between
    the near and the far plane. Output per pixel is (u, v, z / w, triangle + 1): u and v are the perspective-correct
    weights of the triangle's corners 0 and 1, corner 2 has 1 - u - v; a pixel that sees nothing is all zero. Row 0 is
    the top row, the centre of pixel (column i, row j) lies at (i + 0.5, j + 0.5).

    Both sides of a triangle are drawn. A triangle smaller than a pixel is drawn where it covers a pixel centre;
    triangles that share an edge neither overlap nor leave a gap along it. What lies outside the near and the far
    plane is not drawn, nor is a triangle with a corner that is not finite.

    u and v are differentiable in the corners' x, y and w; z / w and the choice of the triangle are not.
    """

    def __call__(
        self, clip: Float[Tensor, "image vertex 4"], triangles: Int32[Tensor, "triangle 3"], height: int, width: int
    ) -> Float[Tensor, "image height width 4"]:
        """Rasterise one topology with several sets of vertices."""
        ...
