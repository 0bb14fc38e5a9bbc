"""`GeneticTrainer`: train a network's weights without gradients, on one's own data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.evolution.selection import get_selection
from evoopt.execution import ExecutorKind, Place, check_device
from evoopt.execution.place import Precision
from evoopt.execution.precision import computing_in
from evoopt.jobs.weight_scoring import ScoringSetup, make_scoring_worker, score_on
from evoopt.systems.genetic.chromosome import Encoding, EncodingName
from evoopt.systems.genetic.scheme import GeneticScheme, initial_population
from evoopt.systems.genetic.succession import Scheme, make_scheme
from evoopt.systems.genetic.weight_operators import Mutation, WeightOperators
from evoopt.tasks.own_data import OwnData, as_split, no_metric, own_task
from evoopt.training.head_start import train_on
from evoopt.training.scoring import Fitness, Scorer, get_fitness


class GeneticTrainer:
    """Evolves the weights of a network of `Conv2d` and `Linear` layers (Esfahanian and Akhavan 2019).

    The fitness may be anything that can be computed from outputs and targets; gradients are not used.

    Example:
        ``model = GeneticTrainer(make_model, fitness=f1, generations=200).fit((x, y))``

    Attributes:
        history_: Statistics per generation, after `fit`: fitness (best, median, ...), networks scored and
            forward passes so far, seconds of the generation, and on validation data, if there are any, the
            best network's fitness.

    Args:
        model_fn: Makes a fresh model; its initial weights are the first generation's.
        fitness: ``"accuracy"``, ``"cross_entropy"`` (its exponential, a likelihood), or a function of outputs
            ``[n, ...]`` and targets ``[n, ...]``, higher is better. At least 0 unless ``selection`` is
            ``"tournament"``.
        scheme: ``"elitist"``, ``"generational"``, ``"steady_state"``, or a scheme with settings of its own,
            such as `evoopt.systems.genetic.succession.Elitist`, which brings its selection along.
        encoding: ``"accordion"``: genes are filters and neurons; ``"traditional"``: scalars.
        population: Networks.
        generations: Generations, the first of random networks included.
        mutation: Ratio and strength of mutation.
        selection: ``"scan"``, as published, ``"roulette"`` or ``"tournament"``.
        seed: Decides everything.
        head_start: Then train the best network with Adam for so many minibatches of 32, on cross-entropy.
        device: Where networks are scored.
        precision: Of products: ``"full"``, ``"tf32"`` (on CUDA) or ``"bf16"``, see `evoopt.execution.Place`.
        workers: Processes that score; the result does not depend on their number. More than one need a model
            and a fitness that are importable by name.

    Raises:
        EvooptError: An unknown name or a number out of range.
    """

    def __init__(
        self,
        model_fn: Callable[[], nn.Module],
        *,
        fitness: str | Fitness = "accuracy",
        scheme: str | Scheme = "elitist",
        encoding: EncodingName = "accordion",
        population: int = 100,
        generations: int = 100,
        mutation: Mutation | None = None,
        selection: str = "scan",
        seed: int = 0,
        head_start: int | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "full",
        workers: int = 1,
    ) -> None:
        for name, value, least in (("population", population, 2), ("generations", generations, 1)):
            if value < least:
                raise EvooptError(f"{name} must be at least {least}, not {value}")
        get_fitness(fitness)
        select = get_selection(selection)
        self._scheme = make_scheme(scheme, select=select) if isinstance(scheme, str) else scheme
        self._model_fn, self._fitness, self._encoding, self._mutation = model_fn, fitness, encoding, mutation
        self._population, self._generations, self._seed = population, generations, seed
        self._head_start = head_start
        kind: ExecutorKind = "process" if workers > 1 else "serial"
        device = check_device(device, precision)
        self._place = Place(kind, workers, device=device, precision=precision)
        self.history_: list[dict[str, Any]] = []

    def fit(self, train: OwnData, validation: OwnData | None = None) -> nn.Module:
        """Evolve, and return the network that was fittest on the training examples, in evaluation mode.

        Args:
            train: ``(x, y)`` as tensors or arrays, a data set of such pairs, or a `Split`; every network is
                scored on all of it.
            validation: The same, for `history_`; nothing is chosen by it.

        Raises:
            EvooptError: Unfit data, a layer without encoding, or no network with a finite fitness.
        """
        given = as_split(train, "training data")
        # A fitness by name is one of classes; any other is not asked about a few examples.
        loss = F.cross_entropy if isinstance(self._fitness, str) else _no_loss
        _, data = own_task(
            self._model_fn, loss, no_metric, given, given if validation is None else validation
        )
        examples, held_out = data.train, None if validation is None else data.validation
        initial = initial_population(self._model_fn, self._population, self._seed)
        model = initial.architecture.model
        operators = WeightOperators(Encoding.of(model, self._encoding), self._mutation)
        place = self._place
        validate = None if held_out is None else Scorer(model, held_out, self._fitness, place.device)
        setup = ScoringSetup(model, examples, self._fitness, place.device)
        self.history_ = []
        with computing_in(place.precision), place.start(make_scoring_worker, setup) as executor:
            evolution = GeneticScheme(
                initial,
                operators,
                self._scheme,
                score_on(executor),
                generations=self._generations,
                seed=self._seed,
                examples=len(examples),
            )
            while not evolution.finished:
                started = time.perf_counter()
                record = evolution.advance().record
                assert record is not None, "every stage is a generation"
                record["seconds"] = time.perf_counter() - started
                if validate is not None:
                    record["validation"] = validate(evolution.best_row.unsqueeze(0))[0]
                self.history_.append(record)
            best = evolution.best_model()
            if self._head_start is not None:
                best = train_on(best, examples, self._head_start, self._seed, device=place.device)
        return best


def _no_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.new_zeros(())
