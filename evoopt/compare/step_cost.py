"""What a step of a rule costs, by count and not by clock: the same on every machine and under any load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from evoopt.compare.contender_jobs import as_taken_away, state_bytes, trainable
from evoopt.optim.pipeline import SWITCHES
from evoopt.optim.rule import UpdateRule

_EIGENVECTORS = 15
"""Products of two such matrices that take as long as their eigenvectors: 10 to 20 on a CPU, up to 256x256."""

PRODUCTS_PER_PASS = 16
"""Multiplications with addition, inside of products of matrices, that count as much as one number moved.

Processors do some 5 of them in the time that one number takes to or from memory, accelerators 50.
"""

_IDENTITIES = (*SWITCHES, "weight_decay", "clip_value", "nesterov_beta")


@dataclass(frozen=True)
class StepCost:
    """What a rule costs on some models, per weight, on average over the models.

    Attributes:
        bytes_per_weight: Size of its state, as a comparison measures it.
        passes: Numbers that the operations of one step read and write, each operation for itself, of the
            class that exporting the rule gives; and products of matrices by `PRODUCTS_PER_PASS`.
    """

    bytes_per_weight: float
    passes: float


class StepCosts:
    """Costs of rules on some models; what a rule's constants are does not matter.

    Args:
        models: Of every one the same counts.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = [model.to("meta") for model in models]
        self._known: dict[str, StepCost] = {}

    def of(self, rule: UpdateRule) -> StepCost:
        """Cost of a rule; nothing is computed, for its tensors have shapes alone."""
        rule = structure(rule)
        if rule.key not in self._known:
            counts = [_count(rule, model) for model in self._models]
            self._known[rule.key] = StepCost(*(sum(each) / len(counts) for each in zip(*counts, strict=True)))
        return self._known[rule.key]


def structure(rule: UpdateRule) -> UpdateRule:
    """A rule of the same terms, switches and stages with constants that are always the same."""
    rule = rule.canonical()
    constants: dict[str, Any] = {
        field.name: 0.5 if field.name in _IDENTITIES and value != field.default else field.default
        for field in fields(rule)
        if isinstance(value := getattr(rule, field.name), float)
    }
    terms = tuple((name, 0.5) for name, _ in rule.terms)
    return replace(rule, **constants, terms=terms, warmup_steps=min(rule.warmup_steps, 1))


def _count(rule: UpdateRule, model: nn.Module) -> tuple[float, float]:
    for parameter in trainable(model):
        parameter.grad = torch.empty_like(parameter)
    optimizer = as_taken_away(model, rule)
    optimizer.step()  # makes the state
    with _Counter() as counter:  # type: ignore[no-untyped-call]
        optimizer.step()
    weights = sum(parameter.numel() for parameter in trainable(model))
    passes = counter.moved + counter.products / PRODUCTS_PER_PASS
    return state_bytes(optimizer) / weights, passes / weights


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    moved, products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            arguments = zip(func._schema.arguments, args, strict=False)
            changed = [arg for told, arg in arguments if told.alias_info and told.alias_info.is_write]
            self.moved += _numbers((args, kwargs)) + _numbers(changed or out)
        if func.overloadpacket is torch.ops.aten._linalg_eigh:
            self.products += _EIGENVECTORS * args[0].numel() * args[0].shape[-1]
        if func.overloadpacket in flop_registry:
            self.products += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out) // 2
        return out


def _numbers(values: Any) -> int:
    return sum(x.numel() for x in tree_leaves(values) if isinstance(x, Tensor) and x.is_meta)
