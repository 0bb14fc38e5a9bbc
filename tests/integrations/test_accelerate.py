"""accelerate takes exported classes as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.optim import Marfinetz2025
from tests.export.subjects import make
from tests.integrations.problem import BATCHES, SOME, loader, loss_of, make_model, plain_loop, weights

pytestmark = pytest.mark.slow
some_classes = pytest.mark.parametrize("cls", SOME.values(), ids=SOME)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """accelerate keeps its options for the whole process."""
    state = pytest.importorskip("accelerate.state", reason="needs accelerate")
    state.AcceleratorState._reset_state(reset_partial_state=True)
    state.GradientState._reset_state()


class Training:
    """The loop of accelerate's tutorial."""

    def __init__(self, cls: type[Any], total_steps: int, **options: Any) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=True, **options)
        model = make_model()
        optimizer = make(cls, model.parameters(), total_steps=total_steps)
        self.model, self.optimizer, self.loader = self.accelerator.prepare(model, optimizer, loader())

    def epoch(self) -> list[Tensor]:
        for batch in self.loader:
            with self.accelerator.accumulate(self.model):
                self.accelerator.backward(loss_of(self.model, batch))
                self.optimizer.step()
                self.optimizer.zero_grad()
        return weights(self.accelerator.unwrap_model(self.model))


@pytest.mark.parametrize("accumulate", [1, 3])
@some_classes
def test_a_training_equals_that_of_a_plain_loop(cls: type[Any], accumulate: int) -> None:
    total_steps = BATCHES // accumulate  # of the optimizer, not batches
    training = Training(cls, total_steps, gradient_accumulation_steps=accumulate)
    model = make_model()
    expected = plain_loop(model, make(cls, model.parameters(), total_steps=total_steps), accumulate)
    torch.testing.assert_close(training.epoch(), expected)


@some_classes
def test_bfloat16_moves_float32_weights(cls: type[Any]) -> None:
    before = weights(make_model())
    after = Training(cls, BATCHES, mixed_precision="bf16").epoch()
    assert {p.dtype for p in after} == {torch.float32}
    assert all(bool(torch.isfinite(p).all() and (p != old).any()) for p, old in zip(after, before))


@some_classes
def test_a_training_goes_on_exactly_from_save_state(cls: type[Any], tmp_path: Path) -> None:
    whole = Training(cls, 2 * BATCHES)
    whole.epoch()
    whole.accelerator.save_state(tmp_path)
    resumed = Training(cls, 2 * BATCHES)
    resumed.accelerator.load_state(tmp_path)
    torch.testing.assert_close(resumed.epoch(), whole.epoch(), rtol=0, atol=0)


def test_a_prepared_scheduler_drives_the_learning_rate() -> None:
    training = Training(Marfinetz2025, 1)
    optimizer = Marfinetz2025(training.model.parameters(), lr=0.5, schedule=False)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=2)
    training.optimizer, scheduler = training.accelerator.prepare(optimizer, scheduler)
    for batch in list(training.loader)[:2]:
        training.accelerator.backward(loss_of(training.model, batch))
        training.optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.25
