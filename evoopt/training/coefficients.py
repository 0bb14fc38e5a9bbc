"""A population of rules as numbers: constants, schedules and term weights of every member at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import PAPER_TERMS, TERM_BY_NAME, TERMS

CONSTANTS = (
    "lr", "decay", "m_scale", "v_scale", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2",
    "eps", "clip", "nesterov_beta", "beta3",
)  # fmt: skip
"""Rows of a step's table before the term weights; ``m_scale`` and ``v_scale`` correct the moments' bias."""

Step = int | Tensor
"""A 0-based step; or in a recording ``[1]`` on the device, for one that has been reached."""

_LARGEST_GRADIENT = 1e18
_TABLE_STEPS = 64


@dataclass(frozen=True)
class Program:
    """What a set of rules needs computed.

    Attributes:
        terms: Names of the terms, in the order of `TERMS`.
        m: Whether a first moment is kept.
        v: Whether a second moment is kept.
    """

    terms: tuple[str, ...]
    m: bool
    v: bool

    @classmethod
    def of(cls, rules: Sequence[UpdateRule]) -> Program:
        """A program for some rules in canonical form, out of a small family, so that few are ever compiled.

        Rules that need the same get just that; a mixture gets all terms of the published search, or all terms
        there are.
        """
        own = {
            cls(tuple(t.name for t in TERMS if t.name in dict(rule.terms)), rule.use_m, rule.use_v)
            for rule in rules
        }
        if len(own) == 1:
            return own.pop()
        paper = all(name in PAPER_TERMS for program in own for name in program.terms)
        return cls(PAPER_TERMS if paper else tuple(term.name for term in TERMS), m=True, v=True)

    @property
    def reads_v(self) -> bool:
        """Whether any term reads the second moment."""
        return any("v" in TERM_BY_NAME[name].uses for name in self.terms)

    @property
    def reads_m_prev(self) -> bool:
        """Whether any term reads the first moment before the step."""
        return any("m_prev" in TERM_BY_NAME[name].uses for name in self.terms)


class StepTable:
    """Numbers that depend on the step, computed for some steps at once.

    Args:
        of: What computes those of some 0-based steps, ``[steps, ...]``.
        last: How many steps are expected.
        like: A tensor of the dtype and device they are to have.
    """

    def __init__(self, of: Callable[[range], Tensor], last: int, like: Tensor) -> None:
        self._of, self._last, self._like = of, last, like
        self._table, self._steps = like.new_empty(0), range(0)
        self._reached: Tensor | None = None

    def reach(self, step: int) -> None:
        """Have the numbers of a step where a recording reads them."""
        numbers = self.at(step)
        self._reached = numbers.clone() if self._reached is None else self._reached.copy_(numbers)

    def at(self, step: Step) -> Tensor:
        """Those of a step ``[...]``; for a tensor of the one that was reached, always in one place."""
        if isinstance(step, Tensor):
            assert self._reached is not None, "see `reach`"
            return self._reached
        if step not in self._steps:
            first = step - step % _TABLE_STEPS
            stop = first + _TABLE_STEPS
            self._steps = range(first, min(stop, self._last) if step < self._last else stop)
            self._table = self._of(self._steps).to(self._like)
        return self._table[step - self._steps.start]


def step_table(
    rules: Sequence[UpdateRule],
    terms: Sequence[str],
    total_steps: int,
    done: Sequence[int] | None,
    like: Tensor,
) -> StepTable:
    """`coefficient_table` by step, like a tensor."""

    def of(steps: range) -> Tensor:
        return coefficient_table(rules, terms, steps, total_steps, done)

    return StepTable(of, total_steps, like)


def coefficient_table(
    rules: Sequence[UpdateRule],
    terms: Sequence[str],
    steps: range,
    total_steps: int,
    done: Sequence[int] | None = None,
) -> Tensor:
    """Numbers the elementwise program reads at each of some steps.

    Args:
        rules: One per member, in canonical form.
        terms: Terms whose weights are wanted, in order.
        steps: 0-based steps.
        total_steps: Length of the schedules.
        done: Steps each member's moments had seen before step 0, none by default.

    Returns:
        float64 ``[len(steps), len(CONSTANTS) + len(terms), P]``.
    """
    columns = [[float(value) for value in _constants(rule)] for rule in rules]
    lr, decay, beta1, beta2, corrects_m, corrects_v, warmup, cosine, *fixed = torch.tensor(
        columns, dtype=torch.float64
    ).unbind(dim=1)
    s = torch.tensor(list(steps), dtype=torch.float64).unsqueeze(1)
    if done is not None:
        s = s + torch.tensor(list(done), dtype=torch.float64)
    lr = lr * torch.where(s < warmup, (s + 1) / warmup.clamp(min=1), 1.0)
    annealed = 0.5 * (1 + torch.cos(math.pi * s.clamp(max=total_steps) / total_steps))
    lr = lr * torch.where(cosine > 0, annealed, 1.0)
    for i, rule in enumerate(rules):
        if rule.has_fractions:
            own_steps = s[:, min(i, s.shape[1] - 1)].tolist()
            factors = [rule.factor(int(k), total_steps) for k in own_steps]
            lr[:, i] = rule.lr * torch.tensor(factors, dtype=torch.float64)
    scheduled = [
        lr,
        1 - lr * decay,
        torch.where(corrects_m > 0, 1 / (1 - beta1 ** (s + 1)), 1.0),
        torch.where(corrects_v > 0, 1 / (1 - beta2 ** (s + 1)), 1.0),
    ]
    own = [dict(rule.terms) for rule in rules]
    weights = [torch.tensor([w.get(name, 0.0) for w in own], dtype=torch.float64) for name in terms]
    return torch.stack([row.expand(len(steps), len(rules)) for row in [*scheduled, *fixed, *weights]], dim=1)


def _constants(rule: UpdateRule) -> tuple[float, ...]:
    nesterov = rule.beta1 if rule.nesterov_beta is None else rule.nesterov_beta
    # Finite gradients keep moments and terms finite, so that the weight 0 of an unused term gives 0, not NaN.
    # Gradients that are larger are cut, which a plain loop, whose member soon diverges, does not do.
    clip = _LARGEST_GRADIENT if rule.clip_value is None else min(rule.clip_value, _LARGEST_GRADIENT)
    beta1, beta2 = rule.beta1 if rule.use_m else 0.0, rule.beta2 if rule.use_v else 0.0
    return (
        rule.lr, rule.weight_decay, beta1, beta2,
        rule.bias_correction and rule.use_m, rule.bias_correction and rule.use_v,
        rule.warmup_steps, rule.cosine,
        beta1, 1 - beta1, beta2, 1 - beta2, rule.eps, clip, nesterov, rule.beta3,
    )  # fmt: skip
