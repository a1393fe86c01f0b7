import dataclasses

import torch

from ops.face.mirror import mirror_of
from ops.faceworld.shape import faceworld_model


def test_mirrored_coefficients_make_the_mirrored_face() -> None:
    shape = faceworld_model()
    mirror = mirror_of(shape)
    assert mirror is not None
    assert mirror.swaps_texture
    generator = torch.Generator().manual_seed(1)
    identity = torch.randn(3, shape.identity_size, generator=generator)
    expression = torch.randn(3, shape.expression_size, generator=generator)
    flip = torch.tensor((-1.0, 1.0, 1.0))
    ours = shape.vertices_mm(identity, expression)
    theirs = shape.vertices_mm(identity @ mirror.identity, expression @ mirror.expression) * flip
    partner = torch.cdist(shape.mean_mm * flip, shape.mean_mm).argmin(1)
    missed = (theirs[:, partner] - ours).norm(dim=-1).mean()
    asymmetry = (ours[:, partner] * flip - ours).norm(dim=-1).mean()
    assert asymmetry > 1
    assert missed < 0.2 * asymmetry


def test_asymmetric_models_have_no_mirror() -> None:
    shape = faceworld_model()
    bent = shape.mean_mm.clone()
    bent[:, 0] += 0.001 * bent[:, 1].square()
    assert mirror_of(dataclasses.replace(shape, mean_mm=bent)) is None
    lopsided = shape.identity_basis_mm * (shape.mean_mm[:, :1] > 0)
    assert mirror_of(dataclasses.replace(shape, identity_basis_mm=lopsided)) is None


def test_modes_that_repeat_others_or_move_nothing_do_no_harm() -> None:
    shape = faceworld_model()
    again = torch.cat((shape.identity_basis_mm, shape.identity_basis_mm[:2], 0 * shape.identity_basis_mm[:1]))
    mirror = mirror_of(dataclasses.replace(shape, identity_basis_mm=again))
    assert mirror is not None
    assert torch.isfinite(mirror.identity).all()
