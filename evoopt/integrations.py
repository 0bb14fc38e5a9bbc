"""How does an exported class join what people train with? Names in registries, and groups of parameters.

A loop that takes any `torch.optim.Optimizer`, such as accelerate's or Lightning's, needs nothing from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from evoopt.errors import EvooptError
from evoopt.optim.groups import parameter_roles


def register_timm(cls: type[Optimizer], name: str | None = None) -> str:
    """Give a class a name for ``opt`` of `timm.optim.create_optimizer_v2` and of timm's scripts.

    timm schedules the learning rate, so the class's own schedule is off; ``schedule=True`` and
    ``total_steps`` among the options turn it on.

    Args:
        cls: The class.
        name: Its name; by default that of the class without underscores.

    Returns:
        The name in lower case.

    Raises:
        EvooptError: A name that is taken, or one with an underscore, of which timm would read the end alone.
    """
    from timm.optim import OptimInfo
    from timm.optim._optim_factory import default_registry

    name = (name or cls.__name__.replace("_", "")).lower()
    if "_" in name:
        raise EvooptError(f"timm would read {name!r} as {name.split('_')[-1]!r}: leave the underscores out")
    if name in default_registry.list_optimizers():
        _refuse_another(cls, default_registry.get_optimizer_info(name).opt_class, f"timm's {name!r}")
    arguments = inspect.signature(cls).parameters
    info = OptimInfo(
        name, cls, has_eps="eps" in arguments, has_betas="betas" in arguments, defaults=_unscheduled(cls)
    )
    default_registry.register(info)
    return name


def register_pytorch_optimizer(cls: type[Optimizer], name: str | None = None) -> str:
    """Give a class a name for `pytorch_optimizer.load_optimizer` and `create_optimizer`.

    Args:
        cls: The class; if it has a schedule, `create_optimizer` needs ``total_steps`` or ``schedule=False``.
        name: Its name; by default that of the class.

    Returns:
        The name in lower case.

    Raises:
        EvooptError: A name that is taken.
    """
    from pytorch_optimizer.optimizer import OPTIMIZERS

    name = (name or cls.__name__).lower()
    _refuse_another(cls, OPTIMIZERS.get(name, cls), f"pytorch_optimizer's {name!r}")
    OPTIMIZERS[name] = cls
    return name


def trainer_optimizer(cls: type[Optimizer], **options: Any) -> tuple[type[Optimizer], dict[str, Any]]:
    """What `transformers.Trainer` takes as ``optimizer_cls_and_kwargs``.

    The Trainer schedules the learning rate, so the class's own schedule is off unless ``options`` turn it on.
    Weights decay as the ``TrainingArguments`` say; their ``learning_rate`` is not heard.

    Args:
        cls: The class.
        options: Arguments of the class, such as ``lr``.

    Returns:
        The class and its arguments.
    """
    return cls, _unscheduled(cls) | options


class ParameterGroups(NamedTuple):
    """A model's parameters in three groups, as any optimizer takes them, together or apart.

    Attributes:
        matrices: Weights of hidden layers, of two or more dimensions.
        others: Embeddings, and weights of the output layer; with ``matrix=False``, as the next.
        vectors: Biases and norms, with a ``weight_decay`` of 0.
    """

    matrices: dict[str, Any]
    others: dict[str, Any]
    vectors: dict[str, Any]


def parameter_groups(model: nn.Module, output: str | Collection[str] | None = None) -> ParameterGroups:
    """Part the parameters of a model that require gradients, for weight decay and for hybrids of optimizers.

    An embedding is known by its module, or by "embed" in its name. What ``model.no_weight_decay()`` names, as
    timm's models do, joins the vectors.

    Args:
        model: The model; with `fully_shard`, after it.
        output: Name or names of what makes the outputs, as in ``model.named_modules()``; by default the last
            module that owns a matrix.

    Returns:
        The groups, of which some may be empty.

    Raises:
        EvooptError: A module that the model does not have, or parameters that have no shape yet.
    """
    roles = parameter_roles(model, output)
    groups = ParameterGroups(
        {"params": []}, {"params": [], "matrix": False}, {"params": [], "weight_decay": 0.0, "matrix": False}
    )
    group_of = {"matrix": groups.matrices, "vector": groups.vectors}
    for name, p in model.named_parameters():
        if p.requires_grad:
            group_of.get(roles[name], groups.others)["params"].append(p)
    return groups


def _unscheduled(cls: type[Optimizer]) -> dict[str, Any]:
    """What turns the schedule of a class off, if it has one."""
    return {"schedule": False} if "schedule" in inspect.signature(cls).parameters else {}


def _refuse_another(cls: type[Optimizer], present: Any, what: str) -> None:
    """Refuse a name that stands for another class; one that was imported anew is the same.

    Raises:
        EvooptError: The name is taken.
    """
    if getattr(present, "__qualname__", "") != cls.__qualname__ or present.__module__ != cls.__module__:
        raise EvooptError(f"{what} is another optimizer: register {cls.__name__} by a name of its own")
