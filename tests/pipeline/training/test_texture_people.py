from typing import Any

import numpy as np
import pytest
import torch

from ops.texture.completion import SeenTexture
from pipeline.training.texture_people import STEP, Selection, draw_of, pack_seen, unpack_seen

SIDE = 16


def frame(**changes: Any) -> dict[str, Any]:
    points = np.zeros((68, 2))
    points[45] = (40.0, 30.0)
    fields: dict[str, Any] = {
        "judge_similarity": 0.7, "landmark_error": 0.03, "landmarks_px": points.reshape(-1).tolist()
    }  # fmt: skip
    return fields | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"judge_similarity": None}, ""),
        ({"judge_similarity": 0.2}, "unlike_fit"),
        ({"landmark_error": 0.09}, "landmarks_off"),
        ({"landmark_error": None}, "landmarks_off"),
        ({"landmarks_px": [0.0] * 136}, "eyes_too_small"),
    ],
)
def test_photos_that_teach_nothing_are_refused_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    assert Selection().refuses(frame(**changes)) == reason


def test_who_is_held_out_depends_on_the_id_alone() -> None:
    names = [f"person {number}" for number in range(2000)]
    selection = Selection(hold_out=0.1)
    held_out = [name for name in names if selection.holds_out(name)]
    assert 150 < len(held_out) < 250
    assert held_out == [name for name in reversed(names) if selection.holds_out(name)][::-1]
    assert all(0 <= draw_of(name) < 1 for name in names)
    assert not any(Selection(hold_out=0.0).holds_out(name) for name in names)


def test_maps_come_back_from_bytes(rng: torch.Generator) -> None:
    albedo = torch.rand(3, SIDE, SIDE, generator=rng) * torch.tensor((1.5, 0.4, 0.4))[:, None, None] - 0.1
    albedo[0].clamp_(min=0)
    luma, chroma = torch.rand(2, SIDE, SIDE, generator=rng)
    found = unpack_seen({"side": SIDE, **pack_seen(SeenTexture(albedo, luma, chroma))})
    torch.testing.assert_close(found.albedo, albedo, atol=STEP, rtol=0)
    torch.testing.assert_close(found.luma_weight, luma, atol=1 / 255, rtol=0)
    torch.testing.assert_close(found.chroma_weight, chroma, atol=1 / 255, rtol=0)


def test_what_lies_outside_the_stored_range_is_clamped() -> None:
    ones = torch.ones(SIDE, SIDE)
    found = unpack_seen({"side": SIDE, **pack_seen(SeenTexture(torch.full((3, SIDE, SIDE), 9.0), ones, ones))})
    assert 3.99 < float(found.albedo[0].max()) < 4
    assert 1.99 < float(found.albedo[1:].max()) < 2
