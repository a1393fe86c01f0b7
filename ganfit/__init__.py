"""Faces in 3D from photos: what a program needs of this project. `import ganfit` is fast; PyTorch and Ray come on use.

::

    bundle = ganfit.load_bundle("embedded")              # the models, verified
    faces = ganfit.reconstruct_photos(photos, bundle)    # in memory, in this process
    ganfit.reconstruct(config, bundle)                   # a data set, on Ray, resumable
    run = ganfit.open_run("OUT")                         # what that wrote
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganfit.photos import Face, reconstruct_photos
    from ops.errors import GanfitError
    from ops.fit.config import FitConfig, preset
    from ops.geometry.mesh_io import TexturedMesh as Mesh
    from ops.weights.bundle import resolve_bundle as load_bundle
    from pipeline.reconstruct.config import ReconstructConfig
    from pipeline.reconstruct.reconstruction import reconstruct
    from pipeline.run.reader import Run, open_run

__all__ = [
    "Face",
    "FitConfig",
    "GanfitError",
    "Mesh",
    "ReconstructConfig",
    "Run",
    "load_bundle",
    "open_run",
    "preset",
    "reconstruct",
    "reconstruct_photos",
]
_PLACES = {
    "Face": ("ganfit.photos", "Face"),
    "FitConfig": ("ops.fit.config", "FitConfig"),
    "GanfitError": ("ops.errors", "GanfitError"),
    "Mesh": ("ops.geometry.mesh_io", "TexturedMesh"),
    "ReconstructConfig": ("pipeline.reconstruct.config", "ReconstructConfig"),
    "Run": ("pipeline.run.reader", "Run"),
    "load_bundle": ("ops.weights.bundle", "resolve_bundle"),
    "open_run": ("pipeline.run.reader", "open_run"),
    "preset": ("ops.fit.config", "preset"),
    "reconstruct": ("pipeline.reconstruct.reconstruction", "reconstruct"),
    "reconstruct_photos": ("ganfit.photos", "reconstruct_photos"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
