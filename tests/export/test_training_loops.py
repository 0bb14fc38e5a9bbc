"""Exported classes inside the machinery of real training loops: compilation, mixed precision, processes."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from evoopt.export import from_rule, write_export
from evoopt.optim import Marfinetz2025
from tests.counts import some
from tests.export.subjects import CLASSES, STAGED, make, regression, weight_and_bias
from tests.optim.test_staged_optimizer import EVERYTHING


def assert_compiled_equals_eager(cls: type[Any], **options: Any) -> None:
    torch._dynamo.reset()
    params, expected = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    optimizer, eager = make(cls, params, **options), make(cls, expected, **options)
    compiled = torch.compile(optimizer.step)
    for _ in range(5):
        regression(params)()
        regression(expected)()
        # A changing step or learning rate must not compile the step again.
        with torch._dynamo.config.patch(error_on_recompile=True):
            compiled()
        eager.step()
        # As in torch.optim, a compiled bias correction is computed from the float32 step: 1 - 0.999 is off by
        # 6e-5 of itself, its root by half as much, and a step of 1e-2 by 3e-7 for each such term.
        torch.testing.assert_close(params, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(optimizer.state_dict(), eager.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_compiled_step_equals_an_eager_one(foreach: bool) -> None:
    assert_compiled_equals_eager(Marfinetz2025, foreach=foreach)


COMPILED = {
    **some(CLASSES, "adamw", "lion", "every_term", "warmup"),
    **STAGED,
    "everything": from_rule(EVERYTHING, "Everything"),
}


@pytest.mark.slow
@pytest.mark.parametrize("foreach", [None, True])
@pytest.mark.parametrize("cls", COMPILED.values(), ids=COMPILED)
def test_a_compiled_step_of_every_class_equals_an_eager_one(cls: type[Any], foreach: bool | None) -> None:
    assert_compiled_equals_eager(cls, foreach=foreach)


@pytest.mark.slow
def test_a_compiled_step_follows_an_lr_scheduler_through_a_tensor_lr() -> None:
    torch._dynamo.reset()
    params, expected = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    lr = torch.tensor(0.01, dtype=torch.float64)
    optimizer = Marfinetz2025(params, lr=lr, schedule=False)
    eager = Marfinetz2025(expected, lr=0.01, schedule=False)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(opt, 0.5) for opt in (optimizer, eager)]
    compiled = torch.compile(optimizer.step)
    for _ in range(4):
        regression(params)()
        regression(expected)()
        with torch._dynamo.config.patch(error_on_recompile=True):
            compiled()
        eager.step()
        for scheduler in schedulers:
            scheduler.step()
        torch.testing.assert_close(params, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_grad_scaler_unscales_and_skips_infinite_gradients(cls: type[Any]) -> None:
    params, expected = weight_and_bias(), weight_and_bias()
    optimizer, unscaled = make(cls, params), make(cls, expected)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(3):
        regression(params)()
        for p in params:
            assert p.grad is not None
            p.grad.mul_(float("inf") if step == 1 else scaler.get_scale())
        before = copy.deepcopy(optimizer.state_dict())
        scaler.scale(torch.ones(()))  # the scaler asks to have seen a loss
        scaler.step(optimizer)
        scaler.update()
        if step == 1:
            assert scaler.get_scale() == 4.0
            torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
        else:
            unscaled.step(regression(expected))
        torch.testing.assert_close(params, expected, rtol=1e-5, atol=1e-6)


WORKER = """
import os
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from my_optimizer import MyOpt

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(4, 3))
optimizer = MyOpt(model.parameters(), total_steps=10)
for step in range(2):
    inputs = torch.full((2, 4), float(rank + step))  # each process sees other data
    optimizer.zero_grad()
    model(inputs).square().sum().backward()
    optimizer.step()
print([p.tolist() for p in model.parameters()], flush=True)
dist.destroy_process_group()
os._exit(0)  # a thread of PyTorch's that asks for the interpreter's lock while that ends aborts the process
"""


@pytest.mark.slow
def test_two_processes_under_distributed_data_parallel_stay_equal(tmp_path: Path) -> None:
    if not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    write_export("marfinetz2025", tmp_path / "my_optimizer.py", "MyOpt")
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "worker.py"]
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], cwd=tmp_path, stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    outputs = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert outputs[0] == outputs[1] != b""
    torch.manual_seed(0)
    initial = [p.tolist() for p in torch.nn.Linear(4, 3).parameters()]
    assert outputs[0].decode().strip() != str(initial)
