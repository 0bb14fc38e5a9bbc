"""What is no way to make a model, no loss or no metric is said in one line."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoopt import Gadam, GeneticTrainer
from evoopt.errors import EvooptError
from evoopt.tasks.own_data import own_task

X, Y = torch.randn(20, 4), torch.arange(20) % 3


class Net(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


class Weighted(nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def broken() -> nn.Module:
    raise FileNotFoundError("no\nweights")


NO_MODELS: dict[str, tuple[Any, str]] = {
    "model": (Net(), "model_fn is a model (Net): pass what makes a fresh one at every call, a class or"),
    "nothing": (None, "model_fn must be a function that makes a model, not None"),
    "name": ("resnet18", "model_fn must be a function that makes a model, not 'resnet18'"),
    "returns nothing": (lambda: None, "model_fn returned NoneType: have it return the model"),
    "returns a class": (lambda: Net, "model_fn returned type: have it return the model"),
    "needs arguments": (nn.Linear, "model_fn, called without arguments, raised TypeError"),
    "fails": (broken, "model_fn, called without arguments, raised FileNotFoundError: no weights"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_MODELS)
@pytest.mark.parametrize("trainer", [Gadam, GeneticTrainer])
def test_what_makes_no_model_is_refused_in_one_line(case: str, trainer: Any) -> None:
    model_fn, expected = NO_MODELS[case]
    with pytest.raises(EvooptError) as caught:
        trainer(model_fn).fit((X, Y))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loss_fn": nn.CrossEntropyLoss}, r"loss_fn is a class: pass an instance, CrossEntropyLoss\(\)"),
        ({"loss_fn": "mse"}, "loss_fn must be a function of outputs and targets, not 'mse'"),
        ({"loss_fn": Weighted()}, "the loss has parameters, which nothing trains"),
        ({"metric": nn.MSELoss}, r"metric is a class: pass an instance, MSELoss\(\)"),
        ({"metric": 1.0}, r"metric must be a function of outputs and targets, not 1\.0"),
    ],
)
def test_what_is_no_function_of_outputs_and_targets_is_refused(
    settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(EvooptError, match=expected):
        own_task(Net, train=(X, Y), **settings)


class Restless(Net):
    """Draws random numbers and writes to its input, as some do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.mul_(torch.rand(())))


def test_a_look_at_model_and_loss_changes_neither_data_nor_random_state_nor_gradients() -> None:
    made, x = list[Restless](), X.clone()

    def make() -> Restless:
        made.append(Restless())
        return made[-1]

    states = torch.get_rng_state(), random.getstate()
    own_task(make, F.mse_loss, train=(x, F.one_hot(Y)), validation=(x, F.one_hot(Y)))
    assert len(made) == 2
    assert torch.equal(x, X)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(model.weight.grad is None for model in made)
