"""Scales: how far a tensor moves along its direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evoopt.optim.stages.stage import Stage, StageInputs, norm

if TYPE_CHECKING:
    from torch import Tensor


def _trust(u: Tensor, s: StageInputs) -> Tensor:
    import torch  # by those alone who compute

    # What comes here has the decay in it already: it may be a cautious one.
    of_w, of_u = norm(s.w), norm(u)
    meaningful = (of_w > 0) & (of_u > 0)
    return u * torch.where(meaningful, of_w / torch.where(meaningful, of_u, 1.0), 1.0)


def _match_rms(u: Tensor, _: StageInputs) -> Tensor:
    return u * (0.2 * math.sqrt(max(u.shape[1:])))


SCALES = (
    Stage(
        name="trust",
        part="scale",
        source='You et al. (2019), "Large Batch Optimization" (LAMB), algorithm 2, with the identity for phi',
        formula="u = u+weight_decay*w; u = u*norm(w)/norm(u), the quotient 1 where a norm is 0",
        latex=r"\frac{\operatorname{norm}(w)}{\operatorname{norm}(u+\lambda w)}(u+\lambda w)",
        acts_on="tensor",
        scale="free",
        function=_trust,
        code=(
            "of_param = torch.linalg.vector_norm(param)",
            "of_update = torch.linalg.vector_norm(update)",
            "trust = torch.where((of_param > 0) & (of_update > 0), of_param / of_update, 1)",
            "update = update * trust",
        ),
    ),
    Stage(
        name="match_rms",
        part="scale",
        source='Liu et al. (2025), "Muon is Scalable for LLM Training", section 2.2',
        formula="u = 0.2*sqrt(max(rows,columns))*u",
        latex=r"0.2\sqrt{\operatorname{max}(\text{rows},\text{columns})}\,u",
        acts_on="matrix",
        scale="equal",
        function=_match_rms,
        code=("update = update * (0.2 * math.sqrt(max(update.flatten(1).shape)))",),
    ),
)
