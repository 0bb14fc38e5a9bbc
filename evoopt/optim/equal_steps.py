"""Which rules make equal steps in trainings of one length: a hash of what they do with fixed gradients."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from evoopt.optim.groups import matrix_roles
from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages.readout import READOUT_BY_NAME
from evoopt.optim.step import apply_rule_, keeps

_DIGITS, _STEPS, _SEED = 9, 6, 0
_PROBES = ((1e-8, (2, 3)), (1e-3, (4, 2)), (1.0, (3, 5)), (1e4, (6, 4)))
"""Size of the gradients and shape of the parameter: other shapes, or one scale of all would be a weight."""
_REACHED = 1e3
"""Every bound on gradients up to this is passed by some."""


def steps_key(rule: UpdateRule, total_steps: int) -> str:
    """Hash, 16 hex digits, that rules share whose steps agree to nine digits in a training of that length.

    Probes are fixed gradients of several sizes, with zeros and changing signs, for what is moved as a matrix
    and for what is not. Agreed must be how far they move a parameter and what signs are taken of on the way,
    schedule and decay over the whole training, and how the readout averages. A rule that on some probe is not
    finite, or that a mask or underflow keeps from moving at all, has the key of its canonical form. Rules
    whose rounding differs may be told apart all the same.

    Args:
        rule: The rule.
        total_steps: Length of the training in steps.
    """
    rule = rule.canonical()
    matrix, others = (_steps(one.canonical(), total_steps) for one in (rule, rule.others_rule))
    if not (matrix and others):
        return rule.key
    output = matrix if "output" in matrix_roles(rule) else others
    return hashlib.sha256(matrix + output + others + _read(rule, total_steps)).hexdigest()[:16]


@lru_cache(maxsize=10_000)
def _steps(rule: UpdateRule, total_steps: int) -> bytes:
    """Digest of how a rule moves one kind of parameters; empty where that is not seen."""
    factors = [rule.factor(step, total_steps) for step in range(total_steps)]
    lr = rule.lr * max(factors)
    if lr == 0:
        return b""
    trust = rule.scale == "trust"  # the only stage in which direction and decay are mixed
    # What no probe reaches is not seen: it stands for itself.
    bounds = [bound if bound and bound > _REACHED else 0.0 for bound in (rule.clip_value, rule.clip_norm)]
    unseen = (rule.eps, *bounds, rule.weight_decay if trust else 0.0, *([rule.l2] if rule.l2 else []))
    seen = [_rounded(_tensor(factors) / max(factors)), _rounded(_tensor([lr * rule.weight_decay]))]
    for gradients, weights in _probes():
        moved = _moved(rule, gradients, weights, lr, rule.weight_decay if trust else 0.5 / lr)
        from_zero = moved[0][::2]  # without a decay
        if not (all(bool(x.isfinite().all()) for x in moved) and from_zero.any()):
            return b""
        seen += map(_rounded, moved)
    return hashlib.sha256(b"".join([repr(unseen).encode(), *seen])).digest()


def _moved(rule: UpdateRule, gradients: Tensor, weights: Tensor, lr: float, decay: float) -> list[Tensor]:
    """The steps ``[_STEPS, ...]`` from weights that stay, and what signs are taken of ``[1, ...]``."""
    state = {kept.name: kept.zeros(weights) for kept in keeps(rule)}
    m, v = state.get("exp_avg"), state.get("exp_avg_sq")
    reads_w, steps, hidden = rule.weight_decay > 0 or rule.scale == "trust", [], []
    decay = decay if rule.weight_decay else 0.0
    for step, g in enumerate(gradients, start=1):
        # From zero, nothing of a small step is rounded away.
        before = weights * (reads_w and step % 2 == 0)
        w = before.clone()
        with _Signs(g) as signs:
            apply_rule_(w, g, rule, step=step, m=m, v=v, lr=lr, weight_decay=decay, state=state)
        steps.append(before - w)
        hidden += signs.hidden
    return [torch.stack(steps), *hidden]


class _Signs(TorchFunctionMode):
    """Keeps what signs are taken of, relative to the largest, for a step shows little of what is below them.

    Where the signs are those of the gradient there is nothing below.
    """

    def __init__(self, gradient: Tensor) -> None:
        super().__init__()
        self.hidden: list[Tensor] = []
        self._signs = gradient.sign().flatten()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in _SIGN and not torch.equal(result.flatten(), self._signs):
            x = args[0].reshape(1, -1)
            self.hidden.append(x / (x.abs().max().item() or 1.0))
        return result


_SIGN = (torch.sign, Tensor.sign)


def _rounded(x: Tensor) -> bytes:
    """Digits of numbers ``[rows, ...]`` relative to the largest of their row."""
    rows = x.flatten(1)
    sizes = rows.abs().amax(1, keepdim=True)
    whole = (rows / sizes.where(sizes > 0, 1.0) * 10**_DIGITS).round().to(torch.int64)
    largest = [f"{size:.{_DIGITS - 1}e}" for size in sizes.flatten().tolist()]
    return repr((largest, whole.tolist())).encode()


@lru_cache(maxsize=1)
def _probes() -> list[tuple[Tensor, Tensor]]:
    """Gradients ``[_STEPS, ...]`` and weights of each probe."""
    generator = torch.Generator().manual_seed(_SEED)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")

    probes = []
    for scale, shape in _PROBES:
        gradients = draw(_STEPS, *shape) * scale * (draw(_STEPS, *shape).abs() > 0.2)
        gradients[:, 0, 0] = 0.0  # of a unit that is never active
        gradients[_STEPS // 2] = 0.0
        probes.append((gradients, draw(*shape)))
    return probes


def _read(rule: UpdateRule, total_steps: int) -> bytes:
    """Shares of the weights after each step in their readout."""
    readout = READOUT_BY_NAME.get(rule.readout)
    steps = range(1, total_steps + 1)
    return _rounded(_tensor([readout.share(vars(rule), t, total_steps) if readout else 1.0 for t in steps]))


def _tensor(numbers: list[float]) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64, device="cpu")
