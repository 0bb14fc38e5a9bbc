"""Capsule network for CIFAR-10, and its margin loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks.models.parts import initialise

_TINY = 1e-7


class Capsules(nn.Module):
    """Routes capsules ``[n, sources, size_in]`` to ``[n, count, size]`` by agreement (Sabour et al. 2017).

    As in Keras' ``cifar10_cnn_capsule``, all sources share one matrix, and agreements replace the logits of
    the previous iteration instead of being added to them.

    Attributes:
        routings: Number of iterations, 0-dim integer buffer; above ``most_routings`` it counts as that.
        q: Of ``v = |s|^2 / (q + |s|^2) * s / |s|``, 0-dim buffer: the squared length of an input that gives
            an output of 1/2. Like every buffer, both are stacked in a population: every member has its own.
    """

    routings: Tensor
    q: Tensor

    def __init__(
        self, size_in: int, count: int, size: int, routings: int, q: float, most_routings: int
    ) -> None:
        super().__init__()
        if not 1 <= routings <= most_routings:
            raise EvooptError(f"routings must be 1 to most_routings ({most_routings}), not {routings}")
        if not q > 0:
            raise EvooptError(f"q must be above 0, not {q}")
        self.project = nn.Linear(size_in, count * size, bias=False)
        self.register_buffer("routings", torch.tensor(routings))
        self.register_buffer("q", torch.tensor(float(q)))
        self.count, self.size, self.most_routings = count, size, most_routings

    def forward(self, x: Tensor) -> Tensor:
        """Route; always ``most_routings`` iterations, so that members of a population run in lockstep."""
        votes = self.project(x).unflatten(-1, (self.count, self.size)).transpose(1, 2)
        capsules = self._squash(votes.sum(dim=2) / self.count)
        for done in range(1, self.most_routings):
            agreement = (votes @ capsules.unsqueeze(-1)).squeeze(-1)
            coupling = agreement.softmax(dim=1)
            routed = self._squash((coupling.unsqueeze(2) @ votes).squeeze(2))
            capsules = torch.where(self.routings > done, routed, capsules)
        return capsules

    def _squash(self, s: Tensor) -> Tensor:
        squared = s.square().sum(dim=-1, keepdim=True) + _TINY
        return s * (squared.sqrt() / (self.q + squared))


class CapsNet(nn.Module):
    """Four convolutions and ten capsules for images ``[n, 3, 32, 32]``; 280,640 parameters.

    The CIFAR-10 model of Vose et al. (2019), that of Keras' ``cifar10_cnn_capsule``. Outputs are the
    capsules' lengths in [0, 1), ``[n, 10]``; train with `margin_loss`.

    Args:
        routings: Iterations of routing.
        q: Squared length of an input that gives an output of 1/2: 1 in Sabour et al. (2017), 0.5 in Keras.
        most_routings: Iterations that are computed; members of a population may use up to as many.
    """

    def __init__(self, routings: int = 3, q: float = 0.5, most_routings: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(64, 128, 3),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3),
            nn.ReLU(),
        )
        self.capsules = Capsules(128, 10, 16, routings, q, most_routings)
        initialise(self, nn.init.xavier_uniform_)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to the lengths of the classes' capsules."""
        sources = self.features(x).flatten(2).transpose(1, 2)
        return (self.capsules(sources).square().sum(dim=-1) + _TINY).sqrt()  # type: ignore[no-any-return]


def margin_loss(lengths: Tensor, targets: Tensor) -> Tensor:
    """Mean over examples of ``sum_k T max(0, 0.9 - |v|)^2 + 0.5 (1 - T) max(0, |v| - 0.1)^2``.

    Sabour et al. (2017), eq. 4.

    Args:
        lengths: Lengths of the capsules ``[n, classes]``.
        targets: Classes ``[n]``.
    """
    present = targets.unsqueeze(-1) == torch.arange(lengths.shape[-1], device=lengths.device)
    losses = torch.where(present, (0.9 - lengths).relu().square(), 0.5 * (lengths - 0.1).relu().square())
    return losses.sum(dim=-1).mean()
