from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from evoopt.errors import EvooptError
from evoopt.tasks import Task, get_task
from evoopt.tasks.rescaling import RANGE, Rescaled
from evoopt.training.streams import initial_model


def pair(name: str, seed: int) -> tuple[nn.Module, Rescaled]:
    models = [initial_model(get_task(one), seed) for one in (name, f"{name}@rescaled")]
    assert isinstance(models[1], Rescaled)
    return models[0], models[1]


@pytest.mark.parametrize("name", ["digits", "digits_cnn", "digits_rows", "associative_memory"])
def test_a_rescaled_model_computes_what_the_model_of_its_seed_computes(name: str) -> None:
    model, scaled = pair(name, seed=3)
    x = torch.randn(4, 64) if name == "associative_memory" else torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(scaled(x), model(x))
    for own, stored in zip(model.parameters(), scaled.parameters(), strict=True):
        assert own.requires_grad or torch.equal(own, stored)


def test_gradients_are_multiplied_by_the_scales() -> None:
    model, scaled = pair("digits", seed=3)
    x = torch.randn(4, 1, 8, 8)
    for one in (model, scaled):
        one(x).square().sum().backward()
    for own, stored, scale in zip(model.parameters(), scaled.parameters(), scaled.buffers(), strict=True):
        assert own.grad is not None
        torch.testing.assert_close(stored.grad, own.grad * scale, rtol=1e-4, atol=1e-4)


def test_scales_are_of_the_model_of_tensors_or_of_weights_and_follow_from_the_seed() -> None:
    levels: Counter[str] = Counter()
    for seed in range(60):
        scales = list(pair("digits", seed)[1].buffers())
        everything = torch.cat([scale.flatten() for scale in scales])
        assert 1 / RANGE <= everything.min() <= everything.max() <= RANGE
        assert all(map(torch.equal, scales, pair("digits", seed)[1].buffers()))
        distinct = len(everything.unique())
        levels["model" if distinct == 1 else "tensors" if distinct == len(scales) else "weights"] += 1
    assert set(levels) == {"model", "tensors", "weights"}
    assert min(levels.values()) >= 10


def test_any_task_may_be_rescaled_and_keeps_its_data(tmp_path: Path) -> None:
    task = get_task("digits@rescaled")
    assert task == Task("digits@rescaled", task.make_model, get_task("digits").load, 32)
    path = tmp_path / "mine.py"
    path.write_text("from evoopt.tasks import get_task\ndef make(): return get_task('digits')")
    assert get_task(f"{path}:make@rescaled").name == "digits@rescaled"
    with pytest.raises(EvooptError, match=r"'digts'. Did you mean 'digits'"):
        get_task("digts@rescaled")
