"""Forward and backward passes of a whole population, and its scores."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from evoopt.tasks.task import Split, Task
from evoopt.training.native import cross_entropy
from evoopt.training.population import ModelPopulation
from evoopt.training.stacked import stacked_forward, stacked_gradients
from evoopt.training.streams import own_draws, seed_draws

Loss = Callable[[Tensor, Tensor], Tensor]

_FUNCTIONS: dict[type[nn.Module], Loss] = {
    nn.CrossEntropyLoss: F.cross_entropy, nn.MSELoss: F.mse_loss, nn.L1Loss: F.l1_loss,
    nn.SmoothL1Loss: F.smooth_l1_loss, nn.HuberLoss: F.huber_loss,
    nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits,
}  # fmt: skip
"""What losses without settings of their own compute."""

_BY_ELEMENT = {*_FUNCTIONS.values()} - {F.cross_entropy}
"""Losses that are a mean over all numbers, of which each has a target."""

_AT_EVALUATION = (0,)  # the seed of models that draw random numbers even then

# vmap warns of every operation that it runs member by member, which no user of a population can change.
if tell := getattr(torch._C._functorch, "_set_vmap_fallback_warning_enabled", None):
    tell(False)


def outputs(
    population: ModelPopulation,
    x: Tensor,
    uniform: Mapping[str, Tensor] | None = None,
    shared: bool = True,
) -> Tensor:
    """Run all members, outside of autograd.

    Args:
        population: The models.
        x: Inputs ``[b, ...]`` that all members see, or ``[P, b, ...]``; they stay as they are.
        uniform: Numbers for dropout (see `evoopt.training.dropout.DropoutDraws`) in training mode, in which
            BatchNorm's running statistics change in place; None for evaluation mode.
        shared: Whether ``x`` and ``uniform`` are the same for all members or have one part for each.

    Returns:
        Outputs ``[P, b, ...]``.
    """
    _set_mode(population, uniform is not None)
    with torch.no_grad():
        if population.architecture.way == "stacked":
            return stacked_forward(population.architecture.layers, _tensors(population, uniform), x, shared)
        with own_draws(population.device, population.architecture.manner.draws):
            return _outputs(population, population.parameters, x, uniform or {}, shared, _AT_EVALUATION)


def losses_and_gradients(
    population: ModelPopulation,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    uniform: Mapping[str, Tensor],
    gradients: Tensor,
    shared: bool = True,
    seeds: Sequence[int] = (0,),
) -> Tensor:
    """Loss of every member on a minibatch, and its gradient.

    Args:
        population: The models.
        loss: Mean loss of ``(outputs, targets)``.
        x: Inputs ``[b, ...]``, or one minibatch for each member ``[P, b, ...]``.
        y: Targets ``[b, ...]`` or ``[P, b, ...]``.
        uniform: Numbers for dropout likewise, empty for models without.
        gradients: Written to, ``[P, D]`` like ``population.weights``. A parameter the loss does not depend on
            has gradient zero.
        shared: Whether all members see the same minibatch and numbers.
        seeds: Of what members draw themselves, one for all or one for each.

    Returns:
        Losses ``[P]``.
    """
    _set_mode(population, True)
    targets = population.views(gradients)
    computed: Mapping[str, Tensor | None]
    one_by_one = population.architecture.manner.loss_by_member
    if population.architecture.way == "stacked":
        losses, computed = stacked_gradients(
            population.architecture.layers,
            {**_tensors(population, uniform), **{f"{name}.grad": target for name, target in targets.items()}},
            x,
            lambda predictions: losses_and_their_gradient(loss, predictions, y, shared, one_by_one),
            shared,
        )
    else:
        leaves = {name: view.detach().requires_grad_() for name, view in population.parameters.items()}
        draws = population.architecture.manner.draws
        with torch.enable_grad(), own_draws(population.device, draws):
            predictions = _outputs(population, leaves, x, uniform, shared, seeds)
            losses = population_losses(loss, predictions, y, shared, one_by_one)
            by_autograd = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        computed = dict(zip(leaves, by_autograd, strict=True))
    for name, target in targets.items():
        gradient = computed.get(name)
        if gradient is None:
            target.zero_()
        elif gradient is not target:
            target.copy_(gradient)
    return losses.detach()


def _set_mode(population: ModelPopulation, training: bool) -> None:
    if population.architecture.template.training != training:
        population.architecture.template.train(training)


def _tensors(population: ModelPopulation, uniform: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    rates = {f"{name}.p": rate for name, rate in population.rates.items()}
    return {**population.parameters, **population.state, **rates, **(uniform or {})}


def _outputs(
    population: ModelPopulation,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    uniform: Mapping[str, Tensor],
    shared: bool,
    seeds: Sequence[int],
) -> Tensor:
    stacks = {**_tensors(population, None), **parameters}

    def one(member: Mapping[str, Tensor], inputs: Tensor, drawn: Mapping[str, Tensor]) -> Any:
        if not population.state:
            return functional_call(population.architecture.template, {**member, **drawn}, (inputs,))
        own = {f"model.{name}": t for tensors in (member, drawn) for name, t in tensors.items()}
        return functional_call(population.architecture.reporting, own, (inputs,))

    def told(result: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return result if population.state else (result, {})

    # A forward pass may change its inputs, and others are yet to see them.
    if population.architecture.way == "vmap":
        each = None if shared else 0
        predictions, changed = told(vmap(one, in_dims=(0, each, each))(stacks, x.clone(), dict(uniform)))
        for name, stack in changed.items():
            population.state[name].copy_(stack.detach())
        return predictions
    results = []
    for i in range(len(population)):
        member = {name: t[i] for name, t in stacks.items()}
        inputs, drawn = (x, uniform) if shared else (x[i], {name: t[i] for name, t in uniform.items()})
        layout = population.architecture.image_layout if inputs.dim() == 4 else torch.preserve_format
        inputs = inputs.clone(memory_format=layout)
        if population.architecture.manner.draws:
            seed_draws(seeds[0 if len(seeds) == 1 else i], population.device)
        result, changed = told(one(member, inputs, drawn))
        results.append(result)
        for name, buffer in changed.items():
            population.state[name][i].copy_(buffer.detach())
    return torch.stack(results)


def losses_and_their_gradient(
    loss: Loss, predictions: Tensor, y: Tensor, shared: bool = True, one_by_one: bool = False
) -> tuple[Tensor, Tensor]:
    """Losses ``[P]`` and the gradient of their sum with respect to the predictions ``[P, b, ...]``."""
    loss = _function_of(loss)
    if _classifies(loss, predictions, y, shared):
        # As torch's own in mixed precision: a loss is no product.
        predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
        if cross_entropy.suits(predictions, y):
            classes = y.unsqueeze(0) if shared else y
            if result := cross_entropy.losses_and_gradient(predictions.transpose(1, 2), classes):
                return result[0], result[1].transpose(1, 2)
        log_p = F.log_softmax(predictions.transpose(1, 2), dim=1)
        index = y.expand(len(log_p), 1, -1) if shared else y.unsqueeze(1)
        log_likelihood = log_p.gather(1, index)
        losses = log_likelihood.sum(dim=(1, 2)).div_(-y.shape[-1])
        gradient = log_p.exp_().scatter_(1, index, log_likelihood.expm1_())
        return losses, gradient.div_(y.shape[-1]).transpose(1, 2)
    real = predictions.dtype == y.dtype and y.is_floating_point()
    if loss is F.mse_loss and real and _by_element(loss, predictions, y, shared):
        difference = predictions - y
        losses = (difference * difference).flatten(1).mean(dim=1)
        return losses, difference.mul_(2 / max(1, predictions[0].numel()))
    leaf = predictions.detach().requires_grad_()
    with torch.enable_grad():
        losses = population_losses(loss, leaf, y, shared, one_by_one)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), gradient


def population_losses(
    loss: Loss, predictions: Tensor, y: Tensor, shared: bool = True, one_by_one: bool = False
) -> Tensor:
    """Losses ``[P]`` of predictions ``[P, b, ...]`` and targets ``[b, ...]`` or ``[P, b, ...]``."""
    loss = _function_of(loss)
    if _by_element(loss, predictions, y, shared):
        each = loss(predictions, y.expand_as(predictions), reduction="none")  # type: ignore[call-arg]
        return each.flatten(1).mean(dim=1)
    if _classifies(loss, predictions, y, shared):
        each = F.cross_entropy(predictions.transpose(1, 2), y.expand(len(predictions), -1), reduction="none")
        return each.mean(dim=1)
    if one_by_one:
        return torch.stack([loss(p, (y if shared else y[i]).clone()) for i, p in enumerate(predictions)])
    return vmap(loss, in_dims=(0, None if shared else 0))(predictions, y.clone())


def _classifies(loss: Loss, predictions: Tensor, y: Tensor, shared: bool) -> bool:
    """Whether the loss is the cross-entropy of class indices, which has a faster form for a population."""
    return loss is F.cross_entropy and predictions.dim() == 3 and y.dim() == (1 if shared else 2)


def _by_element(loss: Loss, predictions: Tensor, y: Tensor, shared: bool) -> bool:
    alike = y.shape == (predictions.shape[1:] if shared else predictions.shape)
    return alike and any(loss is one for one in _BY_ELEMENT)


def is_known(loss: Loss) -> bool:
    """Whether a loss runs nothing but operations: it is of this package, or one of torch that we know."""
    own = str(getattr(loss, "__module__", "")).startswith("evoopt.")
    return own or any(_function_of(loss) is one for one in _FUNCTIONS.values())


def _function_of(loss: Loss) -> Loss:
    """The function that a module of torch without settings of its own computes, else what is given."""
    return _FUNCTIONS[type(loss)] if type(loss) in _FUNCTIONS and _is_usual(loss) else loss  # type: ignore


@functools.lru_cache(maxsize=64)
def _is_usual(loss: nn.Module) -> bool:
    settings, usual = ({**vars(module), "training": True} for module in (loss, type(loss)()))
    return repr(settings) == repr(usual)


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
            scores.append(torch.stack(task.scores(one, split.y)) if good else nan.expand(2))
    losses, metrics = torch.stack([score.double() for score in scores]).cpu().unbind(dim=1)
    return losses, metrics
