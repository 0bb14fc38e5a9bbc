"""The public data sets, normalised once, in memory, divided into parts; and random changes to images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evoopt.tasks.embedded import load_embedded
from evoopt.tasks.files import ImageFiles, read_images
from evoopt.tasks.splitting import fixed_division, split_data
from evoopt.tasks.task import DataOptions, TaskData

_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")


@dataclass(frozen=True)
class Normalisation:
    """Maps pixels to zero mean and unit variance per channel.

    Attributes:
        white: Largest pixel value.
        mean: Mean per channel of pixels scaled to [0, 1].
        std: Their standard deviation.
    """

    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise ``[n, channels, h, w]`` of any dtype to float32."""
        shape = (1, -1, 1, 1)
        return (
            pixels.float()
            .div_(self.white)
            .sub_(torch.tensor(self.mean).view(shape))
            .div_(torch.tensor(self.std).view(shape))
        )

    @property
    def black(self) -> tuple[float, ...]:
        """The value of a black pixel per channel."""
        return tuple(self(torch.zeros(1, len(self.mean), 1, 1)).flatten().tolist())


DIGITS = Normalisation(16, (0.3060,), (0.3767,))
MNIST = Normalisation(255, (0.1307,), (0.3081,))
FASHION_MNIST = Normalisation(255, (0.2860,), (0.3530,))
CIFAR10 = Normalisation(255, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

_IMAGE_SETS = {
    "mnist": (ImageFiles("mnist", "MNIST", "MNIST/raw", _IDX_FILES, (28, 28)), MNIST),
    "fashion_mnist": (
        ImageFiles("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", _IDX_FILES, (28, 28)),
        FASHION_MNIST,
    ),
    "cifar10": (
        ImageFiles("cifar10", "CIFAR10", "cifar-10-batches-py", _CIFAR10_FILES, (32, 32, 3)),
        CIFAR10,
    ),
}


def load_digits(options: DataOptions, normalisation: Normalisation = DIGITS) -> TaskData:
    """Load scikit-learn's 1,797 embedded 8x8 digits; 360 of them, the same for every seed, are the test part.

    Inputs are ``[n, 1, 8, 8]``.
    """
    pixels, labels = load_embedded("digits")
    images = torch.from_numpy(pixels).view(-1, 1, 8, 8)
    test = fixed_division(labels, 360)
    return split_data(images[~test], labels[~test], images[test], labels[test], options, normalisation)


@functools.cache  # tasks on the same data share one loader, by which a comparison knows them
def image_set_loader(
    name: str, normalisation: Normalisation | None = None
) -> Callable[[DataOptions], TaskData]:
    """Return the loader of ``"mnist"``, ``"fashion_mnist"`` (``[n, 1, 28, 28]``) or ``"cifar10"``.

    Args:
        name: Of the data set.
        normalisation: Of the pixels, by default to zero mean and unit variance.
    """
    files, usual = _IMAGE_SETS[name]
    normalisation = normalisation or usual

    def load(options: DataOptions) -> TaskData:
        arrays = read_images(files, options)
        train, test = (
            (_channels_first(arrays[f"x_{part}"]), arrays[f"y_{part}"].astype(np.int64))
            for part in ("train", "test")
        )
        return split_data(*train, *test, options, normalisation)

    return load


def crop_and_flip(
    images: Tensor, generator: torch.Generator, *, padding: int, fill: Sequence[float]
) -> Tensor:
    """Shift each image by up to `padding` pixels and mirror every other one, each independently.

    Equals torchvision's RandomCrop of the image's own size, padded by zeros before normalisation, followed by
    RandomHorizontalFlip.

    Args:
        images: Normalised batch ``[n, channels, h, w]`` on any device; not changed.
        generator: CPU generator, the only source of randomness: vertical offsets, horizontal offsets, flips.
        padding: Largest shift in pixels.
        fill: Normalised value of a black pixel per channel ``[channels]``.

    Returns:
        A new batch of the same shape, dtype and device.
    """
    n, channels, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, n), generator=generator).to(images.device)
    flips = torch.randint(0, 2, (n,), generator=generator).bool().to(images.device)
    background = torch.tensor(fill, dtype=torch.float32).to(images).view(1, channels, 1, 1)
    padded = background.repeat(n, 1, height + 2 * padding, width + 2 * padding)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    cropped = windows[torch.arange(n, device=images.device), :, offsets[0], offsets[1]]
    return torch.where(flips.view(n, 1, 1, 1), cropped.flip(3), cropped)


def _channels_first(images: np.ndarray) -> Tensor:
    stacked = torch.from_numpy(images)
    return stacked.permute(0, 3, 1, 2).contiguous() if stacked.ndim == 4 else stacked.unsqueeze(1)
