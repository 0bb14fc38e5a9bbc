"""Stacked models: what goes in comes out, and members stay independent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoopt.errors import EvooptError
from evoopt.tasks.models import MLP
from evoopt.training.dropout import DropoutDraws, give, with_given_dropout
from evoopt.training.forward import evaluate_population, losses_and_gradients, outputs
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import initial_model
from evoopt.training.weights_file import read_tensors, write_tensors

from .examples import OWN_TASKS, Residual, odd_convolutions, task_and_data

WAYS = ["auto", "vmap", "loop"]


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(params=OWN_TASKS)
def models(request: pytest.FixtureRequest) -> list[nn.Module]:
    return [initial_model(OWN_TASKS[request.param], seed) for seed in range(3)]


def test_members_come_out_as_they_went_in(models: list[nn.Module]) -> None:
    for way in WAYS:
        population = ModelPopulation.from_models(models, way)
        for i, model in enumerate(models):
            member = population.member(i)
            assert type(member) is type(model)
            assert states_equal(member, model)
            assert [type(m) for m in member.modules()] == [type(m) for m in model.modules()]


def test_outputs_are_those_of_the_members(models: list[nn.Module]) -> None:
    shapes = {"Sequential": (1, 8, 8), "MLP": (10,), "Residual": (2, 6)}
    x = torch.randn(7, *shapes[type(models[0]).__name__], dtype=torch.float64)
    for way in WAYS:
        population = ModelPopulation.from_models([m.double() for m in models], way)
        actual = outputs(population, x)
        for i, model in enumerate(models):
            torch.testing.assert_close(actual[i], model.eval()(x), rtol=1e-10, atol=1e-12)


def test_indexing_clones_members_which_then_change_independently(models: list[nn.Module]) -> None:
    population = ModelPopulation.from_models(models)
    clones = population[[2, 0, 2]]
    assert states_equal(clones.member(0), models[2])
    assert states_equal(clones.member(1), models[0])
    clones.weights[0] += 1
    assert states_equal(clones.member(2), models[2])
    assert states_equal(population.member(2), models[2])


def test_parts_share_memory(models: list[nn.Module]) -> None:
    population = ModelPopulation.from_models(models)
    population.part(1, 3).weights[0].zero_()
    assert not population.weights[1].any()
    assert population.weights[2].any()


def test_set_member_replaces_one_member_only(models: list[nn.Module]) -> None:
    population = ModelPopulation.from_models(models)
    population.set_member(1, models[2])
    assert [states_equal(population.member(1), models[k]) for k in (1, 2)] == [False, True]
    assert states_equal(population.member(0), models[0])


def test_saving_and_loading_gives_the_same_population(models: list[nn.Module], tmp_path: Path) -> None:
    population = ModelPopulation.from_models(models, "loop")
    for rate in population.rates.values():
        rate.copy_(torch.tensor([0.1, 0.2, 0.4]))
    path = tmp_path / "population.safetensors"
    population.save(path)
    loaded = ModelPopulation.load(path, models[0])
    assert len(loaded) == 3
    assert all(states_equal(loaded.member(i), models[i]) for i in range(3))
    assert {k: v.tolist() for k, v in loaded.rates.items()} == {
        k: v.tolist() for k, v in population.rates.items()
    }
    assert list(tmp_path.iterdir()) == [path], "a partial file was left behind"


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "population.safetensors"
    ModelPopulation.from_models([MLP(3, 2)]).save(path)
    before = path.read_bytes()

    def full_disk(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("evoopt.training.weights_file.os.replace", full_disk)
    with pytest.raises(EvooptError, match="no space"):
        ModelPopulation.from_models([MLP(3, 2)]).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_that_share_memory_are_written_whole_and_in_any_layout(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    tensors = {"embedding": weight, "head": weight, "turned": weight.T, "part": weight[:, 1]}
    write_tensors(tmp_path / "x.safetensors", tensors, "mine", task="digits")
    found, facts = read_tensors(tmp_path / "x.safetensors", "mine")
    assert facts == {"kind": "mine", "version": 1, "task": "digits"}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


REFUSED = {
    "text": "cannot read .* as safetensors",
    "other": "is not a file of kind 'evoopt.population'",
    "another architecture": "holds models of another architecture",
    "no number of members": "does not say how many models it holds",
    "no sensible number of members": "does not say how many models it holds",
}


@pytest.mark.parametrize("content", REFUSED)
def test_other_files_are_refused_with_a_clear_line(content: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    if content == "text":
        path.write_text("hello")
    elif content == "other":
        save_file({"a": torch.zeros(2)}, path)
    elif content == "another architecture":
        ModelPopulation.from_models([MLP(5, 4)]).save(path)
    else:
        members = "3" if content == "no number of members" else -1
        write_tensors(path, {"a": torch.zeros(2)}, "evoopt.population", members=members)
    with pytest.raises(EvooptError, match=REFUSED[content]):
        ModelPopulation.load(path, MLP(3, 2))


def test_models_of_different_architectures_are_refused() -> None:
    with pytest.raises(EvooptError, match="not those of the population"):
        ModelPopulation.from_models([MLP(3, 2), MLP(4, 2)])
    with pytest.raises(EvooptError, match="at least one"):
        ModelPopulation.from_models([])


def test_stacked_forward_is_refused_for_models_it_does_not_know() -> None:
    with pytest.raises(EvooptError, match=r"needs an nn\.Sequential"):
        ModelPopulation.from_models([Residual()], "stacked")


def test_from_seeds_initialises_like_the_task() -> None:
    task, _ = task_and_data("mlp")
    population = ModelPopulation.from_seeds(task, [5, 6])
    assert states_equal(population.member(1), initial_model(task, 6))
    torch.manual_seed(6)
    assert states_equal(population.member(1), task.make_model())


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_backward_and_frozen_parameters_have_none(way: str) -> None:
    torch.manual_seed(0)
    models = [Residual().double() for _ in range(3)]
    population = ModelPopulation.from_models(models, way)
    x, y = torch.randn(6, 2, 6, dtype=torch.float64), torch.randint(0, 4, (6,))
    uniform = {"inner.2.uniform": torch.rand(6, 12)}
    gradients = torch.empty_like(population.weights)
    losses = losses_and_gradients(population, F.cross_entropy, x, y, uniform, gradients)
    views = population.architecture.layout.views(gradients)
    assert "scale" not in views
    for i, model in enumerate(models):
        mask = (uniform["inner.2.uniform"] >= 0.3).double() / 0.7
        hidden = torch.relu(model.inner[0](x.flatten(1))) * mask
        loss = F.cross_entropy(model.head(model.norm(x.flatten(1) + model.scale * hidden)), y)
        loss.backward()
        assert float(losses[i]) == pytest.approx(float(loss.detach()), rel=1e-9)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(views[name][i], parameter.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("way", WAYS)
def test_every_member_may_have_its_own_dropout_rate(way: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Linear(8, 8, bias=False)).double()
    nn.init.eye_(model[2].weight)
    population = ModelPopulation.from_model(model, 3, way)
    population.rates["1"].copy_(torch.tensor([0.0, 0.25, 1.0]))
    uniform = torch.rand(4, 8)
    actual = outputs(population, torch.ones(4, 8, dtype=torch.float64), {"1.uniform": uniform})
    expected = torch.stack([torch.ones(4, 8), (uniform >= 0.25) / 0.75, torch.zeros(4, 8)])
    torch.testing.assert_close(actual, expected.double())


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.Dropout1d, (9, 5)), (nn.Dropout1d, (9, 5, 4)), (nn.Dropout2d, (9, 5, 4)),
        (nn.Dropout2d, (9, 5, 4, 3)), (nn.Dropout3d, (9, 5, 4, 3)), (nn.Dropout3d, (9, 5, 4, 3, 2)),
        (nn.Dropout2d, (9, 5)), (nn.Dropout3d, (9, 5)), (nn.Dropout3d, (9, 5, 4)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:dropout.d. Received a .-D input")
def test_what_is_dropped_together_is_what_torch_drops_together(
    kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    def varies(module: nn.Module) -> list[bool]:
        kept = module.train()(torch.ones(shape)) > 0
        return [bool((kept.amax(dim) != kept.amin(dim)).any()) for dim in range(len(shape))]

    torch.manual_seed(0)
    model = with_given_dropout(nn.Sequential(kind(0.5)))
    give(model, DropoutDraws(model.train(), [0], torch.device("cpu")).draw(torch.ones(shape), 0))
    assert varies(model) == varies(kind(0.5))


def test_evaluation_marks_members_with_non_finite_weights_only() -> None:
    task, data = task_and_data("mlp")
    population = ModelPopulation.from_seeds(task, [0, 1, 2])
    expected = evaluate_population(population, task, data.validation)
    population.weights[1, 3] = torch.nan
    losses, metrics = evaluate_population(population, task, data.validation, batch_size=7, members=2)
    assert losses.isnan().tolist() == metrics.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(losses[[0, 2]], expected[0][[0, 2]])
    assert torch.equal(metrics[[0, 2]], expected[1][[0, 2]])


def test_batch_norm_statistics_belong_to_each_member() -> None:
    population = ModelPopulation.from_models([odd_convolutions() for _ in range(2)])
    x = torch.randn(8, 1, 8, 8)
    uniform = {"1.uniform": torch.rand(8, 4, 1, 1), "9.uniform": torch.rand(8, 16)}
    outputs(population, x, uniform)
    mean = population.state["0.1.running_mean"]
    assert population.state["0.1.num_batches_tracked"].tolist() == [1, 1]
    assert not torch.equal(mean[0], mean[1])
    before = mean.clone()
    outputs(population, x)
    assert torch.equal(population.state["0.1.running_mean"], before)
