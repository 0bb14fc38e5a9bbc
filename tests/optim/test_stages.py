"""What every stage of the registry keeps: identity, finiteness, scale, independence of members."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.optim import MORE_TERMS, STAGES, Stage, UpdateRule, preset
from evoopt.optim.stages.stage import StageInputs
from tests.optim.test_published import draw

SHAPES = [(8, 5), (5, 8), (16, 27), (1, 3), (40, 64)]
VECTORS = [(7,), ()]
CONSTANTS: dict[str, Any] = {
    "gradient_difference": 0.3, "clip_norm": 0.5, "l2": 0.2, "beta1": 0.9, "beta2": 0.9, "slow_beta": 0.99,
    "iterations": 5,
}  # fmt: skip
every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.part}-{stage.name}")


def shapes_of(stage: Stage) -> list[tuple[int, ...]]:
    return list(SHAPES) if stage.acts_on == "matrix" else [*SHAPES, *VECTORS, (4, 3, 2, 2)]


def outputs(
    stage: Stage, xs: Tensor, gs: Tensor, ws: Tensor, constants: dict[str, Any] = CONSTANTS
) -> Tensor:
    """What a stage makes of stacks ``[steps, P, ...]``, step by step."""
    members = xs.shape[1]
    kept = {state.name: torch.stack([state.zeros(xs[0, 0])] * members) for state in stage.state}
    return torch.stack(
        [
            stage.function(x, StageInputs(g, w, 2 * g.abs(), kept, constants, step))
            for step, (x, g, w) in enumerate(zip(xs, gs, ws), 1)
        ]
    )


def inputs_of(shape: tuple[int, ...], members: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [draw(3, members, *shape, seed=seed).to(dtype) for seed in range(3)]


@every_stage
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_members_are_independent_to_the_bit(stage: Stage, dtype: torch.dtype) -> None:
    for shape in shapes_of(stage):
        x, g, w = inputs_of(shape, 6, dtype)
        together = outputs(stage, x, g, w)
        assert together.shape == x.shape
        for k in range(6):
            one = slice(k, k + 1)
            assert torch.equal(outputs(stage, x[:, one], g[:, one], w[:, one]), together[:, one]), shape


@every_stage
def test_members_may_have_constants_of_their_own(stage: Stage) -> None:
    for shape in shapes_of(stage):
        x, g, w = inputs_of(shape, 3)
        factors = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64)
        own = {
            name: value if name == "iterations" else value * factors.view(-1, *[1] * len(shape))
            for name, value in CONSTANTS.items()
        }
        together = outputs(stage, x, g, w, own)
        same = {name: value if name == "iterations" else value * 0.9 for name, value in CONSTANTS.items()}
        torch.testing.assert_close(
            together[:, 1], outputs(stage, x, g, w, same)[:, 1], rtol=1e-12, atol=1e-14
        )


@every_stage
def test_a_stage_is_finite_where_nothing_moves(stage: Stage) -> None:
    for shape in shapes_of(stage):
        for dtype in (torch.float32, torch.float64):
            zeros = torch.zeros(3, 2, *shape, dtype=dtype)
            some = torch.ones_like(zeros)
            for w in (zeros, some):
                made = outputs(stage, zeros, zeros + 1e-30, w)
                assert bool(torch.isfinite(made).all())
                if stage.part in ("mask", "shape", "scale", "gradient") and stage.name != "l2":
                    assert not made.any()


POWERS = {"equal": 1, "free": 0, "square": 2}


@every_stage
def test_a_stage_scales_as_it_says(stage: Stage) -> None:
    for shape in shapes_of(stage):
        x, g, w = inputs_of(shape, 2)
        for factor in (1e-3, 1e3):
            plain, scaled = outputs(stage, x, g, w), outputs(stage, factor * x, factor * g, w)
            ratios = [
                power
                for power in POWERS.values()
                if torch.allclose(scaled, factor**power * plain, rtol=1e-9, atol=1e-12 * factor**power)
            ]
            assert (POWERS.get(stage.scale) in ratios) or (stage.scale == "own" and ratios != [1])


def asking(stage: Stage) -> UpdateRule:
    """A rule with one stage."""
    plain = preset("adam")
    if stage.name in CONSTANTS:
        return replace(plain, **{stage.name: CONSTANTS[stage.name]})
    if stage.name in ("normalize_first", "cautious_decay"):
        return replace(plain, weight_decay=0.1, **{stage.name: True})
    return replace(plain, **{"second_moment" if stage.part == "moments" else stage.part: stage.name})


@every_stage
def test_a_rule_names_its_stage_and_says_its_formula(stage: Stage) -> None:
    rule = asking(stage)
    assert rule.active == (stage,)
    assert stage.formula in rule.formula()
    idle = stage.name == "slow_beta"  # no term of Adam reads the slow moment
    assert len(rule.stages) == (0 if idle else 1)
    assert (rule.key == replace(preset("adam"), weight_decay=rule.weight_decay).key) == idle


@every_stage
def test_a_stage_says_where_it_comes_from_and_what_it_reads(stage: Stage) -> None:
    assert re.search(r"\(\d{4}\)", stage.source)
    read = set(re.findall(r"[a-z]\w*", stage.formula))
    fields = {name for name in vars(preset("adam")) if name in CONSTANTS or name == "weight_decay"}
    known = {
        "g",
        "u",
        "v",
        "w",
        "r",
        "c",
        "o",
        "q",
        "m2",
        "g_prev",
        "eps",
        "with",
        "the",
        "quotient",
        "where",
        "a",
    }
    words = {"norm", "is", "decay", "max", "min", "mean", "rms", "ema", "sqrt", "rows", "columns"}
    functions = {"row_rms", "row_mean", "col_mean", "newton_schulz", "eigenvectors"}
    assert read <= fields | known | words | functions


@pytest.mark.parametrize("stage", [s for s in STAGES if s.part == "shape"], ids=lambda stage: stage.name)
def test_shapes_have_the_size_that_they_promise(stage: Stage) -> None:
    for rows, columns in [(8, 5), (5, 8), (16, 27)]:
        x, g, w = inputs_of((rows, columns), 2)
        made = outputs(stage, x, g, w)[-1]
        square = made.square()
        if stage.name == "rms":
            torch.testing.assert_close(square.mean((1, 2)), torch.ones(2).double())
        elif stage.name == "rows":
            torch.testing.assert_close(square.mean(2), torch.ones(2, rows).double())
        elif stage.name == "orthogonal":
            values = torch.linalg.svdvals(made)
            assert 0.3 < float(values.min()) <= float(values.max()) < 1.3
        else:
            torch.testing.assert_close(square.sum((1, 2)), torch.full((2,), min(rows, columns)).double())


def test_more_terms_are_apart_from_those_of_tables() -> None:
    for term in MORE_TERMS:
        rule = UpdateRule(((term.name, 1.0),), slow_beta=0.99)
        assert term.name in rule.stages
        assert rule.to_json()["version"] == 2
