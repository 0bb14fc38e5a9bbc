"""One network for several classifications at once, and how its outputs are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.tasks.models.parts import hidden, initialise

P3B1_CLASSES = (13, 2, 4)
"""Classes of CANDLE's P3B1: primary site, tumour laterality, histological grade."""

PUBLISHED_F1 = ((0.275, 0.506), (0.907, 0.907), (0.485, 0.647))
"""F1 that Vose et al. (2019) train to, of each: mean over classes, and over examples."""


class P3B1Network(nn.Module):
    """A shared layer and a head of two hidden layers per classification, for features ``[n, inputs]``.

    CANDLE's benchmark P3B1, as in Vose et al. (2019); 9,151,219 parameters. Outputs are the logits of all
    heads side by side, ``[n, sum(classes)]``; see `multitask_loss`.

    Args:
        shared: Units of the shared layer.
        heads: Units of both hidden layers of each head.
        dropout: Rate behind every hidden layer.
        inputs: Number of features.
        classes: Number of classes of each head.
    """

    def __init__(
        self,
        shared: int = 1200,
        heads: Sequence[int] = (1200, 1200, 1200),
        dropout: float = 0.1,
        inputs: int = 400,
        classes: Sequence[int] = P3B1_CLASSES,
    ) -> None:
        super().__init__()
        self.shared = nn.Sequential(*hidden(inputs, shared, dropout))
        self.heads = nn.ModuleList(
            nn.Sequential(
                *hidden(shared, width, dropout), *hidden(width, width, dropout), nn.Linear(width, count)
            )
            for width, count in zip(heads, classes, strict=True)
        )
        initialise(self, nn.init.xavier_uniform_)

    def forward(self, x: Tensor) -> Tensor:
        """Map features to the logits of all heads."""
        shared = self.shared(x)
        return torch.cat([head(shared) for head in self.heads], dim=-1)


def multitask_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over all labels there are.

    Args:
        outputs: Logits of P3B1's heads side by side ``[n, 19]``.
        targets: Class of each example in each head ``[n, 3]``, -1 where it has none.
    """
    total, count = outputs.new_zeros(()), torch.zeros_like(targets[0, 0])
    for logits, wanted in _heads(outputs, targets):
        labelled = wanted >= 0
        chosen = logits.log_softmax(dim=-1).gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        total = total - torch.where(labelled, chosen, 0).sum()
        count = count + labelled.sum()
    return total / count.clamp(min=1)


def multitask_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of labels that are predicted; arguments as for `multitask_loss`."""
    right = [(logits.argmax(dim=-1) == wanted).sum() for logits, wanted in _heads(outputs, targets)]
    return torch.stack(right).sum() / (targets >= 0).sum().clamp(min=1)


def multitask_f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """How much of `PUBLISHED_F1` is reached: the least share over heads and both means, at most 1.

    Arguments as for `multitask_loss`. A mean over classes is over those that occur or are predicted.
    """
    shares = []
    for (logits, wanted), (macro, micro) in zip(_heads(outputs, targets), PUBLISHED_F1, strict=True):
        labelled = (wanted >= 0).unsqueeze(-1)
        said = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]) * labelled
        true = F.one_hot(wanted.clamp(min=0), logits.shape[-1]) * labelled
        hits, both = (said * true).sum(dim=0), (said + true).sum(dim=0)
        of_class = 2 * hits / both.clamp(min=1)
        shares += [
            of_class.sum() / (both > 0).sum().clamp(min=1) / macro,
            hits.sum() / labelled.sum().clamp(min=1) / micro,
        ]
    return torch.stack(shares).min().clamp(max=1)


def _heads(outputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(torch.split(outputs, list(P3B1_CLASSES), dim=-1), targets.unbind(dim=-1), strict=True)
