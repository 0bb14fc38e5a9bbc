"""The training losses that led to a model of a GADAM run: its own, its fitter parent's, and so on."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evoopt.jobs.phase_trainer import PhaseTrainer, Scores
from evoopt.jobs.phase_worker import Examples
from evoopt.systems.gadam import unit_model
from evoopt.training.members import Members
from evoopt.training.plan import PhasePlan

CURVE_POINTS = 60
_MARKED = 4096  # scalars of a row that tell models apart: training moves all of them


@dataclass(frozen=True)
class _Phase:
    before: list[bytes]
    after: list[bytes]
    losses: Tensor


@dataclass(frozen=True)
class Lineage:
    """A model's way from its initial weights.

    Attributes:
        losses: Batch loss of every step ``[steps]``.
        crossovers: How many of those steps came before each crossover.
    """

    losses: Tensor
    crossovers: tuple[int, ...]


class LineageTrainer(PhaseTrainer):
    """Trains and scores as ever, and remembers what became of whom.

    Models are known again by a hash of their weights, since only those tell a parent before its training from
    the same parent after it. `select` must be registered as the scheme's selection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phases: list[_Phase] = []
        self._fitter: list[list[int]] = []

    def train(
        self, members: Members, plan: PhasePlan, scored: Sequence[Examples] = ()
    ) -> tuple[Members, Tensor, Scores]:
        """Train members and remember their losses; see `PhaseTrainer.train`."""
        trained, losses, scores = super().train(members, plan, scored)
        self._phases.append(_Phase(_marks(members), _marks(trained), losses))
        return trained, losses, scores

    def select(self, losses: Sequence[float], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Draw pairs of parents by eq. 8 and remember the fitter one of each."""
        pairs = unit_model.select_pairs(losses, count, rng)
        self._fitter.append([min(pair, key=lambda i: losses[i]) for pair in pairs])
        return pairs

    def lineage(self, weights: Tensor) -> Lineage:
        """The way of the survivor with these weights ``[D]`` of the last generation."""
        mark, parts, born = _mark(weights), [], []
        for k in range(len(self._fitter) - 1, -1, -1):
            parents, children = self._phases[2 * k], self._phases[2 * k + 1]
            row = None
            if mark in children.after:
                child = children.after.index(mark)
                row = self._fitter[k][child]
                parts.append(children.losses[:, child])
                born.append(len(parts))
            elif mark in parents.after:
                row = parents.after.index(mark)
            if row is not None:  # else it survived as it was before this generation
                parts.append(parents.losses[:, row])
                mark = parents.before[row]
        lengths = [len(part) for part in parts]
        whole = torch.cat(parts[::-1]) if parts else torch.empty(0)
        return Lineage(whole, tuple(sum(lengths[count:]) for count in reversed(born)))


def thinned(losses: Tensor, points: int = CURVE_POINTS) -> dict[str, list[float]]:
    """A curve as means over equal stretches: ``steps`` at their ends, and ``losses``."""
    ends = np.unique(np.linspace(0, len(losses), min(points, len(losses)) + 1).round().astype(int))
    means = [float(losses[a:b].double().mean()) for a, b in itertools.pairwise(ends)]
    return {"steps": ends[1:].tolist(), "losses": [float(f"{mean:.5g}") for mean in means]}


def _marks(members: Members) -> list[bytes]:
    return [_mark(row) for row in members.population.weights]


def _mark(row: Tensor) -> bytes:
    return hashlib.blake2b(row[:_MARKED].detach().cpu().numpy().tobytes(), digest_size=16).digest()
