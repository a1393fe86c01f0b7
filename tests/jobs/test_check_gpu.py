import pytest
import torch

from jobs.check_gpu import main


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_fails_and_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "sees no GPU that it can use: install its CUDA build" in lines[0]
    assert lines[-1] == "FAIL: --num-gpus 0 computes on the CPU"
