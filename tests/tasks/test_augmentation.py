from __future__ import annotations

import pytest
import torch

from evoopt.tasks import TASKS
from evoopt.tasks.datasets import CIFAR10, Normalisation, crop_and_flip

PADDING = 4


def pixels(n: int = 64, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


def augmented(images: torch.Tensor, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return crop_and_flip(images, generator, padding=PADDING, fill=CIFAR10.black)


def image_by_image(raw: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """The same draws, one image after another, with torchvision on pixels, normalised afterwards."""
    from torchvision.transforms import functional as tv  # takes seconds

    n, _, height, width = raw.shape
    generator = torch.Generator().manual_seed(seed)
    tops, lefts = torch.randint(0, 2 * PADDING + 1, (2, n), generator=generator).tolist()
    flips = torch.randint(0, 2, (n,), generator=generator).tolist()
    results = []
    for image, top, left, flip in zip(raw, tops, lefts, flips):
        result = tv.crop(tv.pad(image, [PADDING] * 4), top, left, height, width)
        results.append(tv.hflip(result) if flip else result)
    return CIFAR10(torch.stack(results))


def test_equals_torchvision_on_pixels_before_normalisation_bit_for_bit() -> None:
    assert torch.equal(augmented(CIFAR10(pixels())), image_by_image(pixels()))


def test_float64_is_kept_and_equals_the_float32_result() -> None:
    images = CIFAR10(pixels())
    result = augmented(images.double())
    assert result.dtype == torch.float64
    assert torch.equal(result, augmented(images).double())


def test_input_is_left_unchanged() -> None:
    images = CIFAR10(pixels())
    before = images.clone()
    augmented(images)
    assert torch.equal(images, before)


def test_only_the_given_generator_decides() -> None:
    images = CIFAR10(pixels())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = augmented(images)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(augmented(images), first)
    assert not torch.equal(augmented(images, seed=2), first)


def test_shifts_and_flips_are_uniform_and_independent_per_image() -> None:
    n = 20_000
    marked = torch.zeros(n, 1, 9, 9)
    marked[:, :, 4, 3] = 1.0  # off centre, so that a flip shows in the range of columns
    moved = crop_and_flip(marked, torch.Generator().manual_seed(0), padding=2, fill=[0.0])
    rows, columns = moved.flatten(1).argmax(1) // 9, moved.flatten(1).argmax(1) % 9
    assert (moved.sum((1, 2, 3)) == 1).all()
    counts = torch.zeros(9, 9)
    counts.index_put_((rows, columns), torch.ones(n), accumulate=True)
    # Columns 1..5 come from shifts, 3..7 from shifts that are flipped; 5 rows, two flips: 50 equal cells.
    once, twice = n / 50, 2 * n / 50
    expected = torch.tensor([0, once, once, twice, twice, twice, once, once, 0])
    grid = torch.zeros(9, 9)
    grid[2:7] = expected
    assert (counts - grid).abs().max() < 6 * twice**0.5
    assert (counts[grid == 0] == 0).all()


def test_single_image_and_non_square_images_keep_their_shape() -> None:
    images = torch.rand(1, 2, 5, 7)
    assert crop_and_flip(images, torch.Generator(), padding=1, fill=[0.0, 0.0]).shape == images.shape


def test_black_pixels_stay_black_after_normalisation() -> None:
    normalise = Normalisation(255, (0.5, 0.25), (0.5, 0.125))
    assert normalise.black == (-1.0, -2.0)


def test_cifar10_task_augments_as_published() -> None:
    augment = TASKS["cifar10"].augment
    assert augment is not None
    assert torch.equal(
        augment(CIFAR10(pixels()), torch.Generator().manual_seed(1)), augmented(CIFAR10(pixels()))
    )


def test_only_colour_images_are_augmented_those_of_keras_models_by_a_tenth_of_their_width() -> None:
    augmented_tasks = {name for name, task in TASKS.items() if task.augment is not None}
    assert augmented_tasks == {"cifar10", "cifar10_resnet20", "cifar10_capsnet"}
    white = torch.full((400, 3, 32, 32), 9.0)
    for name in ("cifar10_resnet20", "cifar10_capsnet"):
        augment = TASKS[name].augment
        assert augment is not None
        covered = (augment(white, torch.Generator().manual_seed(0))[:, 0] == 9).sum(dim=(1, 2))
        assert covered.min() == 29 * 29
        assert covered.max() == 32 * 32


@pytest.mark.cuda
def test_result_on_a_gpu_equals_that_on_the_cpu() -> None:
    images = CIFAR10(pixels())
    result = augmented(images.cuda())
    assert result.is_cuda
    assert torch.equal(result.cpu(), augmented(images))
