"""The one loop behind every iterative registration: init, step, terminate."""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar, runtime_checkable

State = TypeVar("State")


class Status(Enum):
    """Why a solver stopped; the value says what to do about it."""

    CONVERGED = "converged"
    EXHAUSTED = "the step limit was reached before the change fell below the tolerance: allow more steps"
    LOST = "too few correspondences survive the rejection tests: check landmarks, unit and start"
    DIVERGED = "the state is no longer finite: check the input for broken coordinates"


@runtime_checkable
class Solver(Protocol[State]):
    """An iteration over immutable states."""

    @property
    def max_steps(self) -> int:
        """Steps after which the loop gives up."""
        ...

    def init(self) -> State:
        """The state before the first step."""
        ...

    def step(self, state: State) -> State:
        """One iteration."""
        ...

    def terminate(self, state: State) -> Status | None:
        """A status to stop, None to go on; asked after every step."""
        ...

    def measure(self, state: State) -> float:
        """The figure recorded in the history, millimetres."""
        ...


@dataclass(frozen=True, kw_only=True)
class Solution(Generic[State]):
    """Where a solver stopped and why."""

    state: State
    status: Status
    steps: int
    history: tuple[float, ...]
    """`measure` of the first state and after every step."""


def solve(solver: Solver[State]) -> Solution[State]:
    """Run a solver until it terminates or its step limit is reached."""
    state = solver.init()
    history = [solver.measure(state)]
    for step in range(1, solver.max_steps + 1):
        state = solver.step(state)
        history.append(solver.measure(state))
        status = solver.terminate(state)
        if status is not None:
            return Solution(state=state, status=status, steps=step, history=tuple(history))
    return Solution(state=state, status=Status.EXHAUSTED, steps=solver.max_steps, history=tuple(history))
