"""Adam as a plain optimizer class with one fault at a time, for tests that must notice it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

FAULTS = ("wrong bias correction", "flipped sign", "stale moments")
"""Multiplies by ``1 - beta**t`` instead of dividing; ascends; keeps the moments of the first step."""


class FaultyAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) with a fault, or without one where ``fault`` is empty."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        fault: str = "",
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})
        self.fault = fault

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for w in group["params"]:
                g = w.grad
                state = self.state[w]
                if not state:
                    state.update(step=0, m=torch.zeros_like(w), v=torch.zeros_like(w))
                state["step"] += 1
                t, m, v = state["step"], state["m"], state["v"]
                if t == 1 or self.fault != "stale moments":
                    m.lerp_(g, 1 - beta1)
                    v.lerp_(g * g, 1 - beta2)
                correct_m, correct_v = 1 - beta1**t, 1 - beta2**t
                if self.fault == "wrong bias correction":
                    correct_m, correct_v = 1 / correct_m, 1 / correct_v
                direction = (m / correct_m) / ((v / correct_v).sqrt() + 1e-8)
                w.sub_(-direction if self.fault == "flipped sign" else direction, alpha=group["lr"])
