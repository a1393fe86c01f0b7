"""An ONNX file run by ONNX Runtime: inference alone, and on a CPU faster than torch for some networks."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.onnx.graph import OnnxOutputs

_ERRORS_ONLY = 3


class OnnxSession(nn.Module):
    """Runs an ONNX graph of one input on the CPU, as `OnnxGraph` does, without gradients.

    The numbers differ from those of `OnnxGraph` by rounding.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: ONNX Runtime cannot run it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        if not path.is_file():
            raise MissingModelFileError(f"expected an ONNX file at {path}, found none")
        with reading_onnx(path):
            self._session: Any = onnxruntime.InferenceSession(
                str(path), session_options(), providers=["CPUExecutionProvider"]
            )
        self._input: str = self._session.get_inputs()[0].name

    def forward(self, x: Float[Tensor, "..."]) -> OnnxOutputs:
        """Run the graph."""
        found = self._session.run(None, {self._input: x.numpy()})
        return OnnxOutputs(tuple(torch.from_numpy(value) for value in found), ())


def session_options() -> Any:
    """As many threads as OMP_NUM_THREADS says, one by default; warnings about shapes are not printed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    options.log_severity_level = _ERRORS_ONLY
    return options


@contextmanager
def reading_onnx(path: Path) -> Generator[None]:
    """What ONNX Runtime raises of a file that it cannot run, as our error.

    Raises:
        ModelFormatError: it is such a file.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state  # pyright: ignore[reportAttributeAccessIssue]

    states: Any = onnxruntime_pybind11_state
    try:
        yield
    except (states.InvalidProtobuf, states.InvalidGraph, states.Fail, states.NotImplemented) as error:
        raise ModelFormatError(f"{path} is not an ONNX network: {error}") from error
