"""ICT-FaceKit's blendshapes by name, and those that smile together."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.morphable_model import MorphableModel

ICT_NAME = "ict-facekit"
# fmt: off
ICT_EXPRESSIONS = (
    "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "cheekPuff_L",
    "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R", "eyeLookDown_L", "eyeLookDown_R",
    "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R", "eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L",
    "eyeSquint_R", "eyeWide_L", "eyeWide_R", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimple_L", "mouthDimple_R", "mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft", "mouthLowerDown_L",
    "mouthLowerDown_R", "mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R", "mouthStretch_L",
    "mouthStretch_R", "mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R",
)
"""In their order."""
# fmt: on
SMILE = {"mouthSmile": 1.0, "cheekSquint": 0.5, "mouthUpperUp": 0.25, "mouthDimple": 0.3, "eyeSquint": 0.35}
"""How far blendshapes move in a smile, by the name without its side."""


def has_ict_expressions(model: MorphableModel) -> bool:
    """Whether a shape model's expressions are ICT-FaceKit's blendshapes."""
    return model.metadata.name == ICT_NAME and model.expression_size == len(ICT_EXPRESSIONS)


def sides(action: str) -> tuple[str, ...]:
    """The blendshapes of an action: itself, or one on either side of the face."""
    return (action,) if action in ICT_EXPRESSIONS else (f"{action}_L", f"{action}_R")


def blendshape_direction(action: Mapping[str, float]) -> Float[Tensor, "53"]:
    """An action of several blendshapes, alike on both sides, as expression coefficients."""
    weights = {name: share for part, share in action.items() for name in sides(part)}
    return torch.tensor([weights.get(name, 0.0) for name in ICT_EXPRESSIONS])
