"""Random data sets of the kinds that people bring: what fits a model, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
_FLOATS = (torch.float32,) * 8 + (torch.float64, torch.float64, torch.float16)
_WHOLE = (torch.int64, torch.int32, torch.uint8, torch.int16, torch.bool)


def _relative(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets).abs() / (1 + targets.abs())).mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": F.cross_entropy,
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "of one's own": _relative,
}


@dataclass(frozen=True)
class Data:
    """What a person hands over.

    Attributes:
        train: Pair of tensors or arrays.
        validation: Likewise, or None for a part of ``train``.
        shape: Shape of an input that a model would expect, empty for tokens.
        outputs: Outputs that it would have.
        loss: Name of a loss.
        batch_size: Of minibatches.
    """

    train: tuple[Any, Any]
    validation: tuple[Any, Any] | None
    shape: tuple[int, ...]
    outputs: int
    loss: str
    batch_size: int


def random_data(rng: Random) -> Data:
    """One data set; most are sound."""
    tokens = rng.random() < 0.12
    shape = () if tokens else rng.choice([_vector, _vector, _image, _image, _sequence])(rng)
    loss = rng.choice(["cross_entropy"] * 5 + list(LOSSES))
    outputs = rng.choice([1, 2, 3, 5]) if loss != "cross_entropy" else rng.choice([2, 3, 4, 7])
    n = rng.choice([7, 12, 16, 23, 40]) if rng.random() < 0.95 else rng.choice([0, 1, 2, 3])

    def part(n: int, other_width: bool) -> tuple[Any, Any]:
        size = (*shape[:-1], shape[-1] * 2) if shape and other_width else shape
        x = torch.randint(0, 11, (n, 5)) if tokens else torch.randn(n, *size)
        return _handed_over(rng, _inputs(rng, x)), _handed_over(rng, _targets(rng, loss, n, outputs))

    validation = part(rng.choice([3, 9]), rng.random() < 0.15) if rng.random() < 0.4 else None
    return Data(part(n, False), validation, shape, outputs, loss, rng.choice([1, 4, 8, 8, 64]))


def _vector(rng: Random) -> tuple[int, ...]:
    return (rng.choice([1, 2, 3, 5, 8, 16, 19]),)


def _image(rng: Random) -> tuple[int, ...]:
    return rng.choice([1, 2, 3]), rng.randint(1, 8), rng.randint(1, 8)


def _sequence(rng: Random) -> tuple[int, ...]:
    return rng.choice([2, 3, 5]), rng.choice([1, 3, 4])


def _inputs(rng: Random, x: Tensor) -> Tensor:
    """Inputs of some type, some of them with a fault."""
    if not x.is_floating_point():
        return x.to(rng.choice([torch.int64] * 5 + [torch.int32, torch.uint8, torch.float32]))
    fault = rng.random()
    if fault < 0.06:
        return (x * 3).to(rng.choice(_WHOLE))
    if fault < 0.08 and x.numel():
        x[rng.randrange(len(x))] = rng.choice([torch.nan, torch.inf])
    elif fault < 0.10:
        x = rng.choice([x.unsqueeze(1), x.flatten(), x[0] if len(x) else x, x.unsqueeze(-1), x * (1 + 0j)])
    elif fault < 0.12:
        x = x[..., :-1] if x.dim() > 1 else x
    return x if x.is_complex() else x.to(rng.choice(_FLOATS))


def _targets(rng: Random, loss: str, n: int, outputs: int) -> Tensor:
    """Targets that suit the loss, some of another form."""
    classes = torch.randint(0, outputs, (n,))
    numbers = torch.rand(n, outputs).to(rng.choice(_FLOATS))
    if loss == "cross_entropy":
        usual: Tensor = classes.to(rng.choice([torch.int64] * 6 + [torch.int32, torch.uint8]))
        others = [F.one_hot(classes, outputs), F.one_hot(classes, outputs).float(), classes.unsqueeze(1),
                  classes.float(), classes + 1, classes - 1, classes > 0, numbers]  # fmt: skip
    else:
        usual = numbers.round() if "binary" in loss else numbers
        others = [usual[:, 0], usual[:, :1], usual.long(), usual.bool(), usual.unsqueeze(-1), usual * 1e6,
                  usual * torch.nan, classes]  # fmt: skip
    y = usual if rng.random() < 0.8 else rng.choice(others)
    return y[:-1] if rng.random() < 0.01 else y


def _handed_over(rng: Random, tensor: Tensor) -> Any:
    """The same numbers as a tensor or an array, perhaps in an odd layout."""
    way = rng.randrange(14)
    if way == 0 and rng.random() < 0.2:
        return tensor.to("meta")
    if way == 1:  # every other one of a larger tensor
        return torch.stack([tensor, tensor], dim=-1)[..., 0]
    if way == 2 and tensor.dim() > 1:
        return tensor.movedim(0, -1).contiguous().movedim(-1, 0)
    if way == 3:
        return tensor[:1].expand(tensor.shape) if rng.random() < 0.3 else tensor.clone().requires_grad_(
            tensor.is_floating_point() and rng.random() < 0.5
        )  # fmt: skip
    if way > 8:
        return tensor
    array = tensor.numpy()
    if way == 4:
        return np.flip(np.flip(array, 0).copy(), 0)
    if way == 5:
        return np.asfortranarray(array)
    if way == 6 and rng.random() < 0.2:
        return array.tolist()
    if way == 7:
        array = array.copy()
        array.flags.writeable = False
    return array
