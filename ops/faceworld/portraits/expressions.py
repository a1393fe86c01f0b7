"""Expressions as people have them before cameras: smiles, talk, blinks, brows, each often on both sides alike."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.blendshapes import ICT_EXPRESSIONS, SMILE, has_ict_expressions, sides
from ops.face.morphable_model import MorphableModel
from ops.faceworld.people import sample_expression

ACTIONS: tuple[tuple[float, float, dict[str, float]], ...] = (
    (0.50, 0.7, SMILE),
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
    if not has_ict_expressions(model):
        return sample_expression(model, rng)
    weights = {name: abs(float(rng.normal(0, RESTLESSNESS))) for name in ICT_EXPRESSIONS}
    for chance, strongest, moved in ACTIONS:
        if rng.random() >= chance:
            continue
        strength = strongest * float(rng.uniform(0, 1))
        for action, share in moved.items():
            amount = strength * share * float(rng.uniform(0.6, 1.2))
            for name in sides(action):
                weights[name] += amount * float(np.clip(rng.normal(1, UNEVENNESS), 0, 2)) if "_" in name else amount
    looks = "eyeLookUp" if gaze_pitch_rad > 0 else "eyeLookDown"
    for name in sides(looks):
        weights[name] += abs(gaze_pitch_rad) * LIDS_PER_RADIAN
    # Lips that close further than the jaw is open would pass through each other.
    weights["mouthClose"] = weights["jawOpen"] * float(rng.uniform(0, 1)) if rng.random() < 0.15 else 0.0
    return torch.tensor([min(max(weights[name], 0.0), 1.0) for name in ICT_EXPRESSIONS])
