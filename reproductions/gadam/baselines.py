"""What GADAM is held against: torch's optimizers, Adam at equal compute, restarts, and classical methods.

Every network is scored on the validation part after each stretch of E steps, and the best state counts: GADAM
chooses its survivors just as often.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from evoopt.optim.presets import PRESETS
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.forward import evaluate_population, outputs
from evoopt.training.members import Members
from evoopt.training.phase import PhaseEngine, train_phase
from evoopt.training.plan import PhasePlan, TrainingPlan, derive_seed
from evoopt.training.population import ModelPopulation
from evoopt.training.sequential import evaluate
from evoopt.training.streams import minibatches
from reproductions.gadam.budget import Budget

_MINIBATCHES, _DROPOUT = 401, 402
LEARNING_RATES = (3e-4, 1e-3, 3e-3)
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
}


@dataclass(frozen=True)
class Bench:
    """What a method gets to work with.

    Attributes:
        task: What to learn.
        data: Its parts, the test part sealed.
        budget: How much may be spent.
        seed: Of all randomness.
        engine: How populations are trained.
        device: Where.
    """

    task: Task
    data: TaskData
    budget: Budget
    seed: int
    engine: PhaseEngine
    device: str

    def row(self, model: nn.Module | None, steps: int) -> dict[str, Any]:
        """Scores of the one model that a method has chosen; the test part is opened here."""
        if model is None:
            return {"diverged": True, "steps": steps}
        validation, test = self.data.validation, self.data.test.unsealed().open()
        return scores(evaluate(self.task, model, validation), evaluate(self.task, model, test), steps)


def scores(validation: tuple[float, float], test: tuple[float, float], steps: int) -> dict[str, Any]:
    """Losses and accuracies as a row of results."""
    names = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
    return {**dict(zip(names, (*validation, *test), strict=True)), "steps": steps}


@dataclass
class Kept:
    """The best state of each member so far, by validation loss."""

    population: ModelPopulation
    losses: list[float] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)

    def look(self, now: ModelPopulation, losses: Sequence[float], metrics: Sequence[float]) -> None:
        """Replace whoever has become better."""
        if not self.losses:
            self.losses, self.metrics = [math.inf] * len(now), [math.nan] * len(now)
        for i, (loss, metric) in enumerate(zip(losses, metrics, strict=True)):
            if loss < self.losses[i]:
                self.losses[i], self.metrics[i] = loss, metric
                self.population.weights[i] = now.weights[i]
                for name, stack in self.population.state.items():
                    stack[i] = now.state[name][i]

    def best(self) -> nn.Module | None:
        """The best member; None if all diverged."""
        index = min(range(len(self.losses)), key=self.losses.__getitem__)
        return self.population.member(index) if math.isfinite(self.losses[index]) else None


def train_members(
    bench: Bench, start: Members, phases: int, streams: Sequence[int] | None = None
) -> tuple[Kept, Tensor]:
    """Train members with their own rules without a break, looking at them after every stretch of E steps.

    Args:
        bench: What on.
        start: Who; they stay as they are.
        phases: Number of stretches.
        streams: Which stream of minibatches each member sees, by default its own.

    Returns:
        The best state of each, and batch losses ``[steps, P]``.
    """
    budget, losses = bench.budget, []
    members = Members.fresh(start.copy().population.to(bench.device), start.rules)
    train, validation = bench.data.train.to(bench.device), bench.data.validation.to(bench.device)
    kept = Kept(members.copy().population)
    for phase in range(phases):
        own = streams or range(len(members))
        seeds = tuple(derive_seed(bench.seed, _MINIBATCHES, phase, k) for k in own)
        plan = PhasePlan(budget.steps, bench.task.batch_size, seeds)
        losses.append(train_phase(bench.task, train, members, plan, bench.engine))
        found = evaluate_population(members.population, bench.task, validation)
        kept.look(members.population, *(column.tolist() for column in found))
    return kept, torch.cat(losses)


def restarts(bench: Bench, start: Members) -> dict[str, Any]:
    """Adam from each of GADAM's initial models: the first, the best, and all as an ensemble."""
    kept, losses = train_members(bench, start, bench.budget.phases)
    lineage, everything = bench.budget.lineage_steps, bench.budget.all_steps
    first = kept.population.member(0) if math.isfinite(kept.losses[0]) else None
    rows = {
        "adam": bench.row(first, lineage),
        "adam_best": bench.row(kept.best(), everything),
        "adam_ensemble": _ensemble(bench, kept, everything),
    }
    return {"rows": rows, "losses": losses[:, 0]}


def longer(bench: Bench, start: Members) -> dict[str, Any]:
    """Adam from GADAM's first initial model with as many steps as its whole population has."""
    budget = bench.budget
    kept, losses = train_members(bench, start[[0]], budget.population * budget.phases)
    return {"rows": {"adam_long": bench.row(kept.best(), budget.all_steps)}, "losses": losses[:, 0]}


def tuned(bench: Bench, start: Members) -> dict[str, Any]:
    """Adam with three learning rates that share the steps of GADAM's population; validation chooses."""
    budget, count = bench.budget, len(LEARNING_RATES)
    rules = tuple(replace(PRESETS["adam"], lr=lr) for lr in LEARNING_RATES)
    members = replace(start[[0] * count], rules=rules)
    phases = max(1, budget.population * budget.phases // count)
    kept, _ = train_members(bench, members, phases, streams=[0] * count)
    row = bench.row(kept.best(), count * phases * budget.steps)
    chosen = min(range(count), key=kept.losses.__getitem__)
    return {"rows": {"adam_tuned": {**row, "lr": LEARNING_RATES[chosen]}}}


def plain(bench: Bench, start: Members, name: str) -> dict[str, Any]:
    """One of torch's optimizers with its default settings, from GADAM's first initial model."""
    task, budget = bench.task, bench.budget
    model = start.population.member(0).to(bench.device).train()
    train, validation = bench.data.train.to(bench.device), bench.data.validation.to(bench.device)
    optimizer = OPTIMIZERS[name](model.parameters())
    losses: list[Tensor] = []
    best, lowest = None, math.inf
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(bench.seed, _DROPOUT))
        for phase in range(budget.phases):
            seed = derive_seed(bench.seed, _MINIBATCHES, phase, 0)
            for index in minibatches(len(train), TrainingPlan(budget.steps, seed, task.batch_size)):
                optimizer.zero_grad()
                loss = task.loss(model(train.x[index.to(bench.device)]), train.y[index.to(bench.device)])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.detach())
            found, _ = evaluate(task, model, validation)
            model.train()
            if found < lowest:
                best, lowest = copy.deepcopy(model).cpu(), found
    return {"rows": {name: bench.row(best, budget.lineage_steps)}, "losses": torch.stack(losses).cpu()}


def classical(bench: Bench, name: str) -> dict[str, Any]:
    """A classical method by scikit-learn, fitted to the training and validation examples."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    methods: dict[str, Callable[[], Any]] = {
        "random_forest": lambda: RandomForestClassifier(bench.budget.trees, random_state=bench.seed),
        "svm": lambda: SVC(kernel="rbf"),
        "knn": lambda: KNeighborsClassifier(3),
    }
    data, test = bench.data, bench.data.test.unsealed().open()
    x, y = torch.cat([data.train.x, data.validation.x]), torch.cat([data.train.y, data.validation.y])
    generator = torch.Generator().manual_seed(derive_seed(bench.seed, _MINIBATCHES))
    some = torch.randperm(len(x), generator=generator)[: bench.budget.classical]
    model = methods[name]().fit(_table(x[some]), y[some].numpy())
    accuracy = float((model.predict(_table(test.x)) == test.y.numpy()).mean())
    return {"rows": {name: {"test_accuracy": accuracy, "examples": len(some)}}}


def _ensemble(bench: Bench, kept: Kept, steps: int) -> dict[str, Any]:
    if not all(map(math.isfinite, kept.losses)):
        return {"diverged": True, "steps": steps}

    def score(split: Split) -> tuple[float, float]:
        split = split.to(bench.device)
        parts = [outputs(kept.population, x).softmax(dim=-1) for x in torch.split(split.x, 250)]
        # Logarithms of probabilities are outputs whose softmax gives the same probabilities.
        mixed = torch.cat(parts, dim=1).mean(dim=0).log()
        return float(bench.task.loss(mixed, split.y)), float(bench.task.metric(mixed, split.y))

    return scores(score(bench.data.validation), score(bench.data.test.unsealed().open()), steps)


def _table(x: Tensor) -> Any:
    return x.flatten(1).numpy()
