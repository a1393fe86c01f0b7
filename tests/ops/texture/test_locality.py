"""A model of the whole face whose covariance is confined to its parts."""

from dataclasses import replace

import pytest
import torch

from ops.face.landmark_parts import BROWS, LEFT_EYE, MOUTH
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import UV_LAYOUT, faceworld_model
from ops.texture.atlas import make_atlas
from ops.texture.learning import TextureLearner
from ops.texture.locality import LOCAL_SHARE, LocalModes, face_windows, localised
from ops.texture.pca import PcaTexture

SIDE, WHOLE = 32, 6


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def learner(shape: MorphableModel) -> TextureLearner:
    prior = PcaTexture(mean=torch.zeros(3, SIDE, SIDE), basis=torch.zeros(1, 3, SIDE, SIDE), uv_layout=UV_LAYOUT)
    importance = 0.5 + torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    importance = importance + importance.flip(-1)
    return TextureLearner(atlas=make_atlas(shape, SIDE), importance=importance, prior=prior)


@pytest.fixture(scope="module")
def windows(shape: MorphableModel, learner: TextureLearner) -> torch.Tensor:
    return face_windows(shape, learner.atlas)


@pytest.fixture(scope="module")
def modes(learner: TextureLearner) -> torch.Tensor:
    """Even and odd modes in turn; what does not mirror belongs to the even ones."""
    noise = torch.randn(WHOLE, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    even = torch.where(learner.mirroring.mirrored, (noise + noise.flip(-1)) / 2, noise)
    odd = torch.where(learner.mirroring.mirrored, (noise - noise.flip(-1)) / 2, 0.0)
    return torch.cat((even[::2], odd[1::2]))


def local_of(modes: torch.Tensor, windows: torch.Tensor, learner: TextureLearner, count: int) -> LocalModes:
    return localised(modes, windows, learner.mirroring, learner.metric(), count)


def covariance(modes: torch.Tensor) -> torch.Tensor:
    flat = modes.flatten(1).double()
    return flat.mT @ flat


def texel_nearest(shape: MorphableModel, learner: TextureLearner, point_mm: torch.Tensor) -> int:
    distance = (learner.atlas.at(shape.mean_mm.float()) - point_mm).norm(dim=-1)
    return int(torch.where(learner.atlas.face, distance, torch.inf).argmin())


def test_windows_share_every_texel_below_the_forehead_and_mirror_each_other(
    shape: MorphableModel, learner: TextureLearner, windows: torch.Tensor
) -> None:
    height = learner.atlas.at(shape.mean_mm.float())[..., 1] - shape.mean_mm[shape.landmarks[BROWS], 1].max()
    shared, face = windows.square().sum(0), learner.atlas.face
    torch.testing.assert_close(
        shared[~face | (height < -2)], torch.tensor(1.0).expand_as(shared)[~face | (height < -2)]
    )
    assert float(shared[face & (height > 47)].max()) == 0
    mirrored = learner.atlas.mirrored
    assert torch.equal(windows[:, mirrored], windows.flip(-1)[:, mirrored])
    off = ~learner.atlas.face
    assert bool((windows[-1, off] == 1).all())
    assert bool((windows[:-1, off] == 0).all())


def test_with_all_modes_the_covariance_is_the_tapered_one(
    learner: TextureLearner, windows: torch.Tensor, modes: torch.Tensor
) -> None:
    local = local_of(modes, windows, learner, 1000)
    assert len(local.modes) == WHOLE * (1 + len(windows))
    apart = LOCAL_SHARE**0.5 * windows.flatten(1).double()
    factors = torch.cat(((1 - apart.square().sum(0, keepdim=True)).sqrt(), apart))
    kernel = factors.mT @ factors
    expected = covariance(modes) * kernel.repeat(3, 3)
    torch.testing.assert_close(covariance(local.modes), expected, atol=1e-4, rtol=1e-4)


def test_given_modes_are_mixtures_of_local_ones_as_far_as_these_reach(
    learner: TextureLearner, windows: torch.Tensor, modes: torch.Tensor
) -> None:
    """What is left of them is orthogonal to all; nothing is where the windows leave as much to the whole everywhere."""
    evenly = windows.clone()
    evenly[-1] = (1 - windows[:-1].square().sum(0)).clamp_min(0).sqrt()
    for shares, most in ((windows, 0.2), (evenly, 1e-3)):
        local = local_of(modes, shares, learner, 1000)
        left = modes - torch.einsum("kg,kchw->gchw", local.whole, local.modes)
        assert float(left.square().mean() / modes.square().mean()) < most
        common = torch.einsum("gchw,kchw->gk", learner.weight * left, local.modes)
        size = (learner.weight * modes.square()).sum((1, 2, 3)).max()
        assert float(common.abs().max() / size) < 1e-3


def test_few_modes_are_the_leading_ones_and_even_or_odd(
    learner: TextureLearner, windows: torch.Tensor, modes: torch.Tensor
) -> None:
    every, some = (local_of(modes, windows, learner, count) for count in (1000, 20))
    few = some.modes
    assert torch.equal(few, every.modes[:20])
    assert torch.equal(some.whole, every.whole[:20])
    variance = (few.square() * learner.weight).sum((1, 2, 3))
    assert bool((variance[1:] <= variance[:-1] * 1.0001).all())
    mirrored = learner.mirroring.mirrored
    pair = few[..., mirrored], few.flip(-1)[..., mirrored]
    even, odd = ((pair[0] == sign * pair[1]).flatten(1).all(1) for sign in (1, -1))
    assert bool((even ^ odd).all())
    assert bool(even.any())
    assert bool(odd.any())


def test_an_eye_may_change_without_the_mouth(
    shape: MorphableModel, learner: TextureLearner, windows: torch.Tensor
) -> None:
    """Of one mode for all, half of what they have in common goes; neighbours keep nearly all."""
    landmarks = shape.mean_mm[shape.landmarks]
    eye, mouth = (texel_nearest(shape, learner, landmarks[part].mean(0)) for part in (LEFT_EYE, MOUTH))
    beside = texel_nearest(shape, learner, landmarks[LEFT_EYE].mean(0) + torch.tensor((3.0, 0.0, 0.0)))
    common = covariance(local_of(torch.ones(1, 3, SIDE, SIDE), windows, learner, 1000).modes[:, 0])
    assert float(common[eye, eye]) == pytest.approx(1, abs=1e-3)
    assert float(common[eye, mouth]) < 1 - 0.8 * LOCAL_SHARE
    assert float(common[eye, beside]) > 0.98


def test_texels_without_a_face_stay_together(learner: TextureLearner, shape: MorphableModel) -> None:
    eyeballs = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    eyeballs[10, 20:24] = True
    windows = face_windows(shape, replace(learner.atlas, eyeballs=eyeballs))
    assert bool((windows[-1, eyeballs] == 1).all())
