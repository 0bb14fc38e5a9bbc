"""Search for hyperparameters, topology included: every genome trains a network afresh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evoopt.evolution.budget import Budget, lower_is_better
from evoopt.evolution.scored import ScoredScheme
from evoopt.systems.hyperparameters.config import HpoSection
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.trial import Trial, failure
from evoopt.training.member_hyperparameters import Value
from evoopt.training.plan import derive_seed

_TRIALS = 421

Evaluate = Callable[[Sequence[Mapping[str, Value]], int], Sequence[Trial]]
"""Trains networks with these hyperparameters from this seed; `TrialRunner.run` is one."""


class Trials:
    """Scores generations by training their genomes, equal ones once.

    All trainings have the same seed, so that networks of one topology differ by their hyperparameters alone.

    Args:
        evaluate: Trains and judges.
        seed: Root of all randomness.
        fom: Which figure of merit they give, for messages.
    """

    def __init__(self, evaluate: Evaluate, seed: int, fom: str = "error") -> None:
        self._evaluate, self._seed, self._fom = evaluate, derive_seed(seed, _TRIALS), fom
        self._trials: dict[str, Trial] = {}

    def score(self, generations: HyperparameterGenerations) -> dict[str, Any]:
        """See `Judge.score`.

        Raises:
            EvooptError: A training failed for another reason than divergence.
            NoScoreError: All of the first generation diverged.
        """
        genomes = [ind.genome for ind in generations.population]
        new = {genome.key: genome.values() for genome in genomes if genome.key not in self._trials}
        self._trials.update(zip(new, self._evaluate(list(new.values()), self._seed), strict=True))
        trials = [self._trials[genome.key] for genome in genomes]
        what = failure(self._fom, [trial.loss for trial in trials])
        generations.score([trial.fom for trial in trials], what)
        return {
            **generations.record(),
            "trained": len(new),
            "evaluations": len(self._trials),
            "trials": [trial.to_json() for trial in trials],
        }

    def winner(self, generations: HyperparameterGenerations) -> dict[str, Any]:
        """Id, figure of merit, hyperparameters and trial of the best ever, and all work, as JSON."""
        best = generations.best
        assert best is not None, "a generation is done"
        return {
            "id": best.id,
            "fom": best.fom,
            "born": best.generation,
            "hyperparameters": best.genome.values(),
            "trial": self._trials[best.genome.key].to_json(),
            "generations": generations.scored,
            "evaluations": len(self._trials),
            "steps": sum(trial.steps for trial in self._trials.values()),
        }

    def to_json(self) -> dict[str, Any]:
        """All trials by genome."""
        return {key: trial.to_json() for key, trial in self._trials.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Judge.restore`."""
        self._trials = {key: Trial.from_json(row) for key, row in state.items()}


def hpo_scheme(
    section: HpoSection,
    space: HyperparameterSpace,
    trials: Trials,
    budget: Budget | None = None,
) -> ScoredScheme[HyperparameterGenerations]:
    """The whole search, not begun.

    Args:
        section: Scheme, population, figure of merit.
        space: Hyperparameters.
        trials: Score them.
        budget: Ends it before its last generation, see `hpo_budget`.

    Raises:
        EvooptError: Settings that do not fit each other.
    """
    budget = budget or hpo_budget(section)
    generations = HyperparameterGenerations.of(section, space)
    return ScoredScheme(generations, section.generations, trials, budget.spent)


def hpo_budget(section: HpoSection, records: Sequence[dict[str, Any]] = ()) -> Budget:
    """What may end a run early."""
    return Budget(section, records, lambda record, before: int(record["evaluations"]), lower_is_better)
