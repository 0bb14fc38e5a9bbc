"""Classes by name: timm's `create_optimizer_v2` and pytorch_optimizer's table."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from evoopt.errors import EvooptError
from evoopt.integrations import parameter_groups, register_pytorch_optimizer, register_timm
from evoopt.optim import Lion, Marfinetz2025
from tests.export.subjects import scheduled
from tests.integrations.problem import SOME

pytestmark = pytest.mark.slow
some_classes = pytest.mark.parametrize("cls", SOME.values(), ids=SOME)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, count: int = 3) -> list[torch.Tensor]:
    """Weights after a few steps on the same data."""
    inputs = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


class TestTimm:
    @pytest.fixture(autouse=True)
    def registry(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """timm's registry, as it was afterwards."""
        pytest.importorskip("timm", reason="needs timm")
        from timm.optim._optim_factory import default_registry

        monkeypatch.setattr(default_registry, "_optimizers", dict(default_registry._optimizers))
        return default_registry

    @staticmethod
    def model() -> nn.Module:
        import timm

        torch.manual_seed(0)
        size = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
        return timm.create_model("vit_tiny_patch16_224", num_classes=3, **size)

    @some_classes
    def test_a_class_is_created_by_its_name_with_timms_groups(self, cls: type[Any]) -> None:
        from timm.optim import create_optimizer_v2, param_groups_weight_decay

        name = register_timm(cls, f"my{cls.__name__}".replace("_", ""))
        model, plain = self.model(), self.model()
        optimizer = create_optimizer_v2(model, opt=name, lr=0.01, weight_decay=0.1)
        assert type(optimizer) is cls
        options = {"schedule": False} if scheduled(cls) else {}
        groups = param_groups_weight_decay(plain, 0.1, no_weight_decay_list=plain.no_weight_decay())
        torch.testing.assert_close(
            train(model, optimizer), train(plain, cls(groups, lr=0.01, **options)), rtol=0, atol=0
        )

    def test_the_command_line_of_timms_scripts_sets_every_option(self) -> None:
        from timm.optim import create_optimizer_v2, optimizer_kwargs
        from timm.utils import ParseKwargs

        parser = argparse.ArgumentParser()  # as in timm's train.py
        parser.add_argument("--opt")
        parser.add_argument("--opt-eps", type=float)
        parser.add_argument("--opt-betas", type=float, nargs="+")
        parser.add_argument("--opt-kwargs", nargs="*", default={}, action=ParseKwargs)
        parser.set_defaults(lr=0.01, weight_decay=0.1, momentum=0.9)
        register_timm(Marfinetz2025)
        line = "--opt marfinetz2025 --opt-eps 1e-7 --opt-betas 0.8 0.95"
        options = "--opt-kwargs schedule=True total_steps=50 adam_weight=2.5"
        args = parser.parse_args([*line.split(), *options.split()])
        optimizer = create_optimizer_v2(self.model(), **optimizer_kwargs(cfg=args), **args.opt_kwargs)
        group = optimizer.param_groups[0]
        assert (group["eps"], tuple(group["betas"]), group["adam_weight"]) == (1e-7, (0.8, 0.95), 2.5)
        assert (group["schedule"], group["total_steps"]) == (True, 50)

    @pytest.mark.parametrize("scheme", ["lookahead_marfinetz2025", "layer_decay", "cosine"])
    def test_lookahead_layer_decay_and_timms_schedules_work(self, scheme: str) -> None:
        from timm.optim import create_optimizer_v2
        from timm.scheduler import create_scheduler_v2

        model, name = self.model(), register_timm(Marfinetz2025)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = create_optimizer_v2(
            model,
            opt=scheme if scheme.startswith("lookahead") else name,
            lr=0.01,
            layer_decay=0.7 if scheme == "layer_decay" else None,
        )
        scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=8, warmup_epochs=2)
        after = train(model, optimizer, 7)  # Lookahead looks back after six
        scheduler.step(4)
        assert optimizer.param_groups[0]["lr"] < 0.01
        train(model, optimizer)
        assert all(torch.isfinite(p).all() and (p != old).any() for p, old in zip(after, before))

    @pytest.mark.parametrize(
        ("name", "message"),
        [("my_rule", "would read 'my_rule' as 'rule'"), (None, "timm's 'lion' is another optimizer")],
    )
    def test_a_name_that_would_not_be_found_or_is_taken_is_refused(
        self, registry: Any, name: str | None, message: str
    ) -> None:
        before = dict(registry._optimizers)
        with pytest.raises(EvooptError, match=message):
            register_timm(Lion, name)
        assert registry._optimizers == before

    def test_a_class_may_be_registered_again(self) -> None:
        assert register_timm(Marfinetz2025) == register_timm(Marfinetz2025) == "marfinetz2025"


class TestPytorchOptimizer:
    @pytest.fixture(autouse=True)
    def table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give pytorch_optimizer's table back as it was."""
        module = pytest.importorskip("pytorch_optimizer.optimizer", reason="needs pytorch_optimizer")
        monkeypatch.setattr(module, "OPTIMIZERS", dict(module.OPTIMIZERS))

    @staticmethod
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.LayerNorm(8), nn.Linear(8, 3))

    @some_classes
    def test_a_class_is_loaded_and_created_by_its_name(self, cls: type[Any]) -> None:
        from pytorch_optimizer import create_optimizer, load_optimizer

        name = register_pytorch_optimizer(cls, f"My_{cls.__name__}")
        assert load_optimizer(name) is cls
        options = {"schedule": False} if scheduled(cls) else {}
        model, plain = self.model(), self.model()
        optimizer = create_optimizer(
            model, name, lr=0.01, weight_decay=0.1, wd_ban_list=("bias", "LayerNorm"), **options
        )
        assert type(optimizer) is cls
        groups = parameter_groups(plain)
        torch.testing.assert_close(
            train(model, optimizer), train(plain, cls(groups, lr=0.01, weight_decay=0.1, **options))
        )

    @pytest.mark.parametrize("wrapper", ["use_lookahead", "use_orthograd"])
    def test_wrappers_take_a_class_with_a_schedule(self, wrapper: str) -> None:
        from pytorch_optimizer import create_optimizer

        model, name = self.model(), register_pytorch_optimizer(Marfinetz2025)
        before = [p.detach().clone() for p in model.parameters()]
        after = train(model, create_optimizer(model, name, total_steps=10, **{wrapper: True}), 7)
        assert all(torch.isfinite(p).all() and (p != old).any() for p, old in zip(after, before))

    def test_a_name_that_is_taken_is_refused(self) -> None:
        from pytorch_optimizer import load_optimizer

        theirs = load_optimizer("lion")
        with pytest.raises(EvooptError, match="pytorch_optimizer's 'lion' is another optimizer"):
            register_pytorch_optimizer(Lion)
        assert load_optimizer("lion") is theirs
