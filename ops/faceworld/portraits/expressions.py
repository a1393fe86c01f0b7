"""Expressions as people have them before cameras: smiles, talk, blinks, brows, each often on both sides alike."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.morphable_model import MorphableModel
from ops.faceworld.people import sample_expression

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
"""ICT-FaceKit's blendshapes in their order."""
# fmt: on
ACTIONS: tuple[tuple[float, float, dict[str, float]], ...] = (
    (0.50, 0.7, {"mouthSmile": 1.0, "cheekSquint": 0.5, "mouthUpperUp": 0.25, "mouthDimple": 0.3, "eyeSquint": 0.35}),
    (0.20, 0.6, {"mouthSmile": 0.7, "mouthStretch": 0.3, "jawOpen": 0.35, "mouthUpperUp": 0.5, "mouthLowerDown": 0.35}),
    (0.25, 0.5, {"jawOpen": 0.6, "mouthLowerDown": 0.4, "mouthUpperUp": 0.2}),
    (0.05, 0.9, {"jawOpen": 1.0, "mouthStretch": 0.3}),
    (0.12, 0.6, {"mouthFunnel": 0.8, "jawOpen": 0.3}),
    (0.10, 0.6, {"mouthPucker": 1.0}),
    (0.08, 1.1, {"eyeBlink": 1.0}),
    (0.35, 0.3, {"eyeBlink": 1.0}),
    (0.12, 0.7, {"eyeWide": 1.0}),
    (0.20, 0.6, {"eyeSquint": 1.0}),
    (0.25, 0.6, {"browDown": 1.0}),
    (0.25, 0.6, {"browInnerUp": 1.0}),
    (0.20, 0.6, {"browOuterUp": 1.0, "browInnerUp": 0.6}),
    (0.15, 0.6, {"mouthFrown": 1.0}),
    (0.15, 0.6, {"mouthPress": 1.0}),
    (0.08, 0.6, {"mouthRollLower": 1.0, "mouthRollUpper": 0.7}),
    (0.10, 0.6, {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.6}),
    (0.08, 0.6, {"noseSneer": 1.0, "mouthUpperUp": 0.4}),
    (0.05, 0.7, {"cheekPuff": 1.0}),
    (0.06, 0.5, {"mouthLeft": 1.0}),
    (0.06, 0.5, {"mouthRight": 1.0}),
    (0.04, 0.5, {"jawLeft": 1.0}),
    (0.04, 0.5, {"jawRight": 1.0}),
    (0.06, 0.5, {"jawForward": 1.0}),
)
"""How often an action is seen, its greatest strength, and the weights that it moves at strength 1."""
UNEVENNESS = 0.2
"""Standard deviation of a side's strength about that of both."""
RESTLESSNESS = 0.05
"""Standard deviation of what every weight does by itself."""
LIDS_PER_RADIAN = 1.8
"""How far the lids follow the eyes up or down, in blendshape weights."""


def portrait_expression(
    model: MorphableModel, rng: np.random.Generator, gaze_pitch_rad: float = 0.0
) -> Float[Tensor, " expression"]:
    """A random expression: named actions for ICT-FaceKit's blendshapes, else what `sample_expression` draws.

    `gaze_pitch_rad` > 0 looks up; the lids of ICT-FaceKit follow it.
    """
    if model.metadata.name != ICT_NAME or model.expression_size != len(ICT_EXPRESSIONS):
        return sample_expression(model, rng)
    weights = {name: abs(float(rng.normal(0, RESTLESSNESS))) for name in ICT_EXPRESSIONS}
    for chance, strongest, moved in ACTIONS:
        if rng.random() >= chance:
            continue
        strength = strongest * float(rng.uniform(0, 1))
        for action, share in moved.items():
            amount = strength * share * float(rng.uniform(0.6, 1.2))
            for name in _sides(action):
                weights[name] += amount * float(np.clip(rng.normal(1, UNEVENNESS), 0, 2)) if "_" in name else amount
    looks = "eyeLookUp" if gaze_pitch_rad > 0 else "eyeLookDown"
    for name in _sides(looks):
        weights[name] += abs(gaze_pitch_rad) * LIDS_PER_RADIAN
    # Lips that close further than the jaw is open would pass through each other.
    weights["mouthClose"] = weights["jawOpen"] * float(rng.uniform(0, 1)) if rng.random() < 0.15 else 0.0
    return torch.tensor([min(max(weights[name], 0.0), 1.0) for name in ICT_EXPRESSIONS])


def _sides(action: str) -> tuple[str, ...]:
    return (action,) if action in ICT_EXPRESSIONS else (f"{action}_L", f"{action}_R")
