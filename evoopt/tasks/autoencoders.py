"""Images to be reconstructed through a narrow layer: the targets are the pixels themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import nn

from evoopt.tasks.datasets import Normalisation, image_set_loader, load_digits
from evoopt.tasks.metrics import pixel_variance
from evoopt.tasks.models import MLP
from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData

Loader = Callable[[DataOptions], TaskData]


def reconstruction(load: Loader) -> Loader:
    """A loader of the same inputs ``[n, ...]`` in the same parts, with targets ``[n, pixels]`` like them."""

    def load_pixels(options: DataOptions) -> TaskData:
        data = load(options)
        # The test part is turned over, not looked at.
        test = SealedSplit(_reconstructed(data.test._split), options.unseal_test)
        return TaskData(_reconstructed(data.train), _reconstructed(data.validation), test)

    return load_pixels


def _reconstructed(split: Split) -> Split:
    return Split(split.x, split.x.flatten(1))


def _to_unit(white: float) -> Normalisation:
    return Normalisation(white, (0.0,), (1.0,))


def _autoencoder(name: str, load: Loader, batch_size: int, title: str, *widths: int) -> Task:
    there_and_back = (*widths, *reversed(widths[:-1]))
    return Task(
        name,
        partial(MLP, *there_and_back, activation=nn.Tanh),
        reconstruction(load),
        batch_size=batch_size,
        loss=F.binary_cross_entropy_with_logits,
        metric=pixel_variance,
        description=f"{title}, autoencoder {'-'.join(map(str, there_and_back))} with tanh",
        family="autoencoders",
    )


AUTOENCODERS = (
    _autoencoder(
        "digits_autoencoder", partial(load_digits, normalisation=_to_unit(16)), 32,
        "scikit-learn's 8x8 digits (embedded)", 64, 32, 8,
    ),
    _autoencoder(
        "mnist_autoencoder", image_set_loader("mnist", _to_unit(255)), 128, "MNIST", 784, 256, 64, 16
    ),
)  # fmt: skip
"""Mean binary cross-entropy per pixel is learned, the explained variance of the pixels is scored."""
