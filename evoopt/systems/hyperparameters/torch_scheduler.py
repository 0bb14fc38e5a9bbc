"""A schedule of hyperparameters on a torch optimizer and a model of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from evoopt.errors import EvooptError
from evoopt.systems.hyperparameters.schedules import Schedule
from evoopt.training.member_hyperparameters import RULE_NAMES, Value, is_dropout

_BETAS = {"beta1": 0, "momentum": 0, "beta2": 1}
_DECOUPLED = {"AdamW", "Adafactor", "Muon", "EvolvedOptimizer"}


class ScheduleLR(LRScheduler):
    """Gives every parameter group the values of its generation; call ``step`` after every minibatch.

    After the last generation its values stay. A state dict holds the number of steps, not the schedule.

    Args:
        optimizer: Its groups have what the schedule sets: ``lr``; ``betas`` or ``momentum``; ``eps``;
            ``weight_decay``, which is the schedule's decoupled one in `torch.optim.AdamW` and its ``l2`` in
            `torch.optim.Adam` and `torch.optim.SGD`.
        schedule: Whose ``steps`` per generation count minibatches of its ``batch_size``.
        model: Whose modules have the dropout rates, and which has the buffers, that the schedule sets, if it
            does.
        last_epoch: As in torch.

    Raises:
        EvooptError: A hyperparameter that neither the optimizer nor the model has.
    """

    def __init__(
        self, optimizer: Optimizer, schedule: Schedule, model: nn.Module | None = None, last_epoch: int = -1
    ) -> None:
        self._schedule, self._model = schedule, model
        for group in optimizer.param_groups:
            for name in schedule.values[0]:
                if is_dropout(name):
                    if not self._dropouts(name):
                        raise EvooptError(f"{name!r} is a dropout rate: pass the model that has such modules")
                elif not self._buffers(name):
                    _key(optimizer, group, name)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Set all other values, and return each group's learning rate."""
        values = self._schedule.at(self.last_epoch)
        own = {}
        for name, value in values.items():
            for module in self._dropouts(name):
                module.p = float(value)
            buffers = self._buffers(name)
            for buffer in buffers:
                buffer.fill_(float(value))
            if name != "lr" and not is_dropout(name) and not buffers:
                own[name] = value
        for group in self.optimizer.param_groups:
            _set(self.optimizer, group, own)
        return [values.get("lr", group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """As in torch, without schedule and model."""
        return {k: v for k, v in super().state_dict().items() if k not in ("_schedule", "_model")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch; what a model has of the schedule follows at once, as it is in no state dict."""
        super().load_state_dict(state_dict)
        self.get_lr()

    def _buffers(self, name: str) -> list[Any]:
        if self._model is None or name in RULE_NAMES:
            return []
        return [buffer for full, buffer in self._model.named_buffers() if f".{full}".endswith(f".{name}")]

    def _dropouts(self, name: str) -> list[Any]:
        if self._model is None or not is_dropout(name):
            return []
        of = name.partition(".")[2]
        rates = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
        named = self._model.named_modules()
        return [module for at, module in named if isinstance(module, rates) and of in ("", at)]


def _set(optimizer: Optimizer, group: dict[str, Any], values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        key = _key(optimizer, group, name)
        if key == "betas":
            betas = list(group["betas"])
            betas[_BETAS[name]] = value
            group["betas"] = tuple(betas)
        else:
            group[key] = value


def _key(optimizer: Optimizer, group: Mapping[str, Any], name: str) -> str:
    """What a group calls a hyperparameter."""
    if name in _BETAS and "betas" in group:
        return "betas"
    if name in ("beta1", "momentum") and "momentum" in group:
        return "momentum"
    if "weight_decay" in group and "l2" not in group:
        # Groups of Adam's kin say where decay is decoupled, and in evoopt's classes it always is.
        named = not _DECOUPLED.isdisjoint(kind.__name__ for kind in type(optimizer).__mro__)
        decoupled = bool(group.get("decoupled_weight_decay", named or "stochastic_rounding" in group))
        if name in ("weight_decay", "l2"):
            if decoupled is (name == "weight_decay"):
                return "weight_decay"
            kind = "decoupled" if decoupled else "coupled"
            raise EvooptError(f"the optimizer's weight decay is {kind}, and {name!r} of the schedule is not")
    if name in group and name != "betas":
        return name
    raise EvooptError(f"the optimizer has no {name!r}, which the schedule sets")
