"""Costs of a step by count: what they are for known rules, and that they agree with what is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from evoopt.compare.contender_jobs import CostProbe
from evoopt.compare.step_cost import PRODUCTS_PER_PASS, StepCosts, structure
from evoopt.optim import UpdateRule, preset
from evoopt.optim.presets import PRESETS, STAGED_PRESETS
from evoopt.tasks import DataOptions, get_task
from evoopt.training.streams import initial_model

SIDE = 64


def costs() -> StepCosts:
    return StepCosts([nn.Sequential(nn.Linear(SIDE, SIDE, bias=False), nn.Linear(SIDE, 2, bias=False))])


@pytest.mark.parametrize("name", [*PRESETS, *STAGED_PRESETS])
def test_bytes_per_weight_are_those_that_a_comparison_measures(name: str) -> None:
    task = get_task("digits")
    (measured,) = CostProbe("digits", (preset(name),)).work(task, task.load(DataOptions()), "cpu")
    counted = StepCosts([initial_model(task, 0)]).of(preset(name))
    assert counted.bytes_per_weight == measured.state_bytes / measured.parameters


@pytest.mark.parametrize("name", ["sgd", "muon"])
def test_weights_that_are_not_trained_count_for_nothing(name: str) -> None:
    def model(frozen: bool) -> nn.Module:
        layers = nn.Sequential(nn.Linear(SIDE, SIDE), nn.Linear(SIDE, SIDE), nn.Linear(SIDE, 2))
        for parameter in layers[0].parameters():
            parameter.requires_grad_(not frozen)
        return layers if frozen else layers[1:]

    assert StepCosts([model(True)]).of(preset(name)) == StepCosts([model(False)]).of(preset(name))


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        (UpdateRule((("grad", 1.0),), use_m=False, use_v=False), 3),  # w and g read, w written
        (preset("sgd"), 3 + 3),  # m and g read, m written
    ],
)
def test_an_operation_counts_what_it_reads_and_writes(rule: UpdateRule, passes: float) -> None:
    assert costs().of(rule).passes == passes


def test_products_of_matrices_count_by_their_multiplications() -> None:
    def passes(iterations: int) -> float:
        return costs().of(replace(preset("muon"), iterations=iterations)).passes

    hidden = SIDE * SIDE / (SIDE * SIDE + 2 * SIDE)  # the output layer is not orthogonalised
    moved = passes(2) - passes(1) - 3 * SIDE * hidden / PRODUCTS_PER_PASS
    assert 0 < moved < 20, "an iteration has three products of square matrices, and few passes beside"
    soap = costs().of(preset("soap")).passes
    # Eigenvectors as fifteen products, one for the square, and three into and out of their basis.
    assert 0 < soap - (15 + 1 + 3) * SIDE * hidden / PRODUCTS_PER_PASS < 80


def test_more_stages_cost_more() -> None:
    by_name = {
        name: costs().of(preset(name)).passes for name in ("sgd", "adam", "adamw", "cautious_adamw", "muon")
    }
    assert list(by_name) == sorted(by_name, key=by_name.__getitem__)


def test_constants_do_not_matter() -> None:
    adamw = preset("adamw")
    other = replace(adamw, lr=0.1, beta1=0.5, weight_decay=0.3, terms=(("adam", 0.2),), eps=1e-3)
    assert structure(adamw) == structure(other)
    assert structure(replace(adamw, weight_decay=0.0)) != structure(adamw)
    assert (
        structure(replace(adamw, clip_value=3.0))
        == structure(replace(adamw, clip_value=1.0))
        != structure(adamw)
    )


def test_a_rule_that_does_nothing_costs_no_memory_of_moments() -> None:
    nothing = UpdateRule((), use_m=False, use_v=False)
    assert costs().of(nothing).bytes_per_weight < 0.01
