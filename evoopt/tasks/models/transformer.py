"""A small transformer, in elementary operations that run for a population."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention of several heads (Vaswani et al. 2017).

    Args:
        width: Size of inputs and outputs, a multiple of ``heads``.
        heads: Number of heads.
        causal: Whether a place sees only itself and the places before it.
        bias: Whether its two layers have biases.
    """

    def __init__(self, width: int, heads: int, causal: bool, bias: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.mixed = nn.Linear(width, 3 * width, bias)
        self.joined = nn.Linear(width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, places, width]`` to the same shape."""
        query, key, value = self.mixed(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        return self.joined((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and two linear layers with GELU, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, causal: bool, bias: bool = False) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads, causal, bias))
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, places, width]`` to the same shape."""
        x = x + self.attention(x)
        return x + self.layers(x)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Blocks of attention on learned positions, and a linear layer.

    Args:
        embedding: Maps inputs to ``[n, places, width]``.
        places: Length of the sequences.
        outputs: Number of classes.
        causal: If so, outputs are logits of what follows each place, ``[n, outputs, places]``; else each
            place sees all, and outputs are logits ``[n, outputs]`` from the mean over places.
        width: Size of the embeddings, a multiple of ``heads``.
        heads: Heads of each block.
        blocks: Number of blocks.
        bias: Whether attention has biases.
        norm: Whether a layer norm follows the blocks.
    """

    def __init__(
        self,
        embedding: nn.Module,
        places: int,
        outputs: int,
        causal: bool,
        width: int = 64,
        heads: int = 4,
        blocks: int = 2,
        bias: bool = False,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.embedding, self.causal = embedding, causal
        self.position_embedding = nn.Parameter(0.02 * torch.randn(places, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal, bias) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map sequences to logits."""
        x = self.norm(self.blocks(self.embedding(x) + self.position_embedding))
        if self.causal:
            return self.head(x).transpose(1, 2)  # type: ignore[no-any-return]
        return self.head(x.mean(dim=1))  # type: ignore[no-any-return]
