"""Any texture model from its file."""

from pathlib import Path

from ops.errors import ModelFormatError
from ops.files.tensor_file import read_tensor_file_metadata
from ops.texture import gan_texture, pca
from ops.texture.interface import TextureModel

_LOADERS = {pca.FORMAT: pca.load_pca_texture, gan_texture.FORMAT: gan_texture.load_gan_texture}


def load_texture_file(path: Path) -> TextureModel:
    """The PCA texture or generator in a file, by the format it names.

    Raises:
        MissingModelFileError: no such file.
        ModelFormatError: neither.
    """
    name = read_tensor_file_metadata(path, "a texture model").get("format", "none")
    if name not in _LOADERS:
        raise ModelFormatError(f"expected a texture of the formats {', '.join(_LOADERS)} in {path}, found {name}")
    return _LOADERS[name](path)
