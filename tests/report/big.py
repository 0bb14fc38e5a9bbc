"""A run folder with very many evaluations, written without training anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from evoopt.evolution.individual import Individual
from evoopt.jobs.records import Evaluation
from evoopt.runs import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.robust import RobustOperators
from evoopt.training.plan import TrainingResult

TASKS = ("digits", "digits_cnn")
REPLICATES = 2


def big_run(folder: Path, population: int, generations: int) -> int:
    """Write an unfinished run of that size; returns its number of evaluations."""
    settings = {
        "search": {"population": population, "generations": generations + 1},
        "evaluation": {"tasks": list(TASKS), "steps": 100, "replicates": REPLICATES},
    }
    config = OptimizerConfig().override(settings)
    rng = np.random.default_rng(0)
    operators = RobustOperators(config.genome.space())
    genomes = [operators.random(rng) for _ in range(1000)]
    count = 0
    with Run.create(folder, config) as run:
        for generation in range(generations):
            first = generation * population
            born = []
            for number in range(first, first + population):
                genome = genomes[int(rng.integers(len(genomes)))]
                parents = (
                    tuple(int(k) for k in rng.integers(first - population, first, 2)) if generation else ()
                )
                operation = "mate+mutate" if generation else "random"
                born.append(Individual(number, genome, generation, parents, operation))
            rows = [
                _evaluation(generation, position, ind, task, replicate, rng)
                for position, (ind, task, replicate) in enumerate(
                    (ind, task, replicate)
                    for ind in born
                    for task in TASKS
                    for replicate in range(REPLICATES)
                )
            ]
            run.store.add_evaluations(rows)
            count += len(rows)
            run.store.save_generation(_record(generation, born), {}, born)
    return count


def _evaluation(
    generation: int, position: int, ind: Individual, task: str, replicate: int, rng: np.random.Generator
) -> Evaluation:  # type: ignore[type-arg]
    metric = float(rng.uniform(0.5, 1))
    result = TrainingResult("ok", "", 100, 1 - metric, 1 - metric, metric, 0.01)
    if rng.random() < 0.1:
        result = TrainingResult.unsuccessful(
            "diverged", f"loss is nan at step {int(rng.integers(100))}", 3, 0.01
        )
    return Evaluation(generation, 0, position, ind.genome.key, task, replicate, 0, 1, "batched", result)


def _record(generation: int, born: list[Individual]) -> dict[str, object]:  # type: ignore[type-arg]
    terms: dict[str, int] = {}
    for ind in born:
        for name in ind.genome.terms:
            terms[name] = terms.get(name, 0) + 1
    record = {
        "generation": generation, "trainings": 4 * len(born), "best": 0.9, "mean": 0.7, "median": 0.75,
        "std": 0.1, "min": 0.0, "outcomes": {"diverged": 0.1, "ok": 0.9}, "best_id": born[0].id,
        "best_tasks": dict.fromkeys(TASKS, 0.9), "terms": terms, "mean_length": 2.5,
    }  # fmt: skip
    return dict(json.loads(json.dumps(record)))
