"""Muon as torch has it, with AdamW for what is no hidden matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.optimizer import ParamsT

from evoopt.compare.space import RANGES
from evoopt.optim.presets import STAGED_PRESETS

_RULE = STAGED_PRESETS["muon"]


class TorchMuon(Optimizer):
    """`torch.optim.Muon` for matrices of exactly two dimensions, which is all it takes, `AdamW` for the rest.

    The preset ``muon``, which moves kernels of convolutions as matrices too, has the same constants and is
    tuned in the same space.

    Args:
        params: Groups that say ``matrix``, see `evoopt.optim.matrix_groups`.
        lr: Learning rate.
        weight_decay: Decoupled weight decay.
        momentum: Decay of Muon's moment.
        others_lr: Factor on the learning rate of AdamW.
    """

    matrix_roles = frozenset(["matrix"])
    tuning_space: ClassVar = {name: RANGES[name] for name in ("weight_decay", "momentum", "others_lr")}

    def __init__(
        self,
        params: ParamsT,
        lr: float = _RULE.lr,
        weight_decay: float = _RULE.weight_decay,
        momentum: float = _RULE.beta1,
        others_lr: float = 1.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "matrix": False})
        parts: dict[bool, list[torch.Tensor]] = {True: [], False: []}
        for group in self.param_groups:
            for p in group["params"]:
                parts[group["matrix"] and p.dim() == 2].append(p)
        self._parts: list[Optimizer] = []
        if parts[True]:
            self._parts += [Muon(parts[True], lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw")]
        if parts[False]:
            betas = (_RULE.others_beta1, _RULE.others_beta2)
            self._parts += [AdamW(parts[False], lr * others_lr, betas, _RULE.others_eps, weight_decay)]
        # Shared, so that a schedule reaches both and the state is that of both.
        self.param_groups = [group for part in self._parts for group in part.param_groups]
        for part in self._parts:
            part.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the weights; a closure is not called."""
        for part in self._parts:
            part.step()
