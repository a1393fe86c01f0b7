import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from ops.errors import ConfigurationError, MissingModelFileError, ModelFormatError
from ops.face.prior import CameraLightPrior, ClippedNormal, PriorSample, load_prior, sample_prior, save_prior

SAMPLES = 20_000


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sample() -> PriorSample:
    return sample_prior(CameraLightPrior(), [generator(1)] * SAMPLES)


@pytest.mark.parametrize(("column", "sd", "limit"), [(0, 20, 45), (1, 10, 25), (2, 7, 30)])
def test_angles_follow_the_stated_distribution(sample: PriorSample, column: int, sd: float, limit: float) -> None:
    degrees = sample.angles[:, column].rad2deg()
    assert degrees.abs().max().item() <= limit + 1e-3
    assert (degrees.abs() > limit - 1e-3).any() == (limit < 3 * sd)
    assert degrees.mean().item() == pytest.approx(0, abs=4 * sd / math.sqrt(SAMPLES))
    inside = (degrees.abs() < sd).float().mean().item()
    assert inside == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.015)


def test_light_is_nearly_white_never_negative_and_has_the_stated_brightness(sample: PriorSample) -> None:
    for light, mean, sd in ((sample.ambient, 0.85, 0.15), (sample.colour, 0.6, 0.2)):
        assert light.min().item() >= 0
        brightness = light.mean(-1)
        assert brightness.mean().item() == pytest.approx(mean, abs=0.01)
        assert brightness.std().item() == pytest.approx(sd, abs=0.01)
        assert (light - brightness.unsqueeze(-1)).std().item() == pytest.approx(0.03 * math.sqrt(2 / 3), abs=0.002)


def test_light_directions_are_unit_vectors_in_front_and_from_above(sample: PriorSample) -> None:
    torch.testing.assert_close(sample.direction.norm(dim=-1), torch.ones(SAMPLES))
    assert sample.direction[:, 2].min().item() > 0
    mean = sample.direction.mean(0)
    assert mean[0].abs().item() < 0.02
    assert mean[1].item() == pytest.approx(0.22, abs=0.03)


def test_a_draw_depends_on_its_own_generator_alone() -> None:
    prior = CameraLightPrior()
    together = sample_prior(prior, [generator(seed) for seed in (5, 6, 7)])
    alone = sample_prior(prior, [generator(6)])
    for batch, single in zip(together, alone, strict=True):
        assert torch.equal(batch[1:2], single)


def test_a_repeated_generator_goes_on() -> None:
    one = generator(3)
    twice = sample_prior(CameraLightPrior(), [one, one])
    assert not torch.equal(twice.angles[0], twice.angles[1])
    again = generator(3)
    first, second = (sample_prior(CameraLightPrior(), [again]) for _ in range(2))
    assert torch.equal(torch.cat((first.direction, second.direction)), twice.direction)


def test_no_deviation_gives_the_means() -> None:
    def fixed(mean: float) -> ClippedNormal:
        return ClippedNormal(mean=mean, sd=0.0, minimum=0.0, maximum=90.0)

    prior = CameraLightPrior(
        yaw_deg=fixed(30.0),
        pitch_deg=fixed(20.0),
        roll_deg=fixed(10.0),
        ambient=fixed(0.5),
        ambient_chroma_sd=0.0,
        colour=fixed(0.25),
        colour_chroma_sd=0.0,
        direction_mean=(3.0, 0.0, 4.0),
        direction_sd=(0.0, 0.0, 0.0),
    )
    angles, ambient, colour, direction = sample_prior(prior, [generator(0)])
    torch.testing.assert_close(angles, torch.tensor([[30.0, 20, 10]]).deg2rad())
    torch.testing.assert_close(ambient, torch.full((1, 3), 0.5))
    torch.testing.assert_close(colour, torch.full((1, 3), 0.25))
    torch.testing.assert_close(direction, torch.tensor([[0.6, 0, 0.8]]))


def test_a_file_gives_back_the_prior(tmp_path: Path) -> None:
    yaw = ClippedNormal(mean=1.0, sd=2.0, minimum=-3.0, maximum=4.0)
    prior = CameraLightPrior(yaw_deg=yaw, direction_sd=(0.1, 0.2, 0.3), expression_sd=0.7, source="elsewhere")
    save_prior(prior, tmp_path / "prior.json")
    assert load_prior(tmp_path / "prior.json") == prior


def test_entries_left_out_keep_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "prior.json"
    path.write_text(json.dumps({"format": "ganfit-camera-light-prior", "version": 1, "expression_sd": 1}))
    assert load_prior(path) == dataclasses.replace(CameraLightPrior(), expression_sd=1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "expected format ganfit-camera-light-prior"),
        ({"version": 2}, "version 2"),
        ({"jaw_deg": 3}, "unknown entries: jaw_deg"),
        ({"yaw_deg": {"mean": 0, "sd": -1, "minimum": 0, "maximum": 1}}, "sd >= 0"),
        ({"yaw_deg": {"mean": 0, "sd": 1, "minimum": 2, "maximum": 1}}, "minimum <= maximum"),
        ({"yaw_deg": {"mean": 0, "sd": 1}}, "expected mean, sd, minimum, maximum in yaw_deg, got mean, sd"),
        ({"yaw_deg": {"mean": "0", "sd": 1, "minimum": 2, "maximum": 1}}, "finite numbers"),
        ({"yaw_deg": 5}, "yaw_deg has the wrong kind"),
        ({"direction_mean": [0, 0, -1]}, "in front of the face"),
        ({"direction_sd": [0, 0]}, "direction_sd has the wrong kind"),
        ({"expression_sd": float("nan")}, "expression_sd has the wrong kind"),
        ({"ambient": {"mean": 0, "sd": 1, "minimum": -1, "maximum": 1}}, "never negative"),
        ({"source": 5}, "source has the wrong kind"),
    ],
)
def test_unsound_files_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "prior.json"
    save_prior(CameraLightPrior(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelFormatError, match=words):
        load_prior(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "3"])
def test_other_json_and_no_json_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "prior.json").write_text(content)
    with pytest.raises(ModelFormatError, match="not a sound camera-and-light prior"):
        load_prior(tmp_path / "prior.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"nowhere\.json"):
        load_prior(tmp_path / "nowhere.json")


def test_values_given_in_code_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="deviations >= 0"):
        CameraLightPrior(colour_chroma_sd=-0.1)
