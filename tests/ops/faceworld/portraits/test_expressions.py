import numpy as np
import pytest
import torch

from ops.face.blendshapes import ICT_EXPRESSIONS
from ops.face.morphable_model import MorphableModel
from ops.faceworld.portraits.expressions import ACTIONS, portrait_expression
from ops.weights.bundle import load_shape, resolve_bundle


def test_every_action_moves_weights_that_exist() -> None:
    assert len(ICT_EXPRESSIONS) == len(set(ICT_EXPRESSIONS)) == 53
    for _, _, moved in ACTIONS:
        assert all(name in ICT_EXPRESSIONS or f"{name}_L" in ICT_EXPRESSIONS for name in moved)


def test_another_model_draws_its_own_expressions(world_model: MorphableModel) -> None:
    drawn = portrait_expression(world_model, np.random.default_rng(0))
    assert drawn.shape == (world_model.expression_size,)


@pytest.mark.models
def test_names_are_in_the_models_order_and_lips_do_not_cross(model_dir: object) -> None:
    model = load_shape(resolve_bundle("ict").shape)
    rng = np.random.default_rng(0)
    drawn = torch.stack([portrait_expression(model, rng) for _ in range(300)])
    index = ICT_EXPRESSIONS.index
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1
    assert bool((drawn[:, index("mouthClose")] <= drawn[:, index("jawOpen")]).all())
    # Opening the jaw lowers the chin most, a blink the right upper lid.
    chin = model.expression_basis_mm[:, model.landmarks[8], 1]
    assert int(chin.argmin()) == index("jawOpen")
    assert int(model.expression_basis_mm[:, model.landmarks[37], 1].argmin()) == index("eyeBlink_R")
    looking_down = portrait_expression(model, np.random.default_rng(3), -0.3)
    level = portrait_expression(model, np.random.default_rng(3), 0.0)
    assert float(looking_down[index("eyeLookDown_L")]) > float(level[index("eyeLookDown_L")]) + 0.3
