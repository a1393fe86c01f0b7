"""The kernels compile for the GPUs they are meant for, which takes neither a driver nor a toolkit."""

from pathlib import Path

import pytest
import warp as wp

from ops.render.warp import mesh_kernels, raster_kernels, shade_kernels


@pytest.mark.slow
@pytest.mark.parametrize("module", [mesh_kernels, raster_kernels, shade_kernels], ids=lambda module: module.__name__)
def test_compiles_for_a100_and_h100(module: object, tmp_path: Path) -> None:
    wp.compile_aot_module(module, arch=[80, 90], module_dir=tmp_path, use_ptx=False)
    machine_code = sorted(path.name for path in tmp_path.glob("*.cubin"))
    assert [name.split(".")[-2] for name in machine_code] == ["sm80", "sm90"]
    assert all(path.read_bytes().startswith(b"\x7fELF") for path in tmp_path.glob("*.cubin"))
