"""Stage two of the fit: Adam on the whole objective (Gecer et al. 2019, section 3.4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from ops.fit.adam import AdamState, adam_init, adam_step, step_sizes
from ops.fit.batching import batching_of
from ops.fit.constraints import constrain
from ops.fit.objective import Objective, Targets
from ops.fit.parameters import FitParameters, mean_over_groups

SMOOTHING = 0.9
"""Decay of the running mean of the loss that early stopping watches."""
COARSE_TO_FINE_PATIENCE = 0.5
"""Part of the early-stop window after which a face stands still where textures are drawn coarse to fine: a coarse level
only prepares the next one, and the last only confirms that nothing is left to gain."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """The running optimisation: one row for each image that is still in the batch."""

    images: Int64[Tensor, " row"]
    """Which image of the input each row is."""
    unknowns: Float[Tensor, "row unknown"]
    """`FitParameters`, joined."""
    adam: AdamState
    running: Bool[Tensor, " row"]
    """Rows that have finished since the last review are left as they are."""
    diverged: Bool[Tensor, " row"]
    iterations: Int32[Tensor, " row"]
    smoothed: Float[Tensor, " row"]
    best: Float[Tensor, " row"]
    best_step: Int64[Tensor, " row"]
    texels: Int64[Tensor, " row"]
    """Side of the textures with which the watched losses compare."""
    ahead: Bool[Tensor, " row"]
    """Textures of the largest level whatever the step: the coarser ones have stopped improving."""

    def rows(self, index: Int64[Tensor, " kept"]) -> "_State":
        """The state of some rows."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "adam"}
        return _State(adam=self.adam.rows(index), **{name: value[index] for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Where every image of the batch is once it has left the optimisation."""

    unknowns: Float[Tensor, "image unknown"]
    diverged: Bool[Tensor, " image"]
    iterations: Int32[Tensor, " image"]

    def take(self, state: _State) -> None:
        """Keep what has become of the rows of a state."""
        self.unknowns[state.images] = state.unknowns
        self.diverged[state.images] = state.diverged
        self.iterations[state.images] = state.iterations


Watch = Callable[[float], None]
"""Told after every iteration which share of a batch's work is done, in [0, 1]; asks the device for nothing."""


class _Part(NamedTuple):
    """Rows that are computed together, what they are compared with, and the side of their textures."""

    rows: slice | Int64[Tensor, " part"]
    targets: Targets
    texels: int


class StageTwo:
    """Adam on the whole objective, from some parameters on: what stays the same in all iterations."""

    def __init__(self, objective: Objective, start: FitParameters) -> None:
        models, inputs, config = objective.models, objective.inputs, objective.config
        self.objective, self.config, self.layout = objective, config, start
        self.batching = batching_of(inputs.images.device)
        self.unknowns = start.joined()
        self.group = inputs.group
        self.groups = int(inputs.group.max()) + 1
        self.shares = self.groups < len(inputs.group)
        """Whether any person has several images."""
        scales = torch.tensor([config.step_scale(step) for step in range(config.steps)], dtype=torch.float64)
        rates = torch.outer(scales, step_sizes(config.learning_rates, start).cpu())
        self.rates = rates.to(self.unknowns)
        self.largest = models.texture.resolution
        self.levels = [objective.texture_level(step) for step in range(config.steps)]
        coarse_to_fine = bool(self.levels) and self.levels[0] < self.largest
        self.patience = math.ceil(config.early_stop_window * (COARSE_TO_FINE_PATIENCE if coarse_to_fine else 1))
        """Iterations without progress after which an image stands still."""
        alone = self.batching.one_by_one
        self.targets = [objective.targets(rows) for rows in self.batching.split(len(inputs.group))] if alone else []

    def run(self, diverged: Bool[Tensor, " image"], watch: Watch | None = None) -> Ended:
        """Optimise every image that has not diverged before it began."""
        count, device = diverged.shape[0], diverged.device
        infinite = torch.full((count,), math.inf, device=device)
        state = _State(
            images=torch.arange(count, device=device),
            unknowns=self.unknowns,
            adam=adam_init(self.unknowns),
            running=~diverged,
            diverged=diverged,
            iterations=torch.zeros(count, dtype=torch.int32, device=device),
            smoothed=infinite,
            best=infinite,
            best_step=torch.zeros(count, dtype=torch.int64, device=device),
            texels=torch.full((count,), self.levels[0] if self.levels else self.largest, device=device),
            ahead=torch.zeros(count, dtype=torch.bool, device=device),
        )
        ended = Ended(
            unknowns=self.unknowns.clone(), diverged=diverged.clone(), iterations=torch.zeros_like(state.iterations)
        )
        parts: list[_Part] = []
        for step, level in enumerate(self.levels):
            if step % self.batching.review_every == 0 or level != self.levels[step - 1]:
                state, parts = self._review(state, ended, parts, step)
            if not parts:
                break
            state = self._step(state, parts, step)
            if watch is not None:
                watch(1 - len(state.images) / count * (1 - (step + 1) / len(self.levels)))
        ended.take(state)
        return ended

    def _review(self, state: _State, ended: Ended, parts: list[_Part], step: int) -> tuple[_State, list[_Part]]:
        """Let go of the rows that have finished, and go on with textures of the sides that are due."""
        running = state.running.tolist()
        if not all(running) or not parts:
            ended.take(state)
            state = state.rows(torch.nonzero(state.running).squeeze(1))
            parts = self._parts(state)
        due = torch.where(state.ahead, self.largest, self.levels[step])
        if self.levels[0] < self.largest and bool((state.texels != due).any()):
            state = self._change_levels(state, parts, due, step)
            parts = self._parts(state)
        return state, parts

    def _parts(self, state: _State) -> list[_Part]:
        """What is computed together: each row alone, or all rows of a texture level."""
        images, texels = state.images.tolist(), state.texels.tolist()
        if self.batching.one_by_one:
            rows = self.batching.split(len(images))
            return [_Part(*part) for part in zip(rows, [self.targets[image] for image in images], texels, strict=True)]
        if len(set(texels)) == 1:
            return [_Part(slice(None), self.objective.targets(state.images), texels[0])]
        chosen = {side: torch.nonzero(state.texels == side).squeeze(1) for side in sorted(set(texels))}
        return [_Part(rows, self.objective.targets(state.images[rows]), side) for side, rows in chosen.items()]

    def _total(self, parameters: FitParameters, part: _Part, step: int, texels: int) -> Float[Tensor, " part"]:
        return self.objective(parameters, part.targets, step, texels).total(self.config)

    def _change_levels(self, state: _State, parts: list[_Part], due: Int64[Tensor, " row"], step: int) -> _State:
        """Go on with textures of other sides; the watched losses follow by the ratio of the two levels' losses now."""
        ratio = torch.ones_like(state.smoothed)
        changed = state.texels != due
        with torch.no_grad():
            for part in parts:
                values, sides = self.layout.split(state.unknowns[part.rows]), due[part.rows].tolist()
                if {*sides} == {part.texels}:
                    continue
                before = self._total(values, part, step, part.texels)
                for side in {*sides} - {part.texels}:
                    after = self._total(values, part, step, side)
                    ratio[part.rows] = torch.where(due[part.rows] == side, after / before, ratio[part.rows])
        return replace(
            state,
            smoothed=state.smoothed * ratio,
            best=state.best * ratio,
            best_step=torch.where(changed, step - 1, state.best_step),
            texels=due,
        )

    def _step(self, state: _State, parts: list[_Part], step: int) -> _State:
        """One Adam step of all running rows, then the mean over each person, then who stops."""
        loss, gradient = self._slope(state.unknowns, parts, step)
        with torch.no_grad():
            finite = torch.isfinite(loss) & torch.isfinite(gradient).all(-1)
            moves = (finite & state.running).unsqueeze(-1)
            moved, adam = adam_step(
                state.unknowns,
                torch.where(moves, gradient, 0),
                state.adam,
                rates=self.rates[step],
                step=step,
                nesterov=self.config.nesterov,
            )
            moved = constrain(self.layout.split(moved), self.objective.models).joined()
            moved = torch.where(moves, moved, state.unknowns)
            group = self.group[state.images]
            if self.shares:
                moved = torch.where(state.running.unsqueeze(-1), self._shared(moved, group, moves), state.unknowns)
            state = replace(
                state,
                unknowns=moved,
                adam=adam,
                iterations=state.iterations + state.running,
                diverged=state.diverged | ~finite & state.running,
            )
            return self._stop(self._watch(state, loss, step), group, step)

    def _shared(
        self, unknowns: Float[Tensor, "row unknown"], group: Int64[Tensor, " row"], moves: Bool[Tensor, "row 1"]
    ) -> Float[Tensor, "row unknown"]:
        """The same with one identity and one texture for each person."""
        parameters, weight = self.layout.split(unknowns), moves.squeeze(-1).to(unknowns.dtype)
        both = torch.cat((parameters.identity, parameters.texture), 1)
        means = mean_over_groups(both, group, weight, self.groups).split(
            [parameters.identity.shape[1], parameters.texture.shape[1]], 1
        )
        return parameters._replace(identity=means[0], texture=means[1]).joined()

    def _slope(
        self, unknowns: Float[Tensor, "row unknown"], parts: list[_Part], step: int
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, "row unknown"]]:
        """Loss and gradient of every row."""
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        for part in parts:
            leaf = unknowns[part.rows].clone().requires_grad_()
            loss = self._total(self.layout.split(leaf), part, step, part.texels)
            gradients.append(torch.autograd.grad(loss.sum(), leaf)[0])
            losses.append(loss.detach())
        if len(parts) > 1 and not isinstance(parts[0].rows, slice):
            order = torch.argsort(torch.cat([rows for rows, _, _ in parts if isinstance(rows, Tensor)]))
            return torch.cat(losses)[order], torch.cat(gradients)[order]
        return torch.cat(losses), torch.cat(gradients)

    def _watch(self, state: _State, loss: Float[Tensor, " row"], step: int) -> _State:
        """Follow the running mean of every row's loss."""
        before = state.smoothed
        smoothed = torch.where(torch.isinf(before), loss, SMOOTHING * before + (1 - SMOOTHING) * loss)
        better = smoothed < state.best * (1 - self.config.early_stop_tolerance)
        return replace(
            state,
            smoothed=smoothed,
            best=torch.where(better, smoothed, state.best),
            best_step=torch.where(better, step, state.best_step),
        )

    def _stop(self, state: _State, group: Int64[Tensor, " row"], step: int) -> _State:
        """Stop rows that diverged and people who stand still; from a coarse level these go to the largest."""
        running, ahead = state.running & ~state.diverged, state.ahead
        if self.patience > 0:
            progressing = (step - state.best_step < self.patience) & running
            progress = torch.zeros(self.groups, dtype=torch.int32, device=group.device)
            still = running & (progress.index_add_(0, group, progressing.int())[group] == 0)
            if self.levels[step] < self.largest:
                ahead = ahead | still
                still = still & state.ahead & (state.texels == self.largest)
            running = running & ~still
        return replace(state, running=running, ahead=ahead)
