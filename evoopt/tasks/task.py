"""What is learned: a task is a data split, a model, a loss and a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError, SealedTestError

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps a batch of inputs to an augmented batch of the same shape, drawing only from the generator given."""


@dataclass(frozen=True)
class Split:
    """Inputs and targets of one part of a data set, in memory.

    Attributes:
        x: Inputs ``[n, ...]``, already normalised.
        y: Targets ``[n]`` (class indices, int64) or ``[n, ...]``.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def part(self, index: Tensor | slice) -> Split:
        """Some of the examples; a view where ``index`` is a slice."""
        return Split(self.x[index], self.y[index])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Split:
        """Copy to a device and, for floating-point tensors, a dtype."""
        x = self.x.to(device=device, dtype=dtype if self.x.is_floating_point() else None)
        y = self.y.to(device=device, dtype=dtype if self.y.is_floating_point() else None)
        return Split(x, y)


class SealedSplit:
    """A test split that cannot be read during a search.

    Args:
        split: The data.
        unsealed: True in a final comparison, or where a preset follows a publication that selected on test
            data.
    """

    def __init__(self, split: Split, unsealed: bool = False) -> None:
        self._split = split
        self._unsealed = unsealed

    def __len__(self) -> int:
        return len(self._split)

    def unsealed(self) -> SealedSplit:
        """The same data open, for what comes after a search."""
        return SealedSplit(self._split, unsealed=True)

    def open(self) -> Split:
        """Return the test data.

        Raises:
            SealedTestError: The task was loaded for a search.
        """
        if not self._unsealed:
            raise SealedTestError(
                "the test split is sealed during a search; score on the validation split, "
                "or load the task with DataOptions(unseal_test=True) for a final comparison"
            )
        return self._split


@dataclass(frozen=True)
class TaskData:
    """The three parts of a task's data; `test` stays sealed during a search."""

    train: Split
    validation: Split
    test: SealedSplit


@dataclass(frozen=True)
class DataOptions:
    """How to load a task's data.

    Attributes:
        data_dir: Where data sets lie; None looks at the environment variable ``EVOOPT_DATA``, then in the
            user's cache.
        train_size: Number of training plus validation examples to keep (a fixed random subset), None for all.
        validation_fraction: Part of those examples held out for validation, in [0, 1); with 0 the validation
            part is empty.
        seed: Decides subset and split; the same seed gives the same split anywhere.
        unseal_test: Whether the test split may be read.
        download: Whether a missing public data set may be downloaded.
    """

    data_dir: Path | None = None
    train_size: int | None = None
    validation_fraction: float = 0.2
    seed: int = 0
    unseal_test: bool = False
    download: bool = True

    def __post_init__(self) -> None:
        if self.train_size is not None and self.train_size < 1:
            raise EvooptError(f"train_size must be at least 1, not {self.train_size}")
        if not 0 <= self.validation_fraction < 1:
            raise EvooptError(
                f"validation_fraction must be at least 0 and below 1, not {self.validation_fraction}"
            )
        if self.seed < 0:
            raise EvooptError(f"seed must not be negative, not {self.seed}")


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of examples whose largest output is the target's: outputs ``[n, classes]``, targets ``[n]``"""
    return (outputs.argmax(dim=-1) == targets).float().mean()


@dataclass(frozen=True)
class Task:
    """A learning problem that a population can be trained on.

    Attributes:
        name: Identifier.
        make_model: Returns a fresh model, initialised from torch's global random state. What it
            draws in training must be torch's random numbers.
        load: Returns the data.
        batch_size: Minibatch size.
        loss: Mean loss of ``(outputs, targets)`` as a 0-dim tensor.
        metric: Score of ``(outputs, targets)`` in [0, 1], higher is better, as a 0-dim tensor.
        augment: Optional augmentation of training batches.
        description: One line for ``evoopt tasks``.
        family: What kind of problem it is. A rule that was found on some families is best judged on others.
    """

    name: str
    make_model: Callable[[], nn.Module]
    load: Callable[[DataOptions], TaskData]
    batch_size: int = 128
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    metric: Callable[[Tensor, Tensor], Tensor] = accuracy
    augment: Augmentation | None = None
    description: str = field(default="", compare=False)
    family: str = field(default="own", compare=False)

    def __hash__(self) -> int:
        return hash(self.name)  # functions of one's own need not be hashable

    def scores(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and metric; each gets copies, because a function of one's own may change what it is given."""
        return (
            self.loss(outputs.clone(), targets.clone()),
            self.metric(outputs.clone(), targets.clone()),
        )

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, Integral) or self.batch_size < 1:
            told = f"a whole number of at least 1, not {self.batch_size!r}"
            raise EvooptError(f"task {self.name!r}: batch_size must be {told}")
        if isinstance(self.loss, nn.Module) and any(p.requires_grad for p in self.loss.parameters()):
            told = "has parameters, which nothing trains: have the model own them"
            raise EvooptError(f"task {self.name!r}: the loss {told}")
