"""What people do today, written plainly: one model at a time, in a pool of processes or in a notebook."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from deap import base, tools
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.problems import PROBLEMS, Problem, data_of
from evoopt.tasks import TaskData

_loaded: dict[str, TaskData] = {}


class Fitness(base.Fitness):
    weights = (1.0,)


class Individual(list):
    def __init__(self, genes: list[float]) -> None:
        super().__init__(genes)
        self.fitness = Fitness()


def train_individual(job: tuple[Individual, str, int]) -> tuple[float]:
    """Baseline A: train one individual with eager `torch.optim.Adam` on tensors in memory."""
    individual, name, steps = job
    problem = PROBLEMS[name]
    if name not in _loaded:
        _loaded[name] = data_of(problem)
    data, size = _loaded[name], problem.batch_size
    torch.manual_seed(0)
    model = problem.make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=individual[0])
    model.train()
    order, position = torch.randperm(len(data.train)), 0
    for _ in range(steps):
        if position + size > len(order):
            order, position = torch.randperm(len(data.train)), 0
        index = order[position : position + size]
        position += size
        loss = F.cross_entropy(model(data.train.x[index]), data.train.y[index])
        if not math.isfinite(loss.item()):
            return (-1.0,)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = model(data.validation.x).argmax(dim=1) == data.validation.y
    return (float(hits.float().mean()),)


def _one_thread() -> None:
    torch.set_num_threads(1)


class DeapPool:
    """Baseline A: a DEAP toolbox whose ``map`` is that of a process pool, one individual per job."""

    def __init__(self, processes: int) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(processes, initializer=_one_thread)
        self._toolbox = base.Toolbox()
        self._toolbox.register("evaluate", train_individual)
        self._toolbox.register("map", self._pool.map, chunksize=1)

    def train(self, name: str, members: int, steps: int) -> None:
        population = [Individual([1e-3 * (1 + k / members)]) for k in range(members)]
        jobs = [(individual, name, steps) for individual in population]
        for individual, fitness in zip(
            population, self._toolbox.map(self._toolbox.evaluate, jobs), strict=True
        ):
            individual.fitness.values = fitness
        tools.selBest(population, 1)

    def close(self) -> None:
        self._pool.terminate()


class _Images(Dataset[Any]):
    """Images kept as bytes and transformed one by one, as torchvision's data sets do."""

    def __init__(self, problem: Problem, count: int) -> None:
        rng = np.random.default_rng(0)
        channels, height, width = problem.shape
        self._pixels = rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8).squeeze()
        self._labels = rng.integers(0, 10, count)
        self._transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5,) * channels, (0.5,) * channels)]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), int(self._labels[index])


def notebook_trainer(problem: Problem, count: int = 2560) -> Callable[[int], None]:
    """Baseline B: one model in one process with all threads, in the style of the published search.

    A DataLoader with PIL transforms, an optimizer that loops over parameters and evaluates a term at a time,
    and the loss fetched at every step.
    """
    loader = DataLoader(_Images(problem, count), batch_size=problem.batch_size, shuffle=True)

    def train(steps: int) -> None:
        torch.manual_seed(0)
        model = problem.make_model()
        state = [(torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
        losses: list[float] = []
        model.train()
        while len(losses) < steps:
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]) or losses[-1] > 50:
                    return
                loss.backward()
                _notebook_step(model, state, len(losses))
                if len(losses) == steps:
                    break

    return train


@torch.no_grad()
def _notebook_step(model: nn.Module, state: list[tuple[torch.Tensor, torch.Tensor]], t: int) -> None:
    for parameter, (m, v) in zip(model.parameters(), state, strict=True):
        grad = parameter.grad
        parameter.mul_(1 - 1e-3 * 1e-4)
        m.copy_(0.9 * m + 0.1 * grad)
        v.copy_(0.999 * v + 0.001 * grad**2)
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        delta = torch.zeros_like(parameter)
        for weight in (1.0,):
            delta += weight * (m_hat / (v_hat.sqrt() + 1e-8))
        parameter.sub_(1e-3 * delta)
        parameter.grad.zero_()
