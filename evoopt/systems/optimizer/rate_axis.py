"""A structure at several learning rates: it is judged at the best of them, not at the one it inherited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome


@dataclass(frozen=True)
class RateAxis:
    """Learning rates and weight decays around a genome's own.

    Attributes:
        rates: How many learning rates, odd; 1 for the genome's own alone.
        decays: How many weight decays, odd, of a genome that decays its weights.
        factor: Ratio of neighbours, > 1.
        lr_log10: Lowest and highest logarithm of a learning rate.
        wd_log10: Lowest and highest logarithm of a weight decay.
    """

    rates: int
    decays: int
    factor: float
    lr_log10: tuple[float, float]
    wd_log10: tuple[float, float]

    def variants(self, genome: OptimizerGenome) -> list[OptimizerGenome]:
        """The genome itself, then the others from low to high; what leaves its range is left out."""
        step = math.log10(self.factor)
        decays = self.decays if genome.use_weight_decay else 1
        found = {genome.key: genome}
        for i in range(-(self.rates // 2), self.rates // 2 + 1):
            for j in range(-(decays // 2), decays // 2 + 1):
                lr, wd = genome.lr_log10 + i * step, genome.wd_log10 + j * step
                if _inside(lr, self.lr_log10, i) and _inside(wd, self.wd_log10, j):
                    variant = replace(genome, lr_log10=lr, wd_log10=wd)
                    found.setdefault(variant.key, variant)
        return list(found.values())

    def beyond(self, best: OptimizerGenome, tried: Sequence[OptimizerGenome]) -> OptimizerGenome | None:
        """The next rate if the best of those tried is the highest or lowest; None at the range's end."""
        rates = [genome.lr_log10 for genome in tried]
        side = (best.lr_log10 == max(rates)) - (best.lr_log10 == min(rates))
        lr = best.lr_log10 + side * math.log10(self.factor)
        return replace(best, lr_log10=lr) if side and _inside(lr, self.lr_log10, side) else None


def _inside(value: float, bounds: tuple[float, float], moved: int) -> bool:
    low, high = bounds
    return not moved or low <= value <= high
