"""How a worker does a unit of a reproduction of GACNN."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evoopt.errors import EvooptError
from evoopt.evolution.selection import best_first
from evoopt.execution import Worker
from evoopt.systems.genetic.chromosome import Encoding
from evoopt.systems.genetic.scheme import GeneticScheme, initial_population
from evoopt.systems.genetic.weight_operators import WeightOperators
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.head_start import KERAS_ADAM, MakeOptimizer
from evoopt.training.plan import TrainingPlan, derive_seed
from evoopt.training.population import ModelPopulation
from evoopt.training.scoring import Scorer
from evoopt.training.streams import minibatches
from reproductions.gacnn.methods import OPTIMIZERS, VARIANTS, Budget
from reproductions.units import Setup, Unit

BATCH = 32
_MINIBATCHES = 521
_POINTS = 60


def data_options(examples: int | None, data_dir: Path | None) -> DataOptions:
    """The same examples for every seed and method; nothing is held out, since nothing is chosen by it."""
    return DataOptions(data_dir, train_size=examples, validation_fraction=0)


def make_unit_worker(setup: Setup) -> Worker:
    """Return the function that does units; data sets are loaded when they are needed, and kept."""

    @functools.cache
    def load(name: str, examples: int | None) -> tuple[Task, TaskData]:
        task = get_task(name)
        return task, load_task_data(task, data_options(examples, setup.data_dir))

    def work(chunk: Any) -> dict[str, Any]:
        unit: Unit = chunk
        budget = Budget(**unit.settings, seeds=1)
        bench = Bench(*load(unit.part, budget.examples), budget, unit.seed, setup.device)
        if unit.method in VARIANTS:
            return {"rows": evolve(bench, unit.method)}
        course = Course()
        trained = bench.descend(bench.fittest_initial(), OPTIMIZERS[unit.method], course)
        return {"rows": {unit.method: bench.row(trained, course)}}

    return work


class Course:
    """How far a training has come, by iterations (1 at the start), examples seen and seconds (0 there)."""

    def __init__(self, points: Iterable[tuple[float, ...]] = ()) -> None:
        self.points = list(points)

    def add(self, *point: float) -> None:
        """Add iterations, examples, seconds and accuracy on the examples learned from."""
        self.points.append(point)

    @property
    def end(self) -> tuple[float, ...]:
        """Iterations, examples and seconds so far; (1, 0, 0) before the first point."""
        return self.points[-1][:3] if self.points else (1, 0, 0)

    @property
    def columns(self) -> dict[str, list[float]]:
        """Points by what they say."""
        names = ("iterations", "examples", "seconds", "accuracy")
        return {name: [point[k] for point in self.points] for k, name in enumerate(names)}


class Bench:
    """What a method gets to work with; seconds are those of training, without looking at how far it is.

    Args:
        task: What to learn.
        data: Its parts.
        budget: How much may be spent.
        seed: Of all randomness.
        device: Where.
    """

    def __init__(self, task: Task, data: TaskData, budget: Budget, seed: int, device: str) -> None:
        self.train: Split = data.train
        self.budget, self.seed, self.device = budget, seed, device
        self.initial = initial_population(task.make_model, budget.population, seed)
        self.model = self.initial.architecture.model
        self.accuracy = Scorer(self.model, data.train, "accuracy", device)
        self._loss, self._data = task.loss, data

    def fittest_initial(self) -> nn.Module:
        """The member of the initial population with the highest accuracy."""
        scores = np.array(self.accuracy(self.initial.packed()))
        return self.initial.member(int(best_first(scores)[0]))

    def descend(self, model: nn.Module, make_optimizer: MakeOptimizer, course: Course) -> nn.Module:
        """Train a model by gradients, and add to its course."""
        steps, train = self.budget.steps, self.train.to(self.device)
        plan = TrainingPlan(steps, derive_seed(self.seed, _MINIBATCHES), BATCH)
        model = model.to(self.device).train()
        optimizer, looks = make_optimizer(model.parameters()), _looks(steps)
        (iterations, examples, seconds), seen = course.end, 0
        if not course.points:
            course.add(iterations, examples, seconds, self._accuracy_of(model))
        for step, index in enumerate(minibatches(len(train), plan), 1):
            started = time.perf_counter()
            optimizer.zero_grad()
            loss = self._loss(model(train.x[index.to(self.device)]), train.y[index.to(self.device)])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if not bool(torch.isfinite(loss)):
                raise EvooptError(f"training diverged at step {step}")
            seconds += time.perf_counter() - started
            seen += len(index)
            if step in looks:
                course.add(iterations + step, examples + seen, seconds, self._accuracy_of(model))
        return model.cpu().eval()

    def row(self, model: nn.Module, course: Course, **more: Any) -> dict[str, Any]:
        """Scores of the network that a method ends with; the test part is opened here."""
        test = Scorer(self.model, self._data.test.unsealed().open(), "accuracy", self.device)
        iterations, examples, seconds = course.end
        return {
            "accuracy": self._accuracy_of(model),
            "test_accuracy": test(ModelPopulation.from_models([model]).packed())[0],
            "iterations": iterations - 1,
            "examples": examples,
            "seconds": round(seconds, 3),
            "curve": course.columns,
            **more,
        }

    def _accuracy_of(self, model: nn.Module) -> float:
        return self.accuracy(ModelPopulation.from_models([model]).packed())[0]


def evolve(bench: Bench, method: str) -> dict[str, dict[str, Any]]:
    """A genetic training: the row of the fittest network that ever was, and that of its head start."""
    variant, budget, size = VARIANTS[method], bench.budget, len(bench.train)
    iterations = budget.generations
    if variant.scheme == "steady_state":
        iterations = 1 + budget.population * (budget.generations - 1)
    score = Scorer(bench.model, bench.train, variant.fitness, bench.device)
    operators = WeightOperators(Encoding.of(bench.model, variant.encoding), variant.mutation)
    scheme = GeneticScheme(
        bench.initial, operators, variant.make_scheme(), score, generations=iterations, seed=bench.seed,
        examples=size,
    )  # fmt: skip
    course, looks, seconds, falls, best = Course(), _looks(iterations), 0.0, 0, -np.inf
    for iteration in range(1, iterations + 1):
        started = time.perf_counter()
        record = scheme.advance().record
        assert record is not None, "every stage is a generation"
        if record["best"] is None:
            raise EvooptError("no network has a finite fitness")
        if iteration > 1:  # scoring the initial population is everyone's cost
            seconds += time.perf_counter() - started
        falls, best = falls + (record["best"] < best), record["best"]
        if iteration in looks:
            fittest = scheme.weights[[int(best_first(scheme.fitness)[0])]]
            accuracy = best if variant.fitness == "accuracy" else bench.accuracy(fittest)[0]
            course.add(iteration, record["forward_samples"] - budget.population * size, seconds, accuracy)
    winner = scheme.best_model()
    rows = {method: bench.row(winner, course, falls=falls)}
    if variant.head_start:
        whole = Course(course.points)
        rows[f"{method}_adam"] = bench.row(bench.descend(winner, KERAS_ADAM, whole), whole)
    return rows


def _looks(count: int) -> set[int]:
    """At which of ``count`` iterations to look: at all of few, else evenly on a logarithmic axis."""
    every = np.arange(1, count + 1)
    return set((every if count <= _POINTS else np.geomspace(1, count, _POINTS).round().astype(int)).tolist())
