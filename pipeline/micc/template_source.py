"""Where the template of a registration comes from: a bundle, a shape model file, or a mesh with its landmarks."""

from pathlib import Path

from evaluation.template import StoredTemplate, template_from_model, template_from_obj, whole_template
from ops.errors import ConfigurationError
from ops.face.morphable_model import load_morphable_model
from ops.geometry.mesh import MESH_SUFFIXES
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape


def open_template(source: str, landmarks: Path | None, model_dir: Path | None) -> StoredTemplate:
    """The mean face of a bundle's shape model or of a .safetensors shape model, or an OBJ, PLY or GLB.

    Raises:
        ConfigurationError: a mesh without landmarks, or landmarks for a model that has its own.
        ModelFileError: a model file is missing or altered.
    """
    path = Path(source)
    if path.suffix.lower() in MESH_SUFFIXES:
        if landmarks is None:
            raise ConfigurationError(
                f"{source}: a mesh as template needs --template-landmarks, a text file of 68 vertex numbers from 0"
            )
        return whole_template(template_from_obj(path, landmarks))
    if landmarks is not None:
        raise ConfigurationError(f"{source} has landmarks of its own: leave out --template-landmarks")
    if path.suffix == ".safetensors":
        return template_from_model(load_morphable_model(path))
    return template_from_model(load_shape(resolve_bundle(source, model_dir).shape))
