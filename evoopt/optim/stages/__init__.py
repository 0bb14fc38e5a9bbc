"""The stages of an update rule beside its weighted sum of terms, one file for each place in the pipeline.

A gradient passes ``GRADIENT_STAGES`` and ``MOMENT_STAGES``, the terms make a direction of it, and that passes
a mask, a shape, a decay and a scale. To add a stage, append one entry to its list; the rule, its JSON, the
optimizer, exported classes and the contract tests find it there.
"""

from __future__ import annotations

from evoopt.optim.stages.decay import DECAYS
from evoopt.optim.stages.gradient import GRADIENT_STAGES
from evoopt.optim.stages.mask import MASKS
from evoopt.optim.stages.moments import MOMENT_STAGES
from evoopt.optim.stages.scale import SCALES
from evoopt.optim.stages.shape import SHAPES
from evoopt.optim.stages.stage import Stage, StageInputs, State

__all__ = ["STAGES", "Stage", "StageInputs", "State"]

STAGES: tuple[Stage, ...] = (*GRADIENT_STAGES, *MOMENT_STAGES, *MASKS, *SHAPES, *DECAYS, *SCALES)
"""All stages on tensors, in the order in which a step passes them."""
