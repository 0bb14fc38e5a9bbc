"""The CUDA path in one go: speed against plain PyTorch on the same card, limits, start-up, and tests."""

from __future__ import annotations

import functools
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.cases import Outcome, Row
from benchmarks.genetic import NETWORKS, images, networks
from benchmarks.problems import PROBLEMS, Problem, data_of, random_rules, task_of
from evoopt.errors import one_line
from evoopt.optim import preset
from evoopt.training import stacked_convolutions
from evoopt.training.batched import EngineOptions, seconds_per_step
from evoopt.training.batched_update import BatchedUpdate
from evoopt.training.native import cuda_between
from evoopt.training.plan import TrainingPlan
from evoopt.training.population import ModelPopulation
from evoopt.training.scoring import Scorer

STEPS = (("cnn28", 50), ("cifar", 50), ("mlp", 50), ("mlp", 500), ("dropout", 500), ("cnn8", 500))
PRECISIONS = ("full", "tf32", "bf16")
ASKED = {"cnn28": ">= 20x", "cifar": ">= 20x", "mlp": ">= 100x at 500"}


def cuda() -> Outcome:
    """Everything that needs a device, in less than eight minutes with its start."""
    if not torch.cuda.is_available():
        return Outcome([Row("CUDA", "no device was at hand: not measured")])
    rows: list[Row] = []
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "cores": torch.get_num_threads(),
    }
    for part in (start_up, steps, convolutions, update, scoring, generation, tests):
        started = time.perf_counter()
        try:
            found, kept = part()
        except Exception as error:
            found, kept = [Row(part.__name__, f"failed: {one_line(error)}")], {"error": one_line(error)}
        rows += found
        record[part.__name__] = {**kept, "took_seconds": time.perf_counter() - started}
        for row in found:
            print(f"  {row.what}: {row.figure}", flush=True)
    return Outcome(rows, record)


def start_up() -> tuple[list[Row], dict[str, Any]]:
    """A cold search of one generation, from the command to its first training and to its end."""
    first = """
import sys, time
started = time.perf_counter()
import torch
from evoopt.jobs import rule_worker
train = rule_worker.train
def timed(*args, **kwargs):
    results = train(*args, **kwargs)
    print("FIRST", time.perf_counter() - started, flush=True)
    rule_worker.train = train
    return results
rule_worker.train = timed
from evoopt.cli import main
options = "--device cuda --executor serial --population 6 --generations 1 --steps 20 --no-compare --quiet"
sys.argv[1:] = ["search", *options.split(), "--out", sys.argv[1]]
main()
"""
    with tempfile.TemporaryDirectory() as folder:
        seconds, told = timed_run(["-c", first, f"{folder}/run"], 120)
    found = [float(line.split()[1]) for line in told.splitlines() if line.startswith("FIRST")]
    if not found:
        raise RuntimeError("the search trained nothing")
    return (
        [
            Row("cold start to the end of the first training", f"{found[0]:.1f} s", "< 10 s"),
            Row("search of one generation of 6, 20 steps, cold", f"{seconds:.1f} s"),
        ],
        {"first_training": found[0], "whole": seconds},
    )


def timed_run(arguments: Sequence[str], timeout: float, **environment: str) -> tuple[float, str]:
    """Seconds that Python takes with these arguments, and what it prints.

    Raises:
        RuntimeError: It fails; with its last line.
    """
    started = time.perf_counter()
    command, variables = [sys.executable, *arguments], {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=variables)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return seconds, done.stdout


def steps() -> tuple[list[Row], dict[str, Any]]:
    """Training steps of a population against one model after another in plain PyTorch."""
    rows, record = [], {}
    alone: dict[str, float] = {}
    for name, members in STEPS:
        problem = PROBLEMS[name]
        if name not in alone:
            alone[name] = statistics.median(plain_step(problem) for _ in range(3))
        record[f"{name} plain"] = alone[name]
        for precision in PRECISIONS if members == 50 else PRECISIONS[:2]:
            for way in ("stacked", "vmap"):
                key = f"{name} {members} {way} {precision}"
                try:
                    seconds = population_step(problem, members, way, precision)
                except Exception as error:
                    rows.append(Row(key, f"failed: {one_line(error)}"))
                    continue
                record[key] = seconds
                what = f"{problem.title}: {members} members, {way}, {precision} / plain PyTorch one by one"
                figure = f"{alone[name] / seconds:.1f}x ({seconds * 1e6:.1f} us per member and step)"
                rows.append(Row(what, figure, ASKED.get(name, "")))
    return rows, record


def population_step(problem: Problem, members: int, way: str, precision: str) -> float:
    data = data_of(problem)
    task, plan = task_of(problem, data), TrainingPlan(500, seed=0, batch_size=problem.batch_size)
    options = EngineOptions(way=way, precision=precision)  # type: ignore[arg-type]
    most = 20 if problem.name in ("cnn28", "cifar") else 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seconds = seconds_per_step(
            task, data, random_rules(members), plan, "cuda", options, budget=1.0, most=most
        )
    return seconds / members


def plain_step(problem: Problem) -> float:
    """Seconds of one step of one model with `torch.optim.Adam`, eager, data in the device's memory."""
    train = data_of(problem).train.to("cuda")
    model = problem.make_model().cuda()
    optimizer = torch.optim.Adam(model.parameters())
    order = torch.randint(len(train), (70, problem.batch_size), device="cuda")
    for step, index in enumerate(order):
        if step == 10:
            torch.cuda.synchronize()
            started = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(train.x[index]), train.y[index]).backward()
        optimizer.step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / 60


def convolutions() -> tuple[list[Row], dict[str, Any]]:
    """Large convolutional models with each way of convolutions, and with one of them left out."""
    parts: dict[str, tuple[Any, str, Any]] = {
        "as they are": (stacked_convolutions, "_MANY", stacked_convolutions._MANY),
        "by columns alone": (stacked_convolutions, "_MANY", 10**9),
        "bias, pooling and ReLU by torch": (cuda_between, "suits", lambda z, window: False),
    }
    rows, record = [], {}
    for name in ("cnn28", "cifar"):
        for precision in PRECISIONS:
            for what, (module, attribute, value) in parts.items():
                before = getattr(module, attribute)
                setattr(module, attribute, value)
                try:
                    seconds = population_step(PROBLEMS[name], 50, "stacked", precision)
                finally:
                    setattr(module, attribute, before)
                record[f"{name} {precision} {what}"] = seconds
                title = f"{PROBLEMS[name].title}: 50 members, {precision}, {what}"
                rows.append(Row(title, f"{seconds * 1e6:.1f} us per member and step"))
    return rows, record


def update() -> tuple[list[Row], dict[str, Any]]:
    """The update of large populations against a copy of as many bytes."""
    rows, record = [], {}
    for name, rules in (("Adam", [preset("adam")] * 50), ("random rules", random_rules(50))):
        weights = torch.randn(50, 800_000, device="cuda")
        moving, count = BatchedUpdate(rules, 10**6, weights), itertools.count()
        step = functools.partial(moving.step, weights, torch.randn_like(weights))
        seconds = on_device(lambda step=step, count=count: step(next(count)))  # type: ignore[misc]
        source, target = torch.empty(2, 100_000_000, device="cuda")
        speed = 2 * source.nbytes / on_device(lambda a=source, b=target: b.copy_(a))
        share = 7 * weights.nbytes / seconds / speed
        rows.append(
            Row(f"update of 50 x 800,000 weights, {name}: share of a copy's speed", f"{share:.0%}", ">= 60 %")
        )
        record[name] = {
            "seconds": seconds,
            "copy_bytes_per_second": speed,
            "kernel": getattr(moving._native, "__name__", "none"),
        }
    return rows, record


def scoring(members: int = 100, count: int = 10_000) -> tuple[list[Row], dict[str, Any]]:
    """Scoring networks against a loop over eager models on the device."""
    split = images("mnist", count).to("cuda")
    models = [model.cuda().eval() for model in networks("mnist", members)]
    rows = ModelPopulation.from_models(models).packed()
    scorer = Scorer(models[0], split, "accuracy", "cuda")

    @torch.no_grad()
    def loop() -> None:
        for model in models:
            (model(split.x).argmax(dim=1) == split.y).float().mean().item()

    ours, eager = (on_device(f, 5) for f in (lambda: scorer(rows), loop))
    what = f"{NETWORKS['mnist'][2]}: {members} on {count:,} images / a loop over eager models"
    return [Row(what, f"{eager / ours:.1f}x", ">= 20x")], {"ours": ours, "eager": eager}


def generation(
    precisions: Sequence[str] = ("full", "bf16"), options: Sequence[str] = ("--device", "cuda")
) -> tuple[list[Row], dict[str, Any]]:
    """A whole search of one generation of the published space, on data of the published size and made up."""
    rows, record = [], {}
    with tempfile.TemporaryDirectory() as folder:
        make_up_data(Path(folder))
        for precision in precisions:
            given = ["--generations", "1", "--executor", "serial", "--no-compare", "--quiet", *options]
            given += ["--precision", precision, "--out", f"{folder}/{precision}"]
            command = ["-m", "evoopt", "search", "marfinetz2025", *given]
            seconds, _ = timed_run(command, 180, EVOOPT_DATA=folder)
            projected = f"{seconds:.1f} s with its start, 50 of them {seconds * 50 / 60:.0f} minutes"
            asked = "< 30 minutes" if precision == "bf16" else ""
            rows.append(Row(f"a generation of marfinetz2025, {precision}", projected, asked))
            record[precision] = seconds
    return rows, record


def make_up_data(folder: Path, train: int = 15_000, test: int = 10_000) -> None:
    """Noise whose first rows tell the class, in the files and shapes of MNIST, Fashion-MNIST and CIFAR-10."""
    draw = np.random.default_rng(0)
    for name, shape in (("mnist", (28, 28)), ("fashion_mnist", (28, 28)), ("cifar10", (32, 32, 3))):
        arrays = {}
        for part, count in (("train", train), ("test", test)):
            arrays[f"y_{part}"] = draw.integers(0, 10, count, dtype=np.uint8)
            images = draw.integers(0, 128, (count, *shape), dtype=np.uint8)
            images[np.arange(count), arrays[f"y_{part}"]] += 100
            arrays[f"x_{part}"] = images
        np.savez(folder / f"{name}.npz", **arrays)


def tests() -> tuple[list[Row], dict[str, Any]]:
    """``pytest -m cuda``."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return [Row("pytest -m cuda", lines[-1] if lines else one_line(RuntimeError(done.stderr)))], {
        "failed": failed
    }


def on_device(call: Callable[[], object], rounds: int = 20) -> float:
    """Median seconds of a call."""
    times = []
    for k in range(rounds + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if k >= 3:
            times.append(time.perf_counter() - started)
    return statistics.median(times)
