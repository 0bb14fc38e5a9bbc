"""Fitness of rows of weights: a number for each network, from its outputs on a fixed set of examples."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, one_line, unknown_name
from evoopt.tasks.metrics import likelihood
from evoopt.tasks.task import Split, accuracy
from evoopt.training.forward import outputs
from evoopt.training.inference import Inference
from evoopt.training.memory import members_at_once
from evoopt.training.population import Architecture, ModelPopulation
from evoopt.training.trial_run import find_scoring_way

Fitness = Callable[[Tensor, Tensor], Tensor | float]
"""Maps a network's outputs ``[n, ...]`` and targets ``[n, ...]`` to a number, higher is better. Nothing is
differentiated. It is not asked about outputs that are not finite: those have no fitness."""

_CPU_ROWS = 10  # share the layout of the inputs; more only take memory for their outputs
_BATCH = 1000


FITNESSES: dict[str, Fitness] = {"accuracy": accuracy, "cross_entropy": likelihood}
"""Fitness functions by name. Both lie in [0, 1], as selection proportional to fitness needs it."""


def get_fitness(fitness: str | Fitness) -> Fitness:
    """Find a fitness by name; a function is returned as it is.

    Raises:
        EvooptError: Unknown name.
    """
    if isinstance(fitness, str):
        if fitness not in FITNESSES:
            raise unknown_name("fitness", fitness, FITNESSES)
        return FITNESSES[fitness]
    return fitness


class Scorer:
    """Scores rows of weights of one architecture on a fixed set of examples.

    On a CPU networks run one after another (see `evoopt.training.inference`), so a score does not depend on
    what it is computed beside; elsewhere they run in batches of as many as fit the memory.

    Attributes:
        outputs: Maps rows of weights to outputs ``[P, n, ...]``.

    Args:
        model: The architecture; its buffers and frozen parameters are those of every network.
        examples: What to score on.
        fitness: Name or function.
        device: Where to compute.

    Raises:
        EvooptError: Unknown fitness, no examples, or targets that the fitness of this name cannot judge.
    """

    def __init__(
        self, model: nn.Module, examples: Split, fitness: str | Fitness, device: str | torch.device = "cpu"
    ) -> None:
        if len(examples) == 0:
            raise EvooptError("there are no examples to score networks on")
        self.outputs: Callable[[Tensor], Tensor]
        self._fitness = get_fitness(fitness)
        y = examples.y
        soft_labels = fitness == "cross_entropy" and y.ndim > 1 and y.shape[1] > 1
        if isinstance(fitness, str) and y.is_floating_point() and not soft_labels:
            raise EvooptError(
                f"fitness {fitness!r} needs classes as targets, and these are numbers: "
                "use `GeneticTrainer` with a fitness function of your own"
            )
        self._examples = examples.to(device)
        layout = Architecture.of(model).layout
        if torch.device(device).type == "cpu":
            run: Callable[[Tensor], Tensor] = Inference(model, layout, examples.x)
            self._at_once = _CPU_ROWS
        else:
            x = self._examples.x
            on_device = copy.deepcopy(model).to(device)
            way = find_scoring_way(on_device, x)
            one = ModelPopulation.from_model(on_device, 1, way)
            run = SideBySide(one, x)
            self._at_once = members_at_once(copy.deepcopy(model).to(device), x[:_BATCH])
        self.outputs = lambda rows: run(layout.spread(rows))

    def __call__(self, rows: Tensor) -> list[float]:
        """Fitness of packed rows of weights ``[P, count]``; NaN where outputs or fitness are not finite.

        Raises:
            EvooptError: The fitness fails.
        """
        found: list[Tensor | float] = []
        for part in torch.split(rows, self._at_once):
            outputs = self.outputs(part)
            finite = torch.isfinite(outputs.flatten(1)).all(dim=1).tolist()
            found += [
                self._score(one) if good else math.nan for one, good in zip(outputs, finite, strict=True)
            ]
        # A device is waited for once, not once for each network.
        there = [value for value in found if isinstance(value, Tensor)]
        waited_for = iter(torch.stack(there).tolist() if there else ())
        values = [next(waited_for) if isinstance(value, Tensor) else value for value in found]
        return [value if math.isfinite(value) else math.nan for value in values]

    @torch.no_grad()
    def _score(self, outputs: Tensor) -> Tensor | float:
        """Fitness of a network; if it is a number on a device, it stays there."""
        try:
            value = self._fitness(outputs.clone(), self._examples.y.clone())
            return value if isinstance(value, Tensor) and value.is_cuda and not value.dim() else float(value)
        except Exception as error:  # a person's own function
            shapes = f"outputs {list(outputs.shape)} and targets {list(self._examples.y.shape)}"
            raise EvooptError(f"the fitness fails on {shapes}: {one_line(error)}") from error


class SideBySide:
    """Runs rows of weights over a fixed set of inputs at the same time, as a GPU wants it.

    Args:
        one: A population of one model, on the device; all rows share its buffers and frozen parameters.
        x: Inputs ``[n, ...]`` there.
    """

    def __init__(self, one: ModelPopulation, x: Tensor) -> None:
        # Where kernels are stored with their channels last, rows are not.
        self._one, self._layout = one, replace(one.architecture.layout, channels_last=False)
        self._batches = torch.split(x, _BATCH)

    def __call__(self, rows: Tensor) -> Tensor:
        """Outputs ``[P, n, ...]`` of rows of weights ``[P, D]``."""
        population = self._one[[0] * len(rows)]
        population.weights.copy_(self._layout.rows_in(self._one.architecture.layout, rows))
        return torch.cat([outputs(population, batch) for batch in self._batches], dim=1)
