"""Random small models of the kinds that people bring, each from its number."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random

import torch
from torch import Tensor, nn

MISFIT = 0.03  # how often a layer expects another width than it gets


def random_model(seed: int, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A model for inputs of ``shape`` (tokens below 11 where that is empty) with ``outputs`` outputs.

    Its structure follows from the seed, its weights from torch's global random state.
    """
    rng = Random(seed)
    if not shape:
        return Tokens(rng, outputs)
    if rng.random() < 0.25:
        return rng.choice(CUSTOM)(rng, shape, outputs)
    layers = [*_features(rng, shape), *_head(rng, outputs)]
    model = nn.Sequential(*layers)
    return nn.Sequential(model[:2], *layers[2:]) if rng.random() < 0.1 else model


def _features(rng: Random, shape: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    if rng.random() < 0.1:
        layers.append(_activation(rng))  # the first layer sees the data themselves
    for _ in range(rng.randint(0, 4)):
        kinds = _IMAGE if len(shape) == 3 else _VECTOR
        layer = rng.choice(kinds)(rng, shape)
        behind = _behind(layer, shape)
        if behind is None and rng.random() > MISFIT:
            continue
        shape = behind or shape
        layers.append(layer)
        if rng.random() < 0.5:
            layers.append(_activation(rng))
        if rng.random() < 0.03 and _behind(layer, shape) == shape:
            layers.append(layer)  # the same layer once more
    if len(shape) > 1 and rng.random() < 0.97:
        layers.append(nn.Flatten())
        shape = (torch.Size(shape).numel(),)
    layers.append(nn.Linear(_width(rng, shape[-1]), 6, bias=rng.random() < 0.8))
    return layers


def _head(rng: Random, outputs: int) -> Iterator[nn.Module]:
    yield _activation(rng)
    yield nn.Linear(6, outputs, bias=rng.random() < 0.8)
    if rng.random() < 0.05:
        yield rng.choice([nn.ReLU(inplace=True), nn.Sigmoid(), nn.Dropout(0.2), nn.LogSoftmax(dim=-1)])


_BEHIND: dict[tuple[str, tuple[int, ...]], tuple[int, ...] | None] = {}


def _behind(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Shape of an example behind a layer, None if the layer cannot be there; a model is made many times."""
    key = (repr(layer), shape)
    if key not in _BEHIND:
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                out = copy.deepcopy(layer)(torch.zeros(2, *shape))  # running statistics must stay
            _BEHIND[key] = tuple(out.shape[1:])
        except (RuntimeError, ValueError, IndexError):
            _BEHIND[key] = None
    return _BEHIND[key]


def _width(rng: Random, size: int) -> int:
    return max(1, size + rng.choice([-1, 1, size])) if rng.random() < MISFIT else size


def _activation(rng: Random) -> nn.Module:
    inplace = rng.random() < 0.4
    plain = (nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus, nn.Identity)
    return rng.choice(
        [lambda: nn.ReLU(inplace)] * 4
        + [lambda: nn.LeakyReLU(0.1, inplace), lambda: nn.ELU(inplace=inplace), lambda: nn.SiLU(inplace)]
        + [lambda: nn.Hardtanh(inplace=inplace), lambda: nn.ReLU6(inplace), lambda: rng.choice(plain)()]
        + [lambda: nn.Dropout(rng.choice([0.0, 0.3, 1.0]), inplace), lambda: nn.PReLU()]
    )()  # fmt: skip


def _norm(rng: Random, kind: Callable[..., nn.Module], width: int) -> nn.Module:
    momentum = rng.choice([0.1, 0.1, 0.5, None])
    return kind(width, momentum=momentum, affine=rng.random() < 0.8, track_running_stats=rng.random() < 0.9)


def _pair(rng: Random, low: int, high: int) -> int | tuple[int, int]:
    return rng.randint(low, high) if rng.random() < 0.6 else (rng.randint(low, high), rng.randint(low, high))


def _convolution(rng: Random, shape: tuple[int, ...]) -> nn.Module:
    groups = shape[0] if rng.random() < 0.1 else 1
    return nn.Conv2d(
        _width(rng, shape[0]) if groups == 1 else shape[0],
        groups * rng.randint(1, 4), _pair(rng, 1, 3), rng.choice([1, 1, 1, 2, (1, 2)]),
        padding=rng.choice([0, 1, 2, (0, 1), (2, 1)]), dilation=rng.choice([1] * 8 + [2]), groups=groups,
        bias=rng.random() < 0.7, padding_mode=rng.choice(["zeros"] * 9 + ["circular"]),
    )  # fmt: skip


def _pooling(rng: Random, shape: tuple[int, ...]) -> nn.Module:
    kernel, stride = _pair(rng, 1, 3), rng.choice([None, 1, 2, (2, 1)])
    kind = rng.randrange(5)
    if kind < 3:
        return nn.MaxPool2d(
            kernel, stride, rng.choice([0, 0, 1]), rng.choice([1] * 8 + [2]), ceil_mode=rng.random() < 0.1
        )
    if kind == 3:
        return nn.AvgPool2d(kernel, stride, rng.choice([0, 0, 1]), ceil_mode=rng.random() < 0.1)
    return rng.choice([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])(_pair(rng, 1, 3))


_IMAGE: list[Callable[[Random, tuple[int, ...]], nn.Module]] = [
    _convolution,
    _convolution,
    _convolution,
    _pooling,
    _pooling,
    lambda rng, shape: _norm(rng, nn.BatchNorm2d, shape[0]),
    lambda rng, shape: nn.ZeroPad2d(rng.choice([1, (0, 1, 2, 0), (-1, 0, 1, 0)])),
    lambda rng, shape: nn.Dropout2d(0.3),
    lambda rng, shape: nn.GroupNorm(1, shape[0]),
    lambda rng, shape: nn.Upsample(scale_factor=2),
]
_VECTOR: list[Callable[[Random, tuple[int, ...]], nn.Module]] = [
    lambda rng, shape: nn.Linear(_width(rng, shape[-1]), rng.choice([1, 2, 3, 5, 8, 17]), rng.random() < 0.8),
    lambda rng, shape: nn.Linear(shape[-1], shape[-1]),
    lambda rng, shape: _norm(rng, nn.BatchNorm1d, shape[0]),
    lambda rng, shape: nn.LayerNorm(shape[-1]),
    lambda rng, shape: nn.Dropout(0.4),
    lambda rng, shape: nn.Flatten(),
    lambda rng, shape: nn.Unflatten(1, (1, shape[0])),
]


class Tokens(nn.Module):
    """Embedded tokens, their mean, a head that may be the embedding once more."""

    def __init__(self, rng: Random, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=rng.choice([None, 0]))
        self.norm = nn.LayerNorm(6) if rng.random() < 0.5 else nn.Identity()
        self.head = nn.Linear(6, outputs)
        if rng.random() < 0.2:
            self.extra = nn.Linear(6, 11, bias=False)
            self.extra.weight = self.embedding.weight
            self.head = nn.Linear(11, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embedding(x))
        x = x.mean(dim=1) if x.dim() == 3 else x
        return self.head(self.extra(x) if hasattr(self, "extra") else x)


class _Custom(nn.Module):
    def __init__(self, rng: Random, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        width = torch.Size(shape).numel()
        self.first = nn.Linear(_width(rng, width), 6)
        self.inner = nn.Linear(6, 6)
        self.head = nn.Linear(6, outputs)
        self.act = _activation(rng)


class Residual(_Custom):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.head(x + self.act(self.inner(x)))


class Twice(_Custom):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.act(self.inner(self.first(x.flatten(1))))))


class ChangesItsInput(_Custom):
    def forward(self, x: Tensor) -> Tensor:
        x *= 0.5
        x += 1
        return self.head(self.act(self.first(x.flatten(1))))


class Unused(_Custom):
    """Layers that the outputs do not depend on, frozen weights, one output dimension that is dropped."""

    def __init__(self, rng: Random, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(rng, shape, outputs)
        self.first.weight.requires_grad_(rng.random() < 0.5)
        self.squeezes = rng.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.act(self.first(x.flatten(1))))
        return x.squeeze(-1) if self.squeezes else x


class Ema(_Custom):
    """A buffer that is assigned anew, and one that changes in place."""

    def __init__(self, rng: Random, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(rng, shape, outputs)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.anew = rng.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        if self.training and self.anew:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        elif self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
            self.seen += 1
        return self.head(self.act(x - self.mean))


class Decides(_Custom):
    """Control flow that depends on numbers."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.head(self.act(x) if x.mean() > 0 else x)


class Attention(_Custom):
    def __init__(self, rng: Random, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(rng, shape, outputs)
        self.norm = nn.LayerNorm(6)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x.flatten(1))).unsqueeze(-1)
        x = torch.softmax(self.scale * x @ x.transpose(1, 2), dim=-1) @ x
        return self.head(x.squeeze(-1))


class Recurrent(_Custom):
    def __init__(self, rng: Random, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(rng, shape, outputs)
        self.cell = rng.choice([nn.GRU, nn.LSTM, nn.RNN])(3, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).unflatten(1, (2, 3))
        return self.head(self.cell(x)[0][:, -1])


CUSTOM: list[Callable[[Random, tuple[int, ...], int], nn.Module]] = [
    Residual, Twice, ChangesItsInput, Unused, Ema, Decides, Attention, Recurrent
]  # fmt: skip
