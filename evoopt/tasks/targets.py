"""Targets that do not suit a loss of classes, and what to write instead."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError


def wants_classes(loss: Any) -> bool:
    """Whether a loss is one of torch's that take class indices."""
    loss = _without_settings(loss)
    return loss in (F.cross_entropy, F.nll_loss) or isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))


def check_targets(what: str, loss: Any, outputs: Tensor, y: Tensor) -> None:
    """Check a part's targets, if the loss is one of torch's that take class indices.

    Class indices have the shape of the outputs ``[b, classes, ...]`` without their second dimension. Targets
    of the outputs' own shape and of floating point are probabilities, which cross-entropy takes, too. Entries
    that are the loss's ``ignore_index`` do not count, where an example has more than one.

    Args:
        what: What to call the part in messages.
        loss: The loss.
        outputs: What the model returned for some examples.
        y: All targets ``[n, ...]`` of the part.

    Raises:
        EvooptError: Targets that the loss cannot take, or would take for something else.
    """
    if not wants_classes(loss) or len(y) == 0 or not isinstance(outputs, Tensor):
        return
    found, got = f"{what} has targets of shape {_shape(y)}", f"outputs of shape {_shape(outputs)}"
    if outputs.ndim < 2:
        raise EvooptError(f"{found} and its model {got}: a loss of classes needs outputs [n, classes]")
    classes = outputs.shape[1]
    if classes == 1:
        raise EvooptError(
            f"{what}: its model has a single output, which is no choice of classes: use two outputs, or "
            "F.binary_cross_entropy_with_logits with floating-point targets of the outputs' shape"
        )
    each, full = outputs.shape[2:], outputs.shape[1:]
    if y.shape[1:] == full and y.is_floating_point() and not _takes_indices_alone(loss):
        return
    cast = ".long()" if y.is_floating_point() else ""
    if y.shape[1:] == full:
        raise EvooptError(
            f"{found}, one for each class: pass classes, y.argmax(1), or probabilities, y.float()"
        )
    if y.shape[1:] == (1, *each):
        raise EvooptError(f"{found}, but classes need no column of their own: pass y{cast}.squeeze(1)")
    if y.shape[1:] == outputs.shape[1:-1] and y.shape[1:] != each:
        raise EvooptError(
            f"{found} and its model {got}: have it return the classes as second dimension, "
            "outputs.movedim(-1, 1)"
        )
    if y.shape[1:] != each:
        raise EvooptError(f"{found}, but its model {got}: classes must have shape {_shape(outputs[:, 0])}")
    if cast:
        raise EvooptError(f"{what} has floating-point targets, but classes are integers: pass y.long()")
    _check_classes(what, loss, y, classes)


def _check_classes(what: str, loss: Any, y: Tensor, classes: int) -> None:
    ignored = _ignored(loss)
    counted = y[y != ignored]
    if y.ndim == 1 and len(counted) < len(y):
        raise EvooptError(
            f"{what} has targets {ignored}, which the loss ignores: leave them out, x[y != {ignored}]"
        )
    if len(counted) == 0:
        raise EvooptError(f"{what} has no targets but {ignored}, which the loss ignores")
    low, high = int(counted.min()), int(counted.max())
    if low >= 0 and high < classes:
        return
    cure = f"encode them as 0 to {classes - 1}, e.g. y = np.unique(y, return_inverse=True)[1]"
    if low == 1 and high == classes:
        cure = "they start at 0: pass y - 1"
    raise EvooptError(f"{what} has classes {low} to {high}, but its model has {classes} outputs; {cure}")


def _takes_indices_alone(loss: Any) -> bool:
    loss = _without_settings(loss)
    return loss is F.nll_loss or isinstance(loss, nn.NLLLoss)


def _without_settings(loss: Any) -> Any:
    return loss.func if isinstance(loss, partial) else loss


def _ignored(loss: Any) -> int:
    given = loss.keywords.get("ignore_index", -100) if isinstance(loss, partial) else -100
    return int(getattr(loss, "ignore_index", given))


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(['n', *map(str, tensor.shape[1:])])}]"
