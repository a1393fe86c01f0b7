"""TensorFlow Lite networks, run by LiteRT on one thread."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from ops.errors import MissingModelFileError, ModelFormatError


class LiteNetwork:
    """A network of one input; the same image gives the same answer to the last bit, and it may be pickled."""

    def __init__(self, path: Path, input_side_px: int, output_sizes: Sequence[int]) -> None:
        self._path = path
        self._side = input_side_px
        self._sizes = tuple(output_sizes)
        self._interpreter = _interpreter(path)
        shape = tuple(self._interpreter.get_input_details()[0]["shape"].tolist())
        sizes = tuple(int(np.prod(output["shape"])) for output in self._outputs)
        if shape != (1, input_side_px, input_side_px, 3) or sizes != self._sizes:
            raise ModelFormatError(
                f"{path}: expected an input of {input_side_px} px and outputs of {self._sizes} numbers, "
                f"found {shape} and {sizes}"
            )

    @property
    def _outputs(self) -> list[dict[str, Any]]:
        return self._interpreter.get_output_details()

    def __reduce__(self) -> tuple[type["LiteNetwork"], tuple[Path, int, tuple[int, ...]]]:
        return LiteNetwork, (self._path, self._side, self._sizes)

    def __call__(self, image: Float32[np.ndarray, "side side 3"]) -> tuple[Float32[np.ndarray, " number"], ...]:
        """The outputs, flat, in the order of the file."""
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], image[None])
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(output["index"]).reshape(-1) for output in self._outputs)


def _interpreter(path: Path) -> Any:
    if not path.is_file():
        raise MissingModelFileError(f"expected a TensorFlow Lite network at {path}, found no file")
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFormatError(f"{path} is not a TensorFlow Lite network: {error}") from error
    return interpreter
