"""Random numbers that depend on their key and place alone: Philox-4x32-10.

Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3". Number ``i`` of a tensor is the upper 24
bits of word ``i % 4`` of what the counter ``(i // 4, step, tensor)`` gives; so whoever draws, wherever and in
whatever order, draws the same, and nothing has to be drawn to get to a later step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evoopt.training.native import cuda_philox, philox

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_INCREMENTS = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF


def keys_of(seeds: Sequence[int], device: torch.device) -> Tensor:
    """Keys ``[seeds]`` of 63-bit seeds, on a device."""
    return torch.tensor(list(seeds), dtype=torch.int64).to(device)


def uniforms(keys: Tensor, step: int | Tensor, tensor: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1) by the fastest way there is; all give the same bits.

    Args:
        keys: One for each member, ``[P]`` int64.
        step: Of the training, from 0; or ``[1]`` int64 on the device of the keys.
        tensor: Which of a step's tensors.
        shape: Of one member's numbers.

    Returns:
        Float32 numbers ``[P, *shape]`` on the device of the keys.

    Raises:
        EvooptError: Keys of another kind, or sizes out of range.
    """
    if philox.suits(keys):
        return philox.uniforms(keys, step, tensor, shape)
    if cuda_philox.suits(keys):
        return cuda_philox.uniforms(keys, step, tensor, shape)
    return plain_uniforms(keys, step, tensor, shape)


def plain_uniforms(keys: Tensor, step: int | Tensor, tensor: int, shape: tuple[int, ...]) -> Tensor:
    """The same in torch's operations, on any device."""
    size = math.prod(shape)
    blocks = torch.arange(-(-size // 4), device=keys.device)
    counter = (blocks & _WORD, blocks >> 32, torch.zeros_like(blocks) + step, torch.full_like(blocks, tensor))
    own = keys.unsqueeze(-1)
    words = torch.stack(rounds(counter, (own & _WORD, (own >> 32) & _WORD)), dim=-1)
    return ((words >> 8).float() * 2.0**-24).flatten(1)[:, :size].reshape(len(keys), *shape)


def rounds(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Four words of a counter of four and a key of two, all of 32 bits in int64."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        x, y = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c  # all 64 bits of them, whatever the sign
        a, b, c, d = ((y >> 32) & _WORD) ^ b ^ k0, y & _WORD, ((x >> 32) & _WORD) ^ d ^ k1, x & _WORD
        k0, k1 = (k0 + _INCREMENTS[0]) & _WORD, (k1 + _INCREMENTS[1]) & _WORD
    return a, b, c, d
