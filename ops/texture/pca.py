"""The linear texture model T(p) = mean + sum_k p_k basis_k, p in standard deviations, and its file format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import ConfigurationError, ModelFormatError
from ops.files.tensor_file import read_tensor_file, write_tensor_file

FORMAT = "ganfit-pca-texture-v1"
SMALLEST_LEVEL = 32
PLAUSIBLE_DEVIATIONS = 3.0


@dataclass(frozen=True, kw_only=True)
class PcaTexture:
    """A linear texture model; implements `ops.texture.interface.TextureModel`."""

    mean: Float[Tensor, "3 side side"]
    """RGB albedo in [0, 1], row 0 at v = 1."""
    basis: Float[Tensor, "latent 3 side side"]
    """Offset of one standard deviation of every mode, by falling variance."""
    uv_layout: str
    """Identifier of the UV layout."""
    people: int = 0
    """How many people's photos it was learned from; 0 for a painted one."""
    whole: Float[Tensor, "latent given"] | None = None
    """Where parts of the face were given modes of their own: the coefficients of each mode of the model before."""
    _pyramid: dict[int, tuple[Tensor, Tensor]] = field(
        default_factory=dict[int, tuple[Tensor, Tensor]], init=False, repr=False
    )

    @property
    def latent_size(self) -> int:
        """Number of modes."""
        return self.basis.shape[0]

    @property
    def resolution(self) -> int:
        """Side of the largest texture, in texels."""
        return self.mean.shape[-1]

    @property
    def levels(self) -> tuple[int, ...]:
        """Every halving of the resolution down to 32 texels, ascending."""
        sides = [self.resolution]
        while sides[-1] % 2 == 0 and sides[-1] // 2 >= SMALLEST_LEVEL:
            sides.append(sides[-1] // 2)
        return tuple(reversed(sides))

    def __call__(
        self, latent: Float[Tensor, "image latent"], level: int | None = None
    ) -> Float[Tensor, "image 3 side side"]:
        """RGB albedo of every latent vector, not clamped; differentiable.

        Raises:
            ConfigurationError: a level this model does not have.
        """
        mean, basis = self.at_level(self.resolution if level is None else level)
        return torch.addmm(mean.flatten(), latent, basis.flatten(1)).unflatten(1, mean.shape)

    def constrain(self, latent: Float[Tensor, "image latent"]) -> Float[Tensor, "image latent"]:
        """Clamp every coefficient to three standard deviations."""
        return latent.clamp(-PLAUSIBLE_DEVIATIONS, PLAUSIBLE_DEVIATIONS)

    def to(self, device: torch.device | str) -> "PcaTexture":
        """The same model on another device."""
        whole = None if self.whole is None else self.whole.to(device)
        return replace(self, mean=self.mean.to(device), basis=self.basis.to(device), whole=whole)

    def at_level(self, level: int) -> tuple[Float[Tensor, "3 side side"], Float[Tensor, "latent 3 side side"]]:
        """Mean and basis averaged down to a level, computed once.

        Raises:
            ConfigurationError: a level this model does not have.
        """
        if level not in self._pyramid:
            if level not in self.levels:
                raise ConfigurationError(f"expected a texture level among {self.levels}, got {level}")
            factor = self.resolution // level
            mean, basis = self.mean.unsqueeze(0), self.basis
            if factor > 1:
                mean, basis = (torch.nn.functional.avg_pool2d(image, factor) for image in (mean, basis))
            self._pyramid[level] = (mean.squeeze(0).contiguous(), basis.contiguous())
        return self._pyramid[level]


def save_pca_texture(texture: PcaTexture, path: Path, about: Mapping[str, object] | None = None) -> None:
    """Write mean (float32), basis (float16) and `whole` as safetensors with the layout in the metadata.

    What it was made from goes there, too, as JSON, with `people` where it was learned from photos.
    """
    tensors = {"mean": texture.mean.float(), "basis": texture.basis.half()}
    if texture.whole is not None:
        tensors["whole"] = texture.whole.float()
    metadata = {"format": FORMAT, "uv_layout": texture.uv_layout}
    told = ({"people": texture.people} if texture.people else {}) | dict(about or {})
    write_tensor_file(path, tensors, metadata | ({"about": json.dumps(told, sort_keys=True)} if told else {}))


def load_pca_texture(path: Path) -> PcaTexture:
    """Read what `save_pca_texture` wrote; computes in float32.

    Raises:
        MissingModelFileError: no such file.
        ModelFormatError: not a file of this format.
    """
    metadata, tensors = read_tensor_file(path, "a PCA texture", "make one with `ganfit make-texture`")
    if metadata.get("format") != FORMAT:
        raise ModelFormatError(f"expected format {FORMAT} in {path}, found {metadata.get('format')}")
    people = json.loads(metadata.get("about", "{}")).get("people", 0)
    try:
        return PcaTexture(
            mean=tensors["mean"].float(),
            basis=tensors["basis"].float(),
            uv_layout=metadata["uv_layout"],
            people=int(people),
            whole=tensors.get("whole"),
        )
    except KeyError as error:
        raise ModelFormatError(f"{path} is not a sound PCA texture file: it has no {error}") from error


def fit_pca_texture(
    samples: Float[Tensor, "sample 3 side side"],
    weight: Float[Tensor, "side side"],
    *,
    mode_count: int,
    uv_layout: str,
    gram_level: int = 128,
) -> PcaTexture:
    """Principal components of texture samples under a texel-weighted inner product.

    The scores are the leading eigenvectors of the weighted Gram matrix of the centred samples (computed on textures
    averaged down to `gram_level`, which loses only detail finer than the modes can carry); the basis is the regression
    of the full-size samples on the scores. So the weight decides which variation is kept, and colours stay unweighted.

    Raises:
        ConfigurationError: fewer samples than modes plus one.
    """
    count, _, side, _ = samples.shape
    if count <= mode_count:
        raise ConfigurationError(f"expected more than {mode_count} texture samples for as many modes, got {count}")
    mean = samples.mean(0)
    factor = max(side // gram_level, 1)
    shrink = partial(torch.nn.functional.avg_pool2d, kernel_size=factor)
    small_mean = shrink(mean.unsqueeze(0).float())
    root = shrink(weight[None, None].float()).sqrt()
    rows = torch.stack([((shrink(sample.unsqueeze(0).float()) - small_mean) * root).flatten() for sample in samples])
    gram = (rows @ rows.mT).double()
    _, vectors = torch.linalg.eigh(gram)
    vectors = vectors[:, -mode_count:].flip(1)
    peak = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * peak.sign()
    scores = vectors.float()
    basis = samples.new_zeros((mode_count, *mean.shape), dtype=torch.float32)
    for row in range(side):
        stripe = samples[:, :, row].float() - mean[:, row].float()
        basis[:, :, row] = (scores.mT @ stripe.flatten(1)).unflatten(1, stripe.shape[1:])
    return PcaTexture(mean=mean.float(), basis=basis / (count - 1) ** 0.5, uv_layout=uv_layout)
