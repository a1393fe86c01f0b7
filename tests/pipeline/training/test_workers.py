import pytest
import torch

from ops.errors import ConfigurationError
from pipeline.training.workers import pick_device


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (pick_device("auto"), pick_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(ConfigurationError, match="found none"):
        pick_device("cuda")
