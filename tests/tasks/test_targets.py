"""Targets that a loss of classes cannot take, or would take for something else, give one line."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks.targets import check_targets

N = 6
Y = torch.arange(N) % 3
ONE_HOT = F.one_hot(Y, 3)
WORDS = torch.arange(N * 4).reshape(N, 4) % 3
PADDED = WORDS.where(WORDS < 2, -100)
FLAT, SEQUENCES = torch.zeros(2, 3), torch.zeros(2, 3, 4)
LOSSES = (F.cross_entropy, nn.CrossEntropyLoss(), partial(F.cross_entropy, label_smoothing=0.1))

FAULTS: dict[str, tuple[Tensor, Tensor, str]] = {
    "from 1": (FLAT, Y + 1, "has classes 1 to 3, but its model has 3 outputs; they start at 0: pass y - 1"),
    "too many": (FLAT, Y * 2, "has classes 0 to 4, but its model has 3 outputs; encode them as 0 to 2"),
    "signs": (FLAT, Y - 1, "has classes -1 to 1, but its model has 3 outputs; encode them as 0 to 2"),
    "floating point": (FLAT, Y.float(), "floating-point targets, but classes are integers: pass y.long()"),
    "column": (FLAT, Y[:, None], "classes need no column of their own: pass y.squeeze(1)"),
    "column of floating point": (FLAT, Y[:, None].half(), "pass y.long().squeeze(1)"),
    "one-hot": (FLAT, ONE_HOT, "one for each class: pass classes, y.argmax(1), or probabilities, y.float()"),
    "one-hot of two": (FLAT[:, :2], F.one_hot(Y % 2), "targets of shape [n, 2], one for each class"),
    "another width": (FLAT, ONE_HOT[:, :2], "[n, 2], but its model outputs of shape [n, 3]: classes must"),
    "probabilities of other classes": (FLAT, ONE_HOT[:, :2].float(), "classes must have shape [n]"),
    "ignored": (FLAT, Y.where(Y > 0, -100), "the loss ignores: leave them out, x[y != -100]"),
    "all ignored": (SEQUENCES, torch.full((N, 4), -100), "has no targets but -100"),
    "classes last": (SEQUENCES.movedim(1, -1), WORDS, "second dimension, outputs.movedim(-1, 1)"),
    "one output": (FLAT[:, :1], Y, "has a single output, which is no choice of classes: use two outputs, or"),
    "flat outputs": (FLAT[:, 0], Y, "a loss of classes needs outputs [n, classes]"),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=["function", "module", "partial"])
@pytest.mark.parametrize("fault", FAULTS)
def test_targets_that_are_no_classes_of_the_model_are_refused_in_one_line(fault: str, loss: Any) -> None:
    outputs, y, expected = FAULTS[fault]
    with pytest.raises(EvooptError) as caught:
        check_targets("the part", loss, outputs, y)
    assert str(caught.value).startswith("the part")
    assert expected in str(caught.value)


SOUND: dict[str, tuple[Any, Tensor, Tensor]] = {
    "classes": (F.cross_entropy, FLAT, Y),
    "probabilities": (F.cross_entropy, FLAT, ONE_HOT.float()),
    "classes of every word": (F.cross_entropy, SEQUENCES, PADDED),
    "another number ignored": (nn.CrossEntropyLoss(ignore_index=0), SEQUENCES, WORDS),
    "and by a partial": (partial(F.cross_entropy, ignore_index=9), SEQUENCES, WORDS.where(WORDS > 0, 9)),
    "as many words as classes": (F.cross_entropy, torch.zeros(2, 4, 4), WORDS),
    "log-likelihoods": (F.nll_loss, FLAT, Y),
    "no examples": (F.cross_entropy, FLAT, Y[:0]),
    "another loss": (F.mse_loss, FLAT, Y.float()),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_a_loss_takes_passes(case: str) -> None:
    loss, outputs, y = SOUND[case]
    check_targets("the part", loss, outputs, y)


def test_log_likelihoods_take_no_probabilities() -> None:
    with pytest.raises(EvooptError, match=r"pass classes, y\.argmax\(1\)"):
        check_targets("the part", nn.NLLLoss(), FLAT, ONE_HOT.float())
