"""`ThreeParentGA`: hyperparameters of anything that can be scored by a number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evoopt.errors import EvooptError, EvooptWarning, NoScoreError, one_line
from evoopt.evolution.stages import evolve
from evoopt.systems.hyperparameters.config import HpoConfig, HpoSection
from evoopt.systems.hyperparameters.hpo_scheme import Trials, hpo_scheme
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.trial import Trial
from evoopt.training.member_hyperparameters import Value

Objective = Callable[[dict[str, Value]], float]

_ANY_SPACE = {"x": {"choices": [0], "default": 0}}
"""In place of the space in the configuration: what its names mean is up to the objective."""


@dataclass(frozen=True)
class GAResult:
    """What a `ThreeParentGA` found.

    Attributes:
        best: Hyperparameters of the best, by name.
        fom: Its figure of merit.
        evaluations: How often the objective was called.
        history: Statistics per generation: figures of merit, hyperparameters and parents of all.
        failures: Hyperparameters for which the objective raised or returned no number, and what it did.
    """

    best: dict[str, Value]
    fom: float
    evaluations: int
    history: list[dict[str, Any]]
    failures: tuple[tuple[dict[str, Value], str], ...] = ()


class ThreeParentGA:
    """Genetic algorithm over hyperparameters (Vose et al. 2019).

    Example:
        ``ThreeParentGA({"lr": {"min": 1e-5, "max": 1, "default": 1e-3, "scale": "log"}}, objective).run()``

    Args:
        space: A `HyperparameterSpace`, or one table per hyperparameter: ``min``, ``max``, ``default`` and
            optionally ``scale="log"``, ``type="integer"``; or ``choices`` and ``default``.
        objective: Maps hyperparameters by name to a number to be minimised; NaN is a failure, as is one that
            raises or returns no number.
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
        map: Callable[[Callable[[dict[str, Value]], Any], Iterable[dict[str, Value]]], Iterable[Any]] = map,
        **settings: Any,
    ) -> None:
        self._space = space if isinstance(space, HyperparameterSpace) else HyperparameterSpace.parse(space)
        section = {"population": population, "generations": generations, **settings}
        self._section = recombination_of(section, "ThreeParentGA")
        self._objective, self._map = objective, map

    def run(self) -> GAResult:
        """Search.

        Raises:
            EvooptError: The objective failed for all of the first generation.
            NoScoreError: It gave no finite number for any of them.
        """
        failures: list[tuple[dict[str, Value], str]] = []
        tried = 0

        def evaluate(values: Sequence[Mapping[str, Value]], seed: int) -> list[Trial]:
            nonlocal tried
            foms = list(self._map(_Guarded(self._objective), [dict(genome) for genome in values]))
            failed = [(dict(v), fom) for v, fom in zip(values, foms, strict=True) if isinstance(fom, str)]
            if failed and not failures:
                first = f"ThreeParentGA: for {failed[0][0]} the objective {failed[0][1]}"
                if not tried and len(failed) == len(values):
                    raise EvooptError(f"{first}; it failed for all {len(values)} genomes")
                message = f"{first}; that is a failure, as all in GAResult.failures"
                warnings.warn(message, EvooptWarning, stacklevel=2)
            failures.extend(failed)
            tried += len(values)
            return [Trial(math.nan if isinstance(f, str) else f, math.nan, math.nan, 0) for f in foms]

        trials = Trials(evaluate, self._section.seed)
        scheme = hpo_scheme(self._section, self._space, trials)
        try:
            history = evolve(scheme)
        except NoScoreError:
            raise NoScoreError("the objective gave no finite number for any genome") from None
        winner = trials.winner(scheme.generations)
        return GAResult(
            winner["hyperparameters"], winner["fom"], winner["evaluations"], history, tuple(failures)
        )


def recombination_of(settings: Mapping[str, Any], source: str) -> HpoSection:
    """Settings of recombination that train no network; ``source`` is for messages.

    Raises:
        EvooptError: A setting that there is not, or a value that does not fit.
    """
    sections = {"recombination": dict(settings), "training": {"steps": 1}, "space": _ANY_SPACE}
    return HpoConfig.validated(sections, source).recombination


@dataclass(frozen=True)
class _Guarded:
    """Calls the objective; what went wrong, in words, comes in place of a number."""

    objective: Objective

    def __call__(self, values: dict[str, Value]) -> float | str:
        try:
            fom = self.objective(values)
        except Exception as error:
            return f"raised {one_line(error)}"
        try:
            return float(fom)
        except Exception:
            return f"returned {type(fom).__name__}, not a number"
