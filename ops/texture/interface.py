"""What every texture model offers to the fit."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class TextureModel(Protocol):
    """A differentiable map from a latent vector to an albedo image in UV space.

    Row 0 of the image lies at v = 1; texel column i covers u in [i / side, (i + 1) / side].
    """

    @property
    def latent_size(self) -> int:
        """Length of the latent vector."""
        ...

    @property
    def resolution(self) -> int:
        """Side of the largest texture, in texels."""
        ...

    @property
    def levels(self) -> tuple[int, ...]:
        """The sides it can produce, ascending; the last is `resolution`."""
        ...

    @property
    def uv_layout(self) -> str:
        """Identifier of the UV layout the textures are drawn on; a shape model must carry the same one."""
        ...

    def __call__(
        self, latent: Float[Tensor, "image latent"], level: int | None = None
    ) -> Float[Tensor, "image 3 side side"]:
        """RGB albedo, about [0, 1] but not clamped, at the given level (default: `resolution`)."""
        ...

    def constrain(self, latent: Float[Tensor, "image latent"]) -> Float[Tensor, "image latent"]:
        """The plausible latent vector nearest to the given one."""
        ...

    def to(self, device: torch.device | str) -> "TextureModel":
        """The same model on another device."""
        ...
