"""Where the parameters of a fit have a meaning."""

from ops.fit.objective import FitModels
from ops.fit.parameters import FitParameters

MIN_FOCAL = 0.1


def constrain(parameters: FitParameters, models: FitModels) -> FitParameters:
    """The nearest parameters that have a meaning: blendshapes in [0, 1], light >= 0, a plausible texture."""
    expression = parameters.expression
    if models.shape.metadata.expression_kind == "blendshape":
        expression = expression.clamp(0, 1)
    camera, light = parameters.camera.clone(), parameters.light.clone()
    camera[:, 6].clamp_(min=MIN_FOCAL)
    light[:, 3:].clamp_(min=0)
    texture = models.texture.constrain(parameters.texture)
    return parameters._replace(expression=expression, camera=camera, light=light, texture=texture)
