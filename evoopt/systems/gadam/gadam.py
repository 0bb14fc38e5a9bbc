"""`Gadam`: genetic-evolutionary Adam for people's own models and data."""

from __future__ import annotations

from collections.abc import Callable
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
from evoopt.systems.gadam.config import GadamConfig
from evoopt.systems.gadam.scheme import GadamScheme, gadam_budget
from evoopt.systems.model_runs import Sizes
from evoopt.tasks.own_data import OwnData, own_task
from evoopt.training.phase import PhaseEngine


class Gadam:
    """Genetic-evolutionary Adam for one's own model, loss and data (Zhang and Gouza 2018).

    Example:
        ``model = Gadam(make_model, steps=200).fit((x, y))``

    Attributes:
        history_: Statistics per generation, after `fit`: losses and metrics of parents and children on the
            validation batch, the share of children among the survivors, gradient steps so far.
        average_: The mean of the last generation's models, in evaluation mode, after `fit`; not in the paper.

    Args:
        model_fn: Makes a fresh model; what it draws in training are torch's random numbers.
        loss_fn: Mean loss of ``(outputs, targets)``.
        population: Unit models [g].
        generations: Most generations [K].
        steps: Adam steps per training phase [E]; a generation has two.
        metric: Score of ``(outputs, targets)``, for `history_`; accuracy where targets are classes.
        batch_size: Minibatch size.
        validation_fraction: Part of the training examples held out where `fit` is given no validation data.
        engine: ``"batched"``: all models as one program; ``"sequential"``: one after another at every step,
            for large convolutional models on a CPU; ``"reference"``: a plain loop with `torch.optim.Adam`.
        chunk_size: Models per program.
        device: Where to train.
        precision: Of products: ``"full"``, ``"tf32"`` (on CUDA) or ``"bf16"``, see `evoopt.execution.Place`.
        **settings: Settings of the section ``gadam``: ``mutation_rate``,
            ``mutation``, ``moments``, ``validation``, ``validation_size``, ``theta``, ``lr``, ``seed``, ...

    Raises:
        EvooptError: A setting that does not fit.
    """

    def __init__(
        self,
        model_fn: Callable[[], nn.Module],
        loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        *,
        population: int = 10,
        generations: int = 5,
        steps: int = 500,
        metric: Callable[[Tensor, Tensor], Tensor] | None = None,
        batch_size: int = 128,
        validation_fraction: float = 0.2,
        engine: PhaseEngine = "batched",
        chunk_size: int = 10,
        device: str | torch.device = "cpu",
        precision: Precision = "full",
        **settings: Any,
    ) -> None:
        section = {"population": population, "generations": generations, **settings}
        training = {
            "steps": steps,
            "batch_size": batch_size,
            # What is 0 may be meant for data with a validation part.
            **({"validation_fraction": validation_fraction} if validation_fraction else {}),
            "engine": engine,
            "chunk_size": chunk_size,
        }
        self._config = GadamConfig.validated({"gadam": section, "training": training}, "Gadam")
        self._model_fn, self._loss_fn, self._metric = model_fn, loss_fn, metric
        self._validation_fraction = validation_fraction
        self._device, self._precision = check_device(device, precision), precision
        self.history_: list[dict[str, Any]] = []
        self.average_: nn.Module | None = None

    def fit(self, train: OwnData, validation: OwnData | None = None) -> nn.Module:
        """Evolve and return the best model, in evaluation mode.

        Args:
            train: ``(x, y)`` as tensors or arrays, a data set of such pairs, or a `Split`.
            validation: The same; by default a part of the training examples is held out.

        Raises:
            EvooptError: Data, model and loss that do not fit each other; the message says how.
        """
        gadam, training = self._config.gadam, self._config.training
        if validation is None and self._validation_fraction == 0 and gadam.validation == "held_out":
            raise EvooptError("nothing selects: pass validation data, or validation_fraction above 0")
        task, data = own_task(
            self._model_fn, self._loss_fn, self._metric, train, validation,
            batch_size=training.batch_size or 128,
            validation_fraction=self._validation_fraction,
            seed=gadam.seed,
        )  # fmt: skip
        trainer = PhaseTrainer.here(
            PhaseSetup(task, data, self._device), training.chunk_size, training.engine, self._precision
        )
        sizes = Sizes.of(task, data)
        scheme = GadamScheme(task, sizes, gadam, training.steps, trainer)
        self.history_ = evolve(scheme, budget=gadam_budget(gadam))
        self.average_ = scheme.average_model().eval()
        return scheme.best_model().eval()
