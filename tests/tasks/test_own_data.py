"""Every form in which people hold their examples gives what plain tensors give, or one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from evoopt import Gadam, GeneticTrainer, PopulationBasedTraining
from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions, Split, TaskData, split_data
from evoopt.tasks.own_data import own_task

N = 20
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(5)).half().float()
"""Exact in half precision."""
Y = torch.arange(N) % 3
X_ARRAY, Y_ARRAY = X.numpy(), Y.numpy()


class Net(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


class Column:
    """As a column of a table: asked for an item, it looks into its index, which is in another order."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, label: int) -> Any:
        return self._values[::-1][label]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values.astype(dtype or self._values.dtype)


class Read:
    """A data set by duck typing alone."""

    def __init__(self, read: Callable[[int], Any], count: int = N) -> None:
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: int) -> Any:
        return self._read(k)


class Endless(Dataset[Any]):
    def __getitem__(self, k: int) -> Any:
        return X[k % N], 0


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, Y))


def read_only(values: Any) -> Any:
    values = values.copy()
    values.setflags(write=False)
    return values


def on_disk(values: Any, folder: Path) -> Any:
    np.save(folder / "x.npy", values)
    return np.load(folder / "x.npy", mmap_mode="r")


def sparse(layout: torch.layout) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return X.to_sparse(layout=layout)


def quantised(values: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(values, 1.0, 0, torch.qint32)


PAIRS = TensorDataset(X, Y)

SAME: dict[str, Any] = {
    "list of two": [X, Y],
    "split": Split(X, Y),
    "lists of numbers": (X.tolist(), Y.tolist()),
    "lists of tensors": (list(X), list(Y)),
    "lists of arrays": (list(X_ARRAY), list(Y_ARRAY)),
    "float64": (X_ARRAY.astype(np.float64), Y_ARRAY),
    "float16": (X.half(), Y),
    "long double": (X_ARRAY.astype(np.longdouble), Y_ARRAY),
    "other byte order": (X_ARRAY.astype(">f4"), Y_ARRAY.astype(">i2")),
    "columns of a table": (Column(X_ARRAY), Column(Y_ARRAY)),
    "objects": (X_ARRAY.astype(object), Y_ARRAY.astype(object)),
    "objects that are arrays": (Column([*map(list, X.tolist())]), np.array([*Y.tolist()], object)),
    "fractions": ([[Fraction(number) for number in row] for row in X.tolist()], Y),
    "masked, nothing hidden": (np.ma.masked_greater(X_ARRAY, 99), Y_ARRAY),
    "read-only": (read_only(X_ARRAY), read_only(Y_ARRAY)),
    "negative strides": (X_ARRAY[::-1].copy()[::-1], Y_ARRAY[::-1].copy()[::-1]),
    "columns first": (np.asfortranarray(X_ARRAY), Y_ARRAY),
    "every other": (X.repeat_interleave(2, dim=0)[::2], Y.repeat_interleave(2)[::2]),
    "sparse": (sparse(torch.sparse_coo), Y),
    "sparse rows": (sparse(torch.sparse_csr), Y),
    "requires grad": (X.clone().requires_grad_(), Y),
    "parameter": (nn.Parameter(X.clone()), Y),
    **{f"targets of {kind}": (X_ARRAY, Y_ARRAY.astype(kind)) for kind in ("u1", "i2", "u2", "u8")},
    "data set": PAIRS,
    "subset": Subset(ConcatDataset([PAIRS, PAIRS]), range(N)),
    "duck-typed data set": Read(lambda k: (X_ARRAY[k], int(Y[k]))),
    "data set of lists": Read(lambda k: [X[k].tolist(), np.int64(Y[k])]),
    "list of pairs": list(zip(X, Y.tolist())),
}  # fmt: skip


def taken(data: Any, model: Callable[[], nn.Module] = Net, **settings: Any) -> TaskData:
    """What a training gets, and not a word on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return own_task(model, train=data, **settings)[1]


def assert_same(actual: TaskData, expected: TaskData) -> None:
    for ours, theirs in ((actual.train, expected.train), (actual.validation, expected.validation)):
        torch.testing.assert_close(ours.x, theirs.x, rtol=0, atol=0)  # dtypes and devices, too
        torch.testing.assert_close(ours.y, theirs.y, rtol=0, atol=0)


@pytest.mark.parametrize("form", SAME)
def test_data_of_any_form_are_what_plain_tensors_are(form: str) -> None:
    assert_same(taken(SAME[form]), taken((X, Y)))


@pytest.mark.parametrize(
    "form", ["float64", "read-only", "objects", "negative strides", "sparse", "lists of numbers"]
)
def test_split_data_takes_them_likewise(form: str) -> None:
    x, y = SAME[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(split_data(x, y, x, y, DataOptions()), split_data(X, Y, X, Y, DataOptions()))


def test_arrays_on_disk_and_quantised_tensors_are_read(tmp_path: Path) -> None:
    assert_same(taken((on_disk(X_ARRAY, tmp_path), Y)), taken((X, Y)))
    whole = X.round()
    assert_same(taken((quantised(whole), Y)), taken((whole, Y)))


@pytest.mark.cuda
def test_data_on_another_device_are_taken_from_there() -> None:
    assert_same(taken((X.cuda(), Y.cuda())), taken((X, Y)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_floating_point_data_take_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    data = taken((X_ARRAY, X_ARRAY), lambda: nn.Linear(4, 4).to(dtype), loss_fn=F.mse_loss)
    assert {data.train.x.dtype, data.train.y.dtype, data.validation.x.dtype} == {dtype}


def test_numbers_that_a_float64_model_gets_are_not_rounded() -> None:
    x = np.full((N, 4), 0.1)
    for form in (x, x.tolist()):
        assert taken((form, Y), lambda: Net().double()).train.x[0, 0].item() == 0.1


def test_validation_data_of_other_dtypes_follow_the_training_data() -> None:
    whole = [[0, 1, 2, 3], [3, 2, 1, 0]]
    data = taken((X, X), lambda: nn.Linear(4, 4), loss_fn=F.mse_loss, validation=(whole, whole))
    assert {data.validation.x.dtype, data.validation.y.dtype} == {torch.float32}


@pytest.mark.parametrize("y", [Y > 0, (Y > 0).numpy(), (Y > 0).tolist()])
def test_boolean_targets_are_two_classes(y: Any) -> None:
    assert_same(taken((X, y)), taken((X, (Y > 0).long())))


LOSSES = {
    "mse": F.mse_loss,
    "huber": nn.HuberLoss(),
    "binary cross-entropy": F.binary_cross_entropy_with_logits,
    "by hand": lambda outputs, targets: F.mse_loss(outputs, targets),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_whole_numbers_become_floating_point_where_a_loss_needs_it(loss: str) -> None:
    y = (X > 0).long()
    task, data = own_task(lambda: nn.Linear(4, 4), LOSSES[loss], train=(X, y))
    assert data.train.y.dtype == data.validation.y.dtype == torch.float32
    assert task.metric(data.train.x, data.train.y).isnan()


def by_hand(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets)


def test_whole_numbers_stay_where_a_loss_takes_them() -> None:
    assert taken((X, Y), loss_fn=by_hand).train.y.dtype == torch.int64
    tokens = torch.arange(N * 2).reshape(N, 2) % 7
    data = taken(
        (tokens.to(torch.int16).numpy(), Y),
        lambda: nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 3)),
    )
    assert data.train.x.dtype == torch.int64


def drawn(k: int) -> Any:
    return X[k] + torch.randn(4), 0


def test_examples_that_change_from_one_reading_to_the_next_are_read_once_with_a_warning() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="differ from one reading to the next") as caught:
        data = own_task(Net, train=Read(drawn))[1]
    assert len(caught) == 1
    torch.manual_seed(0)
    plain = torch.stack([drawn(k)[0] for k in range(N)])
    assert_same(data, taken((plain, torch.zeros(N, dtype=torch.int64))))


def raising(error: Exception) -> Callable[[int], Any]:
    def read(k: int) -> Any:
        if k == 7:
            raise error
        return X[k], 0

    return read


WORDS = np.array(["ant", "bee", "cow"])[Y_ARRAY]
HIDDEN = np.ma.masked_less(X_ARRAY, X_ARRAY.min() + 0.01)
RAGGED = torch.nested.nested_tensor(list(X), layout=torch.jagged)
NESTED = [[1.0, 2.0], [3.0]] * 10
BROKEN = OSError("truncated\nfile 7.png")
PICTURE = Image.new("L", (2, 2))

REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "training data must be a pair (inputs, targets) of tensors or arrays"),
    "inputs alone": (X, "not of type Tensor"),
    "two examples in one tensor": (X[:2], "not of type Tensor"),
    "dictionary": ({"x": X, "y": Y}, "not of type dict"),
    "word": ("mnist", "not of type str"),
    "lengths differ": ((X, Y[:3]), "needs one target for each input, found inputs (20, 4), targets (3,)"),
    "no examples": ((X[:0], Y[:0]), "training data is empty"),
    "empty list": ([], "training data is empty"),
    "words": ((X, WORDS), "targets are strings: encode them as numbers, classes by y = np.un"),
    "words as objects": ((Column(WORDS.astype(object)), Y), "the inputs are strings"),
    "missing values": ((X, [None] * N), "the training part has targets that are NaN"),
    "dates": ((X, np.arange(N).astype("datetime64[D]")), "targets are of dtype datetime64[D]: convert them"),
    "objects": ((X, [object()] * N), "the targets are no numbers in rows of one length (TypeError"),
    "rows of different lengths": ((NESTED, Y), "the inputs are no numbers in rows of one length (ValueError"),
    "complex targets": ((X, Y.to(torch.complex64)), "the targets are complex: pass torch.view_as_real(y)"),
    "complex inputs": ((X.to(torch.complex64), Y), "of complex64: pass torch.view_as_real(x), real and"),
    "masked": ((HIDDEN, Y), "the inputs have masked entries: fill them, x.filled(0), or leave"),
    "sparse matrix": ((scipy.sparse.csr_matrix(X_ARRAY), Y), "inputs are a sparse matrix: pass x.toarray()"),
    "no numbers": ((X.to("meta"), Y), "on the device meta, which holds no numbers"),
    "nested": ((RAGGED, Y), "pass torch.nested.to_padded_tensor(x, 0.0)"),
    "whole numbers": ((X.long(), Y), "the model does not take inputs of int64: pass x.float()"),
    "bytes": ((X.abs().to(torch.uint8), Y), "does not take inputs of uint8: pass x.float()"),
    "loader": (DataLoader(PAIRS), "is a DataLoader: pass its data set, loader.dataset, and batch_size"),
    "stream": (Stream(), "training data (Stream) can only be iterated over: pass list(data)"),
    "generator": (iter(PAIRS), "can only be iterated over: pass list(data)"),
    "without length": (Endless(), "training data (Endless) has no __len__: give it one"),
    "length fails": (Read(drawn, "20"), "its length raised TypeError"),  # type: ignore[arg-type]
    "file is broken": (Read(raising(BROKEN)), "example 7 raised OSError: truncated file 7.png"),
    "key is missing": (Read(raising(KeyError("label"))), "reading example 7 raised KeyError: 'label'"),
    "index": (Subset(PAIRS, [0, 1, 99]), "reading example 2 raised IndexError"),
    "dictionaries": (Read(lambda k: {"a": X[k], "b": 0}), "example 0 is a dictionary of 'a', 'b': make"),
    "triples": (TensorDataset(X, X, Y), "example 0 is a tuple of 3: make it a pair (input, target)"),
    "without targets": (Read(lambda k: X[k]), "example 0 is of type Tensor: make it a pair"),
    "two inputs": (Read(lambda k: ((X[k], X[k]), 0)), "example 0 has several inputs: make them one tensor"),
    "named inputs": (Read(lambda k: ({"a": X[k]}, 0)), "example 0 has several inputs"),
    "shapes": (Read(lambda k: (torch.zeros(5 + k, 3), 0)), "(5, 3) in example 0 and (6, 3) in example 1: p"),
    "pictures": (Read(lambda k: (PICTURE, 0)), "are a PIL image: have torchvision.transforms.ToTensor()"),
    "named classes": (Read(lambda k: (X[k], "cat")), "in example 0 the targets are strings: encode them"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(form: str) -> None:
    data, expected = REFUSED[form]
    with pytest.raises(EvooptError) as caught:
        taken(data)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [0, 1])
def test_validation_data_with_fractions_where_the_training_data_have_none_are_refused(kind: int) -> None:
    whole = X.long()
    train, validation = ((whole, Y), (X, Y)) if kind == 0 else ((whole, Y), (whole, Y.float()))
    with pytest.raises(EvooptError, match=f"the {('inputs', 'targets')[kind]} are integers in training data"):
        own_task(Whole, by_hand, train=train, validation=validation)


class Whole(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


SPACE = {"lr": {"min": 1e-3, "max": 1e-2, "default": 1e-3}}
TRAINERS = {
    "gadam": lambda: Gadam(Net, population=3, generations=1, steps=2, batch_size=8),
    "genetic": lambda: GeneticTrainer(Net, population=4, generations=2),
    "pbt": lambda: PopulationBasedTraining(Net, SPACE, population=4, generations=1, steps=2, batch_size=8),
}  # fmt: skip


@pytest.mark.parametrize("trainer", TRAINERS)
def test_trainers_end_with_the_same_weights_and_leave_the_data_alone(trainer: str) -> None:
    x, y = X_ARRAY.astype(np.float64), Column(Y_ARRAY.astype(np.int16))
    kept = x.copy()
    model = TRAINERS[trainer]().fit((x, y), (list(x), y))
    plain = TRAINERS[trainer]().fit((X, Y), (X, Y))
    assert torch.equal(model.weight, plain.weight)  # type: ignore[arg-type]
    np.testing.assert_array_equal(x, kept)
