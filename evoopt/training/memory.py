"""How many members to run through a forward and backward pass at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from evoopt.training.streams import own_draws

# Smaller groups pay more overhead per member, larger ones leave the cache: measured, with a flat optimum.
_CPU_BYTES = 24 * 2**20
_STATE_BYTES = 8 * 2**20
_FEWEST = 8


def members_at_once(model: nn.Module, x: Tensor) -> int:
    """Number of members whose activations fit the cache of a CPU, or the free memory of a CUDA device.

    It depends on the model and the minibatch alone (on a CPU), so that results do not depend on the machine.

    Args:
        model: One member, on the device of ``x``.
        x: A minibatch.
    """
    per_member = max(1, activation_bytes(model, x))
    if x.is_cuda:
        free, _ = torch.cuda.mem_get_info(x.device)
        return max(1, free // 4 // per_member)
    return max(1, _CPU_BYTES // per_member)


def members_in_cache(weights: int, bytes_per_number: int) -> int:
    """Number of members whose weights, gradients and two moments stay in a CPU's cache from step to step."""
    return max(_FEWEST, _STATE_BYTES // (4 * weights * bytes_per_number))


def activation_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes of all layers' outputs, and of the shifted copies convolutions work on, for one minibatch."""
    numbers = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal numbers
        if isinstance(output, Tensor):
            numbers += output.numel()
            if isinstance(module, nn.Conv2d):
                numbers += output.numel() // module.out_channels * module.weight[0].numel()

    handles: list[RemovableHandle] = [
        module.register_forward_hook(count) for module in model.modules() if not list(module.children())
    ]
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    try:
        with torch.no_grad(), own_draws(x.device):
            functional_call(model.eval(), state, (x.clone(),))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return numbers * 4
