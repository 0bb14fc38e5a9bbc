"""Decays: what of the weights ``weight_decay`` multiplies, if not all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.optim.stages.stage import Stage, StageInputs

if TYPE_CHECKING:
    from torch import Tensor


def _cautious(u: Tensor, s: StageInputs) -> Tensor:
    return s.w * (u.sign() * s.w.sign() >= 0)


DECAYS = (
    Stage(
        name="cautious_decay",
        part="decay",
        source='Chen et al. (2025), "Cautious Weight Decay", algorithm 1',
        formula="decay = weight_decay*[u*w>=0]*w",
        latex=r"\lambda\,[0\le uw]\,w",
        acts_on="element",
        scale="free",
        function=_cautious,
        code=("decayed = param * (update.sign() * param.sign() >= 0)",),
    ),
)
