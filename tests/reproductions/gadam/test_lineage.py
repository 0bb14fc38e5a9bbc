"""The losses of a lineage are those that the winner and its fitter ancestors really had."""

from __future__ import annotations

import pytest
import torch

from evoopt.evolution.stages import evolve
from evoopt.tasks import DataOptions, get_task, load_task_data
from reproductions.gadam import units as gadam_units
from reproductions.gadam.baselines import Bench
from reproductions.gadam.budget import Budget
from reproductions.gadam.lineage import Lineage, LineageTrainer, thinned
from reproductions.gadam.units import make_scheme

STEPS = 4


def evolved(seed: int, variant: str = "gadam_paper") -> tuple[LineageTrainer, Lineage]:
    task = get_task("digits")
    bench = Bench(task, load_task_data(task, DataOptions()), Budget(4, 3, STEPS), seed, "batched", "cpu")
    scheme, trainer = make_scheme(bench, variant)
    evolve(scheme)
    return trainer, trainer.lineage(scheme.members.population.weights[0])


def test_a_lineage_leads_from_an_initial_model_over_crossovers_to_the_winner() -> None:
    crossed = 0
    for seed in range(4):
        trainer, lineage = evolved(seed)
        parts = torch.split(lineage.losses, STEPS)
        assert len(parts) == 3 + len(lineage.crossovers)  # as a parent in each generation, and as a child
        first = trainer._phases[0].losses
        assert any(torch.equal(parts[0], first[:, k]) for k in range(4))
        for crossover in lineage.crossovers:
            assert crossover % STEPS == 0
            born = parts[crossover // STEPS]
            children = [phase.losses for phase in trainer._phases[1::2]]
            assert any(torch.equal(born, losses[:, k]) for losses in children for k in range(4))
        crossed += len(lineage.crossovers)
    assert crossed


def test_whoever_survives_untrained_has_no_losses_of_that_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    harmful = {**gadam_units.VARIANTS["gadam"], "lr": 1e3}
    monkeypatch.setattr(gadam_units, "VARIANTS", {"gadam": harmful})
    _, lineage = evolved(0, "gadam")
    assert len(lineage.losses) == 0
    assert lineage.crossovers == ()


def test_a_curve_is_thinned_to_means_of_equal_stretches() -> None:
    curve = thinned(torch.arange(10.0), points=5)
    assert curve == {"steps": [2, 4, 6, 8, 10], "losses": [0.5, 2.5, 4.5, 6.5, 8.5]}
    assert thinned(torch.tensor([3.0]))["losses"] == [3.0]
    assert thinned(torch.empty(0)) == {"steps": [], "losses": []}
