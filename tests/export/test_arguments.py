"""What the constructor of an exported class takes, and how it refuses the rest, in torch's words."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from evoopt.optim import Adam, Lion, Marfinetz2025, Muon, RMSprop
from tests.export.subjects import (
    IMPLEMENTATIONS,
    RANDOM,
    STAGED,
    every_class,
    every_implementation,
    make,
    regression,
    weight_and_bias,
)


@every_class
def test_the_signature_is_ordered_as_in_torch(cls: type[Any]) -> None:
    parameters = inspect.signature(cls).parameters
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword = [n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    order = ["params", "lr", "betas", "eps", "weight_decay"]
    assert positional == [name for name in order if name in positional]
    assert {"params", "lr", "betas", "weight_decay"} <= set(positional)
    assert keyword[-5:] == ["foreach", "maximize", "capturable", "fused", "stochastic_rounding"]
    assert set(parameters) - {"params"} <= set(make(cls, weight_and_bias()).defaults)


def test_constants_are_the_defaults_and_nothing_else_is_there() -> None:
    defaults = {n: p.default for n, p in inspect.signature(Marfinetz2025).parameters.items()}
    assert defaults.pop("params") is inspect.Parameter.empty
    assert defaults == {
        "lr": 10**-2.9198932483267144,
        "betas": (0.8553020861538518, 0.9357561078635277),
        "eps": 10**-8.26423960220415,
        "weight_decay": 10**-3.0112238437153316,
        "adam_weight": 2.0030004279455267 + 1.6322011630060542,
        "sign_grad_weight": 0.41205802174892475 + 0.32238621456272765,
        "warmup_steps": 100,
        "total_steps": None,
        "schedule": True,
        "foreach": None,
        "maximize": False,
        "capturable": False,
        "fused": None,
        "stochastic_rounding": False,
    }
    assert list(inspect.signature(Lion).parameters)[:5] == [
        "params",
        "lr",
        "betas",
        "weight_decay",
        "lion_weight",
    ]
    assert Lion(weight_and_bias()).defaults["betas"] == (0.9, 0.99)  # in the order of its publication


BAD: list[tuple[type[Any], dict[str, Any], str]] = [
    (Adam, {"lr": -1e-3}, "Invalid learning rate: -0.001"),
    (Adam, {"lr": float("nan")}, "Invalid learning rate: nan"),
    (Adam, {"lr": torch.tensor(-1.0)}, "Invalid learning rate: -1.0"),
    (Adam, {"lr": torch.tensor([1e-3, 1e-3])}, "Tensor lr must be 1-element"),
    (Adam, {"eps": -1e-9}, "Invalid epsilon value: -1e-09"),
    (Adam, {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
    (Adam, {"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
    (Adam, {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    (Adam, {"adam_weight": float("inf")}, "Invalid adam_weight: inf"),
    (
        Adam,
        {"lr": torch.tensor(1e-3), "foreach": True},
        "lr as a Tensor is not supported for capturable=False",
    ),
    (RMSprop, {"betas": (0.9, 1.5)}, "Invalid beta parameter at index 1: 1.5"),
    (Lion, {"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
    (Lion, {"betas": (1.1, 0.9)}, "Invalid beta parameter at index 0: 1.1"),
    (RANDOM["every_term"], {"beta3": 1.1}, "Invalid beta3 value: 1.1"),
    (Marfinetz2025, {"warmup_steps": 0}, "Invalid warmup_steps value: 0"),
    (RANDOM["every_term"], {"clip_value": 0.0}, "Invalid clip_value value: 0.0"),
    (RANDOM["every_term"], {"nesterov_beta": 2.0}, "Invalid nesterov_beta value: 2.0"),
    (RANDOM["every_term"], {"unit_grad_weight": float("nan")}, "Invalid unit_grad_weight: nan"),
    (Muon, {"others_lr": 0.0}, "Invalid others_lr value: 0.0"),
    (Muon, {"others_betas": (0.9, 1.0)}, "Invalid others_betas parameter at index 1: 1.0"),
    (Muon, {"iterations": 0}, "Invalid iterations value: 0"),
    (STAGED["every_vector"], {"clip_norm": 0.0}, "Invalid clip_norm value: 0.0"),
    (STAGED["every_matrix"], {"warmup_fraction": 1.5}, "Invalid warmup_fraction value: 1.5"),
    (STAGED["every_matrix"], {"ema_decay": 1.0}, "Invalid ema_decay value: 1.0"),
]


@pytest.mark.parametrize(("cls", "options", "message"), BAD, ids=[m for _, _, m in BAD])
def test_bad_values_are_refused(cls: type[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message.replace('[', '.')}"):
        make(cls, weight_and_bias(), **options)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
def test_numbers_of_other_libraries_are_taken_as_numbers(implementation: dict[str, Any]) -> None:
    given = {"betas": (0.9, torch.tensor(0.99)), "lr": np.float64(0.01), "eps": np.float32(1e-8)}
    params, expected = weight_and_bias(), weight_and_bias()
    optimizer = Adam(params, **given, **implementation)
    plain = Adam(expected, lr=0.01, betas=(0.9, float(torch.tensor(0.99))), eps=float(np.float32(1e-8)))
    for of, opt in ((params, optimizer), (expected, plain)):
        opt.step(regression(of))
    torch.testing.assert_close(params, expected)
    assert {type(v) for v in (*optimizer.defaults["betas"], *map(optimizer.defaults.get, given))} == {
        float,
        tuple,
    }


@every_class
def test_bad_parameters_are_refused(cls: type[Any]) -> None:
    first, second = weight_and_bias()
    with pytest.raises(TypeError, match="params argument given to the optimizer should be an iterable"):
        make(cls, first)
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        make(cls, [])
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        make(cls, [{"params": [first]}, {"params": [first]}])
    with pytest.raises(ValueError, match="Some param names are missing"):
        make(cls, [("weight", first), second])
    with pytest.raises(ValueError, match="cannot add param group with names"):
        make(cls, [{"params": [first]}, {"params": [("bias", second)]}])
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        make(cls, [first, first])


@every_implementation
def test_sparse_gradients_are_refused(cls: type[Any], implementation: dict[str, Any]) -> None:
    parameter = Parameter(torch.ones(3, 2))
    parameter.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(RuntimeError, match=f"^{cls.__name__} does not support sparse gradients"):
        make(cls, [parameter], **implementation).step()


@every_implementation
def test_capturable_is_refused_on_a_cpu(cls: type[Any], implementation: dict[str, Any]) -> None:
    params = weight_and_bias()
    for p in params:
        p.grad = torch.ones_like(p)
    with pytest.raises(
        AssertionError, match="If capturable=True, params and state_steps must be on supported"
    ):
        make(cls, params, capturable=True, **implementation).step()


@every_class
def test_a_tensor_lr_set_later_is_refused_by_foreach(cls: type[Any]) -> None:
    params = weight_and_bias()
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = make(cls, params, foreach=True)
    optimizer.param_groups[0]["lr"] = torch.tensor(1e-3)
    with pytest.raises(
        RuntimeError, match="lr as a Tensor is not supported for capturable=False and foreach"
    ):
        optimizer.step()


@every_class
def test_groups_may_override_every_option(cls: type[Any]) -> None:
    first, second = weight_and_bias()
    defaults = make(cls, [first]).defaults
    changed = {name: value * 0.5 for name, value in defaults.items() if type(value) is float}
    optimizer = make(cls, [{"params": [first]}, {"params": [second], **changed}])
    assert {name: optimizer.param_groups[1][name] for name in changed} == changed
    assert {name: optimizer.param_groups[0][name] for name in changed} == {n: defaults[n] for n in changed}
