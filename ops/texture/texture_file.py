"""Any texture model from its file."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from ops.errors import MissingModelFileError, ModelFormatError
from ops.texture import gan_texture, pca
from ops.texture.interface import TextureModel

_LOADERS = {pca.FORMAT: pca.load_pca_texture, gan_texture.FORMAT: gan_texture.load_gan_texture}


def load_texture_file(path: Path) -> TextureModel:
    """The PCA texture or generator in a file, by the format it names.

    Raises:
        MissingModelFileError: no such file.
        ModelFormatError: neither.
    """
    if not path.is_file():
        raise MissingModelFileError(f"expected a texture model at {path}, found no file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ModelFormatError(f"expected a safetensors file at {path}: {error}") from error
    name = metadata.get("format", "none")
    if name not in _LOADERS:
        raise ModelFormatError(f"expected a texture of the formats {', '.join(_LOADERS)} in {path}, found {name}")
    return _LOADERS[name](path)
