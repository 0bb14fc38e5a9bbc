"""Random changes to training images, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
