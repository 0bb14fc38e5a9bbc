"""Models that people write and few tools foresee, with data and a loss: trained as they are, or refused."""

from __future__ import annotations

from tests.zoo.case import TRAIN, Case
from tests.zoo.habits import FLOW, IN_PLACE, PARTS, RANDOM
from tests.zoo.layers import ATTENTION, NORMS, RECURRENT, SHAPES, SHARED
from tests.zoo.losses import LOSSES

__all__ = ["TRAIN", "ZOO", "Case"]

ZOO = {**RECURRENT, **ATTENTION, **SHARED, **NORMS, **SHAPES, **RANDOM, **IN_PLACE, **FLOW, **PARTS, **LOSSES}
