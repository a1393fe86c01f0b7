"""What each iteration of stage two asks of the pretended device."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from ops.fit.stage_two import StageTwo
from tests.support.pretended_cuda import PretendedCuda


class IterationCost(NamedTuple):
    """Of one iteration of a whole batch."""

    launches: Counter[str]
    """Kernels by operator."""
    waits: Counter[str]
    """Waits of the host by kind and line."""
    moved: int
    """Bytes that kernels read and wrote."""


@contextmanager
def counted_iterations(cuda: PretendedCuda) -> Iterator[list[IterationCost]]:
    """A list that the fits inside add an entry to with every iteration."""
    costs: list[IterationCost] = []
    step_of = StageTwo._step

    def counted(stage: StageTwo, *arguments: Any) -> Any:
        cuda.reset()
        state = step_of(stage, *arguments)
        costs.append(IterationCost(Counter(cuda.kernels), Counter(cuda.waits), cuda.bytes))
        return state

    with patch.object(StageTwo, "_step", counted):
        yield costs
