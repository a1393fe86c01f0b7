import dataclasses
from pathlib import Path

import pytest

from ops.errors import ConfigurationError
from ops.fit import preset
from ops.reconstruction.detection import DetectionConfig
from ops.weights.bundle import ModelBundle
from ops.weights.models import ModelRef
from pipeline.reconstruct.config import ReconstructConfig

NO_FILE = ModelRef(kind="none", path=None, sha256=None)
BUNDLE = ModelBundle(
    name="mine", shape=NO_FILE, texture=NO_FILE, recognition=NO_FILE, detector=NO_FILE, landmarks=NO_FILE,
    prior=NO_FILE, judge=None,
)  # fmt: skip


@pytest.mark.parametrize("method", ["fastganfit", "ganfit++"])
def test_a_method_that_needs_a_regressor_says_how_to_get_one(method: str, tmp_path: Path) -> None:
    config = ReconstructConfig(input=tmp_path, output=tmp_path / "out", fit=preset("default").by(method))
    with pytest.raises(ConfigurationError) as caught:
        config.check_models(BUNDLE)
    for words in (method, "'mine' has none", "kind: fastganfit", "--method ganfit"):
        assert words in str(caught.value)
    config.check_models(dataclasses.replace(BUNDLE, regressor=NO_FILE))


def test_ganfit_needs_none(tmp_path: Path) -> None:
    ReconstructConfig(input=tmp_path, output=tmp_path / "out").check_models(BUNDLE)


def test_fastganfit_looks_the_quicker_way_unless_told_otherwise(tmp_path: Path) -> None:
    config = ReconstructConfig(input=tmp_path, output=tmp_path / "out")
    fast = dataclasses.replace(config, fit=preset("default").by("fastganfit"))
    careful = dataclasses.replace(fast, detection=DetectionConfig(effort="full"))
    assert [each.computed()["detection"]["effort"] for each in (config, fast, careful)] == ["full", "quick", "full"]
    assert config.fits_per_prepare > fast.fits_per_prepare > careful.fits_per_prepare


def test_textures_from_photos_are_part_of_what_is_computed(tmp_path: Path) -> None:
    config = ReconstructConfig(input=tmp_path, output=tmp_path / "out", texture_px=1024)
    assert config.computed()["texture"] == "model"
    assert config.computed()["texture_px"] is config.texture_crop_px is None
    photos = dataclasses.replace(config, texture="photo")
    assert photos.computed()["texture_px"] == photos.photo_texture_px == 1024
    assert photos.texture_crop_px == 896
    assert dataclasses.replace(photos, texture_px=256).texture_crop_px is None
    with pytest.raises(ConfigurationError, match="expected a texture out of model, photo"):
        dataclasses.replace(photos, texture_px=300)  # pyright: ignore[reportArgumentType]
