"""Forward and backward passes of a whole population, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from evoopt.tasks.task import Split, Task
from evoopt.training.population import ModelPopulation
from evoopt.training.stacked import stacked_forward

Loss = Callable[[Tensor, Tensor], Tensor]


def outputs(
    population: ModelPopulation,
    x: Tensor,
    uniform: Mapping[str, Tensor] | None = None,
    parameters: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Run all members on the same inputs.

    Args:
        population: The models.
        x: Inputs ``[b, ...]``.
        uniform: Numbers for dropout (see `evoopt.training.dropout.DropoutDraws`) in training mode, in which
            BatchNorm's running statistics change in place; None for evaluation mode.
        parameters: Use these instead of the population's own, ``[P, *shape]`` by name.

    Returns:
        Outputs ``[P, b, ...]``.
    """
    architecture = population.architecture
    template = architecture.template
    template.train(uniform is not None)
    stacks = {
        **(population.parameters if parameters is None else parameters),
        **population.state,
        **{f"{name}.p": rate for name, rate in population.rates.items()},
    }
    shared = dict(uniform or {})
    if architecture.way == "stacked":
        return stacked_forward(architecture.layers, {**stacks, **shared}, x)
    if architecture.way == "vmap":
        one = lambda own, inputs: functional_call(template, {**own, **shared}, (inputs,))  # noqa: E731
        return vmap(one, in_dims=(0, None))(stacks, x)  # type: ignore[no-any-return]
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    members = ({name: t[i] for name, t in stacks.items()} for i in range(len(population)))
    return torch.stack([functional_call(template, {**own, **shared}, (x,)) for own in members])


def losses_and_gradients(
    population: ModelPopulation,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    uniform: Mapping[str, Tensor],
    gradients: Tensor,
) -> Tensor:
    """Loss of every member on one minibatch, and its gradient.

    Args:
        population: The models.
        loss: Mean loss of ``(outputs, targets)``.
        x: Inputs ``[b, ...]``.
        y: Targets ``[b, ...]``.
        uniform: Numbers for dropout, empty for models without.
        gradients: Written to, ``[P, D]`` like ``population.weights``. A parameter the loss does not depend on
            has gradient zero.

    Returns:
        Losses ``[P]``.
    """
    leaves = population.leaves
    with torch.enable_grad():
        losses = population_losses(loss, outputs(population, x, uniform, leaves), y)
        found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
    targets = population.architecture.layout.views(gradients)
    for target, gradient in zip(targets.values(), found, strict=True):
        target.zero_() if gradient is None else target.copy_(gradient)
    return losses.detach()


def population_losses(loss: Loss, predictions: Tensor, y: Tensor) -> Tensor:
    """Loss of every member: predictions ``[P, b, ...]``, shared targets ``[b, ...]``, result ``[P]``."""
    if loss is F.cross_entropy and predictions.dim() == 3 and y.dim() == 1:
        each = F.cross_entropy(predictions.transpose(1, 2), y.expand(len(predictions), -1), reduction="none")
        return each.mean(dim=1)
    return vmap(loss, in_dims=(0, None))(predictions, y)


@torch.no_grad()
def evaluate_population(
    population: ModelPopulation, task: Task, split: Split, batch_size: int = 250, members: int = 64
) -> tuple[Tensor, Tensor]:
    """Loss and metric of every member in evaluation mode on a whole split.

    Args:
        population: The models.
        task: Gives loss and metric.
        split: The data, on the population's device.
        batch_size: Examples per forward pass.
        members: Models per forward pass.

    Returns:
        Losses and metrics ``[P]`` in float64 on the CPU; NaN for a member whose weights are not finite.
    """
    scores = []
    for start in range(0, len(population), members):
        part = population.part(start, min(start + members, len(population)))
        predictions = torch.cat([outputs(part, x) for x in torch.split(split.x, batch_size)], dim=1)
        finite = torch.isfinite(part.weights).all(dim=1)
        for one, good in zip(predictions, finite.tolist(), strict=True):
            nan = torch.full((), float("nan"), device=one.device)
            scores.append(
                torch.stack([task.loss(one, split.y), task.metric(one, split.y)]) if good else nan.expand(2)
            )
    losses, metrics = torch.stack([score.double() for score in scores]).cpu().unbind(dim=1)
    return losses, metrics
