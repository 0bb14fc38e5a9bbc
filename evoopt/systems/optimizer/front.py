"""The front of a search by NSGA-II: rules of which no other is better, smaller and faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from evoopt.evolution.survival import crowded, front_of
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome, OptimizerIndividual


class Front:
    """The best of a whole run by fitness, bytes of state per weight, and passes over memory per step.

    Args:
        config: The run's configuration, whose tasks' models costs are counted on.
    """

    def __init__(self, config: OptimizerConfig) -> None:
        # Imported here because only such searches need them.
        from evoopt.compare.step_cost import StepCosts
        from evoopt.tasks import get_task
        from evoopt.training.streams import initial_model

        tasks = dict.fromkeys(config.evaluation.tasks)
        self._costs = StepCosts([initial_model(get_task(task), 0) for task in tasks])
        self._members: list[OptimizerIndividual] = []

    def weigh(self, population: Sequence[OptimizerIndividual]) -> None:
        """Give individuals their costs."""
        for ind in population:
            ind.costs = self._of(ind)

    def update(self, population: Sequence[OptimizerIndividual]) -> dict[str, Any]:
        """Take a scored generation in; returns what its record says of the front."""
        # An elite's fitness moves, so an older copy of it must not keep its place.
        new = {ind.genome.key: ind for ind in reversed(population)}
        older = [ind for ind in self._members if ind.genome.key not in new]
        self._members = [deepcopy(ind) for ind in front_of([*new.values(), *older])]
        return {"front": [[ind.id, ind.fitness.score, *ind.costs] for ind in self._members]}

    def first(self, count: int) -> list[OptimizerIndividual]:
        """Those that stand for the front, from lonely to crowded."""
        return crowded(self._members)[:count]

    def mark(self, rows: Sequence[dict[str, Any]], finalists: Sequence[OptimizerIndividual]) -> None:
        """Write into rows of finalists what they cost, and whether they are on the front of the final."""
        scored = []
        for row, ind in zip(rows, finalists, strict=True):
            bytes_per_weight, passes = self._of(ind)
            row["costs"] = {"bytes_per_weight": bytes_per_weight, "passes": passes}
            again = deepcopy(ind)
            again.fitness.values = tuple(row["final"].values())
            again.costs = (bytes_per_weight, passes)
            scored.append(again)
        ids = {ind.id for ind in front_of(scored)}
        for row in rows:
            row["front"] = row["id"] in ids

    def to_json(self) -> list[dict[str, Any]]:
        """Its members."""
        return [ind.to_json() for ind in self._members]

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what `to_json` gave."""
        self._members = [OptimizerIndividual.from_json(row, OptimizerGenome.from_json) for row in rows]

    def _of(self, ind: OptimizerIndividual) -> tuple[float, float]:
        cost = self._costs.of(ind.genome.rule())
        return cost.bytes_per_weight, cost.passes
