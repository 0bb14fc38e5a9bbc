"""What people do to an optimizer, as functions of what makes one, that return the parameters at the end."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

Make = Callable[..., Optimizer]
TOTAL = 40
"""Steps of a training, where nothing else is said."""


def tensors(dtype: torch.dtype = torch.float64) -> list[Parameter]:
    """A weight, a bias, a number and nothing."""
    generator = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(4, 3), (4,), (), (0, 3)]
    draw = torch.complex128 if dtype.is_complex else torch.float64
    return [Parameter(torch.randn(s, generator=generator, dtype=draw).to(dtype)) for s in shapes]


def gradients(params: list[Parameter], seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        draw = torch.complex128 if p.is_complex() else torch.float64
        p.grad = torch.randn(p.shape, generator=generator, dtype=draw).to(p.dtype)


def steps(optimizer: Optimizer, params: list[Parameter], count: int = 5, first: int = 0) -> None:
    for seed in range(first, first + count):
        gradients(params, seed)
        optimizer.step()


def parameters(optimizer: Optimizer) -> list[Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def go_on(make: Make, between: Callable[[Optimizer], Optimizer]) -> list[Parameter]:
    params = tensors()
    optimizer = make(params)
    steps(optimizer, params)
    other = between(optimizer)
    steps(other, parameters(other), first=5)
    return parameters(other)


def reloaded(optimizer: Optimizer, make: Make, **options: Any) -> Optimizer:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh = make([Parameter(p.detach().clone()) for p in parameters(optimizer)], **options)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


def a_group_later(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make(params[:2])
    steps(optimizer, params[:2], 7)
    optimizer.add_param_group({"params": params[2:], "lr": 0.02})
    steps(optimizer, params, 3)
    return params


def groups_of_their_own(make: Make) -> list[Parameter]:
    params = tensors()
    groups = [{"params": params[:1], "lr": 0.02, "weight_decay": 0.3}, {"params": params[1:]}]
    steps(make(groups, lr=0.01), params)
    return params


def groups_of_other_kinds(make: Make) -> list[Parameter]:
    params = tensors()
    groups = [{"params": params[:1], "maximize": True}, {"params": params[1:], "total_steps": 7}]
    steps(make(groups), params)
    return params


def gradients_that_come_and_go(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make(params)
    for seed, absent in enumerate([params, params[:1], params[2:], [], params[1:2], []]):
        gradients(params, seed)
        for p in absent:
            p.grad = None
        optimizer.step()
    return params


def a_closure(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make(params)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([(p**2).sum() for p in params]).sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure) for _ in range(5)]
    assert all(isinstance(loss, Tensor) for loss in losses)
    return params


def hooks(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make(params)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    steps(optimizer, params, 2)
    assert seen == ["before", "after"] * 2
    return params


def an_optimizer_for_each_parameter_in_the_backward_pass(make: Make) -> list[Parameter]:
    params = tensors()
    for p in params:

        def hook(p: Tensor, optimizer: Optimizer = make([p])) -> None:  # noqa: B008
            optimizer.step()
            optimizer.zero_grad()

        p.register_post_accumulate_grad_hook(hook)
    for _ in range(3):
        torch.stack([(p**2).sum() for p in params]).sum().backward()
    return params


def named_parameters(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make([(f"tensor {i}", p) for i, p in enumerate(params)])
    assert optimizer.state_dict()["param_groups"][0]["param_names"][0] == "tensor 0"
    steps(optimizer, params)
    return params


def scheduled_by(
    scheduler: Callable[[Optimizer], LRScheduler], *loss: float
) -> Callable[[Make], list[Parameter]]:
    def scenario(make: Make) -> list[Parameter]:
        params = tensors()
        optimizer = make(params, schedule=False, lr=0.01)
        outer = scheduler(optimizer)
        for seed in range(6):
            steps(optimizer, params, 1, seed)
            outer.step(*loss)
        return params

    return scenario


def a_schedule_within_a_schedule(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make(params)
    outer = lr_scheduler.StepLR(optimizer, 2, 0.5)
    for seed in range(6):
        steps(optimizer, params, 1, seed)
        outer.step()
    return params


def of_type(dtype: torch.dtype, **options: Any) -> Callable[[Make], list[Parameter]]:
    def scenario(make: Make) -> list[Parameter]:
        params = tensors(dtype)
        optimizer = make(params, **options)
        steps(optimizer, params)
        assert {p.dtype for p in params} == {dtype}
        states = [v for state in optimizer.state.values() for k, v in state.items() if k != "step"]
        assert {v.dtype for v in states} <= {dtype}
        return params

    return scenario


def a_strided_weight(make: Make) -> list[Parameter]:
    params = [Parameter(torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 6).t())]
    steps(make(params), params)
    assert not params[0].is_contiguous()
    return params


def an_lr_set_by_hand(make: Make) -> list[Parameter]:
    params = tensors()
    optimizer = make(params)
    for first, lr in enumerate((0.02, 0.0, torch.tensor(0.01, dtype=torch.float64))):
        optimizer.param_groups[0]["lr"] = lr
        steps(optimizer, params, 1, first)
    return params


SCENARIOS: dict[str, Callable[[Make], list[Parameter]]] = {
    "deep copy": lambda make: go_on(make, copy.deepcopy),
    "pickle": lambda make: go_on(make, lambda optimizer: pickle.loads(pickle.dumps(optimizer))),
    "state dict": lambda make: go_on(make, lambda optimizer: reloaded(optimizer, make)),
    # What is loaded replaces what is set, as any option of torch's own classes.
    "other lr": lambda make: go_on(make, lambda opt: reloaded(opt, make, lr=1.0, weight_decay=0.5)),
    "a group later": a_group_later,
    "groups of their own": groups_of_their_own,
    "groups of other kinds": groups_of_other_kinds,
    "gradients that come and go": gradients_that_come_and_go,
    "a closure": a_closure,
    "hooks": hooks,
    "in the backward pass": an_optimizer_for_each_parameter_in_the_backward_pass,
    "named parameters": named_parameters,
    "maximize": of_type(torch.float64, maximize=True),
    "float32": of_type(torch.float32),
    "float16": of_type(torch.float16, lr=0.1),
    "bfloat16": of_type(torch.bfloat16, lr=0.1),
    "complex64": of_type(torch.complex64),
    "complex128, maximize": of_type(torch.complex128, maximize=True),
    "no decay": of_type(torch.float64, weight_decay=0.0),
    "a strided weight": a_strided_weight,
    "an lr set by hand": an_lr_set_by_hand,
    "StepLR": scheduled_by(lambda opt: lr_scheduler.StepLR(opt, 2)),
    "SequentialLR": scheduled_by(
        lambda opt: lr_scheduler.SequentialLR(
            opt, [lr_scheduler.LinearLR(opt), lr_scheduler.CosineAnnealingLR(opt, 5)], [3]
        )
    ),
    "ReduceLROnPlateau": scheduled_by(lambda opt: lr_scheduler.ReduceLROnPlateau(opt, patience=1), 1.0),
    "CosineAnnealingWarmRestarts": scheduled_by(lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, 4)),
    "OneCycleLR": scheduled_by(lambda opt: lr_scheduler.OneCycleLR(opt, 0.05, total_steps=10)),
    "CyclicLR": scheduled_by(lambda opt: lr_scheduler.CyclicLR(opt, 1e-3, 0.05, 4)),
    "StepLR over the schedule": a_schedule_within_a_schedule,
}
