"""GADAM: generations of unit models, each trained by Adam, crossed, mutated, trained again and selected.

Zhang and Gouza (2018), *GADAM: Genetic-Evolutionary ADAM for Deep Neural Network Optimization*, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from deap import base
from torch import Tensor, nn

from evoopt.errors import NoScoreError
from evoopt.evolution.budget import Budget, lower_is_better
from evoopt.evolution.individual import Individual
from evoopt.evolution.stages import Stage, State
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import Examples
from evoopt.optim.rule import UpdateRule
from evoopt.systems.gadam import unit_model
from evoopt.systems.gadam.config import GadamSection
from evoopt.systems.gadam.unit_model import UnitModel
from evoopt.systems.model_runs import Sizes, if_finite, named
from evoopt.tasks.task import Task
from evoopt.training.members import Members, joined
from evoopt.training.plan import PhasePlan, derive_seed
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import initial_model

_INITIAL, _MINIBATCHES, _VALIDATION, _PARENTS, _OPERATORS, _FRESH = range(301, 307)
_BEFORE, _AFTER = 0, 1  # the two training phases, and the two validation batches, of a generation


def gadam_toolbox(section: GadamSection) -> base.Toolbox:
    """Register select, mate and mutate on rows of weights."""
    toolbox = base.Toolbox()
    toolbox.register("select", unit_model.select_pairs)
    toolbox.register("mate", unit_model.mate)
    toolbox.register("mutate", unit_model.mutate, kind=section.mutation)
    return toolbox


def gadam_budget(section: GadamSection, records: Sequence[dict[str, Any]] = ()) -> Budget:
    """What may end a run early: all models are trained twice in a generation, and the loss is to fall."""
    return Budget(section, records, lambda _, before: before + 2 * section.population, lower_is_better)


class GadamScheme:
    """One GADAM run.

    All randomness follows from (seed, generation, phase, member), so a checkpoint needs no random states.

    Attributes:
        generation: Number of finished generations.
        finished: Whether the last one is done or ``theta`` has stopped the run.
        members: The unit models of the current generation.

    Args:
        task: What to learn.
        sizes: Numbers of examples.
        section: Population, operators, stopping.
        steps: Adam steps per training phase [E].
        trainer: Trains and scores.
        toolbox: Operators, those of `gadam_toolbox` by default.
    """

    def __init__(
        self,
        task: Task,
        sizes: Sizes,
        section: GadamSection,
        steps: int,
        trainer: PhaseTrainer,
        toolbox: base.Toolbox | None = None,
    ) -> None:
        self._task, self._sizes, self._section, self._steps = task, sizes, section, steps
        self._trainer, self._toolbox = trainer, toolbox or gadam_toolbox(section)
        rule = UpdateRule(
            (("adam", 1.0),), lr=section.lr, beta1=section.beta1, beta2=section.beta2, eps=section.eps
        )
        self._rules = (rule,) * section.population
        self.generation, self.finished = 0, False
        self.members = Members.fresh(self._initial(_INITIAL, 0), self._rules)
        self._ids = list(range(section.population))
        self._born: list[Individual[UnitModel]] = [Individual(k, UnitModel()) for k in self._ids]
        self._next_id, self._steps_done = section.population, 0
        self._trained: Members | None = None
        self._sum_of_losses: float | None = None
        self._losses = [math.nan] * section.population

    def advance(self) -> Stage:
        """Train the generation, or make, train and select its children.

        Raises:
            NoScoreError: All models have diverged in the first generation, or none is left.
        """
        if self._trained is None:
            self._trained = self._train(self.members, _BEFORE)
            created, self._born = self._born, []
            return Stage(None, created)
        return self._breed(self._trained)

    def best_model(self) -> nn.Module:
        """The unit model with the lowest validation loss of the current generation."""
        return self.members.population.member(self._best())

    def average_model(self) -> nn.Module:
        """The mean of the current generation's models, but for those without a finite validation loss."""
        sound = [k for k, loss in enumerate(self._losses) if math.isfinite(loss)]
        return unit_model.average(self.members.population[sound]).member(0)

    def winner(self) -> dict[str, Any]:
        """Id, validation loss and work of `best_model`, as JSON."""
        best = self._best()
        return {
            "id": self._ids[best],
            "loss": if_finite(self._losses[best]),
            "generations": self.generation,
            "steps": self._steps_done,
        }

    def snapshot(self) -> State:
        """Population, ids and counters."""
        state = {
            "generation": self.generation,
            "finished": self.finished,
            "ids": self._ids,
            "next_id": self._next_id,
            "steps": self._steps_done,
            "sum_of_losses": self._sum_of_losses,
            "losses": [if_finite(loss) for loss in self._losses],
            "trained": self._trained is not None,
        }
        tensors = {f"members.{name}": t for name, t in self.members.tensors().items()}
        if self._trained is not None:
            tensors.update({f"trained.{name}": t for name, t in self._trained.tensors().items()})
        return state, tensors

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        self.generation, self.finished = state["generation"], state["finished"]
        self._ids, self._next_id, self._steps_done = list(state["ids"]), state["next_id"], state["steps"]
        self._sum_of_losses, self._born = state["sum_of_losses"], []
        self._losses = [math.nan if loss is None else loss for loss in state["losses"]]
        like = self.members
        self.members = like.with_tensors(named(tensors, "members."), self._rules)
        self._trained = None
        if state["trained"]:
            self._trained = like.with_tensors(named(tensors, "trained."), self._rules)

    def _breed(self, trained: Members) -> Stage:
        section, k = self._section, self.generation
        (losses, _), *_ = self._trainer.score(trained, [self._validation_batch(_BEFORE)])
        pairs = self._toolbox.select(losses, section.population, self._rng(_PARENTS))
        children, born = self._children(trained, losses, pairs)
        children = self._train(children, _AFTER)
        pool = joined([trained, children])
        kinds = ["parent"] * len(trained) + ["child"] * len(children)
        ids = [*self._ids, *(ind.id for ind in born)]
        if section.keep_untrained:
            pool, kinds, ids = (
                joined([pool, self.members]),
                [*kinds, *["before"] * len(trained)],
                ids + self._ids,
            )
        (after, metrics), *_ = self._trainer.score(pool, [self._validation_batch(_AFTER)])
        order = sorted(range(len(pool)), key=lambda i: (_sortable(after[i]), i))
        chosen = order[: section.population]
        # Those from before training may live on for a while, but not be all that a run ever brings.
        needed = after[: 2 * len(trained)] if k == 0 else [after[i] for i in chosen]
        if not any(map(math.isfinite, needed)):
            raise NoScoreError(
                f"every model diverged in generation {k}: its loss is not finite; lower the learning rate "
                "(gadam.lr), or check the loss and the data"
            )
        for i, ind in enumerate(born, start=len(trained)):
            genome = ind.genome
            ind.genome = UnitModel(
                genome.p_inherit, genome.mutation_rate, if_finite(after[i]), adopted=i in chosen
            )
        self.members, self._trained = pool[chosen], None
        self._ids, self._losses = [ids[i] for i in chosen], [after[i] for i in chosen]
        self.generation = k + 1
        total = sum(_sortable(loss) for loss in self._losses)
        change = math.inf if self._sum_of_losses is None else abs(self._sum_of_losses - total)
        self._sum_of_losses = total if math.isfinite(total) else None
        stopped = section.theta > 0 and change <= section.theta
        self.finished = stopped or self.generation == section.generations
        record = {
            "generation": k,
            "best": if_finite(self._losses[0]),
            "median": _statistic(np.median, self._losses),
            "mean": _statistic(np.mean, self._losses),
            "best_id": self._ids[0],
            "metric": if_finite(metrics[chosen[0]]),
            "parents": _facts(after[: len(trained)], metrics[: len(trained)]),
            "children": _facts(
                after[len(trained) : 2 * len(trained)], metrics[len(trained) : 2 * len(trained)]
            ),
            "adopted": sum(kinds[i] == "child" for i in chosen) / len(chosen),
            "untrained": sum(kinds[i] == "before" for i in chosen) / len(chosen),
            "steps": self._steps_done,
            "stopped": stopped,
        }
        return Stage(record, born)

    def _children(
        self, parents: Members, losses: Sequence[float], pairs: Sequence[tuple[int, int]]
    ) -> tuple[Members, list[Individual[UnitModel]]]:
        """Children of pairs by eqs. 9 to 12, buffers from the fitter parent; as a control fresh models."""
        section, population = self._section, parents.population
        ids, k = range(self._next_id, self._next_id + len(pairs)), self.generation + 1
        self._next_id += len(pairs)
        if section.children == "reinitialised":
            fresh = [Individual(new, UnitModel(), born=k, operation="reinitialise") for new in ids]
            return Members.fresh(self._initial(_FRESH, k), self._rules), fresh
        fitter = [min(pair, key=lambda i: _sortable(losses[i])) for pair in pairs]
        children = parents[fitter]
        layout = population.architecture.layout
        sizes = [shape.numel() for shape in layout.shapes.values()]
        weights, m, v = (layout.packed(rows) for rows in (population.weights, parents.m, parents.v))
        born = []
        for c, (new, (i, j)) in enumerate(zip(ids, pairs, strict=True)):
            generator = torch.Generator().manual_seed(self._seed(_OPERATORS, c))
            p = unit_model.inheritance(losses, i, j) if section.crossover else float(fitter[c] == i)
            rate = unit_model.pair_mutation_rate(losses, i, j, section.mutation_rate)
            row, from_i = self._toolbox.mate(weights[i], weights[j], p, generator)
            row = self._toolbox.mutate(row, rate, sizes=sizes, generator=generator)
            moments = (torch.where(from_i, x[i], x[j]) for x in (m, v))
            own = layout.spread(torch.stack([row, *moments]))
            children.population.weights[c], children.m[c], children.v[c] = own
            parents_of = (self._ids[i], self._ids[j])
            born.append(
                Individual(new, UnitModel(p, rate), born=k, parents=parents_of, operation="mate+mutate")
            )
        return children, born

    def _train(self, members: Members, phase: int) -> Members:
        seeds = tuple(self._seed(_MINIBATCHES, phase, k) for k in range(len(members)))
        keep = self._section.moments == "inherit"
        plan = PhasePlan(self._steps, self._sizes.batch, seeds, keep_moments=keep)
        trained, _, _ = self._trainer.train(members, plan)
        self._steps_done += self._steps * len(members)
        return trained

    def _validation_batch(self, phase: int) -> Examples:
        held_out = self._section.validation == "held_out"
        available = self._sizes.validation if held_out else self._sizes.train
        part, size = ("validation" if held_out else "train"), self._section.validation_size
        if size >= available:
            return Examples(part)  # type: ignore[arg-type]
        drawn = self._rng(_VALIDATION, phase).choice(available, size, replace=False)
        return Examples(part, tuple(int(i) for i in drawn))  # type: ignore[arg-type]

    def _initial(self, tag: int, generation: int) -> ModelPopulation:
        root, count = self._section.seed, self._section.population
        seeds = [derive_seed(root, tag, generation, k) for k in range(count)]
        population = ModelPopulation.from_models([initial_model(self._task, seed) for seed in seeds])
        if self._section.initial == "normal":
            layout = population.architecture.layout
            drawn = [torch.randn(layout.count, generator=torch.Generator().manual_seed(s)) for s in seeds]
            population.weights.copy_(layout.spread(torch.stack(drawn)))
        return population

    def _best(self) -> int:
        return min(range(len(self._losses)), key=lambda i: (_sortable(self._losses[i]), i))

    def _seed(self, *path: int) -> int:
        return derive_seed(self._section.seed, path[0], self.generation, *path[1:])

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.default_rng(self._seed(*path))


def _sortable(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def _statistic(function: Any, values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return float(function(finite)) if finite else None


def _facts(losses: Sequence[float], metrics: Sequence[float]) -> dict[str, Any]:
    return {
        "loss": [if_finite(loss) for loss in losses],
        "metric": [if_finite(metric) for metric in metrics],
    }
