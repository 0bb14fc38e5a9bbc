"""Exported classes registered with the harness PyTorch tests its own optimizers with.

PyTorch installs the harness (`OptimizerInfo`, the error inputs common to all optimizers, the ``optims``
decorator, the device-type machinery and its `TestCase`) but not `TestOptimRenewed`, the suite built on it, so
the tests here are ours. All of it is private. It takes seconds to import, so `test_torch_harness` runs them
when its turn comes.
"""

# ruff: noqa: PT009, PT027

from __future__ import annotations

import copy
import io
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.testing._internal import common_device_type as device_types
from torch.testing._internal import common_optimizers as harness
from torch.testing._internal import common_utils as utils

from tests.export.subjects import CLASSES, scheduled, settings


def _errors(device: str, dtype: torch.dtype) -> list[Any]:
    def refused(kwargs: dict[str, Any], message: str) -> Any:
        inputs = harness.OptimizerInput(params=None, kwargs=kwargs, desc=message)
        return harness.ErrorOptimizerInput(inputs, error_type=ValueError, error_regex=message)

    return [
        *harness.get_error_inputs_for_all_optims(device, dtype),
        refused({"lr": -1.0}, "Invalid learning rate: -1.0"),
        refused({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
    ]


def _info(cls: type[Any]) -> Any:
    # The harness makes optimizers without arguments, so a scheduled class leaves its schedule off here.
    def init(self: Any, params: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("schedule", False)
        cls.__init__(self, params, *args, **kwargs)

    registered = type(cls.__name__, (cls,), {"__init__": init}) if scheduled(cls) else cls
    inputs = [kwargs for kwargs in settings(cls) if "schedule" not in kwargs]
    return harness.OptimizerInfo(
        registered,
        optim_inputs_func=lambda device, dtype=None: [
            harness.OptimizerInput(params=None, kwargs=dict(kwargs), desc=str(kwargs)) for kwargs in inputs
        ],
        optim_error_inputs_func=_errors,
        supported_impls=("foreach",),
        not_og_supported_flags=("foreach", "maximize", "capturable"),
        has_capturable_arg=True,
    )


optim_db = [_info(CLASSES[name]) for name in ("adamw", "lion", "marfinetz2025", "every_term", "scheduled")]


def _all_kwargs(device: str, dtype: torch.dtype, info: Any) -> list[dict[str, Any]]:
    inputs = harness._get_optim_inputs_including_global_cliquey_kwargs(device, dtype, info)
    # The harness leaves foreach out on a CPU.
    return [{**i.kwargs, "foreach": foreach} for i in inputs for foreach in (False, True)]


class TestExported(utils.TestCase):  # type: ignore[misc]
    def _model(self, device: str, dtype: torch.dtype) -> torch.nn.Module:
        torch.manual_seed(0)
        layers = torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)
        return torch.nn.Sequential(*layers).to(device, dtype)

    def _fill_gradients(self, model: torch.nn.Module) -> torch.Tensor:
        model.zero_grad()
        like = next(model.parameters())
        inputs = torch.linspace(-1, 1, 20, dtype=like.dtype, device=like.device).reshape(5, 4)
        loss: torch.Tensor = model(inputs).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @harness.optims(optim_db)
    def test_errors(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        for case in optim_info.optim_error_inputs_func(device=device, dtype=dtype):
            warns = issubclass(case.error_type, Warning)
            expect = self.assertWarnsRegex if warns else self.assertRaisesRegex
            inputs = case.optimizer_error_input
            params = [Parameter(torch.ones(1))] if inputs.params is None else inputs.params
            with expect(case.error_type, case.error_regex):
                optim_info.optim_cls(params, **inputs.kwargs)

    @harness.optims(optim_db)
    def test_direction_with_every_scheduler(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        for constructors in [[], *optim_info.scheduler_inputs]:
            for inputs in optim_info.optim_inputs_func(device=device):
                model = self._model(device, dtype)
                optimizer = optim_info.optim_cls(model.parameters(), **inputs.kwargs)
                schedulers = [constructor(optimizer) for constructor in constructors]
                first = self._fill_gradients(model)
                for _ in range(12):
                    optimizer.step()
                    loss = self._fill_gradients(model)
                    for scheduler in schedulers:
                        scheduler.step(*([loss] if isinstance(scheduler, ReduceLROnPlateau) else []))
                rises = inputs.kwargs.get("maximize", False)
                (self.assertGreater if rises else self.assertLess)(loss, first, inputs.desc)

    @harness.optims(optim_db)
    def test_tensor_lr(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        for kwargs in _all_kwargs(device, dtype, optim_info):
            tensor = torch.tensor(1e-3)
            models = self._model(device, dtype), self._model(device, dtype)
            if kwargs["foreach"]:
                with self.assertRaisesRegex(ValueError, "lr as a Tensor is not supported"):
                    optim_info.optim_cls(models[0].parameters(), **{**kwargs, "lr": tensor})
                continue
            for model, lr in zip(models, (tensor, 1e-3), strict=True):
                optimizer = optim_info.optim_cls(model.parameters(), **{**kwargs, "lr": lr})
                for _ in range(5):
                    self._fill_gradients(model)
                    optimizer.step()
            self.assertEqual(list(models[0].parameters()), list(models[1].parameters()))

    @harness.optims(optim_db)
    def test_older_and_saved_state_dicts_load(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        for kwargs in _all_kwargs(device, dtype, optim_info):
            model = self._model(device, dtype)
            optimizer = optim_info.optim_cls(model.parameters(), **kwargs)
            self._fill_gradients(model)
            optimizer.step()
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
            self.assertEqual(saved, optimizer.state_dict())
            older = copy.deepcopy(saved)
            for group in older["param_groups"]:
                for flag in optim_info.not_og_supported_flags:
                    group.pop(flag, None)
            for state_dict in (saved, older):
                optimizer.load_state_dict(state_dict)
                self._fill_gradients(model)
                optimizer.step()


device_types.instantiate_device_type_tests(TestExported, globals(), only_for=("cpu", "cuda"))
