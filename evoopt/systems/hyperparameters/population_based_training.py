"""`PopulationBasedTraining`: schedules of hyperparameters for one's own model, loss and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.evolution.stages import evolve
from evoopt.execution import check_device
from evoopt.execution.place import Precision
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import PhaseSetup
from evoopt.systems.hyperparameters.config import PbtConfig
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.pbt_scheme import PbtScheme, pbt_budget
from evoopt.systems.hyperparameters.schedules import Replay, Schedule, replay
from evoopt.systems.model_runs import Sizes
from evoopt.tasks.own_data import OwnData, own_task
from evoopt.tasks.task import Task


class PopulationBasedTraining:
    """Population-based training with three parents (Vose et al. 2019), or as in Ray Tune, or at random.

    Example:
        ``pbt = PopulationBasedTraining(make_model, {"lr": {"min": 1e-4, "max": 0.1, "default": 1e-3}})``,
        ``model = pbt.fit((x, y))``

    Attributes:
        history_: Statistics per generation, after `fit`: figures of merit, hyperparameters, parents of all.
        schedule_: Hyperparameters that the best model went through, generation by generation.

    Args:
        model_fn: Makes a fresh model; what it draws in training are torch's random numbers.
        space: A `HyperparameterSpace`, or one table per hyperparameter: ``min``, ``max``, ``default`` and
            optionally ``scale="log"``, ``type="integer"``; or ``choices`` and ``default``. What it may name:
            ``lr``, ``momentum`` and so on (`evoopt.training.member_hyperparameters`), ``dropout``, buffers.
        loss_fn: Mean loss of ``(outputs, targets)``.
        metric: Score of ``(outputs, targets)`` in [0, 1]; accuracy where targets are classes.
        population: Models that train beside each other.
        generations: Generations.
        steps: Optimizer steps per generation, by default an epoch.
        scheme: ``"three_parent"``; ``"truncation"``, exploit and explore; ``"random"``, a control.
        fom: What is minimised on validation data: ``"error"`` (1 - metric), ``"loss"`` or ``"perplexity"``;
            by default the error where there is a metric.
        batch_size: Minibatch size.
        validation_fraction: Part of the training examples held out where `fit` is given no validation data.
        engine: ``"batched"``: all models as one program; ``"sequential"``: one after another at every step,
            for large convolutional models on a CPU.
        chunk_size: Models per program.
        device: Where to train.
        precision: Of products: ``"full"``, ``"tf32"`` (on CUDA) or ``"bf16"``, see `evoopt.execution.Place`.
        **settings: Settings of the section ``recombination``: ``seed``, ``optimizer``,
            ``mutation_rate``, ``demes``, ...

    Raises:
        EvooptError: A setting or a space that does not fit.
    """

    def __init__(
        self,
        model_fn: Callable[[], nn.Module],
        space: HyperparameterSpace | Mapping[str, Any],
        loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        *,
        metric: Callable[[Tensor, Tensor], Tensor] | None = None,
        population: int = 20,
        generations: int = 10,
        steps: int | None = None,
        scheme: str = "three_parent",
        fom: str | None = None,
        batch_size: int = 128,
        validation_fraction: float = 0.2,
        engine: str = "batched",
        chunk_size: int = 10,
        device: str | torch.device = "cpu",
        precision: Precision = "full",
        **settings: Any,
    ) -> None:
        self._space = space if isinstance(space, HyperparameterSpace) else HyperparameterSpace.parse(space)
        section = {
            "population": population,
            "generations": generations,
            "scheme": scheme,
            **({} if fom is None else {"fom": fom}),
            **settings,
        }
        training = {
            "batch_size": batch_size,
            # What is 0 may be meant for data with a validation part.
            **({"validation_fraction": validation_fraction} if validation_fraction else {}),
            "engine": engine,
            "chunk_size": chunk_size,
            **({} if steps is None else {"steps": steps}),
        }
        self._config = PbtConfig.validated(
            {"recombination": section, "training": training, "space": self._space.tables()},
            "PopulationBasedTraining",
        )
        self._model_fn, self._loss_fn, self._metric = model_fn, loss_fn, metric
        self._validation_fraction = validation_fraction
        self._device, self._precision = check_device(device, precision), precision
        self._fom_given = fom is not None
        self._fitted: tuple[Task, PhaseTrainer] | None = None
        self.history_: list[dict[str, Any]] = []
        self.schedule_: Schedule | None = None

    def fit(self, train: OwnData, validation: OwnData | None = None) -> nn.Module:
        """Train and return the best model of all generations, in evaluation mode.

        Args:
            train: ``(x, y)`` as tensors or arrays, a data set of such pairs, or a `Split`.
            validation: The same; by default a part of the training examples is held out.

        Raises:
            EvooptError: Data, model, loss and space that do not fit each other; the message says how.
        """
        section, training = self._config.recombination, self._config.training
        if validation is None and self._validation_fraction == 0:
            raise EvooptError("nothing selects: pass validation data, or validation_fraction above 0")
        task, data = own_task(
            self._model_fn, self._loss_fn, self._metric, train, validation,
            batch_size=training.batch_size or 128,
            validation_fraction=self._validation_fraction,
            seed=section.seed,
        )  # fmt: skip
        y = data.train.y
        if not self._fom_given and self._metric is None and (y.is_floating_point() or y.ndim > 1):
            section = section.model_copy(update={"fom": "loss"})
        trainer = PhaseTrainer.here(
            PhaseSetup(task, data, self._device), training.chunk_size, training.engine, self._precision
        )
        sizes = Sizes.of(task, data)
        scheme = PbtScheme(task, sizes, section, self._space, trainer, training.steps)
        self.history_ = evolve(scheme, budget=pbt_budget(section))
        self.schedule_, self._fitted = scheme.schedule(), (task, trainer)
        return scheme.best_model().eval()

    def replay(self, seeds: Sequence[int]) -> Replay:
        """Train fresh models by `schedule_`, all seeds as one population.

        Raises:
            EvooptError: `fit` comes first.
        """
        if self._fitted is None or self.schedule_ is None:
            raise EvooptError("there is no schedule to replay: call fit first")
        return replay(self.schedule_, seeds, *self._fitted)
