"""Training steps on the pretended device end where the CPU ends."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ops.fit import FitModels
from ops.fit.regression import mean_start
from ops.texture.progressive_gan import GanSize
from ops.training.gan_schedule import GanSchedule, grown
from ops.training.regressor import RegressorTraining, RegressorTrainingConfig
from ops.training.regressor_samples import CROP_PX, SampleBatch
from ops.training.texture_gan import GanTraining
from ops.training.texture_maps import TextureMaps, find_maps, load_or_decode_maps
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models
from tests.ops.training.conftest import map_folder  # noqa: F401 - a fixture
from tests.support.pretended_cuda import PretendedCuda, to_cuda

SIZE = GanSize(resolution=8, latent_size=8, channel_base=64, channel_limit=8)
SCHEDULE = GanSchedule(
    size=SIZE, levels=grown(SIZE, images=16, minibatches={4: 8, 8: 8}), penalty_every=100, mixed_precision=False
)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def gan_steps(maps: TextureMaps, device: str) -> tuple[dict[str, Tensor], list[float]]:
    """Weights after three steps, at the first level and beyond it, and the losses on the way.

    Without the penalty on slopes: the pretended device does not follow gradients of gradients.
    """
    torch.manual_seed(0)
    training = GanTraining(SCHEDULE, device=device)
    training.step_number = 1
    losses = [float(value) for _ in range(3) for value in training.step(maps)[::2]]
    return weights(training.generator) | {f"critic.{k}": v for k, v in weights(training.critic).items()}, losses


def test_steps_of_the_texture_generator(map_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    maps = load_or_decode_maps(find_maps(map_folder), (4, 8), tmp_path / "cache", lambda line: None)
    expected, expected_losses = gan_steps(maps, "cpu")
    with PretendedCuda() as cuda:
        found, losses = gan_steps(maps, "cuda")
    assert sum(cuda.kernels.values()) > 1000
    assert losses == pytest.approx(expected_losses, rel=1e-4, abs=1e-5)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def batch(models: FitModels) -> SampleBatch:
    """Two faces that look like noise, with a truth of their own."""
    rng = torch.Generator().manual_seed(3)
    landmarks = mean_start(models.shape).landmarks.expand(2, -1, -1)
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 12, 12, generator=rng), size=CROP_PX, mode="bilinear")
    return SampleBatch(
        images=smooth,
        valid=torch.ones(2, CROP_PX, CROP_PX, dtype=torch.bool),
        landmarks=landmarks + 0.01 * torch.randn(2, 68, 2, generator=rng),
        seeds=torch.arange(2),
        identity=torch.randn(2, models.shape.identity_size, generator=rng),
        expression=0.3 * torch.rand(2, models.shape.expression_size, generator=rng),
        light=torch.zeros(2, 9),
        texture=torch.rand(2, 3, 32, 32, generator=rng),
    )


def regressor_step(models: FitModels, batch: SampleBatch) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of a step in which the objective counts, rendered twice."""
    assert models.regressor is not None
    regressor = models.regressor.train().requires_grad_(True)
    training = RegressorTraining(models, RegressorTrainingConfig(start_share=0.5))
    regressor.zero_grad()
    torch.manual_seed(0)
    loss = training(batch, 5, 0.9)
    loss.backward()
    gradients = {
        name: value.grad.cpu().clone() for name, value in regressor.named_parameters() if value.grad is not None
    }
    return loss.item(), gradients


def test_a_step_of_the_regressor(models: FitModels, batch: SampleBatch, embedded: ModelBundle) -> None:
    expected_loss, expected = regressor_step(models, batch)
    with PretendedCuda() as cuda:
        loss, found = regressor_step(load_fit_models.__wrapped__(embedded, "cuda"), to_cuda(batch))
    assert sum(cuda.kernels.values()) > 1000
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert found.keys() == expected.keys()
    together, reference = (torch.cat([part[name].flatten() for name in expected]) for part in (found, expected))
    assert float(reference.norm()) > 0
    assert float(torch.nn.functional.cosine_similarity(together, reference, dim=0)) > 0.999
