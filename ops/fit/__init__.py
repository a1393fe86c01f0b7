"""Fitting shape, texture, camera and light to aligned faces."""

from ops.fit.config import FitConfig, LearningRates, LossWeights, preset
from ops.fit.objective import FitInput, FitLosses, FitModels
from ops.fit.preview import FitPreview, render_fit
from ops.fit.solver import FitResult, fit_faces

__all__ = [
    "FitConfig",
    "FitInput",
    "FitLosses",
    "FitModels",
    "FitPreview",
    "FitResult",
    "LearningRates",
    "LossWeights",
    "fit_faces",
    "preset",
    "render_fit",
]
