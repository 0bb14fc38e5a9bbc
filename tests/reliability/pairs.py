"""Random models on random data, through the public path and through a plain loop of PyTorch.

A pair must give the same losses, weights and scores up to rounding, or one line that says what is wrong.
``python -m tests.reliability.pairs --pairs 20000 --seed 0`` tries pairs 0 to 19,999 and lists what else
came of them, by kind; ``--pairs 1 --seed N`` tries one again, with its traceback.
"""

from __future__ import annotations

import argparse
import copy
import math
import re
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.own_data import own_task
from evoopt.tasks.splitting import split_indices
from evoopt.tasks.task import DataOptions, Split, Task, TaskData
from evoopt.training.batched import train_batched
from evoopt.training.dropout import give, with_given_dropout
from evoopt.training.forward import evaluate_population
from evoopt.training.members import Members
from evoopt.training.minibatches import load_minibatches
from evoopt.training.phase import train_phase
from evoopt.training.plan import PhasePlan, TrainingPlan
from evoopt.training.population import ModelPopulation
from evoopt.training.sequential import train_sequential
from evoopt.training.streams import initial_model, minibatches
from evoopt.training.trial_run import find_manner
from tests.reliability.random_data import LOSSES, Data, random_data
from tests.reliability.random_models import random_model

STEPS = 2
MOST_CHARACTERS = 600
LARGE = 1e4  # a loss beyond this is on its way to infinity, and rounding grows with it
ENGINES = (
    ("phase batched",) * 5
    + ("fresh batched",) * 3
    + ("phase sequential", "phase reference", "fresh sequential")
)
RATES = (0.01, 0.03)  # learning rates of the two members


class Different(Exception):
    """Another result than that of the plain loop."""


@dataclass(frozen=True)
class Outcome:
    """What each member came to.

    Attributes:
        losses: ``[STEPS, P]``; NaN for steps not made.
        scores: Loss and metric on the validation part, ``[2, P]``.
        tensors: Weights and buffers after training, of each member; empty if the engine does not give them.
    """

    losses: Tensor
    scores: Tensor
    tensors: Sequence[dict[str, Tensor]]


def try_pair(seed: int) -> str:
    """Try a pair; returns what came of it.

    Returns:
        ``"equal"``; ``"unstable: "`` where the plain loop gives another result, too, if it rounds otherwise;
        ``"refused: "`` and the line; or, where PyTorch fails, too, ``"failed: "`` and the reason in a
        member's result.

    Raises:
        Exception: Anything else.
    """
    rng = Random(seed)
    torch.manual_seed(seed)
    data, structure = random_data(rng), rng.randrange(2**32)
    engine, dtype = rng.choice(ENGINES), rng.choice([torch.float32, torch.float64, torch.float64])
    before = copy.deepcopy(data)

    def make_model() -> nn.Module:
        return random_model(structure, data.shape, data.outputs)

    try:
        task, loaded = own_task(
            make_model, LOSSES[data.loss], None, data.train, data.validation, batch_size=data.batch_size
        )
        outcome = _evolved(engine, task, loaded, dtype)
    except EvooptError as error:
        if not str(error).strip() or "\n" in str(error) or len(str(error)) > MOST_CHARACTERS:
            raise Different("a refusal of more than a line") from error
        return f"refused: {error}"
    finally:
        _unchanged(before, data)
    seeds = (1, 2) if engine.startswith("phase") else (1, 1)
    if isinstance(outcome, str):
        if _plain_or_none(task, before, seeds, dtype) is None:
            return f"failed: {outcome}"
        raise Different(f"failed: {outcome}")
    expected, as_float = None, ""
    for as_float in ("", "x", "y", "xy"):  # what PyTorch takes as whole numbers stays so
        expected = _plain_or_none(task, before, seeds, dtype, as_float)
        if expected is not None:
            break
    if expected is None:
        raise Different("trained what PyTorch refuses")
    try:
        _compare(outcome, expected, dtype)
    except Different:
        noise = 1e-12 if dtype == torch.float64 else 1e-6
        if not _differ(_plain_or_none(task, before, seeds, dtype, as_float, noise), expected, dtype):
            raise
        return "unstable: rounding decides, such as the sign of what is zero but for it"
    return "equal"


def _evolved(engine: str, task: Task, data: TaskData, dtype: torch.dtype) -> Outcome | str:
    """The public path; a reason where training failed."""
    kind, way = engine.split()
    rules = [UpdateRule((("grad", 1.0),), lr=lr, use_m=False, use_v=False) for lr in RATES]
    if kind == "fresh":
        train = train_batched if way == "batched" else train_sequential
        plan = TrainingPlan(STEPS, 1, task.batch_size, max_loss=math.inf)
        results = train(task, data, rules, plan, keep_losses=True, dtype=dtype)
        if reasons := {result.reason for result in results if result.outcome == "failed"}:
            return " ".join(reasons)
        curves = [[*r.losses, *[math.nan] * (STEPS - len(r.losses))] for r in results]
        scores = [[r.eval_loss for r in results], [r.metric for r in results]]
        return Outcome(
            torch.tensor(curves, dtype=torch.float64).T, torch.tensor(scores, dtype=torch.float64), []
        )
    train_split, validation = data.train.to("cpu", dtype), data.validation.to("cpu", dtype)
    models = [initial_model(task, seed).to(dtype) for seed in (1, 2)]
    manner = find_manner(task, train_split, models, task.batch_size)
    population = ModelPopulation.from_models(models, manner)
    members = Members.fresh(population, rules)
    losses = train_phase(task, train_split, members, PhasePlan(STEPS, task.batch_size, (1,)), way)  # type: ignore[arg-type]
    stacks = {**population.parameters, **population.state}
    tensors = [{name: stack[k] for name, stack in stacks.items()} for k in range(2)]
    return Outcome(losses, torch.stack(evaluate_population(population, task, validation)), tensors)


def _plain_or_none(
    task: Task, data: Data, seeds: Sequence[int], dtype: torch.dtype, as_float: str = "", noise: float = 0
) -> Outcome | None:
    """The plain loop, None where PyTorch refuses the pair; perhaps with whole numbers as floats."""
    try:
        return _plain(task, data, seeds, dtype, as_float, noise)
    except (RuntimeError, ValueError, IndexError, TypeError, EvooptError):
        return None


def _parts(data: Data, dtype: torch.dtype, as_float: str) -> list[Split]:
    """Training and validation part as tensors, of a copy that nothing has touched.

    Whole numbers among inputs or targets, as ``as_float`` names them, become floating point.
    """
    parts = []
    for pair in filter(None, (data.train, data.validation)):
        x, y = (torch.tensor(_array(values).copy()) for values in pair)
        y = y.to(dtype if "y" in as_float or y.is_floating_point() else torch.int64)
        parts.append(Split(x.to(dtype) if "x" in as_float or x.is_floating_point() else x, y))
    if len(parts) == 1:
        (whole,) = parts
        parts = [Split(whole.x[k], whole.y[k]) for k in split_indices(whole.y, DataOptions())]
    return parts


def _plain(
    task: Task, data: Data, seeds: Sequence[int], dtype: torch.dtype, as_float: str, noise: float
) -> Outcome:
    train, validation = _parts(data, dtype, as_float)
    plan = TrainingPlan(STEPS, 1, task.batch_size)
    losses, scores, tensors = torch.zeros(STEPS, len(seeds), dtype=torch.float64), [], []
    for k, seed in enumerate(seeds):
        model = initial_model(task, seed).to(dtype).train()
        drawn: list[dict[str, Tensor]] = [{}] * STEPS
        if any(isinstance(m, nn.Dropout | nn.Dropout2d) for m in model.modules()):
            model = with_given_dropout(model)  # dropout numbers are the engines' own
            shaped = copy.deepcopy(model)
            drawn = [batch.uniform for batch in load_minibatches(task, train, [plan], shaped)]
        if noise:
            _add_noise(model, noise)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATES[k])
        for step, index in enumerate(minibatches(len(train), plan)):
            if drawn[step]:
                give(model, drawn[step])
            loss = task.loss(model(train.x[index]), train.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step, k] = float(loss)
        model.eval()
        with torch.no_grad():
            outputs = model(validation.x.clone())
            scores.append([float(score(outputs, validation.y)) for score in (task.loss, task.metric)])
        tensors.append({**dict(model.named_parameters()), **dict(model.named_buffers())})
    return Outcome(losses, torch.tensor(scores, dtype=torch.float64).T, tensors)


def _add_noise(model: nn.Module, size: float) -> None:
    """Have every layer round at random."""

    def rounded(layer: nn.Module, inputs: Any, out: Any) -> Any:
        return out + size * torch.randn_like(out) if isinstance(out, Tensor) else out

    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(rounded)


def _compare(actual: Outcome, expected: Outcome, dtype: torch.dtype) -> None:
    numbers = torch.cat([expected.losses.flatten(), expected.scores[0]])
    if not bool((numbers.abs() < LARGE).all()):
        if not actual.tensors and numbers.isfinite().all() != actual.scores[0].isfinite().all():
            raise Different("diverges in one of the two")
        return
    _same("losses", actual.losses, expected.losses, dtype)
    _same("scores", actual.scores, expected.scores, dtype)
    for mine, theirs in zip(actual.tensors, expected.tensors):
        for name, tensor in mine.items():
            _same("weights or buffers", tensor, theirs[name], dtype)


def _differ(actual: Outcome | None, expected: Outcome, dtype: torch.dtype) -> bool:
    try:
        _compare(actual or expected, expected, dtype)
    except Different:
        return True
    return False


def _same(what: str, actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    actual, expected = actual.detach().double(), expected.detach().double()
    close = 1e-6 if dtype == torch.float64 else 5e-3
    if actual.shape != expected.shape or not torch.allclose(actual, expected, close, close, equal_nan=True):
        raise Different(f"{what} differ")


def _unchanged(before: Data, after: Data) -> None:
    for a, b in zip((*before.train, *(before.validation or ())), (*after.train, *(after.validation or ()))):
        if isinstance(a, Tensor) and a.is_meta:
            continue
        if not np.array_equal(_array(a), _array(b), equal_nan=_array(a).dtype.kind in "fc"):
            raise Different("the person's data were changed")


def _array(values: Any) -> Any:
    return values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)


def try_pairs(seeds: Sequence[int]) -> tuple[Counter[str], dict[str, list[int]]]:
    """Try pairs; returns how many were equal and refused, and the seeds of every kind of failure."""
    counts: Counter[str] = Counter()
    kinds: dict[str, list[int]] = defaultdict(list)
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                counts[try_pair(seed).split(":")[0]] += 1
            except Exception as error:
                kinds[_kind(error)].append(seed)
    return counts, dict(kinds)


def _kind(error: Exception) -> str:
    where = [frame for frame in traceback.extract_tb(error.__traceback__) if "/evoopt/" in frame.filename]
    place = f" in {where[-1].filename.rsplit('/', 1)[1]}:{where[-1].name}" if where else ""
    return f"{type(error).__name__}{place}: {re.sub('[0-9]+', 'N', str(error).splitlines()[0])[:110]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first pair")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.pairs == 1:
        print(try_pair(options.seed))
        return 0
    started = time.perf_counter()
    counts, kinds = try_pairs(range(options.seed, options.seed + options.pairs))
    for kind, seeds in sorted(kinds.items(), key=lambda item: -len(item[1])):
        print(f"{len(seeds):5} {kind}  [{' '.join(map(str, seeds[:6]))}]")
    failed, seconds = sum(map(len, kinds.values())), time.perf_counter() - started
    print(
        f"{options.pairs} pairs, {options.pairs / seconds:.0f} a second: {counts['equal']} equal, "
        f"{counts['unstable']} unstable, "
        f"{counts['refused']} refused in one line, {counts['failed']} failed as in PyTorch, "
        f"{failed} failures of {len(kinds)} kinds"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
