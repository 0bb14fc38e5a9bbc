"""What two processes do with an optimizer, each way equal to one process that has all the data."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from evoopt.integrations import parameter_groups
from tests.export.subjects import make
from tests.integrations.problem import SOME

PROCESSES, STEPS = 2, 4

Make = Callable[[Any], Optimizer]


def make_model() -> nn.Sequential:
    """Sizes that two processes cannot share equally; one of them has no part in the last bias."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def train(
    model: nn.Module, optimizer: Optimizer, first: int = 0, last: int = STEPS, split: bool = True
) -> None:
    """Steps on minibatches of four, of which each process has two if they are split."""
    for step in range(first, last):
        batch = torch.randn(4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        part = batch[dist.get_rank() :: PROCESSES] if split else batch
        optimizer.zero_grad()
        (model(part) - part[:, :1]).square().mean().backward()
        optimizer.step()


def whole(model: nn.Module) -> list[Tensor]:
    """The weights, put together from the processes."""
    return [(p.full_tensor() if isinstance(p, DTensor) else p).detach() for p in model.parameters()]


def alone(make: Make) -> list[Tensor]:
    model = make_model()
    train(model, make(parameter_groups(model)), split=False)
    return whole(model)


def data_parallel(make: Make, folder: Path) -> list[Tensor]:
    model = DistributedDataParallel(make_model())
    train(model, make(parameter_groups(model)))
    return whole(model)


def sharded() -> nn.Sequential:
    model = make_model()
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer)
    return fully_shard(model)


def fully_sharded(make: Make, folder: Path) -> list[Tensor]:
    model = sharded()
    train(model, make(parameter_groups(model)))
    return whole(model)


def tensor_parallel(make: Make, folder: Path) -> list[Tensor]:
    # Of every layer, since foreach takes no mixture of plain and distributed tensors, torch's own neither.
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel(), "4": RowwiseParallel(input_layouts=Replicate())}
    model = parallelize_module(make_model(), init_device_mesh("cpu", (PROCESSES,)), plan)
    train(model, make(parameter_groups(model)), split=False)
    return whole(model)


def zero_redundancy(make: Make, folder: Path) -> list[Tensor]:
    """Each process keeps the state of some parameters; once gathered, another training goes on from it."""

    def begun() -> tuple[nn.Module, Any]:
        model = DistributedDataParallel(make_model())
        return model, ZeroRedundancyOptimizer(parameter_groups(model), make)

    model, optimizer = begun()
    train(model, optimizer, last=2)
    optimizer.consolidate_state_dict(to=0)
    box = [optimizer.state_dict() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box)
    resumed, again = begun()
    resumed.load_state_dict(model.state_dict())
    again.load_state_dict(box[0])
    train(resumed, again, first=2)
    return whole(resumed)


def distributed_checkpoint(make: Make, folder: Path) -> list[Tensor]:
    """A sharded training that another one goes on from."""
    model = sharded()
    optimizer = make(parameter_groups(model))
    train(model, optimizer, last=2)
    state, optimizer_state = get_state_dict(model, optimizer)
    dcp.save({"model": state, "optimizer": optimizer_state}, checkpoint_id=folder)
    resumed = sharded()
    again = make(parameter_groups(resumed))
    state, optimizer_state = get_state_dict(resumed, again)
    loaded = {"model": state, "optimizer": optimizer_state}
    dcp.load(loaded, checkpoint_id=folder)
    set_state_dict(resumed, again, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
    train(resumed, again, first=2)
    return whole(resumed)


WAYS = (data_parallel, fully_sharded, tensor_parallel, zero_redundancy, distributed_checkpoint)


def main(rank: int, folder: str) -> None:
    """Try every way with every class, and write what went wrong, or nothing, to a file."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    outcomes: dict[str, str] = {}
    for name, cls in SOME.items():
        for foreach in (False, True):

            def made(params: Any, cls: Any = cls, foreach: bool = foreach) -> Optimizer:
                return make(cls, params, total_steps=STEPS, foreach=foreach)

            expected = alone(made)
            for way in WAYS:
                case = f"{way.__name__}-{name}-{foreach}"
                try:
                    found = way(made, Path(folder) / case)
                    torch.testing.assert_close(found, expected)
                    outcomes[case] = ""
                except Exception:
                    outcomes[case] = traceback.format_exc()
    Path(folder, f"{rank}.json").write_text(json.dumps(outcomes))
    dist.barrier()
    dist.destroy_process_group()
    # Threads of gloo may outlive the groups and abort an interpreter that ends: it does not get to that.
    os._exit(0)
