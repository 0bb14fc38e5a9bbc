"""Sequence-to-sequence network with attention, and how its outputs are scored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PADDING = 0
"""The token that fills up short sentences; losses and metrics ignore it."""


class GRU(nn.Module):
    """Gated recurrent units in elementary operations, which run for a population (`nn.GRU` does not).

    Equations and order of the gates (reset, update, new) are those of `nn.GRU`.

    Args:
        inputs: Size of the inputs.
        hidden: Size of the state.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(inputs, 3 * hidden)
        self.recurrent = nn.Linear(hidden, 3 * hidden)

    def forward(self, x: Tensor, state: Tensor, present: Tensor) -> Tensor:
        """Run over a batch of sequences.

        Args:
            x: Inputs ``[n, length, inputs]``.
            state: First state ``[n, hidden]``.
            present: Which inputs are not padding ``[n, length]``; padding leaves the state as it is.

        Returns:
            States after each input ``[n, length, hidden]``.
        """
        states = []
        for step, kept in zip(self.inputs(x).unbind(dim=1), present.unbind(dim=1), strict=True):
            reset_in, update_in, new_in = step.chunk(3, dim=-1)
            reset_rec, update_rec, new_rec = self.recurrent(state).chunk(3, dim=-1)
            update = torch.sigmoid(update_in + update_rec)
            new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_rec) * new_rec)
            state = torch.where(kept.unsqueeze(-1), new + update * (state - new), state)
            states.append(state)
        return torch.stack(states, dim=1)


class Translator(nn.Module):
    """Encoder and decoder of one GRU each, with global attention (Luong et al. 2015, ``general``).

    A small relative of the network of Vose et al. (2019). Inputs are indices of tokens
    ``[n, source_length + m]``: the source sentence, then the target sentence behind a start token (teacher
    forcing). Outputs are logits of the next target word at each of the m places, ``[n, m, target_words]``.

    Args:
        source_words: Size of the source vocabulary.
        target_words: Size of the target vocabulary.
        source_length: How many of the input tokens are the source sentence.
        hidden: Size of embeddings and states.
        dropout: Rate behind both embeddings and in front of the output layer.
    """

    def __init__(
        self,
        source_words: int,
        target_words: int,
        source_length: int,
        hidden: int = 96,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.source_length = source_length
        self.source = nn.Sequential(nn.Embedding(source_words, hidden), nn.Dropout(dropout))
        self.target = nn.Sequential(nn.Embedding(target_words, hidden), nn.Dropout(dropout))
        self.encoder, self.decoder = GRU(hidden, hidden), GRU(hidden, hidden)
        self.attention = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Sequential(
            nn.Linear(2 * hidden, hidden, bias=False), nn.Tanh(), nn.Dropout(dropout)
        )
        self.output = nn.Linear(hidden, target_words)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map source and shifted target sentences to logits."""
        source, target = tokens[:, : self.source_length], tokens[:, self.source_length :]
        words = source != PADDING
        embedded = self.source(source)
        memory = self.encoder(embedded, torch.zeros_like(embedded[:, 0]), words)
        states = self.decoder(self.target(target), memory[:, -1], target != PADDING)
        scores = self.attention(states) @ memory.transpose(1, 2)
        weights = scores.masked_fill(~words.unsqueeze(1), -torch.inf).softmax(dim=-1)
        return self.output(self.combine(torch.cat([weights @ memory, states], dim=-1)))  # type: ignore[no-any-return]


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy per target word, padding left out; its exponential is the perplexity.

    Args:
        logits: ``[n, length, words]``.
        targets: Token indices ``[n, length]``.
    """
    losses = logits.logsumexp(dim=-1) - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    words = targets != PADDING
    return torch.where(words, losses, 0).sum() / words.sum().clamp(min=1)


def token_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of target words that have the largest logit, padding left out; arguments as for `token_loss`."""
    words = targets != PADDING
    return ((logits.argmax(dim=-1) == targets) & words).sum() / words.sum().clamp(min=1)
