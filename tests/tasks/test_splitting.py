from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions, split_data
from evoopt.tasks.splitting import fixed_division, split_indices

GOLDEN_TRAIN = [1, 3, 10, 11, 13, 14, 15, 17, 18]
GOLDEN_VALIDATION = [2, 5, 8]
GOLDEN_DIVISION = [2, 3, 11, 13, 16, 21]


def classes(n: int, k: int = 10) -> torch.Tensor:
    return torch.arange(n) % k


@given(
    targets=st.lists(st.integers(0, 4), min_size=12, max_size=200),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**40),
    left_out=st.integers(0, 2),
)
def test_parts_are_disjoint_of_the_asked_sizes_and_stratified(
    targets: list[int], fraction: float, seed: int, left_out: int
) -> None:
    size = len(targets) - left_out
    y = torch.tensor(targets)
    train, validation = split_indices(y, DataOptions(None, size, fraction, seed))
    assert len(train) + len(validation) == size == len(set(train.tolist()) | set(validation.tolist()))
    assert len(validation) == round(size * fraction)
    kept = torch.bincount(y[torch.cat([train, validation])], minlength=5)
    share = len(validation) / size
    held_out = torch.bincount(y[validation], minlength=5)
    assert ((held_out - kept * share).abs() < 1).all()


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    y = classes(500)
    first, again, other = (split_indices(y, DataOptions(None, 300, 0.2, seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_split_of_a_seed_never_changes() -> None:
    train, validation = split_indices(classes(20, 2), DataOptions(None, 12, 0.25, seed=42))
    assert validation.tolist() == GOLDEN_VALIDATION
    assert train.tolist() == GOLDEN_TRAIN


def test_large_subset_contains_the_smaller_one_of_the_same_seed() -> None:
    y = classes(100)
    small, large = (split_indices(y, DataOptions(None, size, 0.0))[0] for size in (30, 60))
    assert set(small.tolist()) < set(large.tolist())


def test_every_example_is_drawn_equally_often_into_subset_and_validation() -> None:
    subset, validation = torch.zeros(40), torch.zeros(40)
    for seed in range(2000):
        train, held_out = split_indices(classes(40), DataOptions(None, 20, 0.5, seed))
        subset[torch.cat([train, held_out])] += 1
        validation[held_out] += 1
    # Standard deviations of the counts are 22 (of 1,000) and 19 (of 500).
    assert (subset - 1000).abs().max() < 110
    assert (validation - 500).abs().max() < 95


def test_validation_fraction_zero_leaves_validation_empty() -> None:
    data = split_data(
        torch.rand(10, 3), classes(10), torch.rand(4, 3), classes(4), DataOptions(None, None, 0.0)
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 0, 4)


def test_parts_hold_the_rows_of_their_indices_and_test_data_stays_apart() -> None:
    x, y = torch.arange(50.0).unsqueeze(1), classes(50)
    x_test, y_test = -1 - torch.arange(7.0).unsqueeze(1), classes(7)
    options = DataOptions(train_size=40, unseal_test=True)
    data = split_data(x, y, x_test, y_test, options)
    train, validation = split_indices(y, options)
    for part, indices in ((data.train, train), (data.validation, validation)):
        assert torch.equal(part.x, x[indices])
        assert torch.equal(part.y, y[indices])
    assert torch.equal(data.test.open().x, x_test)
    assert torch.equal(data.test.open().y, y_test)


def test_numpy_arrays_become_float32_inputs_and_int64_classes() -> None:
    x, y = np.random.default_rng(0).random((10, 2)), np.arange(10, dtype=np.int32)
    data = split_data(x, y, x, y, DataOptions())
    assert (data.train.x.dtype, data.train.y.dtype) == (torch.float32, torch.int64)


def test_floating_point_targets_are_split_at_random_and_become_float32() -> None:
    x, y = torch.rand(20, 2), torch.rand(20, 3, dtype=torch.float64)
    data = split_data(x, y, x, y, DataOptions())
    assert (len(data.train), len(data.validation)) == (16, 4)
    assert data.train.y.dtype == torch.float32


def test_transform_is_applied_to_every_part_and_only_to_what_is_kept() -> None:
    seen: list[int] = []

    def negate(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(len(inputs))
        return -inputs

    x, y = torch.ones(30, 2), classes(30)
    options = DataOptions(train_size=20, unseal_test=True)
    data = split_data(x, y, x[:5], y[:5], options, negate)
    assert sorted(seen) == [4, 5, 16]
    for part in (data.train, data.validation, data.test.open()):
        assert (part.x == -1).all()


def test_data_are_sealed_unless_the_options_say_otherwise() -> None:
    x, y = torch.rand(10, 2), classes(10)
    with pytest.raises(EvooptError, match="sealed"):
        split_data(x, y, x, y, DataOptions()).test.open()


def test_train_size_above_what_there_is_tells_how_many_there_are() -> None:
    with pytest.raises(EvooptError, match=r"train_size 11 exceeds the 10 training examples"):
        split_indices(classes(10), DataOptions(train_size=11))


@pytest.mark.parametrize(
    ("size", "fraction", "empty"), [(2, 0.2, "validation"), (1, 0.9, "training"), (3, 0.9, "training")]
)
def test_fraction_that_empties_a_part_is_refused(size: int, fraction: float, empty: str) -> None:
    with pytest.raises(EvooptError, match=f"{size} examples leaves the {empty} part empty"):
        split_indices(classes(10), DataOptions(None, size, fraction))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((5, 4, 3, 3), "x_train has 5 examples but y_train has 4"),
        ((5, 5, 3, 2), "x_test has 3 examples but y_test has 2"),
        ((0, 0, 3, 3), "x_train and y_train are empty"),
        ((5, 5, 0, 0), "x_test and y_test are empty"),
    ],
)
def test_sizes_that_differ_are_named(sizes: tuple[int, int, int, int], message: str) -> None:
    a, b, c, d = sizes
    with pytest.raises(EvooptError, match=message):
        split_data(torch.rand(a, 2), classes(b), torch.rand(c, 2), classes(d), DataOptions())


def test_single_number_in_place_of_targets_is_refused() -> None:
    with pytest.raises(EvooptError, match="one row per example"):
        split_data(torch.rand(5, 2), torch.tensor(1), torch.rand(5, 2), classes(5), DataOptions())


def test_fixed_division_is_stratified_and_never_changes() -> None:
    mask = fixed_division(np.arange(30) % 3, 6)
    assert np.bincount(np.arange(30)[mask] % 3).tolist() == [2, 2, 2]
    assert np.flatnonzero(mask).tolist() == GOLDEN_DIVISION
