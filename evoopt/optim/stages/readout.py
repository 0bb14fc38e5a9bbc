"""Readouts: which weights a training ends with, the last ones or an average of those on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Readout:
    """An average of the weights, kept in one tensor for each parameter.

    Attributes:
        name: Value of the rule's ``readout``.
        source: Where it was published.
        formula: The definition in plain text.
        latex: The same for typesetting.
        needs_total_steps: Whether it depends on the length of the training.
        share: Share of the weights after a step in the new average, given the constants of the rule, the
            1-based step and the length of the training: 1 forgets all before.
        code: The same in Python, lines that return it; the step may be a tensor.
    """

    name: str
    source: str
    formula: str
    latex: str
    needs_total_steps: bool
    share: Callable[[Mapping[str, Any], int, int], float]
    code: tuple[str, ...]


def _ema(constants: Mapping[str, Any], step: int, _: int) -> float:
    decay = constants["ema_decay"]
    return float((1 - decay) / (1 - decay**step))


def _mean(constants: Mapping[str, Any], step: int, total_steps: int) -> float:
    last: int = max(1, round(constants["mean_fraction"] * total_steps))
    return 1.0 / max(1, step - total_steps + last)


READOUTS = (
    Readout(
        name="ema",
        source="Kingma and Ba (2015), section 7.2, bias corrected",
        formula="read ema(w,ema_decay)/(1-ema_decay**t)",
        latex=r"\frac{\operatorname{ema}(w)}{1-\beta_{\text{ema}}^t}",
        needs_total_steps=False,
        share=_ema,
        code=("return (1 - ema_decay) / (1 - ema_decay**step)",),
    ),
    Readout(
        name="mean",
        source='Rakhlin et al. (2012), suffix averaging; Izmailov et al. (2018), "Averaging Weights"',
        formula="read mean(w) of the last mean_fraction of the training",
        latex=r"\operatorname{mean}(w)",
        needs_total_steps=True,
        share=_mean,
        code=(
            "last = max(1, round(mean_fraction * total_steps))",
            "count = step - total_steps + last",
            "return 1 / (count.clamp(min=1) if isinstance(count, Tensor) else max(1, count))",
        ),
    ),
)
"""Until the mean begins its share is 1: what is read are the last weights."""

READOUT_BY_NAME = {readout.name: readout for readout in READOUTS}
