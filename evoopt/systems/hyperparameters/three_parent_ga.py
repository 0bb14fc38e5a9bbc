"""`ThreeParentGA`: hyperparameters of anything that can be scored by a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evoopt.errors import NoScoreError
from evoopt.evolution.stages import evolve
from evoopt.systems.hyperparameters.config import HpoConfig
from evoopt.systems.hyperparameters.hpo_scheme import Trials, hpo_scheme
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.trial import Trial
from evoopt.training.member_hyperparameters import Value

Objective = Callable[[dict[str, Value]], float]


@dataclass(frozen=True)
class GAResult:
    """What a `ThreeParentGA` found.

    Attributes:
        best: Hyperparameters of the best, by name.
        fom: Its figure of merit.
        evaluations: How often the objective was called.
        history: Statistics per generation: figures of merit, hyperparameters and parents of all.
    """

    best: dict[str, Value]
    fom: float
    evaluations: int
    history: list[dict[str, Any]]


class ThreeParentGA:
    """Genetic algorithm over hyperparameters (Vose et al. 2019).

    Example:
        ``ThreeParentGA({"lr": {"min": 1e-5, "max": 1, "default": 1e-3, "scale": "log"}}, objective).run()``

    Args:
        space: A `HyperparameterSpace`, or one table per hyperparameter: ``min``, ``max``, ``default`` and
            optionally ``scale="log"``, ``type="integer"``; or ``choices`` and ``default``.
        objective: Maps hyperparameters by name to a number to be minimised; NaN for a failure.
        population: Genomes per generation.
        generations: Generations; equal genomes are scored once.
        map: What calls the objective on many genomes, in order: that of a process pool, for one.
        **settings: Settings of the section ``recombination``: ``seed``, ``scheme``,
            ``mutation_rate``, ``demes``, ...

    Raises:
        EvooptError: A setting or a space that does not fit.
    """

    def __init__(
        self,
        space: HyperparameterSpace | Mapping[str, Any],
        objective: Objective,
        *,
        population: int = 20,
        generations: int = 20,
        map: Callable[[Objective, Iterable[dict[str, Value]]], Iterable[float]] = map,
        **settings: Any,
    ) -> None:
        self._space = space if isinstance(space, HyperparameterSpace) else HyperparameterSpace.parse(space)
        section = {"population": population, "generations": generations, **settings}
        self._section = HpoConfig.validated(
            {"recombination": section, "training": {"steps": 1}, "space": self._space.tables()},
            "ThreeParentGA",
        ).recombination
        self._objective, self._map = objective, map

    def run(self) -> GAResult:
        """Search.

        Raises:
            NoScoreError: The objective gave no number for any genome of the first generation.
        """

        def evaluate(values: Sequence[Mapping[str, Value]], seed: int) -> list[Trial]:
            foms = self._map(self._objective, [dict(genome) for genome in values])
            return [Trial(float(fom), math.nan, math.nan, 0) for fom in foms]

        trials = Trials(evaluate, self._section.seed)
        scheme = hpo_scheme(self._section, self._space, trials)
        try:
            history = evolve(scheme)
        except NoScoreError:
            raise NoScoreError("the objective gave no finite number for any genome") from None
        winner = trials.winner(scheme.generations)
        return GAResult(winner["hyperparameters"], winner["fom"], winner["evaluations"], history)
