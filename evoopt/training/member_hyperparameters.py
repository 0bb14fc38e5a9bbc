"""Hyperparameters on a population in training: each member gets its own rule, dropout rates and buffers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from evoopt.errors import EvooptError
from evoopt.optim.presets import preset
from evoopt.optim.rule import UpdateRule

if TYPE_CHECKING:
    from torch import Tensor

    from evoopt.training.members import Members
    from evoopt.training.population import ModelPopulation

Value = bool | int | float | str
"""What a hyperparameter may be."""

RULE_NAMES = ("optimizer", "lr", "momentum", "beta1", "beta2", "eps", "weight_decay", "l2")
"""Hyperparameters of the update rule; ``momentum`` is another name of ``beta1``, ``weight_decay`` is
decoupled from the gradient, and ``l2`` is the coupled one, that of `torch.optim.Adam`."""

_DROPOUT = "dropout"


def update_rule(values: Mapping[str, Value], optimizer: str = "adam") -> UpdateRule:
    """The update rule that hyperparameters describe.

    Args:
        values: Hyperparameters by name; those that are none of `RULE_NAMES` are ignored.
        optimizer: Preset that they change, unless they name one themselves.

    Raises:
        EvooptError: An unknown preset, or a value outside its range.
    """
    name = str(values.get("optimizer", optimizer))
    rule = preset(name)
    given = {"beta1" if n == "momentum" else n: v for n, v in values.items() if n in RULE_NAMES[1:]}
    rule = replace(rule, **{n: _number(n, v) for n, v in given.items()})  # type: ignore[arg-type]
    if name == "sgd":
        # The averaged moment is 1 - momentum times the heavy ball's.
        rule = replace(rule, terms=(("momentum", 1 / (1 - rule.beta1)),))
    return rule


def is_dropout(name: str) -> bool:
    """Whether a hyperparameter is the rate of all dropout modules, or of one."""
    return name.partition(".")[0] == _DROPOUT


def check_value(name: str, value: Value, optimizer: str = "adam") -> None:
    """Make sure that a hyperparameter may have a value; any will do for one of the model's own.

    Args:
        name: Name of the hyperparameter.
        value: Its value.
        optimizer: See `update_rule`.

    Raises:
        EvooptError: A value outside its range.
    """
    update_rule({name: value}, optimizer)
    if is_dropout(name) and not 0 <= _number(name, value) <= 1:
        raise EvooptError(f"dropout must lie in [0, 1], not {value!r}")


def without_meaning(names: Iterable[str], population: ModelPopulation) -> list[str]:
    """Those hyperparameters that are neither the rule's nor a dropout rate nor a buffer of the models."""
    return [name for name in names if name not in RULE_NAMES and not _stacks(name, population)]


def set_hyperparameters(
    members: Members, values: Sequence[Mapping[str, Value]], optimizer: str = "adam"
) -> None:
    """Give each member its hyperparameters, in place.

    ``lr``, ``momentum`` and so on (see `RULE_NAMES`) make up its update rule. ``dropout`` is the rate of all
    dropout modules, ``dropout.<module>`` that of one. Any other name is that of a buffer (``q``, or
    ``capsules.q``). Names without meaning are ignored.

    Args:
        members: Whose rules (see `Members.follow`), rates and buffers change; weights stay.
        values: Hyperparameters by name, for each member.
        optimizer: See `update_rule`.

    Raises:
        EvooptError: A value that does not fit.
    """
    members.follow([update_rule(one, optimizer) for one in values])
    for name in values[0] if values else ():
        if name in RULE_NAMES:
            continue
        for stack in _stacks(name, members.population):
            for k, one in enumerate(values):
                stack[k].fill_(_number(name, one[name]))


def _stacks(name: str, population: ModelPopulation) -> list[Tensor]:
    """The stacked tensors ``[P, ...]`` that a hyperparameter sets."""
    if name == _DROPOUT and population.rates:
        return list(population.rates.values())
    module = name.removeprefix(f"{_DROPOUT}.")
    if module != name and module in population.rates:
        return [population.rates[module]]
    return [t for full, t in population.state.items() if full == name or full.endswith(f".{name}")]


def _number(name: str, value: Value) -> float | int:
    if isinstance(value, str):
        raise EvooptError(f"hyperparameter {name!r} must be a number, not {value!r}")
    return value
