import dataclasses
from pathlib import Path

import pytest

from ops.errors import ConfigurationError
from ops.fit import preset
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
