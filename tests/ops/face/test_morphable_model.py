import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError, UnitsError
from ops.face.morphable_model import ModelMetadata, MorphableModel, load_morphable_model, save_morphable_model

VERTICES, IDENTITY, EXPRESSION = 80, 4, 3


@pytest.fixture
def model(rng: torch.Generator) -> MorphableModel:
    mean = torch.randn(VERTICES, 3, generator=rng) * 50
    mean[36] = torch.tensor([-45.0, 0, 0])
    mean[45] = torch.tensor([45.0, 0, 0])
    triangles = torch.randint(VERTICES, (30, 3), generator=rng, dtype=torch.int32)
    landmarks = torch.arange(68)
    jaw = torch.stack((landmarks[:17], torch.randint(VERTICES, (17,), generator=rng)), 1)
    return MorphableModel(
        mean_mm=mean,
        identity_basis_mm=torch.randn(IDENTITY, VERTICES, 3, generator=rng),
        expression_basis_mm=torch.randn(EXPRESSION, VERTICES, 3, generator=rng),
        triangles=triangles,
        uv=torch.rand(VERTICES, 2, generator=rng),
        uv_triangles=triangles.flip(0),
        landmarks=landmarks,
        jaw_candidates=jaw,
        regions={"face": mean[:, 2] > 0, "skin": mean[:, 2] > 10},
        metadata=ModelMetadata(
            name="toy", licence="CC0", source="a test", uv_layout="toy-v1", expression_kind="gaussian"
        ),
        triangle_regions=torch.arange(30, dtype=torch.int32) % 2,
        region_names=("skin", "eye"),
    )


def test_vertices_are_the_mean_plus_the_weighted_modes(model: MorphableModel, rng: torch.Generator) -> None:
    identity, expression = torch.randn(IDENTITY, generator=rng), torch.randn(EXPRESSION, generator=rng)
    expected = model.mean_mm.clone()
    for weight, mode in zip(identity, model.identity_basis_mm, strict=True):
        expected += weight * mode
    for weight, mode in zip(expression, model.expression_basis_mm, strict=True):
        expected += weight * mode
    torch.testing.assert_close(model.vertices_mm(identity, expression), expected)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,)])
def test_batches_of_any_depth(model: MorphableModel, rng: torch.Generator, batch: tuple[int, ...]) -> None:
    identity = torch.randn(*batch, IDENTITY, generator=rng)
    expression = torch.randn(*batch, EXPRESSION, generator=rng)
    vertices = model.vertices_mm(identity, expression)
    assert vertices.shape == (*batch, VERTICES, 3)
    for one, face in enumerate(vertices.reshape(-1, VERTICES, 3)):
        alone = model.vertices_mm(identity.reshape(-1, IDENTITY)[one], expression.reshape(-1, EXPRESSION)[one])
        torch.testing.assert_close(face, alone)


def test_a_model_without_expressions(model: MorphableModel) -> None:
    neutral = model.with_modes(IDENTITY, 0)
    assert neutral.expression_size == 0
    torch.testing.assert_close(
        neutral.vertices_mm(torch.zeros(5, IDENTITY), torch.zeros(5, 0)), model.mean_mm.expand(5, -1, -1)
    )


def test_gradients_reach_both_coefficient_vectors(model: MorphableModel, rng: torch.Generator) -> None:
    double = model.to(dtype=torch.float64)
    inputs = tuple(
        torch.randn(2, size, generator=rng, dtype=torch.float64, requires_grad=True) for size in (IDENTITY, EXPRESSION)
    )
    assert torch.autograd.gradcheck(double.vertices_mm, inputs)


def test_the_checksum_knows_every_part(model: MorphableModel) -> None:
    landmarks = model.landmarks.clone()
    landmarks[30] += 1
    others = (
        dataclasses.replace(model),
        dataclasses.replace(model, landmarks=landmarks),
        dataclasses.replace(model, regions={**model.regions, "skin": model.regions["face"]}),
        dataclasses.replace(model, metadata=dataclasses.replace(model.metadata, uv_layout="toy-v2")),
    )
    sums = [model.checksum(), *(other.checksum() for other in others)]
    assert sums[0] == sums[1]
    assert len(set(sums)) == 4


def test_points_agree_with_the_whole_model(model: MorphableModel, rng: torch.Generator) -> None:
    identity, expression = torch.randn(2, IDENTITY, generator=rng), torch.randn(2, EXPRESSION, generator=rng)
    index = torch.tensor([7, 3, 7, 79])
    points = model.at_vertices(index).vertices_mm(identity, expression)
    torch.testing.assert_close(points, model.vertices_mm(identity, expression)[:, index])


def test_leading_modes_are_kept(model: MorphableModel) -> None:
    cut = model.with_modes(2, 100)
    assert (cut.identity_size, cut.expression_size) == (2, EXPRESSION)
    assert torch.equal(cut.identity_basis_mm, model.identity_basis_mm[:2])


def test_conversion_leaves_indices_alone(model: MorphableModel) -> None:
    double = model.to("cpu", torch.float64)
    assert double.uv.dtype == double.mean_mm.dtype == torch.float64
    assert double.triangles.dtype == torch.int32
    assert double.landmarks.dtype == torch.int64
    assert double.regions["face"].dtype == torch.bool


def without_face(model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(model, regions={"skin": model.regions["skin"]})


def far_triangle(model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(model, triangles=model.triangles + VERTICES - int(model.triangles.max()))


def negative_uv_index(model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(model, uv_triangles=model.uv_triangles - VERTICES)


def not_finite(model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(model, mean_mm=model.mean_mm / 0)


def foreign_jaw(model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(model, jaw_candidates=model.jaw_candidates.flip(0))


def unnamed_triangles(model: MorphableModel) -> MorphableModel:
    return dataclasses.replace(model, region_names=("skin",))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_face, "face is missing"),
        (far_triangle, "0 to 79 in triangles"),
        (negative_uv_index, "0 to 79 in uv_triangles"),
        (not_finite, "mean_mm holds numbers that are not finite"),
        (foreign_jaw, "first jaw candidate"),
        (unnamed_triangles, "0 to 0 in triangle_regions"),
    ],
)
def test_damaged_models_are_refused(
    model: MorphableModel, damage: Callable[[MorphableModel], MorphableModel], words: str
) -> None:
    with pytest.raises(ModelFormatError, match=words):
        damage(model)


@pytest.mark.parametrize("factor", [0.001, 0.1, 1000.0])
def test_metres_centimetres_and_micrometres_are_refused(model: MorphableModel, factor: float) -> None:
    with pytest.raises(UnitsError, match="60 to 130 mm"):
        dataclasses.replace(model, mean_mm=model.mean_mm * factor)


def test_a_file_gives_back_the_model(model: MorphableModel, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_morphable_model(model, path)
    again = load_morphable_model(path)
    assert again.metadata == model.metadata
    assert again.region_names == model.region_names
    assert again.regions.keys() == model.regions.keys()
    for name in ("face", "skin"):
        assert torch.equal(again.regions[name], model.regions[name])
    tensors = [item.name for item in dataclasses.fields(model) if isinstance(getattr(model, item.name), Tensor)]
    assert len(tensors) == 9
    for name in tensors:
        assert torch.equal(getattr(again, name), getattr(model, name)), name
    assert [file.name for file in tmp_path.iterdir()] == ["toy.safetensors"]


def test_a_file_without_triangle_regions(model: MorphableModel, tmp_path: Path) -> None:
    save_morphable_model(dataclasses.replace(model, triangle_regions=None, region_names=()), tmp_path / "toy")
    assert load_morphable_model(tmp_path / "toy").triangle_regions is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"nowhere\.safetensors"):
        load_morphable_model(tmp_path / "nowhere.safetensors")


def test_text_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("not a model at all, just a line of text")
    with pytest.raises(ModelFormatError, match="no sound safetensors file"):
        load_morphable_model(tmp_path / "model")


def test_a_cut_file_is_refused(model: MorphableModel, tmp_path: Path) -> None:
    save_morphable_model(model, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[:-100])
    with pytest.raises(ModelFormatError, match="no sound safetensors file"):
        load_morphable_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("header", "words"),
    [({}, "expected a file of format"), ({"format": "ganfit-morphable-model", "version": "99"}, "expected version 1")],
)
def test_foreign_and_newer_files_are_refused(
    model: MorphableModel, tmp_path: Path, header: dict[str, str], words: str
) -> None:
    save_morphable_model(model, tmp_path / "model")
    save_file(load_file(tmp_path / "model"), tmp_path / "other", metadata=header)
    with pytest.raises(ModelFormatError, match=words):
        load_morphable_model(tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("identity_basis_mm", torch.zeros(4, 79, 3), r"identity_basis_mm with shape \(4, 80, 3\), got \(4, 79, 3\)"),
        ("uv", torch.zeros(10), r"uv with shape \('uv', 2\), got \(10,\)"),
        ("landmarks", torch.zeros(51, dtype=torch.int64), r"landmarks with shape \(68,\), got \(51,\)"),
        ("triangles", torch.zeros(30, 3), r"triangles as torch\.int32, got torch\.float32"),
        ("region.skin", torch.zeros(79, dtype=torch.bool), r"region skin as 80 truth values"),
        ("triangle_regions", torch.zeros(29, dtype=torch.int32), r"triangle_regions with shape \(30,\)"),
        ("surprise", torch.zeros(1), "surprise"),
    ],
)
def test_files_with_arrays_that_do_not_fit_are_refused(
    model: MorphableModel, tmp_path: Path, name: str, tensor: Tensor, words: str
) -> None:
    save_morphable_model(model, tmp_path / "model")
    with safe_open(tmp_path / "model", framework="pt") as file:
        header = file.metadata()
    save_file(load_file(tmp_path / "model") | {name: tensor}, tmp_path / "other", metadata=header)
    with pytest.raises(ModelFormatError, match=words):
        load_morphable_model(tmp_path / "other")


def test_a_file_that_lacks_an_array_is_refused(model: MorphableModel, tmp_path: Path) -> None:
    save_morphable_model(model, tmp_path / "model")
    with safe_open(tmp_path / "model", framework="pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / "model")
    del tensors["uv_triangles"]
    save_file(tensors, tmp_path / "other", metadata=header)
    with pytest.raises(ModelFormatError, match="uv_triangles is missing"):
        load_morphable_model(tmp_path / "other")
