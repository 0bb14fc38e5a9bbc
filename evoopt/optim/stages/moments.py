"""Stages of the moments: gradients that are normalized first, second moments with few numbers, a slow one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.optim.stages.stage import Stage, StageInputs, State, average_

if TYPE_CHECKING:
    from torch import Tensor

_ADAFACTOR = 'Shazeer and Stern (2018), "Adafactor"'


def _rows(g: Tensor, s: StageInputs) -> Tensor:
    row = average_(s.state["exp_avg_sq_row"], (g * g).mean(2, keepdim=True), s.constants["beta2"])
    return row.expand_as(g)


def _factored(g: Tensor, s: StageInputs) -> Tensor:
    row = average_(s.state["exp_avg_sq_row"], (g * g).mean(2, keepdim=True), s.constants["beta2"])
    column = average_(s.state["exp_avg_sq_col"], (g * g).mean(1, keepdim=True), s.constants["beta2"])
    import torch  # by those alone who compute

    # The quotient first: products of two second moments would underflow.
    return row / row.mean(1, keepdim=True).clamp(min=torch.finfo(row.dtype).tiny) * column


def _normalize(g: Tensor, s: StageInputs) -> Tensor:
    return g / s.denom


def _slow(g: Tensor, s: StageInputs) -> Tensor:
    return average_(s.state["exp_avg_slow"], g, s.constants["slow_beta"])


MOMENT_STAGES = (
    Stage(
        name="rows",
        part="moments",
        source=f"{_ADAFACTOR}, its row factor alone",
        formula="v = ema(row_mean(g**2),beta2)",
        latex=r"\operatorname{ema}_{\beta_2}(\operatorname{mean}_{\text{row}}g^2)",
        state=(State("exp_avg_sq_row", "rows"),),
        acts_on="matrix",
        scale="square",
        function=_rows,
        code=(
            "squares = grad.flatten(1).square()",
            "exp_avg_sq_row.lerp_(squares.mean(1, keepdim=True), 1 - beta2)",
            "exp_avg_sq = exp_avg_sq_row.expand_as(squares).reshape(grad.shape)",
        ),
    ),
    Stage(
        name="factored",
        part="moments",
        source=f"{_ADAFACTOR}, algorithm 2",
        formula="v = r*c/mean(r) with r = ema(row_mean(g**2),beta2), c = ema(col_mean(g**2),beta2)",
        latex=r"\frac{rc}{\operatorname{mean}(r)}",
        state=(State("exp_avg_sq_row", "rows"), State("exp_avg_sq_col", "columns")),
        acts_on="matrix",
        scale="square",
        function=_factored,
        code=(
            "squares = grad.flatten(1).square()",
            "exp_avg_sq_row.lerp_(squares.mean(1, keepdim=True), 1 - beta2)",
            "exp_avg_sq_col.lerp_(squares.mean(0, keepdim=True), 1 - beta2)",
            "mean = exp_avg_sq_row.mean().clamp(min=torch.finfo(grad.dtype).tiny)",
            "exp_avg_sq = (exp_avg_sq_row / mean * exp_avg_sq_col).view_as(grad)",
        ),
    ),
    Stage(
        name="normalize_first",
        part="moments",
        source='Ziyin et al. (2020), "LaProp", algorithm 1',
        formula="g = g/(sqrt(v)+eps)",
        latex=r"\frac{g}{\sqrt{\hat v}+\epsilon}",
        acts_on="element",
        scale="free",
        function=_normalize,
        code=("grad = grad / denom",),
    ),
    Stage(
        name="slow_beta",
        part="moments",
        source='Pagliardini et al. (2024), "The AdEMAMix Optimizer", algorithm 1, without schedulers',
        formula="m2 = ema(g,slow_beta)",
        latex=r"\operatorname{ema}_{\beta_{\text{slow}}}(g)",
        state=(State("exp_avg_slow"),),
        acts_on="element",
        scale="equal",
        function=_slow,
        code=("exp_avg_slow.lerp_(grad, 1 - slow_beta)",),
    ),
)
