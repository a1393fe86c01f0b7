"""Pickles written here with the published variable names, and a slow twin of the published network."""

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from jobs import import_texture
from ops.errors import ModelFormatError
from ops.importers.progressive_gan import import_progressive_gan
from ops.texture.gan_texture import load_gan_texture
from ops.texture.progressive_gan import pixel_norm

LATENT, CHANNELS = 6, {4: 12, 8: 12, 16: 12, 32: 6}
Arrays = dict[str, np.ndarray]


def make_arrays(colours: int, branches: tuple[str, ...] = (), *, fused: bool = True) -> Arrays:
    """Variables of a 32 px generator whose 32 px level, if there are branches, consists of them."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {"lod": np.float32(0.0)}

    def layer(scope: str, *shape: int, bias: int) -> None:
        arrays[f"{scope}/weight"] = rng.standard_normal(shape).astype(np.float32)
        arrays[f"{scope}/bias"] = rng.standard_normal(bias).astype(np.float32)

    layer("4x4/Dense", LATENT, 16 * CHANNELS[4], bias=CHANNELS[4])
    layer("4x4/Conv", 3, 3, CHANNELS[4], CHANNELS[4], bias=CHANNELS[4])
    layer("ToRGB_lod3", 1, 1, CHANNELS[4], colours, bias=colours)
    for lod, side in ((2, 8), (1, 16), (0, 32)):
        split = branches if side == 32 else ()
        inputs, outputs = CHANNELS[side // 2] // max(len(split), 1), CHANNELS[side]
        for branch in split or ("",):
            scope = f"{side}x{side}/{branch}".rstrip("/")
            if fused:
                layer(f"{scope}/Conv0_up", 3, 3, outputs, inputs, bias=outputs)
            else:
                layer(f"{scope}/Conv0", 3, 3, inputs, outputs, bias=outputs)
            layer(f"{scope}/Conv1", 3, 3, outputs, outputs, bias=outputs)
            count = colours // max(len(split), 1)
            layer(f"ToRGB_lod{lod}/{branch}".rstrip("/"), 1, 1, outputs, count, bias=count)
    return arrays


def slow_generator(
    arrays: Arrays, latent: Tensor, side: int, branch: str = "", parts: tuple[int, int] = (0, 1)
) -> Tensor:
    """What the published network draws at a level, layer by layer."""

    def weight(scope: str, fan_in: int, gain: float = 2**0.5) -> Tensor:
        return torch.from_numpy(arrays[f"{scope}/weight"]) * (gain / fan_in**0.5)

    def finish(x: Tensor, scope: str) -> Tensor:
        return pixel_norm(functional.leaky_relu(x + torch.from_numpy(arrays[f"{scope}/bias"])[:, None, None], 0.2))

    def conv(x: Tensor, scope: str) -> Tensor:
        kernel = weight(scope, 9 * x.shape[1]).permute(3, 2, 0, 1)
        return finish(functional.conv2d(x, kernel, padding=1), scope)

    def conv_up(x: Tensor, scope: str) -> Tensor:
        """TensorFlow's conv2d_transpose: the gradient of a strided convolution with respect to its input."""
        kernel = functional.pad(weight(scope, 9 * x.shape[1]).permute(3, 2, 0, 1), (1, 1, 1, 1))
        kernel = kernel[..., 1:, 1:] + kernel[..., :-1, 1:] + kernel[..., 1:, :-1] + kernel[..., :-1, :-1]
        large = torch.zeros(len(x), kernel.shape[1], 2 * x.shape[2], 2 * x.shape[3], requires_grad=True)
        small = functional.conv2d(large, kernel, stride=2, padding=1)
        return finish(torch.autograd.grad(small, large, x)[0], scope)

    x = (pixel_norm(latent) @ weight("4x4/Dense", LATENT, 2**0.5 / 4)).reshape(len(latent), -1, 4, 4)
    x = conv(finish(x, "4x4/Dense"), "4x4/Conv")
    for now in (8, 16, 32):
        if now > side:
            break
        scope = f"{now}x{now}"
        if branch and now == 32:
            scope, x = f"{scope}/{branch}", x.chunk(parts[1], 1)[parts[0]]
        if f"{scope}/Conv0_up/weight" in arrays:
            x = conv_up(x, f"{scope}/Conv0_up")
        else:
            x = conv(functional.interpolate(x, scale_factor=2.0), f"{scope}/Conv0")
        x = conv(x, f"{scope}/Conv1")
    scope = {4: "ToRGB_lod3", 8: "ToRGB_lod2", 16: "ToRGB_lod1", 32: "ToRGB_lod0"}[side]
    scope = f"{scope}/{branch}" if branch and side == 32 else scope
    bias = torch.from_numpy(arrays[f"{scope}/bias"])
    return functional.conv2d(x, weight(scope, x.shape[1], 1.0).permute(3, 2, 0, 1), bias)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a pickle as the published code does; reading must not need its module."""

    def write_pickle(arrays: Arrays, **settings: Any) -> Path:
        module = types.ModuleType("tfutil")
        module.Network = type("Network", (), {"__module__": "tfutil", "__getstate__": lambda self: vars(self)["state"]})
        networks = []
        for name, variables in (("G", make_arrays(9)), ("D", {"8x8/Conv0/weight": np.zeros(1)}), ("Gs", arrays)):
            network = module.Network()
            network.state = {
                "version": 2,
                "name": name,
                "static_kwargs": {"num_channels": 9, "resolution": 32, **settings},
                "build_module_src": "raise SystemExit",
                "build_func_name": "G_paper",
                "variables": list(variables.items()),
            }
            networks.append(network)
        monkeypatch.setitem(sys.modules, "tfutil", module)
        path = tmp_path / "network.pkl"
        path.write_bytes(pickle.dumps(tuple(networks)))
        monkeypatch.delitem(sys.modules, "tfutil")
        return path

    return write_pickle


@pytest.mark.parametrize("fused", [True, False])
def test_draws_what_the_published_network_draws(write: Any, rng: torch.Generator, fused: bool) -> None:
    arrays = make_arrays(9, fused=fused)
    texture = import_progressive_gan(write(arrays), uv_layout="test-v1", licence="signed")
    assert texture.generator.size.image_channels == 9
    latent = 3 * pixel_norm(torch.randn(2, LATENT, generator=rng))
    for side in (4, 8, 16, 32):
        found, expected = texture.generator(latent, side), slow_generator(arrays, latent, side)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert texture(latent).shape == (2, 3, 32, 32)
    assert (texture.licence, texture.latent_size) == ("signed", LATENT)


@pytest.mark.parametrize("branches", [("tex", "shp", "nor"), ("shp", "tex")])
def test_of_trunk_and_branches_the_texture_is_kept(write: Any, rng: torch.Generator, branches: tuple[str, ...]) -> None:
    arrays = make_arrays(3 * len(branches), branches)
    texture = import_progressive_gan(write(arrays), uv_layout="test-v1", licence="signed")
    latent = 3 * pixel_norm(torch.randn(2, LATENT, generator=rng))
    parts = (branches.index("tex"), len(branches))
    expected = slow_generator(arrays, latent, 32, "tex", parts)
    torch.testing.assert_close(texture.generator(latent), expected, atol=1e-4, rtol=1e-4)
    expected = slow_generator(arrays, latent, 16)[:, :3]
    torch.testing.assert_close(texture.generator(latent, 16), expected, atol=1e-4, rtol=1e-4)


def test_other_constructions_are_refused(write: Any) -> None:
    arrays = make_arrays(3)
    unfinished = {**arrays, "lod": np.float32(1.5)}
    odd = {**arrays, "8x8/Conv1/bias": np.zeros(11, np.float32)}
    no_texture = make_arrays(6, ("shp", "nor"))
    for content, settings, words in (
        (arrays, {"use_pixelnorm": False}, "use_pixelnorm is False"),
        (unfinished, {}, r"lod 1\.5"),
        (odd, {}, "do not follow from the others"),
        (no_texture, {}, "branch tex among shp, nor"),
    ):
        with pytest.raises(ModelFormatError, match=words):
            import_progressive_gan(write(content, **settings), uv_layout="test-v1", licence="signed")


def test_what_holds_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": np.zeros(2)}))
    with pytest.raises(ModelFormatError, match="expected networks, got dict"):
        import_progressive_gan(path, uv_layout="test-v1", licence="signed")


def test_the_command_writes_a_texture_file(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(make_arrays(9)), tmp_path / "out" / "texture.safetensors"
    command = ["--input", str(path), "--output", str(out), "--uv-layout", "test-v1", "--licence", "signed"]
    assert import_texture.main(command) == 0
    assert "32 px, 6 latent values, 9 channels" in capsys.readouterr().out
    assert load_gan_texture(out).licence == "signed"
    path.write_bytes(b"nothing")
    assert import_texture.main(command) == 1
    assert "not a sound pickle" in capsys.readouterr().err
