"""`ThreeParentSampler`: three-parent recombination as a sampler of Optuna's studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evoopt.errors import EvooptError
from evoopt.systems.hyperparameters.breeding import SCHEMES, Parent
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.loci import CategoricalLocus, Locus, NumberLocus
from evoopt.systems.hyperparameters.three_parent_ga import recombination_of
from evoopt.training.plan import derive_seed

try:
    from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise EvooptError("ThreeParentSampler needs the package optuna: pip install optuna") from None

_BREEDING, _MOST_LITTERS = 431, 50


class ThreeParentSampler(BaseSampler):  # type: ignore[misc]
    """Genetic algorithm over a study's parameters (Vose et al. 2019): each child has two parents.

    Trials are generations by their numbers: the first ``population`` are random, and each of the next takes
    after the completed trials of the ``population`` before it. The third parent gives a child its weights,
    which trials do not have. Failed and pruned trials have no children. Parameters that not all completed
    trials have are random.

    Example:
        ``optuna.create_study(sampler=ThreeParentSampler(seed=1)).optimize(objective, n_trials=200)``

    Args:
        population: Trials of a generation.
        seed: Root of all randomness; None draws one.
        **settings: Settings of the section ``recombination``: ``mutation_rate``, ``crossover``, ...

    Raises:
        EvooptError: A setting that does not fit.
    """

    def __init__(self, population: int = 20, seed: int | None = None, **settings: Any) -> None:
        self._section = recombination_of({"population": population, **settings}, "ThreeParentSampler")
        if self._section.scheme != "three_parent":
            raise EvooptError("ThreeParentSampler has its own scheme: leave out 'scheme'")
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._random = RandomSampler(seed=self._seed % 2**32)
        self._space = IntersectionSearchSpace()

    def reseed_rng(self) -> None:
        """Draw another seed for what is random, as parallel workers do."""
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that all completed trials have."""
        return {
            name: distribution
            for name, distribution in self._space.calculate(study).items()
            if not distribution.single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of one child; none in the first generation.

        Raises:
            EvooptError: A study with several objectives.
        """
        if len(study.directions) > 1:
            raise EvooptError("ThreeParentSampler is for studies with one objective")
        size = self._section.population
        generation, place = divmod(trial.number, size)
        if not generation or not search_space:
            return {}
        space = HyperparameterSpace(tuple(_locus(name, d) for name, d in search_space.items()))
        earlier = [one for one in study.get_trials(deepcopy=False) if one.number < generation * size]
        pool = _parents(study, earlier[-size:], space)
        if all(math.isnan(parent.fom) for parent in pool):
            return {}
        rng = np.random.default_rng(derive_seed(self._seed, _BREEDING, generation))
        breeder = SCHEMES["three_parent"](self._section, space)
        # A study has no use for what it has tried: children that are new come first.
        known = [{name: one.params.get(name) for name in space.names} for one in earlier]
        fresh: list[dict[str, Any]] = []
        again: list[dict[str, Any]] = []
        for _ in range(_MOST_LITTERS):
            for birth in breeder.breed(pool, size, rng):
                child = {n: _on_grid(value, search_space[n], rng) for n, value in birth.genome.genotype}
                (again if child in known or child in fresh else fresh).append(child)
            if len(fresh) > place:
                break
        chosen: dict[str, Any] = [*fresh, *again][place]
        return chosen

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _parents(study: Study, trials: Sequence[FrozenTrial], space: HyperparameterSpace) -> list[Parent]:
    """Those that have all parameters; the figure of merit of one that was not completed is NaN."""
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    parents: list[Parent] = []
    for trial in trials:
        if set(space.names) <= set(trial.params):
            genome = space.genome({name: trial.params[name] for name in space.names})
            done = trial.state == TrialState.COMPLETE and trial.value is not None
            fom = sign * float(trial.value) if done else math.nan
            parents.append(Parent(len(parents), genome, fom, trial.number))
    return parents


def _locus(name: str, distribution: BaseDistribution) -> Locus:
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalLocus(name, tuple(distribution.choices), distribution.choices[0])
    low, high, integer = distribution.low, distribution.high, isinstance(distribution, IntDistribution)
    # Its default is of no consequence here, but a locus must not start at 0.
    return NumberLocus(name, low, high, high or low, distribution.log, integer=integer)


def _on_grid(value: Any, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """A value that a distribution in steps has: one of the two beside a value, the nearer the likelier.

    Trials keep what they were run with, so that steps of mutation too small to round up would never add up.
    """
    step = getattr(distribution, "step", None)
    if step is None:
        return value
    places = round((value - distribution.low) / step, 9)
    chosen = math.floor(places) + (rng.random() < places % 1)
    return min(distribution.low + chosen * step, distribution.high)
