"""The probe that a run begins with and the comparison of `ganfit check-gpu`, on the pretended device."""

import dataclasses

import pytest
import torch

from ops.fit import FitInput, FitModels, fit_faces, preset
from ops.render.probe import gpu_problem
from ops.render.rasterize import RasterizerName
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models
from pipeline.studies.gpu_check import compare
from tests.gpu.conftest import SIDE
from tests.support.pretended_cuda import PretendedCuda, to_cuda


@pytest.mark.parametrize("rasterizer", ["warp", "nvdiffrast"])
def test_a_gpu_that_renders_as_the_cpu_has_no_problem(cuda: PretendedCuda, rasterizer: RasterizerName) -> None:
    assert gpu_problem(rasterizer) is None


def test_a_gpu_that_renders_upside_down_has_one(cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "flip", lambda pixels, axis: pixels)
    assert "renders another picture than the CPU" in str(gpu_problem("nvdiffrast"))


def test_equal_fits_pass_and_others_do_not(models: FitModels, inputs: FitInput, embedded: ModelBundle) -> None:
    config = dataclasses.replace(
        preset("default"), steps=1, landmark_steps=2, views=1, render_px=SIDE, second_render=False
    )
    expected = fit_faces(models, inputs, config)
    with PretendedCuda():
        found = fit_faces(load_fit_models.__wrapped__(embedded, "cuda"), to_cuda(inputs), config)
    assert all(line.passed for line in compare(expected, found))
    wrong = found._replace(camera=found.camera + 2, loss_total=found.loss_total * torch.nan)
    assert [line.passed for line in compare(expected, wrong)] == [True, True, True, False, True, False]
