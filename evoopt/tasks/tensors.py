"""Numbers in the forms that people hold them in, as plain tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError, one_line

_TO_INT64 = (torch.int8, torch.int16, torch.uint16, torch.uint32, torch.uint64)
"""Integers that hardly any operation of torch takes."""


def as_targets(values: Any, what: str) -> Tensor:
    """Targets as `as_tensor` reads them: floating-point numbers as they are, others as int64.

    Raises:
        EvooptError: As there, and for complex numbers.
    """
    tensor = as_tensor(values, what)
    if tensor.is_complex():
        raise EvooptError(
            f"{what} are complex: pass torch.view_as_real(y), real and imaginary part side by side"
        )
    return tensor if tensor.is_floating_point() else tensor.long()


def as_tensor(values: Any, what: str) -> Tensor:
    """Numbers as a dense tensor in main memory; it may be a view of them, so that nobody may write to it.

    Args:
        values: A tensor of any layout, an array, a table, or lists of numbers or of such.
        what: What to call them in messages, in the plural.

    Raises:
        EvooptError: No numbers, or rows of different lengths.
    """
    if isinstance(values, Tensor):
        return _dense(values, what)
    if isinstance(values, (list, tuple)) and values and all(isinstance(one, Tensor) for one in values):
        return stacked([_dense(one, what) for one in values], what)
    if hasattr(values, "toarray"):
        raise EvooptError(f"{what} are a sparse matrix: pass x.toarray()")
    if type(values).__module__.startswith("PIL."):
        raise EvooptError(
            f"{what} are a PIL image: have torchvision.transforms.ToTensor() make a tensor of it"
        )
    tensor = torch.from_numpy(_numbers(values, what))
    return tensor.long() if tensor.dtype in _TO_INT64 else tensor


def stacked(tensors: list[Tensor], what: str) -> Tensor:
    """Tensors ``[...]`` of the examples as one ``[n, ...]``.

    Raises:
        EvooptError: They differ in shape.
    """
    for k, one in enumerate(tensors):
        if one.shape != tensors[0].shape:
            shapes = f"{tuple(tensors[0].shape)} in example 0 and {tuple(one.shape)} in example {k}"
            raise EvooptError(f"{what} have shape {shapes}: pad or crop them to one shape")
    return torch.stack(tensors) if tensors else torch.empty(0)


def _dense(values: Tensor, what: str) -> Tensor:
    if values.is_meta:
        raise EvooptError(f"{what} are on the device meta, which holds no numbers: load them on the cpu")
    if values.is_nested:
        raise EvooptError(f"{what} are a nested tensor: pass torch.nested.to_padded_tensor(x, 0.0)")
    values = values.detach()
    values = values.dequantize() if values.is_quantized else values
    values = values if values.layout == torch.strided else values.to_dense()
    return (values.long() if values.dtype in _TO_INT64 else values).cpu().as_subclass(Tensor)


def _numbers(values: Any, what: str) -> NDArray[np.generic]:
    if np.ma.is_masked(values):
        raise EvooptError(f"{what} have masked entries: fill them, x.filled(0), or leave their examples out")
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = np.array(array.tolist())
        if array.dtype == object:
            array = array.astype(np.float64)
    except Exception as error:  # whatever their conversion raises
        raise EvooptError(f"{what} are no numbers in rows of one length ({one_line(error)})") from None
    if array.dtype.kind in "UST":
        raise EvooptError(
            f"{what} are strings: encode them as numbers, classes by y = np.unique(y, return_inverse=True)[1]"
        )
    if array.dtype.kind not in "biufc":
        raise EvooptError(f"{what} are of dtype {array.dtype}: convert them to numbers")
    if array.dtype in (np.longdouble, np.clongdouble):
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.complex128)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    # Torch takes neither negative strides nor, without a warning, what must not be written to.
    kept = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return array if kept else array.copy()
