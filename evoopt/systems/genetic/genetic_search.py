"""Genetic training of weights as an individual type: ``evoopt search genetic-digits``.

For people's own code there is `evoopt.systems.genetic.genetic_trainer.GeneticTrainer`.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np

from evoopt.config import RunConfig
from evoopt.errors import EvooptError
from evoopt.evolution.budget import Budget
from evoopt.evolution.stages import evolve
from evoopt.execution.process_setup import torch_threads
from evoopt.jobs.phase_worker import Examples
from evoopt.jobs.weight_scoring import ScoringSetup, make_scoring_worker, score_on, task_examples
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.finished_chunks import numbers_of_chunks
from evoopt.runs.run import Run
from evoopt.systems.genetic.chromosome import Encoding
from evoopt.systems.genetic.config import GeneticConfig
from evoopt.systems.genetic.scheme import GeneticScheme, initial_population
from evoopt.systems.genetic.weight_operators import Mutation, WeightOperators
from evoopt.systems.model_runs import name_winner, phase_setup, scores
from evoopt.systems.progress import Progress
from evoopt.training.head_start import train_on
from evoopt.training.plan import derive_seed

_EXAMPLES, _HEAD_START = 511, 512


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Evolve to the end and keep the best network."""
    if run.complete:
        return
    config = cast(GeneticConfig, config)
    section, scoring, setup = config.genetic, config.scoring, phase_setup(config, config.scoring)
    task, data = setup.load()
    examples = scored_examples(config, len(data.train))
    initial = initial_population(task.make_model, section.population, section.seed)
    model = initial.architecture.model
    mutation = Mutation(
        section.mutation_ratio,
        section.mutation_sigma,
        section.mutation_per_weight,
        section.mutation_matched,
    )
    operators = WeightOperators(Encoding.of(model, section.encoding), mutation)
    workers = ScoringSetup(model, partial(task_examples, setup, examples), section.fitness, setup.device)
    checkpoints = Checkpoints(run)
    with (
        config.execution.place(scoring.threads_per_worker).start(make_scoring_worker, workers) as executor,
        Progress(section.generations, done=checkpoints.done, quiet=quiet) as progress,
    ):
        scheme = GeneticScheme(
            initial,
            operators,
            section.make_scheme(),
            score_on(executor, scoring.chunk_size, numbers_of_chunks(run)),
            generations=section.generations,
            seed=section.seed,
            examples=len(data.train) if examples.indices is None else len(examples.indices),
        )
        budget = Budget(section, run.generations, lambda record, before: int(record["evaluations"]))
        evolve(scheme, checkpoints, progress.stage_done, budget)
    run.note_end(budget.why)
    best, about = scheme.best_model(), scheme.winner()
    if section.head_start:
        before = scores(best, task, data)
        seed = derive_seed(section.seed, _HEAD_START)
        with torch_threads(scoring.threads_per_worker):  # what floats sum to depends on their number
            best = train_on(best, data.train, section.head_start, seed, loss=task.loss, device=setup.device)
        about["head_start"] = {"steps": section.head_start, "before": before}
    name_winner(run, best, about, task, data)


def scored_examples(config: GeneticConfig, available: int) -> Examples:
    """The fixed set of training examples that every network is scored on.

    Raises:
        EvooptError: More are asked for than there are.
    """
    wanted = config.scoring.examples
    if wanted is None or wanted == available:
        return Examples("train")
    if wanted > available:
        raise EvooptError(f"scoring.examples is {wanted}, but there are {available} training examples")
    drawn = np.random.default_rng(derive_seed(config.seed, _EXAMPLES)).choice(
        available, wanted, replace=False
    )
    return Examples("train", tuple(int(i) for i in np.sort(drawn)))
