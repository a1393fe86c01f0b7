from pathlib import Path

import pytest
import torch

from ops.texture.atlas import make_atlas
from ops.texture.layout import procedural_layout
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape
from tests.ops.texture.conftest import PaintedPeople


def test_values_of_vertices_lie_where_a_render_looks_them_up(people: PaintedPeople) -> None:
    atlas, shape = people.atlas, people.shape
    u, v = atlas.at(shape.uv).unbind(-1)
    centres = (torch.arange(atlas.side) + 0.5) / atlas.side
    torch.testing.assert_close(u, centres.expand(atlas.side, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(v, centres.flip(0).unsqueeze(1).expand(-1, atlas.side), atol=1e-5, rtol=0)


def test_a_model_of_one_part_is_all_face_and_its_symmetric_layout_mirrors(people: PaintedPeople) -> None:
    assert bool(people.atlas.face.all())
    assert bool(people.atlas.mirrored.all())
    assert not bool(people.atlas.eyeballs.any())


@pytest.mark.models
def test_ict_has_eyeballs_apart_from_its_face(model_dir: Path) -> None:
    shape = procedural_layout(load_shape(resolve_bundle("ict", model_dir).shape))
    atlas = make_atlas(shape, 128)
    assert not bool((atlas.face & atlas.eyeballs).any())
    assert 0.01 < atlas.eyeballs.float().mean() < 0.04
    assert 0.7 < atlas.face.float().mean() < 0.95
    assert (atlas.mirrored & atlas.face).sum() > 0.98 * atlas.face.sum()
    assert bool((atlas.mirrored == atlas.mirrored.flip(1)).all())
