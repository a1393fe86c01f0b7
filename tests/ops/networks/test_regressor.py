import dataclasses
from pathlib import Path

import pytest
import torch

from ops.errors import ConfigurationError, MissingModelFileError, ModelFormatError
from ops.faceworld.shape import faceworld_model
from ops.networks.recognition import Recognition
from ops.networks.regressor import LANDMARK_FEATURES, Regressor, RegressorLayout, RegressorStart
from ops.networks.regressor_file import (
    RegressorFile,
    RegressorOrigin,
    load_regressor_file,
    probe_models,
    regressor_for,
    save_regressor,
    take_over,
)
from ops.texture.pca import PcaTexture

SHA = "ab" * 32
EMBEDDED = RegressorLayout(
    identity=7,
    expression=3,
    texture=5,
    embedding=6,
    taps=((2, 28), (3, 14), (4, 4)),
    channels=(4, 4, 4, 4, 4),
    features=8,
)
ARCFACE = RegressorLayout(
    identity=2,
    expression=4,
    texture=9,
    embedding=11,
    taps=((3, 56), (2, 28), (2, 28), (5, 7)),
    channels=(4, 4, 4, 4),
    features=6,
)

DLIB = dataclasses.replace(EMBEDDED, taps=((2, 35), (3, 17), (2, 8), (3, 4)))
"""Activations between the branch's own resolutions."""


def make(layout: RegressorLayout, rng: torch.Generator) -> Regressor:
    torch.manual_seed(0)
    start = RegressorStart(torch.rand(68, 2, generator=rng), torch.arange(8.0), torch.arange(9.0) / 9)
    return Regressor(layout, start)


def looks(layout: RegressorLayout, count: int, rng: torch.Generator) -> tuple[torch.Tensor, Recognition, torch.Tensor]:
    features = tuple(torch.randn(count, channels, side, side, generator=rng) for channels, side in layout.taps)
    crops = torch.rand(count, 3, 112, 112, generator=rng)
    embedding = torch.randn(count, layout.embedding, generator=rng)
    return crops, Recognition(embedding, features), torch.rand(count, 68, 2, generator=rng)


@pytest.mark.parametrize("layout", [EMBEDDED, ARCFACE, DLIB])
def test_the_first_answer_is_the_mean_of_the_prior(layout: RegressorLayout, rng: torch.Generator) -> None:
    answer = make(layout, rng)(*looks(layout, 3, rng))
    assert answer.identity.shape == (3, layout.identity)
    assert answer.expression.shape == (3, layout.expression)
    assert answer.texture.shape == (3, layout.texture)
    for zero in answer[:3]:
        assert not zero.any()
    torch.testing.assert_close(answer.camera, torch.arange(8.0).expand(3, 8))
    torch.testing.assert_close(answer.light, (torch.arange(9.0) / 9).expand(3, 9))


@pytest.mark.parametrize("layout", [EMBEDDED, DLIB])
def test_every_head_sees_what_it_should_and_nothing_else(layout: RegressorLayout, rng: torch.Generator) -> None:
    network = make(layout, rng).eval()
    for head in (network.appearance, network.shape, network.camera):
        torch.nn.init.normal_(head.weight)
    crops, recognition, landmarks = looks(layout, 1, rng)
    moved = (crops.flip(-1), recognition, landmarks), (crops, recognition, landmarks + 0.01)
    other = Recognition(recognition.embedding, tuple(value + 1 for value in recognition.features))
    before = network(crops, recognition, landmarks)
    by_picture, by_landmarks, by_taps = (network(*looked) for looked in (*moved, (crops, other, landmarks)))
    assert torch.equal(before.camera, by_picture.camera)
    assert not torch.equal(before.camera, by_landmarks.camera)
    for name in ("texture", "light"):
        assert torch.equal(getattr(before, name), getattr(by_landmarks, name))
        assert not torch.equal(getattr(before, name), getattr(by_picture, name))
        assert not torch.equal(getattr(before, name), getattr(by_taps, name))
    for name in ("identity", "expression"):
        assert not torch.equal(getattr(before, name), getattr(by_landmarks, name))
        assert not torch.equal(getattr(before, name), getattr(by_taps, name))


def test_landmarks_that_no_face_explains_are_trusted_less(rng: torch.Generator) -> None:
    network = make(EMBEDDED, rng)
    directions = torch.randn(5, 136, generator=rng) / 20
    usual = 0.001

    def some(count: int) -> torch.Tensor:
        flat = torch.randn(count, 5, generator=rng) @ directions + usual * torch.randn(count, 136, generator=rng)
        return network.mean_landmarks + flat.unflatten(1, (68, 2))

    new = some(20)
    assert (network.trust(network.centred(new)) == 1).all()
    network.learn_plausible(some(500))
    good = network.trust(network.centred(new))
    assert float(good.min()) > 0.6
    bad = new + 20 * usual * torch.randn(20, 68, 2, generator=rng)
    told = network.landmark_features(bad)
    assert float(told[:, -1].max()) < 0.02
    points = network.centred(bad)
    torch.testing.assert_close(told[:, :136], points)
    torch.testing.assert_close(told[:, 136:272], told[:, -1:] * points)
    far = new + network.plausible[0].unflatten(0, (68, 2))
    torch.testing.assert_close(network.trust(network.centred(far)), good, atol=1e-3, rtol=0)


def test_several_answers_are_worth_more_than_their_mean(rng: torch.Generator) -> None:
    network = make(EMBEDDED, rng)
    one, four = torch.tensor((1.0,)), torch.tensor((4.0,))
    assert (network.agreement(four) == 1).all()
    people, size, shared = 20_000, EMBEDDED.identity, 0.3
    explained = torch.tensor((0.9, 0.8, 0.7, 0.5, 0.3, 0.1, 0.0))
    truth = torch.randn(people, size, generator=rng)
    common, own = (torch.randn(people, count, size, generator=rng) for count in (1, 4))
    spread = ((1 - explained) * explained).sqrt()
    answers = explained * truth.unsqueeze(1) + spread * (shared**0.5 * common + (1 - shared) ** 0.5 * own)
    network.learn_errors(answers, truth, torch.linspace(2, 1, size))
    torch.testing.assert_close(network.explained, explained, atol=0.02, rtol=0)
    assert float(network.shared_error) == pytest.approx(shared, abs=0.03)
    torch.testing.assert_close(network.agreement(one), torch.ones(1, size))
    mean = answers.mean(1)
    factor = network.agreement(four)
    best = (mean * truth).sum(0) / mean.square().sum(0).clamp_min(1)
    torch.testing.assert_close(factor[0, :-1], best[:-1], atol=0.03, rtol=0)
    assert float((mean * factor - truth).square().mean()) < float((mean - truth).square().mean())
    for count, answer in ((1, answers[:, 0]), (4, mean * factor)):
        left = (answer - truth).square().mean(0)
        precision = network.precision(torch.tensor((float(count),)))[0]
        torch.testing.assert_close(1 / precision, left, atol=0.02, rtol=0)


def test_activations_are_taken_in_where_the_branch_is_about_as_fine() -> None:
    assert [DLIB.nearest(side) for side in (56, 35, 17, 8, 4, 2)] == [56, 28, 14, 7, 4, 4]


@pytest.fixture
def texture() -> PcaTexture:
    rng = torch.Generator().manual_seed(1)
    return PcaTexture(
        mean=torch.rand(3, 32, 32, generator=rng),
        basis=0.5 * torch.randn(5, 3, 32, 32, generator=rng).cumsum(-1) / 32,
        uv_layout="faceworld-grid-v1",
    )


class Bent:
    """A texture model that is not linear."""

    def __init__(self, linear: PcaTexture) -> None:
        self._linear = linear
        self.latent_size, self.resolution = linear.latent_size, linear.resolution
        self.levels, self.uv_layout = linear.levels, linear.uv_layout

    def __call__(self, latent: torch.Tensor, level: int | None = None) -> torch.Tensor:
        return self._linear(latent, level).sigmoid()

    def constrain(self, latent: torch.Tensor) -> torch.Tensor:
        return latent

    def to(self, device: torch.device | str) -> "Bent":
        return self


@pytest.fixture
def saved(tmp_path: Path, texture: PcaTexture, rng: torch.Generator) -> tuple[Path, Regressor]:
    shape = faceworld_model()
    sizes = {"identity": shape.identity_size, "expression": shape.expression_size}
    network = make(dataclasses.replace(EMBEDDED, **sizes), rng).eval()
    torch.nn.init.normal_(network.shape.weight, std=0.02)
    origin = RegressorOrigin(bundle="mine", models={"recognition": {"kind": "onnx", "sha256": SHA}}, training={"a": 1})
    save_regressor(RegressorFile(network, origin, probe_models(shape, texture)), tmp_path / "r.safetensors")
    return tmp_path / "r.safetensors", network


def test_a_file_gives_back_the_network_and_where_it_comes_from(
    saved: tuple[Path, Regressor], texture: PcaTexture, rng: torch.Generator
) -> None:
    path, network = saved
    content = load_regressor_file(path)
    assert content.origin.bundle == "mine"
    assert content.origin.training == {"a": 1}
    assert not any(value.requires_grad for value in content.regressor.parameters())
    seen = looks(network.layout, 2, rng)
    for ours, theirs in zip(content.regressor(*seen), network(*seen), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.01)
    assert regressor_for(path, content, faceworld_model(), texture, SHA) is content.regressor


def test_a_start_is_what_another_one_makes_of_pictures(saved: tuple[Path, Regressor], rng: torch.Generator) -> None:
    path, other = saved
    network = make(other.layout, rng).eval()
    take_over(network, path)
    with torch.no_grad():
        other.shape.weight[:, -LANDMARK_FEATURES:] = 0
    seen = looks(other.layout, 2, rng)
    with torch.no_grad():
        ours, theirs = network(*seen), other(*seen)
    assert float(theirs.identity.abs().max()) > 0.05
    for name in ("identity", "expression", "texture", "light"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=0.02, rtol=0.01)
    assert not network.shape.weight[:, -LANDMARK_FEATURES:].any()
    with pytest.raises(ModelFormatError, match="not a regressor of the same layout"):
        take_over(make(ARCFACE, rng), path)
    with pytest.raises(MissingModelFileError, match="found no file"):
        take_over(network, path.with_name("absent"))


def test_other_models_than_those_of_the_training_are_refused(
    saved: tuple[Path, Regressor], texture: PcaTexture
) -> None:
    path, _ = saved
    content = load_regressor_file(path)
    shape = faceworld_model()
    with pytest.raises(
        ConfigurationError, match=r"recognition network ab.*bundle has cd.*use the models it was trained with"
    ):
        regressor_for(path, content, shape, texture, "cd" * 32)
    swapped = dataclasses.replace(shape, identity_basis_mm=shape.identity_basis_mm.flip(0))
    with pytest.raises(ConfigurationError, match="another shape model of the same size"):
        regressor_for(path, content, swapped, texture, SHA)
    fewer = dataclasses.replace(shape, identity_basis_mm=shape.identity_basis_mm[:9])
    with pytest.raises(
        ConfigurationError, match="158 identity and 29 expression coefficients, the models have 9 and 29"
    ):
        regressor_for(path, content, fewer, texture, SHA)


def test_of_another_linear_texture_model_it_answers_the_mean(
    saved: tuple[Path, Regressor], texture: PcaTexture, rng: torch.Generator
) -> None:
    path, network = saved
    content, shape = load_regressor_file(path), faceworld_model()
    smaller = PcaTexture(mean=texture.mean + 0.1, basis=texture.basis[:4], uv_layout=texture.uv_layout)
    found = regressor_for(path, content, shape, smaller, SHA)
    assert network.knows_texture
    assert not found.knows_texture
    seen = looks(network.layout, 2, rng)
    ours, theirs = found(*seen), content.regressor(*seen)
    assert ours.texture.shape == (2, 4)
    assert not ours.texture.any()
    for name in ("identity", "expression", "camera", "light"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    bent = Bent(smaller)
    with pytest.raises(ConfigurationError, match="another texture model, and that of the bundle is not linear"):
        regressor_for(path, content, shape, bent, SHA)


def test_of_a_texture_model_made_of_its_own_it_answers_the_same_texture(
    saved: tuple[Path, Regressor], texture: PcaTexture, rng: torch.Generator
) -> None:
    path, network = saved
    content, shape = load_regressor_file(path), faceworld_model()
    size = texture.latent_size
    with torch.no_grad():
        content.regressor.appearance.weight.normal_(0, 0.1, generator=rng)
    turn = torch.linalg.qr(torch.randn(size + 3, size, generator=rng)).Q
    other = dataclasses.replace(texture, basis=torch.einsum("lg,gchw->lchw", turn, texture.basis), whole=turn)
    found = regressor_for(path, content, shape, other, SHA)
    assert found.knows_texture
    seen = looks(network.layout, 2, rng)
    ours, theirs = found(*seen), content.regressor(*seen)
    assert ours.texture.shape == (2, size + 3)
    assert float((texture(theirs.texture) - texture.mean).abs().max()) > 1e-3
    torch.testing.assert_close(other(ours.texture), texture(theirs.texture), atol=1e-5, rtol=1e-4)
    for name in ("identity", "expression", "camera", "light"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    foreign = dataclasses.replace(other, mean=texture.mean + 0.1)
    assert not regressor_for(path, content, shape, foreign, SHA).knows_texture


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="name one that is there"):
        load_regressor_file(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(ModelFormatError, match="no sound safetensors file"):
        load_regressor_file(tmp_path / "text.safetensors")
