"""Where weights lie in memory: what vectorised kernels take for granted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.optim import preset
from evoopt.training.flat import FlatLayout
from evoopt.training.forward import losses_and_gradients
from evoopt.training.members import Members
from evoopt.training.population import ModelPopulation, Way
from evoopt.training.population_update import population_update

WAYS: tuple[Way, ...] = ("stacked", "vmap", "loop")
CHANGES: dict[str, Callable[[ModelPopulation], ModelPopulation]] = {
    "as made": lambda p: p,
    "a part": lambda p: p.part(1, 3),
    "chosen": lambda p: p[[2, 0, 2]],
    "on another device": lambda p: p.to("cpu", torch.float32),
}


def odd() -> nn.Module:
    """Nothing of it has a size that is a multiple of anything."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.ReLU(),
        nn.Conv2d(3, 5, 3),
        nn.Flatten(),
        nn.Linear(5 * 2 * 2, 7),
        nn.Linear(7, 1),
    )


def views(layout: FlatLayout, rows: Tensor) -> Iterator[Tensor]:
    for stack in layout.views(rows).values():
        yield from stack


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_every_tensor_of_every_member_is_aligned(
    way: Way, change: Callable[[ModelPopulation], ModelPopulation]
) -> None:
    population = change(ModelPopulation.from_models([odd() for _ in range(4)], way))
    layout = population.architecture.layout
    members = Members.fresh(population, [preset("adam")] * len(population))[[1, 0]]
    for rows in (population.weights, torch.zeros_like(population.weights), members.m, members.v):
        # What a device allocates begins at a multiple of 512 bytes; here it is the distance that counts.
        start = rows.untyped_storage().data_ptr()
        assert [v.data_ptr() - start for v in views(layout, rows)]
        assert all((v.data_ptr() - start) % 128 == 0 for v in views(layout, rows))


@pytest.mark.parametrize("way", WAYS)
def test_packed_rows_hold_the_parameters_one_after_another(way: Way) -> None:
    models = [odd() for _ in range(3)]
    population = ModelPopulation.from_models(models, way)
    layout = population.architecture.layout
    rows = population.packed()
    assert rows.shape == (3, layout.count) == (3, sum(p.numel() for p in models[0].parameters()))
    assert torch.equal(layout.spread(rows), population.weights)
    if way != "loop":  # there kernels have their channels last
        assert torch.equal(rows[1], torch.cat([p.detach().flatten() for p in models[1].parameters()]))


def test_what_lies_between_parameters_stays_zero_in_training() -> None:
    population = ModelPopulation.from_models([odd() for _ in range(2)])
    layout = population.architecture.layout
    between = torch.ones(1, layout.size)
    for view in layout.views(between).values():
        view.zero_()
    assert 0 < int(between.sum()) == layout.size - layout.count
    update = population_update(
        [preset("muon"), preset("adam")], population.architecture, population.weights, 5
    )
    gradients = torch.zeros_like(population.weights)
    before = population.packed()
    for step in range(5):
        x, y = torch.randn(8, 1, 6, 6), torch.randn(8, 1)
        losses_and_gradients(population, F.mse_loss, x, y, {}, gradients)
        update.step(population.weights, gradients, step)
    assert not (population.weights * between).any()
    assert (population.packed() != before).any(dim=1).all()
