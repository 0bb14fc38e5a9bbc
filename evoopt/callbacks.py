"""Callbacks: who is told of a run while it goes on, and the loggers that people use.

``evoopt search --callback module:Class``, or ``evoopt.search(..., callbacks=[...])``.
"""

from __future__ import annotations

import csv
import importlib
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoopt.errors import EvooptError, one_line

if TYPE_CHECKING:
    from evoopt.runs.run import Run


class Callback:
    """Told of a run; override what you want to hear. What one raises stops the run, which can be resumed."""

    def on_generation(self, record: Mapping[str, Any]) -> None:
        """A generation is finished: its statistics, as ``run.generations`` has them."""

    def on_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """An individual was trained or scored: the numbers that came of it, by name."""

    def on_end(self, run: Run) -> None:
        """The run is finished; it is open for reading."""


class TensorBoard(Callback):
    """Scalars for TensorBoard (extra ``tensorboard``).

    Args:
        log_dir: Folder for its files.

    Raises:
        EvooptError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, log_dir: str | Path = "runs/tensorboard") -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _missing("tensorboard") from None
        try:
            self._writer = SummaryWriter(str(log_dir))
        except OSError as error:
            raise EvooptError(f"cannot write {log_dir}: {error.strerror or error}") from None

    def on_generation(self, record: Mapping[str, Any]) -> None:
        """See `Callback`."""
        for name, value in scalars(record):
            self._writer.add_scalar(name, value, record["generation"])
        self._writer.flush()


class WandB(Callback):
    """Scalars for Weights & Biases (extra ``wandb``); ``WANDB_MODE=offline`` keeps them here.

    Args:
        **settings: Arguments of ``wandb.init``.

    Raises:
        EvooptError: It is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        self._wandb, self._settings = _module("wandb"), {"project": "evoopt", **settings}
        self._run: Any = None

    def on_generation(self, record: Mapping[str, Any]) -> None:
        """See `Callback`."""
        self._run = self._run or self._wandb.init(**self._settings)
        self._run.log(dict(scalars(record)), step=record["generation"])

    def on_end(self, run: Run) -> None:
        """See `Callback`."""
        if self._run is not None:
            self._run.finish()
        self._run = None


class MLflow(Callback):
    """Metrics for MLflow (extra ``mlflow``), where ``MLFLOW_TRACKING_URI`` says.

    Args:
        experiment: Name of the experiment.

    Raises:
        EvooptError: It is not installed.
    """

    def __init__(self, experiment: str = "evoopt") -> None:
        self._mlflow = _module("mlflow")
        self._mlflow.set_experiment(experiment)

    def on_generation(self, record: Mapping[str, Any]) -> None:
        """See `Callback`."""
        if self._mlflow.active_run() is None:
            self._mlflow.start_run()
        self._mlflow.log_metrics(dict(scalars(record)), step=record["generation"])

    def on_end(self, run: Run) -> None:
        """See `Callback`."""
        self._mlflow.end_run()


class CSV(Callback):
    """A line of numbers per generation in a file, which goes on where an earlier one ended.

    Args:
        path: The file; its columns are those of the first generation. Several searches, such as restarts,
            write their generations into it one after another.
    """

    def __init__(self, path: str | Path = "generations.csv") -> None:
        self._path = Path(path)

    def on_generation(self, record: Mapping[str, Any]) -> None:
        """See `Callback`."""
        row = {"generation": record["generation"], **dict(scalars(record))}
        known = list(row)
        if self._path.exists():
            with self._path.open(encoding="utf-8", newline="") as file:
                known = next(csv.reader(file), known)
        new = not self._path.exists()
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, known, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)


def load_callback(name: str) -> Callback:
    """Make the callback that ``module:Class`` names, also of a module in the working folder.

    Raises:
        EvooptError: No such class, or it cannot be made.
    """
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except EvooptError:
        raise
    except Exception as error:  # a person's own code
        raise EvooptError(f"callback {name!r}: write module:Class ({one_line(error)})") from error
    if not isinstance(made, Callback):
        raise EvooptError(
            f"callback {name!r} makes a {type(made).__name__}, not an evoopt.callbacks.Callback"
        )
    return made


def scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a record by name, those of inner tables as ``table/name``; ids are no numbers."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{name}/")
        elif (
            isinstance(value, int | float) and name not in ("generation", "best_id") and math.isfinite(value)
        ):
            yield prefix + name, float(value)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise _missing(name) from None


def _missing(name: str) -> EvooptError:
    return EvooptError(f"{name} is not installed: pip install {name}, or evoopt with its extra {name!r}")
