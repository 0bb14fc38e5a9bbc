"""How a person's own models run in a population, found by running two of them on a few examples.

Every way is compared with a plain loop; the first that gives its numbers is taken. So whatever a plain loop
trains is trained right, and what cannot be is refused before any work is done.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, one_line
from evoopt.execution.device import raise_if_failed
from evoopt.tasks.model_checks import failing_module, outputs_of
from evoopt.tasks.task import Split, Task
from evoopt.training.dropout import DropoutDraws, give, with_given_dropout
from evoopt.training.forward import evaluate_population, losses_and_gradients, outputs
from evoopt.training.population import Architecture, Manner, ModelPopulation, Way
from evoopt.training.sequential import evaluate
from evoopt.training.streams import own_draws, seed_draws

_EXAMPLES, _SEEDS = 4, (11, 12)

Numbers = dict[str, list[Tensor]]
"""What a run gives, by kind: losses, gradients, parameters and buffers after it, outputs and scores."""


def find_manner(
    task: Task,
    train: Split,
    models: Sequence[nn.Module],
    batch_size: int,
    way: Way | Literal["auto"] = "auto",
) -> Manner:
    """Find how models of one architecture run; torch's global random state stays.

    Args:
        task: Gives loss and metric.
        train: Training split, of the models' device and dtype; some of its examples are used.
        models: Some models of different seeds, which stay as they are.
        batch_size: No more examples are used, because layers may need more than one.
        way: Which to take; ``auto`` prefers ``stacked`` to ``vmap`` to ``loop``.

    Returns:
        The first manner in which losses, gradients, buffers and scores are those of a plain loop.

    Raises:
        EvooptError: A model or loss that a plain loop cannot train or cannot repeat, or no such manner.
    """
    batches = _batches(train, batch_size)
    for name, parameter in models[0].named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise EvooptError(
                f"task {task.name!r}: parameter {name!r} has a hook, which copies of a model do not keep: "
                "change the gradient where forward uses the parameter"
            )
    try:
        trial = _Trial(task, models, batches)
    except EvooptError:
        raise
    except Exception as error:  # a person's own code
        raise_if_failed(error)
        where = failing_module(models[0], error)
        raise EvooptError(f"task {task.name!r}: {where} cannot be trained: {one_line(error)}") from error
    reason = ""
    for one in _ways(models[0], "loop" if trial.draws else way):
        for loss_by_member in (False, True):
            manner = Manner(one, loss_by_member, trial.draws)
            try:
                wrong = trial.wrong(manner)
                if wrong and (exact := _in_doubles(task, models, batches)):
                    wrong = exact.wrong(manner)  # a few examples may blow rounding up
            except Exception as error:  # vmap has many words for what it cannot do
                raise_if_failed(error)
                reason = one_line(error)
                continue
            if not wrong:
                return manner
            reason = f"its {', '.join(sorted(wrong))} are others there than alone"
            break
    raise EvooptError(
        f"task {task.name!r}: its model cannot run in a population, where one module runs with the "
        f"parameters and buffers of many and keeps nothing else: {reason}"
    )


class _Trial:
    """Models that ran alone, to be compared with those of a population."""

    def __init__(self, task: Task, models: Sequence[nn.Module], batches: Sequence[Split]) -> None:
        self._task, self._models, self._batches = task, models, batches
        self._alone = [_PlainRun(task, model, batches, again=k == 0) for k, model in enumerate(models)]
        self.draws = any(run.draws for run in self._alone)

    def wrong(self, manner: Manner) -> set[str]:
        """Kinds of numbers that differ by more than rounding."""
        found = _in_population(self._task, self._models, self._batches, manner)
        return {k for a, b in zip(self._alone, found, strict=True) for k in _differing(a.numbers, b)}


def _in_doubles(task: Task, models: Sequence[nn.Module], batches: Sequence[Split]) -> _Trial | None:
    """The same in double precision; None for models that know only their own."""
    doubles = [copy.deepcopy(model).double() for model in models]
    try:
        return _Trial(task, doubles, [batch.to(batch.x.device, torch.float64) for batch in batches])
    except Exception:  # a person's own code
        return None


def find_scoring_way(model: nn.Module, x: Tensor) -> Way:
    """The first way whose outputs in evaluation mode are those of the model alone.

    Args:
        model: On a device, and not changed.
        x: Inputs there; some are used.

    Raises:
        EvooptError: There is none.
    """
    alone, some = copy.deepcopy(model).eval(), x[:_EXAMPLES]
    expected = outputs_of(alone, some)
    for way in _ways(model, "auto"):
        try:
            [found] = outputs(ModelPopulation.from_models([model], way), some)
        except Exception as error:  # vmap has many words for what it cannot do
            raise_if_failed(error)
            continue
        if _close([expected], [found]):
            return way
    raise EvooptError("the model gives other outputs in a population than alone")


def _ways(model: nn.Module, way: Way | Literal["auto"]) -> tuple[Way, ...]:
    ways: tuple[Way, ...] = ("stacked", "vmap", "loop")
    return ways[ways.index(Architecture.of(model, way).way) :]


class _PlainRun:
    """Two steps, without an update, and an evaluation of one model, as anybody would write them.

    Attributes:
        numbers: What came of it.
        draws: Whether the model or its loss drew torch's random numbers.
    """

    def __init__(self, task: Task, model: nn.Module, batches: Sequence[Split], again: bool) -> None:
        self._task, self._batches, self._names = task, batches, _names(model)
        self.draws = False
        model = with_given_dropout(copy.deepcopy(model))
        state = {name: t.clone() for name, t in self._tensors(model).items()}
        others = _other_random_states()
        self.numbers = self._run(model)
        if not again:
            return
        with torch.no_grad():
            for name, tensor in self._tensors(model).items():
                tensor.copy_(state[name])
        if _differing(self.numbers, self._run(model)) or others != _other_random_states():
            raise EvooptError(
                f"task {task.name!r}: its model or loss does not repeat itself from the same weights and "
                "torch seed: it uses random numbers of numpy or random (use torch's), or keeps something "
                "outside of parameters and buffers"
            )

    def _run(self, model: nn.Module) -> Numbers:
        numbers = _nothing()
        with own_draws(self._batches[0].x.device):
            for seed, batch, uniform in _given(model, self._batches):
                give(model, uniform)
                loss = self._noticing(seed, self._loss, model, batch)
                trained = [p for p in model.parameters() if p.requires_grad]
                gradients = torch.autograd.grad(loss, trained, allow_unused=True)
                pairs = zip(trained, gradients, strict=True)
                numbers["losses"].append(loss.detach())
                numbers["gradients"] += [torch.zeros_like(p) if g is None else g for p, g in pairs]
            numbers["parameters and buffers"] = [t.clone() for t in self._tensors(model).values()]
            with torch.no_grad():
                x = self._batches[0].x.clone()
                numbers["outputs"].append(self._noticing(0, model.eval(), x))
        score, _ = evaluate(self._task, model, self._batches[0])
        numbers["scores"].append(torch.tensor(score, dtype=numbers["losses"][0].dtype))
        return numbers

    def _loss(self, model: nn.Module, batch: Split) -> Tensor:
        return self._task.loss(model(batch.x.clone()), batch.y.clone())

    def _noticing(self, seed: int, run: Callable[..., Tensor], *arguments: Any) -> Tensor:
        seed_draws(seed, self._batches[0].x.device)
        before = _torch_random_states()
        result = run(*arguments)
        self.draws |= before != _torch_random_states()
        return result

    def _tensors(self, model: nn.Module) -> dict[str, Tensor]:
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return {name: named[name].detach() for name in self._names}


def _in_population(
    task: Task, models: Sequence[nn.Module], batches: Sequence[Split], manner: Manner
) -> list[Numbers]:
    """The same numbers for each model, from a population of all."""
    population = ModelPopulation.from_models(models, manner)
    numbers = [_nothing() for _ in models]
    given = _given(with_given_dropout(copy.deepcopy(models[0])), batches)
    # One by one as an engine does it: what a loss draws comes after what its model drew.
    size = 1 if manner.way == "loop" else len(models)
    for shared, (seed, batch, uniform) in zip((True, False), given, strict=True):
        for start in range(0, len(models), size):
            part = population.part(start, start + size)
            x, y, drawn = batch.x, batch.y, uniform
            if not shared:
                x, y = (t.expand(size, *t.shape) for t in (x, y))
                drawn = {name: t.expand(size, *t.shape) for name, t in uniform.items()}
            gradients = torch.zeros_like(part.weights)
            losses = losses_and_gradients(part, task.loss, x, y, drawn, gradients, shared, (seed,))
            for k in range(size):
                numbers[start + k]["losses"].append(losses[k])
                numbers[start + k]["gradients"] += [v[k] for v in part.views(gradients).values()]
    for k, own in enumerate(numbers):
        stacks = {**population.parameters, **population.state}
        own["parameters and buffers"] = [stacks[name][k].clone() for name in _names(models[k])]
    predictions = outputs(population, batches[0].x)
    scores, _ = evaluate_population(population, task, batches[0])
    for own, prediction, score in zip(numbers, predictions, scores, strict=True):
        own["outputs"].append(prediction)
        own["scores"].append(score.to(own["losses"][0]))
    return numbers


def _batches(train: Split, batch_size: int) -> list[Split]:
    size = min(_EXAMPLES, batch_size, len(train))
    second = size if len(train) >= 2 * size else 0
    return [train.part(slice(start, start + size)) for start in (0, second)]


def _given(model: nn.Module, batches: Sequence[Split]) -> Iterator[tuple[int, Split, dict[str, Tensor]]]:
    draws = DropoutDraws(model.train(), [0], batches[0].x.device)
    for step, (seed, batch) in enumerate(zip(_SEEDS, batches, strict=True)):
        yield seed, batch, draws.draw(batch.x, step)


def _nothing() -> Numbers:
    return {kind: [] for kind in ("losses", "gradients", "parameters and buffers", "outputs", "scores")}


def _names(model: nn.Module) -> list[str]:
    return [*dict(model.named_parameters()), *dict(model.named_buffers())]


def _differing(numbers: Numbers, others: Numbers) -> list[str]:
    """Kinds of numbers that differ by more than rounding."""
    return [kind for kind in numbers if not _close(numbers[kind], others[kind])]


def _close(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    if [t.shape for t in some] != [t.shape for t in others]:
        return False
    if not some:
        return True
    a, b = (torch.cat([t.detach().double().cpu().flatten() for t in ts]) for ts in (some, others))
    finite = a[torch.isfinite(a)].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    floating = [torch.finfo(t.dtype).eps for t in some if t.is_floating_point()]
    tolerance = max(floating, default=0.0) ** 0.5
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _torch_random_states() -> list[bytes]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    return [state.numpy().tobytes() for state in states]


def _other_random_states() -> tuple[Any, ...]:
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002 (what others may have used)
    return random.getstate(), np.asarray(keys).tobytes(), position
