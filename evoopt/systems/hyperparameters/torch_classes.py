"""Optimizers of `torch.optim` that no update rule describes, as what trials are trained by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evoopt.errors import EvooptError
from evoopt.training.member_hyperparameters import RULE_NAMES, Value

if TYPE_CHECKING:
    from torch import Tensor

    from evoopt.tasks.task import Split, Task
    from evoopt.training.members import Members
    from evoopt.training.plan import PhasePlan

TORCH_CLASSES: Mapping[str, str] = {"nadam": "NAdam", "adadelta": "Adadelta"}
"""What the hyperparameter ``optimizer`` may be in a search of type ``hpo`` besides presets, and the class:
with Adam the choices of Vose et al. (2019) for RPV. The rate of momentum of NAdam has a schedule of its own,
and Adadelta measures its steps by those it has made."""

_SETTINGS = {"lr": "lr", "eps": "eps", "l2": "weight_decay"}


def torch_class(values: Mapping[str, Value]) -> str | None:
    """The name of the class that hyperparameters ask for; None where an update rule does."""
    name = str(values.get("optimizer"))
    return name if name in TORCH_CLASSES else None


def check_settings(name: str, loci: Mapping[str, Any]) -> None:
    """Make sure that a class takes all of a space's hyperparameters of the update.

    Raises:
        EvooptError: One that it does not take.
    """
    for other in loci:
        if other in RULE_NAMES and other not in (*_SETTINGS, "optimizer"):
            raise EvooptError(f"optimizer {name!r} takes {', '.join(_SETTINGS)}, and no {other!r}")


class ClassPhases:
    """Phases of one network with one optimizer, whose state lives on from each to the next.

    It is called as `evoopt.training.phase.train_phase`, whose engine ``reference`` it is for classes; the
    rule of the member is not asked.

    Args:
        values: Hyperparameters by name.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values
        self._at_work: tuple[Any, Any] | None = None

    def __call__(self, task: Task, train: Split, members: Members, plan: PhasePlan, engine: str) -> None:
        """Train the one member; its weights and buffers change in place."""
        import torch

        from evoopt.training.minibatches import load_minibatches
        from evoopt.training.sequential import plain_loop

        model, optimizer = self._at_work = self._at_work or self._start(members)
        batches = load_minibatches(task, train, [plan.single(plan.seeds[0])], model)
        plain_loop(task.loss, model, optimizer, batches, [])
        tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with torch.no_grad():
            for name, stack in {**members.population.parameters, **members.population.state}.items():
                stack[0].copy_(tensors[name])

    def _start(self, members: Members) -> tuple[Any, Any]:
        import torch

        from evoopt.training.dropout import with_given_dropout

        model = with_given_dropout(members.population.member(0)).to(members.population.device)
        cls = getattr(torch.optim, TORCH_CLASSES[str(self._values["optimizer"])])
        settings = {own: self._values[name] for name, own in _SETTINGS.items() if name in self._values}
        return model, cls([p for p in model.parameters() if p.requires_grad], **settings)
