"""The update of any population: by the kernel who can be, by stages who must be, and averages of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages.readout import READOUT_BY_NAME
from evoopt.optim.step import keeps
from evoopt.training.batched_update import BatchedUpdate, Compile
from evoopt.training.coefficients import Step, StepTable
from evoopt.training.flat import FlatLayout
from evoopt.training.population import Architecture
from evoopt.training.stacks import Subset
from evoopt.training.staged_update import StagedUpdate, has_stages


class Update(Protocol):
    """What moves the weights of a population.

    Attributes:
        rules: One per member, in canonical form.
    """

    rules: list[UpdateRule]

    @property
    def recordable(self) -> bool:
        """See `BatchedUpdate`."""

    def reach(self, step: int) -> None:
        """See `BatchedUpdate.reach`."""

    def step(
        self, weights: Tensor, gradients: Tensor, step: Step, start: int = 0, stop: int | None = None
    ) -> None:
        """See `BatchedUpdate.step`."""

    def select(self, index: Tensor) -> None:
        """See `BatchedUpdate.select`."""

    def readout(self, weights: Tensor) -> Tensor:
        """The weights ``[P, D]`` that members are scored with, given those that are trained."""

    def tensors(self) -> dict[str, Tensor]:
        """See `BatchedUpdate.tensors`."""


def population_update(
    rules: Sequence[UpdateRule],
    architecture: Architecture,
    weights: Tensor,
    total_steps: int,
    compile: Compile = "auto",
    steps: int | None = None,
) -> Update:
    """An update for members that make their first step; arguments are those of `BatchedUpdate`."""
    if is_plain(rules):
        return BatchedUpdate(rules, total_steps, weights, compile, steps)
    return MixedUpdate(rules, architecture, weights, total_steps, compile, steps)


def is_plain(rules: Sequence[UpdateRule]) -> bool:
    """Whether `BatchedUpdate` can do all that some rules ask for."""
    return not any(has_stages(rule) or rule.readout != "last" for rule in (r.canonical() for r in rules))


class MixedUpdate:
    """Moves the weights of P members, of which some have stages or a readout.

    A readout averages weights alone. Running statistics, as those of BatchNorm, belong to the last weights
    and stay, as with `EvolvedOptimizer.averaged`.

    Args:
        rules: One per member.
        architecture: Of the population.
        like: Weights ``[P, D]``.
        total_steps: Length of the schedules and readouts.
        compile: Whether what has no stages is compiled; ``never`` keeps everything to torch.
        steps: How many steps are expected.
        done: Steps each member has made before.
    """

    def __init__(
        self,
        rules: Sequence[UpdateRule],
        architecture: Architecture,
        like: Tensor,
        total_steps: int,
        compile: Compile = "auto",
        steps: int | None = None,
        done: Sequence[int] | None = None,
    ) -> None:
        self.rules = [rule.canonical() for rule in rules]
        self._done = list(done or [0] * len(rules))
        self._layout, self._total_steps = architecture.layout, total_steps
        staged = {place: rule for place, rule in enumerate(self.rules) if has_stages(rule)}
        self._staged = StagedUpdate(staged, architecture, like, total_steps, done, compile != "never")
        plain = [place for place in range(len(rules)) if place not in staged]
        self._plain = Subset(plain, like.device)
        self._kernel: BatchedUpdate | None = None
        if plain:
            alone, past = [self.rules[k] for k in plain], [self._done[k] for k in plain]
            self._kernel = BatchedUpdate(alone, total_steps, like[: len(plain)], compile, steps, done=past)
        averaged = [place for place, rule in enumerate(self.rules) if rule.readout != "last"]
        self._averaged = Subset(averaged, like.device)
        self._averages = torch.zeros_like(like[: len(averaged)])
        self._shares = self._new_shares()

    def _new_shares(self) -> StepTable:
        """The weight of each step's weights in the averages, ``[steps, averaged, 1]``."""
        averaged = [(self.rules[k], self._done[k] + 1) for k in self._averaged.members]

        def of(steps: range) -> Tensor:
            shares = [
                [
                    READOUT_BY_NAME[rule.readout].share(vars(rule), step + done, self._total_steps)
                    for rule, done in averaged
                ]
                for step in steps
            ]
            return torch.tensor(shares, dtype=torch.float64).unsqueeze(-1)

        return StepTable(of, self._total_steps, self._averages[:0])

    @property
    def recordable(self) -> bool:
        """See `BatchedUpdate`."""
        return self._staged.recordable

    def reach(self, step: int) -> None:
        """See `BatchedUpdate.reach`."""
        self._staged.reach(step)
        if self._kernel:
            self._kernel.reach(step)
        self._shares.reach(step)

    def select(self, index: Tensor) -> None:
        """See `BatchedUpdate.select`."""
        places = index.tolist()
        self.rules, self._done = [self.rules[i] for i in places], [self._done[i] for i in places]
        self._staged.select(places)
        self._plain, plain = self._plain.selected(places)
        if self._kernel:
            self._kernel.select(torch.tensor(plain, dtype=torch.int64))
            self._kernel = self._kernel if plain else None
        self._averaged, averaged = self._averaged.selected(places)
        self._averages = self._averages[torch.tensor(averaged, dtype=torch.int64, device=index.device)]
        self._shares = self._new_shares()

    def step(
        self, weights: Tensor, gradients: Tensor, step: Step, start: int = 0, stop: int | None = None
    ) -> None:
        """See `BatchedUpdate.step`."""
        stop = len(self.rules) if stop is None else stop
        self._staged.step(weights, gradients, step, start, stop)
        if self._kernel and (found := self._plain.part(start, stop)):
            own, index = found
            rows = weights[index]
            self._kernel.step(rows, gradients[index], step, own.start, own.stop)
            if isinstance(index, Tensor):
                weights[index] = rows
        if found := self._averaged.part(start, stop):
            own, index = found
            self._averages[own].lerp_(weights[index], self._shares.at(step)[own])

    def readout(self, weights: Tensor) -> Tensor:
        """See `Update.readout`."""
        if not self._averaged.members:
            return weights
        read = weights.clone()
        read[torch.tensor(self._averaged.members, device=weights.device)] = self._averages
        return read

    def tensors(self) -> dict[str, Tensor]:
        """See `BatchedUpdate.tensors`."""
        plain = self._kernel.tensors() if self._kernel else {}
        return {**self._staged.tensors(), **plain, "averages": self._averages}

    def state(self) -> Iterator[tuple[str, str, list[int], Tensor]]:
        """What is kept but for averages, see `StagedUpdate.state`."""
        yield from self._staged.state()
        moments = (self._kernel.m, self._kernel.v) if self._kernel else (None, None)
        for kind, rows in zip(("exp_avg", "exp_avg_sq"), moments, strict=True):
            for name, view in ({} if rows is None else self._layout.views(rows)).items():
                yield kind, name, self._plain.members, view


def kept_layouts(rules: Sequence[UpdateRule], layout: FlatLayout) -> Mapping[str, FlatLayout]:
    """How what rules keep lies in rows, one per member, by its name."""
    layouts: dict[str, FlatLayout] = {}
    for rule in (rule.canonical() for rule in rules):
        for state in (*keeps(rule), *keeps(rule.others_rule)):
            if state.shape == "parameter":
                layouts[state.name] = layout
                continue
            sizes = {
                name: state.zeros(torch.empty(shape, device="meta")).shape
                for name, shape in layout.shapes.items()
                if len(shape) > 1
            }
            layouts[state.name] = FlatLayout(sizes)
    return layouts
