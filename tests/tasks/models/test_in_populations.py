"""Every published model trains as a member of a population exactly as it does alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.tasks import models
from evoopt.tasks.rpv import binary_loss
from evoopt.tasks.synthetic import memory_model
from evoopt.training.dropout import DropoutDraws, give, with_given_dropout
from evoopt.training.forward import losses_and_gradients, outputs
from evoopt.training.population import ModelPopulation


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    way: str
    words: int = 0


CLASSES = torch.tensor([3, 0, 1])
CASES = {
    "LeNet5": Case(models.LeNet5, (1, 28, 28), CLASSES, F.cross_entropy, "stacked"),
    "FacesCNN": Case(models.FacesCNN, (1, 64, 64), CLASSES, F.cross_entropy, "stacked"),
    "VariableLeNet": Case(
        lambda: models.VariableLeNet((3, 5), (4, 5), 6), (1, 28, 28), CLASSES, F.cross_entropy, "stacked"
    ),
    "VariableLeNet of even kernels": Case(
        lambda: models.VariableLeNet((4, 2), (4, 5), 6), (1, 28, 28), CLASSES, F.cross_entropy, "any"
    ),
    "RPVNetwork": Case(
        lambda: models.RPVNetwork((3, 5, 3), (2, 3, 4), 5), (3, 64, 64), CLASSES % 2, binary_loss, "stacked"
    ),
    "ResNet20": Case(models.ResNet20, (3, 32, 32), CLASSES, F.cross_entropy, "vmap"),
    "CapsNet": Case(models.CapsNet, (3, 32, 32), CLASSES, models.margin_loss, "vmap"),
    "P3B1Network": Case(
        lambda: models.P3B1Network(7, (5, 6, 4), inputs=9),
        (9,),
        torch.tensor([[12, -1, -1], [-1, -1, 2], [0, 1, -1]]),
        models.multitask_loss,
        "vmap",
    ),
    "MLP with tanh": Case(
        lambda: models.MLP(5, 4, 4, 6, activation=nn.Tanh), (5,), CLASSES, F.cross_entropy, "stacked"
    ),
    "NarrowCNN": Case(lambda: models.NarrowCNN(3, 8), (3, 8, 8), CLASSES, F.cross_entropy, "stacked"),
    "a matrix behind which nothing is trained": Case(
        memory_model, (64,), CLASSES, F.cross_entropy, "stacked"
    ),
    "Transformer": Case(
        lambda: models.Transformer(nn.Linear(5, 8), 3, 4, causal=False, width=8),
        (3, 5),
        CLASSES,
        F.cross_entropy,
        "vmap",
    ),
    "Transformer of characters": Case(
        lambda: models.Transformer(nn.Embedding(11, 8), 9, 12, causal=True, width=8),
        (9,),
        torch.arange(27).view(3, 9) % 12,
        F.cross_entropy,
        "vmap",
        words=11,
    ),
    "Translator": Case(
        lambda: models.Translator(11, 12, 5, hidden=6),
        (9,),
        torch.tensor([[3, 4, 2, 0], [11, 2, 0, 0], [5, 6, 7, 2]]),
        models.token_loss,
        "vmap",
        words=11,
    ),
}


def inputs(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if not case.words:
        return torch.randn(3, *case.shape, dtype=torch.float64, generator=generator)
    tokens = torch.randint(1, case.words, (3, *case.shape), generator=generator)
    tokens[1, 2:5] = tokens[0, 8:] = 0
    return tokens


def two(case: Case) -> list[nn.Module]:
    torch.manual_seed(0)
    return [case.make().double() for _ in range(2)]


def check_gradients(case: Case, way: str, x: Tensor, y: Tensor, shared: bool) -> None:
    singles = two(case)
    population = ModelPopulation.from_models(singles, way)  # type: ignore[arg-type]
    references = [with_given_dropout(copy.deepcopy(model)).train() for model in singles]
    draws = DropoutDraws(references[0], range(len(singles)), x.device)
    drawn = draws.draw(x.expand(len(singles), *x.shape) if shared else x, 2)
    each = [{key: numbers[i] for key, numbers in drawn.items()} for i in range(len(singles))]
    uniform = each[0] if shared else drawn
    gradients = torch.empty_like(population.weights)
    losses = losses_and_gradients(population, case.loss, x, y, uniform, gradients, shared)
    views = population.architecture.layout.views(gradients)
    for i, model in enumerate(references):
        give(model, each[0 if shared else i])
        loss = case.loss(model(x), y) if shared else case.loss(model(x[i]), y[i])
        loss.backward()
        torch.testing.assert_close(losses[i], loss.detach(), rtol=1e-9, atol=1e-12)
        trained = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        own = {key: view[i] for key, view in views.items()}
        torch.testing.assert_close(own, trained, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("way", ["auto", "vmap", "loop"])
@pytest.mark.parametrize("name", [name for name in CASES if name != "FacesCNN"])
def test_losses_and_gradients_are_those_of_the_single_models(name: str, way: str) -> None:
    case = CASES[name]
    check_gradients(case, way, inputs(case), case.targets, shared=True)


@pytest.mark.parametrize("name", CASES)  # FacesCNN, which is large, only here
def test_every_member_may_have_its_own_minibatch(name: str) -> None:
    case = CASES[name]
    x, y = inputs(case), case.targets
    check_gradients(case, "auto", torch.stack([x, x.flip(0)]), torch.stack([y, y.roll(1, 0)]), shared=False)


@pytest.mark.parametrize("name", CASES)
def test_outputs_in_evaluation_are_those_of_the_single_models(name: str) -> None:
    case, x = CASES[name], inputs(CASES[name])
    singles = two(case)
    found = outputs(ModelPopulation.from_models(singles), x)
    expected = torch.stack([model.eval()(x) for model in singles])
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].way != "any"])
def test_models_of_common_layers_run_the_fast_way(name: str) -> None:
    assert ModelPopulation.from_models(two(CASES[name])).architecture.way == CASES[name].way
