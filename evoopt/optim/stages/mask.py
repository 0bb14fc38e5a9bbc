"""Masks: which elements of the direction move at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.optim.stages.stage import Stage, StageInputs, mean

if TYPE_CHECKING:
    from torch import Tensor


def _cautious(u: Tensor, s: StageInputs) -> Tensor:
    # Signs, not the product, which underflows.
    mask = (u.sign() * s.g.sign() > 0).to(u.dtype)
    return u * mask / mean(mask).clamp(min=1e-3)


MASKS = (
    Stage(
        name="cautious",
        part="mask",
        source='Liang et al. (2024), "Cautious Optimizers", algorithm 1, with the bound of its code',
        formula="u = u*[u*g>0]/max(mean([u*g>0]),0.001)",
        latex=r"\frac{u\,[ug>0]}{\operatorname{max}(\operatorname{mean}[ug>0],10^{-3})}",
        acts_on="tensor",
        scale="equal",
        function=_cautious,
        code=(
            "mask = (update.sign() * grad.sign() > 0).to(update.dtype)",
            "update = update * mask / mask.mean().clamp(min=1e-3)",
        ),
    ),
)
