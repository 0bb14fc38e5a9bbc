"""Fast outputs of many networks equal those of plain modules, whatever the network is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.execution.process_setup import torch_threads
from evoopt.tasks.genetic_models import GeneticDigitsNet, GeneticLeNet, GeneticMNISTNet
from evoopt.tasks.models import MLP, SmallCNN
from evoopt.training import inference
from evoopt.training.forward import outputs
from evoopt.training.inference import Inference
from evoopt.training.native import build
from evoopt.training.population import ModelPopulation


class Residual(nn.Module):
    """Not an nn.Sequential; has a buffer and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, affine=False)
        self.inner = nn.Conv2d(1, 1, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.head((x + self.scale * self.inner(x)).flatten(1))


def repeated() -> nn.Module:
    """Layers that occur twice, one of them with weights; nested parts."""
    linear, tanh = nn.Linear(64, 64), nn.Tanh()
    return nn.Sequential(nn.Flatten(), nn.Sequential(linear, tanh), linear, tanh, nn.Linear(64, 2))


def odd_sizes() -> nn.Module:
    """Pooling that leaves a row over, unequal padding and strides, several channels, biases, dropout."""
    return nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(2, 5, (2, 3), stride=(1, 2), padding=1), nn.ReLU(),
        nn.MaxPool2d(2, stride=2), nn.Dropout2d(0.5), nn.Conv2d(5, 3, 2), nn.ReLU(), nn.MaxPool2d((2, 2)),
        nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip


def normed() -> nn.Module:
    """Buffers and a frozen parameter, which all networks share; dropout."""
    convolution, norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
    nn.init.constant_(convolution.bias.requires_grad_(False), 0.3)
    norm.running_mean = torch.tensor([-0.2, 0.1, 0.4])
    return nn.Sequential(convolution, norm, nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(108, 2))


def smooth() -> nn.Module:
    """Functions whose last bits are others at the end of memory; places there that are no whole vectors."""
    parts = [nn.Sequential(nn.Linear(7, 7), kind()) for kind in (nn.ELU, nn.SiLU, nn.Sigmoid, nn.Softplus)]
    return nn.Sequential(*parts, nn.Linear(7, 3))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mnist": (GeneticMNISTNet, (1, 28, 28)),
    "mnist 136": (lambda: GeneticMNISTNet("136"), (1, 28, 28)),
    "lenet": (lambda: GeneticLeNet(3), (3, 32, 32)),
    "digits": (GeneticDigitsNet, (1, 8, 8)),
    "small cnn": (SmallCNN, (1, 28, 28)),
    "mlp": (lambda: MLP(12, 7, 3), (12,)),
    "normed": (normed, (1, 8, 8)),
    "smooth": (smooth, (7,)),
    "residual": (Residual, (1, 8, 8)),
    "repeated": (repeated, (1, 8, 8)),
    "odd sizes": (odd_sizes, (2, 9, 15)),
}


def population(make: Callable[[], nn.Module], size: int) -> ModelPopulation:
    torch.manual_seed(0)
    return ModelPopulation.from_models([make() for _ in range(size)])


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_each_network_alone_in_float64(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, shape = CASES[name]
    monkeypatch.setattr(inference, "_CACHE_BYTES", 10 * 28 * 28 * 40 * 8)
    models = population(make, 3).to("cpu", torch.float64)
    x = torch.randn(23, *shape, dtype=torch.float64)
    actual = Inference(models.architecture.model, models.architecture.layout, x)(models.weights)
    with torch.no_grad():
        alone = torch.stack([models.member(k).eval()(x) for k in range(3)])
    assert torch.allclose(actual, alone, rtol=0, atol=1e-9)
    assert torch.allclose(actual, outputs(models, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["mnist", "lenet", "mlp", "normed", "smooth"])
def test_outputs_do_not_depend_on_company_and_threads_to_the_last_bit(name: str) -> None:
    make, shape = CASES[name]
    models = population(make, 4)
    run = Inference(models.architecture.model, models.architecture.layout, torch.randn(70, *shape))
    with torch_threads(1):
        together = run(models.weights)
        assert torch.equal(together[2:3], run(models.weights[2:3]))
        assert torch.equal(together, run(models.weights.flip(0)).flip(0))
    with torch_threads(3):
        assert torch.equal(together, run(models.weights))
        assert torch.equal(together[2:3], run(models.weights[2:3]))


def test_networks_of_layers_that_populations_know_run_by_their_kernels() -> None:
    known = {"mnist", "mnist 136", "lenet", "digits", "small cnn", "mlp", "normed", "smooth"}
    if build.library("linear") is None:
        known = set()
    for name, (make, shape) in CASES.items():
        assert inference._known(make(), torch.zeros(2, *shape)) == (name in known), name


@pytest.mark.parametrize("of", [nn.Conv2d, nn.ReLU, nn.Sequential])
def test_what_a_person_hung_on_a_layer_counts(of: type[nn.Module]) -> None:
    def hung(act: Callable[[nn.Module], object]) -> None:
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2))
        model, x = nn.Sequential(inner, nn.Flatten(), nn.Linear(27, 2)), torch.randn(4, 1, 8, 8)
        act(next(layer for layer in inner.modules() if type(layer) is of))
        models = ModelPopulation.from_models([model], "loop")
        actual = Inference(model, models.architecture.layout, x)(models.weights)
        assert torch.allclose(actual[0], model(x), atol=1e-6)

    def own_forward(layer: nn.Module) -> None:
        forward = layer.forward
        layer.forward = lambda x: forward(x).neg()  # type: ignore[method-assign]

    hung(lambda layer: layer.register_forward_hook(lambda _, inputs, out: out.neg()))
    hung(lambda layer: layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].neg(),)))
    hung(own_forward)


@pytest.mark.parametrize(
    "pooling", [nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(3), nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)]
)
def test_other_pooling_stays_what_it_is(pooling: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 2), pooling, nn.ReLU(), nn.Flatten())
    models = ModelPopulation.from_models([model])
    x = torch.randn(4, 1, 8, 8)
    actual = Inference(model, models.architecture.layout, x)(models.weights)
    assert torch.allclose(actual[0], model(x), atol=1e-6)


def test_the_model_given_stays_as_it_is() -> None:
    model = GeneticDigitsNet().train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    models = population(GeneticDigitsNet, 2)
    Inference(model, models.architecture.layout, torch.randn(3, 1, 8, 8))(models.weights)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_a_network_that_draws_in_evaluation_repeats_itself_whoever_is_beside_it() -> None:
    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.randn_like(x))

    models = ModelPopulation.from_models([Noisy(4, 2), Noisy(4, 2)])
    x = torch.randn(5, 4)
    before = torch.get_rng_state()
    run = Inference(models.architecture.model, models.architecture.layout, x)
    both = run(models.weights)
    assert torch.equal(run(models.weights[1:]), both[1:])
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_that_run_their_layers_one_by_one_are_not_reordered() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())

        def forward(self, x: Tensor) -> Tensor:
            seen = []
            for layer in self.body:
                seen.append(x := layer(x))
            return torch.cat([one.flatten(1) for one in seen], dim=1)

    model, x = Features(), torch.randn(3, 1, 8, 8)
    models = ModelPopulation.from_models([model])
    torch.testing.assert_close(Inference(model, models.architecture.layout, x)(models.weights)[0], model(x))


@pytest.mark.parametrize("sometimes", [False, True])
def test_a_model_that_changes_its_inputs_gets_copies_of_them(sometimes: bool) -> None:
    class Centred(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not sometimes or len(x) > 1:
                x -= 1
            return super().forward(x)

    models = ModelPopulation.from_models([Centred(4, 2)] * 2)
    x = torch.randn(5, 4)
    before = x.clone()
    run = Inference(models.architecture.model, models.architecture.layout, x)
    if sometimes:
        with pytest.raises(EvooptError, match="sometimes changes its inputs in place"):
            run(models.weights)
    else:
        expected = nn.functional.linear(x - 1, models.parameters["weight"][0], models.parameters["bias"][0])
        assert all(torch.allclose(one, expected, atol=1e-6) for one in run(models.weights))
    assert torch.equal(x, before)


def test_batches_are_sized_by_the_largest_activation() -> None:
    assert inference.batch_size(nn.Linear(10, 2), torch.zeros(5, 10)) == 1024
    assert inference.batch_size(GeneticMNISTNet(), torch.zeros(2, 1, 28, 28)) == 64
    assert inference.batch_size(nn.Linear(4, 3 * 10**6), torch.zeros(2, 4)) == 1
