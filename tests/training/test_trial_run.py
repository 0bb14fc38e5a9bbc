from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.optim.presets import preset
from evoopt.tasks import SealedSplit, Split, Task, TaskData
from evoopt.training.batched import EngineOptions
from evoopt.training.engine import train
from evoopt.training.forward import losses_and_gradients, outputs
from evoopt.training.plan import TrainingPlan
from evoopt.training.population import Manner, ModelPopulation
from evoopt.training.sequential import train_sequential
from evoopt.training.streams import initial_model
from evoopt.training.trial_run import find_manner, find_scoring_way

N, FEATURES = 24, 6


class Net(nn.Module):
    """A linear layer, and something of a subclass before it."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(FEATURES, 3)

    def before(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.before(x))  # type: ignore[no-any-return]


class Residual(Net):
    def before(self, x: Tensor) -> Tensor:
        return x + x.tanh()


class Branching(Net):
    def before(self, x: Tensor) -> Tensor:
        return x if self.out.bias.sum() > 0 else -x


class BranchingInHalves(Branching):
    """Looks at its weights in mixed precision alone."""

    def before(self, x: Tensor) -> Tensor:
        return super().before(x) if torch.is_autocast_enabled("cpu") else x


class Noisy(Net):
    def before(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x) if self.training else x


class DroppingTwice(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)

    def before(self, x: Tensor) -> Tensor:
        return torch.cat([self.drop(x[:, :2]), self.drop(x[:, 2:])], dim=1)  # masks of two shapes


class DroppingInTraining(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)

    def before(self, x: Tensor) -> Tensor:
        return self.drop(x) if self.training else x  # type: ignore[no-any-return]


class LayerByLayer(nn.Module):
    """Runs the layers of a Sequential itself, and keeps what comes between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, 3))

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for layer in self.body:
            outputs.append(layer(outputs[-1]))
        return outputs[-1] + outputs[1][:, :3]


class LeftOutByChance(Net):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(FEATURES, FEATURES)

    def before(self, x: Tensor) -> Tensor:
        return x if self.training and torch.rand(()) < 0.5 else self.more(x)  # type: ignore[no-any-return]


class TanhLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


class OwnDropout(nn.Dropout):
    """Drops half of the features of all examples alike."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 * (torch.rand(x.shape[1]) < 0.5)) if self.training else x


class Rounding(Net):
    """Stands for rounding that a deep model blows up: other numbers in a population, in single precision."""

    def before(self, x: Tensor) -> Tensor:
        alone = isinstance(self.out.weight, nn.Parameter)
        return x if alone or x.dtype == torch.float64 else x + 0.1


class Averaging(Net):
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(FEATURES))

    def before(self, x: Tensor) -> Tensor:
        if self.training:
            self.average = 0.5 * self.average + 0.5 * x.mean(0)
        return x - self.average


class Overwriting(Net):
    def before(self, x: Tensor) -> Tensor:
        return x.sub_(1)


class Remembering(Net):
    last: Tensor | None = None

    def before(self, x: Tensor) -> Tensor:
        moved = x if self.last is None else x + self.last
        self.last = x.mean(0).detach()
        return moved


class NumpyNoise(Net):
    def before(self, x: Tensor) -> Tensor:
        return x + float(np.random.default_rng().normal())


class PythonNoise(Net):
    def before(self, x: Tensor) -> Tensor:
        return x * random.choice([0.5, 2.0])


class Seeded(Net):
    """Keeps what its initialisation drew where nobody looks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.randn(FEATURES)

    def before(self, x: Tensor) -> Tensor:
        return x * self.kept


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def masked() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 3))
    model[0].weight.register_hook(torch.zeros_like)
    return model


def twice() -> nn.Module:
    layer, drop = nn.Linear(FEATURES, FEATURES), nn.Dropout(0.5)
    return nn.Sequential(layer, drop, layer, drop, nn.Linear(FEATURES, 3))


def of_two_classes(predictions: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(predictions[y < 2], y[y < 2])


def a_task(make_model: Callable[[], nn.Module], loss: Callable[..., Tensor] = F.cross_entropy) -> Task:
    x = torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(3))
    split = Split(x, torch.arange(N) % 3)
    return Task("mine", make_model, lambda _: TaskData(split, split, SealedSplit(split)), 8, loss)


def manner(task: Task) -> Manner:
    split = task.load(None).train  # type: ignore[arg-type]
    return find_manner(task, split, [initial_model(task, seed) for seed in (0, 1)], task.batch_size)


WAYS = {
    "sequential": (a_task(lambda: nn.Sequential(nn.Linear(FEATURES, 3))), Manner("stacked")),
    "own forward": (a_task(Residual), Manner("vmap")),
    "branch": (a_task(Branching), Manner("loop")),
    "noise": (a_task(Noisy), Manner("loop", draws=True)),
    "buffer assigned anew": (a_task(Averaging), Manner("vmap")),
    "inputs overwritten": (a_task(Overwriting), Manner("vmap")),
    "hook on a layer": (a_task(hooked), Manner("vmap")),
    "layer and dropout in two places": (a_task(twice), Manner("vmap")),
    "dropout that runs twice": (a_task(DroppingTwice), Manner("loop", draws=True)),
    "made in evaluation mode": (a_task(lambda: DroppingInTraining().eval()), Manner("vmap")),
    "layers run one by one": (a_task(LayerByLayer), Manner("vmap")),
    "weights left out by chance": (a_task(LeftOutByChance), Manner("loop", draws=True)),
    "subclass of a linear layer": (
        a_task(lambda: nn.Sequential(TanhLinear(FEATURES, 4), nn.ReLU(), nn.Linear(4, 3))),
        Manner("vmap"),
    ),
    "subclass of dropout": (
        a_task(lambda: nn.Sequential(OwnDropout(), nn.Linear(FEATURES, 3))),
        Manner("loop", draws=True),
    ),
    "loss of a part": (
        a_task(lambda: nn.Sequential(nn.Linear(FEATURES, 3)), of_two_classes),
        Manner("stacked", loss_by_member=True),
    ),
}


@pytest.mark.parametrize("kind", WAYS)
def test_the_first_way_that_gives_the_numbers_of_a_plain_loop_is_taken(kind: str) -> None:
    task, expected = WAYS[kind]
    before = torch.get_rng_state()
    assert manner(task) == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", WAYS)
def test_a_training_by_that_way_is_the_reference_and_leaves_the_data_alone(kind: str) -> None:
    task, _ = WAYS[kind]
    data = task.load(None)  # type: ignore[arg-type]
    inputs = data.train.x.clone()
    rules = [preset("adam"), preset("sgd")]
    plan = TrainingPlan(steps=6, seed=4, batch_size=8)
    expected = train_sequential(task, data, rules, plan, keep_losses=True)
    torch.rand(1)  # what others draw in between is of no consequence
    for engine in ("batched", "sequential"):
        for found, wanted in zip(train(task, data, rules, plan, engine=engine, keep_losses=True), expected):  # type: ignore[arg-type]
            assert found.outcome == wanted.outcome == "ok"
            assert found.losses == pytest.approx(wanted.losses, rel=1e-4)
            assert found.eval_loss == pytest.approx(wanted.eval_loss, rel=1e-4)
    assert torch.equal(data.train.x, inputs)


@pytest.mark.filterwarnings("error:.*could not be trained as one program")
def test_each_precision_has_its_way() -> None:
    task = a_task(BranchingInHalves)
    data, plan = task.load(None), TrainingPlan(steps=3, seed=4, batch_size=8)  # type: ignore[arg-type]
    for precision in ("full", "bf16"):
        options = EngineOptions(precision=precision)
        [result] = train(task, data, [preset("adam")], plan, engine="batched", options=options)
        assert result.outcome == "ok"


def test_images_that_are_normalised_by_groups_first_train_one_by_one() -> None:
    """Channels last, PyTorch's own kernel ends the process here before 2.15."""
    make_model = lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(24, 3))  # noqa: E731
    x, y = torch.randn(8, 3, 4, 3), torch.arange(8) % 3
    population = ModelPopulation.from_models([make_model() for _ in range(2)], "loop")
    gradients = torch.zeros_like(population.weights)
    losses = losses_and_gradients(population, F.cross_entropy, x, y, {}, gradients)
    for k in range(2):
        model = population.member(k)
        loss = F.cross_entropy(model(x), y)
        assert losses[k] == pytest.approx(loss.item(), rel=1e-5)
        wanted = torch.autograd.grad(loss, list(model.parameters()))
        for found, gradient in zip(population.views(gradients).values(), wanted):
            torch.testing.assert_close(found[k], gradient)


@pytest.mark.parametrize(
    ("make_model", "reason"),
    [
        (NumpyNoise, "does not repeat itself"),
        (PythonNoise, "does not repeat itself"),
        (Remembering, "keeps something outside of parameters and buffers"),
        (Seeded, "cannot run in a population"),
        (masked, r"parameter '0\.weight' has a hook"),
    ],
)
def test_what_cannot_be_repeated_or_shared_is_refused(
    make_model: Callable[[], nn.Module], reason: str
) -> None:
    with pytest.raises(EvooptError, match=reason) as caught:
        manner(a_task(make_model))
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_trained_is_refused_by_the_name_of_its_module() -> None:
    task = a_task(lambda: nn.Sequential(nn.Linear(FEATURES, 3), nn.BatchNorm1d(3)))
    split = task.load(None).train  # type: ignore[arg-type]
    with pytest.raises(EvooptError, match=r"module '1' \(BatchNorm1d\) cannot be trained: ValueError"):
        find_manner(task, split, [task.make_model(), task.make_model()], batch_size=1)


def test_doubles_tell_rounding_from_other_numbers() -> None:
    assert manner(a_task(Rounding)) == Manner("vmap")


def test_scoring_finds_its_way_too() -> None:
    x = torch.randn(9, FEATURES)
    for make_model, way in ((Residual, "vmap"), (Branching, "loop")):
        model = make_model()
        assert find_scoring_way(model, x) == way
        population = ModelPopulation.from_model(model, 2, find_scoring_way(model, x))
        assert torch.allclose(outputs(population, x)[1], model(x), atol=1e-6)
