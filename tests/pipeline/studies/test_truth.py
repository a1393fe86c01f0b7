from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ops.faceworld import album
from ops.faceworld.album import AlbumSettings, write_album
from ops.faceworld.shape import faceworld_model
from pipeline.studies.truth import find_truth


def test_an_album_tells_its_truth_to_its_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "TEXTURE_PX", 64)
    model, photos = faceworld_model(), tmp_path / "photos"
    assert find_truth(photos, model) == {}
    known = write_album(model, photos, tmp_path / "truth.safetensors", AlbumSettings(people=2, photos=1, side_px=64))
    found = find_truth(photos, model)
    assert sorted(found) == sorted(path.name for path in photos.iterdir())
    for number, truth in enumerate(found.values()):
        assert torch.equal(truth.identity, known.identity[number])
        assert truth.texture is not None
        assert torch.equal(truth.texture, known.texture[number])
    assert find_truth(photos, replace(model, mean_mm=1.01 * model.mean_mm)) == {}
