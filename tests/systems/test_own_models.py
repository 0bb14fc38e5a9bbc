"""What the classes for people's own models and data have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoopt import Gadam, GeneticTrainer, PopulationBasedTraining
from evoopt.errors import EvooptError
from evoopt.execution import check_device


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def gadam(make: Callable[[], nn.Module] = make_model, **options: Any) -> Gadam:
    return Gadam(make, population=3, generations=2, steps=5, **options)


def pbt(make: Callable[[], nn.Module] = make_model, **options: Any) -> PopulationBasedTraining:
    space = {"lr": {"min": 1e-4, "max": 0.1, "default": 1e-2}}
    return PopulationBasedTraining(make, space, population=3, generations=2, steps=5, **options)


def genetic(make: Callable[[], nn.Module] = make_model, **options: Any) -> GeneticTrainer:
    return GeneticTrainer(make, population=4, generations=2, **options)


every_class = pytest.mark.parametrize("make", [gadam, pbt, genetic])


def examples(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(dtype), (x[:, 0] > 0).long()


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@every_class
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device 'gpu' is unknown: write cpu, cuda or cuda:N"),
        ("cuda:99", r"device 'cuda:99' is not available: torch sees \d+ CUDA devices?; use cpu, or install"),
        (torch.device("meta"), "device 'meta' is unknown"),
    ],
)
def test_a_device_that_is_not_there_is_refused_at_once(
    make: Callable[..., Any], device: Any, message: str
) -> None:
    with pytest.raises(EvooptError, match=f"^{message}"):
        make(device=device)


def test_no_cuda_device_is_said_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        EvooptError, match=r"^device 'cuda' is not available: torch sees 0 CUDA devices; use cpu"
    ):
        check_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [check_device(d) for d in ("cuda", "cuda:1", torch.device("cpu"))] == ["cuda", "cuda:1", "cpu"]


@every_class
def test_models_of_doubles_are_trained_in_doubles(make: Callable[..., Any], double: None) -> None:
    model = make().fit(examples(torch.float64))
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    if make is not genetic:
        expected = make(engine="reference").fit(examples(torch.float64))
        for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@every_class
def test_products_are_in_the_precision_that_is_asked_for(make: Callable[..., Any]) -> None:
    told: list[bool] = []

    def telling() -> nn.Module:
        model = make_model()
        model.register_forward_hook(lambda *_: told.append(torch.is_autocast_enabled("cpu")))
        return model

    of_torch = {} if make is genetic else {"engine": "reference"}
    for precision in ("bf16", "full"):
        told.clear()
        trainer = make(make=telling, precision=precision, **of_torch)
        with torch.autocast("cpu", torch.bfloat16):  # what one is in oneself does not count
            trainer.fit(examples(torch.float32), examples(torch.float32))
        assert set(told[len(told) // 2 :]) == {precision == "bf16"}  # before, the model is tried out as it is
    with pytest.raises(EvooptError, match="'tf32' needs a CUDA device"):
        make(precision="tf32")
    with pytest.raises(EvooptError, match="unknown precision 'half'"):
        make(precision="half")


@pytest.mark.parametrize("make", [gadam, pbt])
def test_the_part_held_out_can_be_set(make: Callable[..., Any]) -> None:
    x, y = examples(torch.float32)
    few, many = (make(validation_fraction=part) for part in (0.1, 0.5))
    a, b = (list(one.fit((x, y)).parameters()) for one in (few, many))
    assert not torch.equal(a[0], b[0])
    with pytest.raises(EvooptError, match=r"training.validation_fraction"):
        make(validation_fraction=1.0)


@pytest.mark.parametrize("make", [gadam, pbt])
def test_nothing_is_held_out_where_validation_data_are_given(make: Callable[..., Any]) -> None:
    x, y = examples(torch.float32)
    one = make(validation_fraction=0.0)
    with pytest.raises(EvooptError, match="nothing selects: pass validation data"):
        one.fit((x, y))
    expected = make().fit((x, y), (x[:9], y[:9]))
    found = one.fit((x, y), (x[:9], y[:9]))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


def test_gadam_may_select_on_training_data_alone_as_published() -> None:
    x, y = examples(torch.float32)
    assert gadam(validation="train", validation_fraction=0.0).fit((x, y)) is not None
