"""State dicts, copies, pickles and hooks of exported classes."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from evoopt.export.naming import function_name
from tests.export.subjects import (
    CLASSES,
    STAGED,
    every_class,
    every_implementation,
    make,
    regression,
    settings,
    weight_and_bias,
)

NAMES = ["weight", "bias"]


def named(params: list[Parameter], use_names: bool) -> Any:
    return list(zip(NAMES, params, strict=True)) if use_names else params


def steps(optimizer: Optimizer, params: list[Parameter], count: int) -> None:
    for _ in range(count):
        optimizer.step(regression(params))


def clones(params: list[Parameter]) -> list[Parameter]:
    return [Parameter(p.detach().clone()) for p in params]


def without_names(state_dict: dict[str, Any]) -> dict[str, Any]:
    groups = [{k: v for k, v in g.items() if k != "param_names"} for g in state_dict["param_groups"]]
    return {"state": state_dict["state"], "param_groups": groups}


def assert_same(a: Any, b: Any) -> None:
    """Equal nested values; tensors bit for bit."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@every_implementation
@pytest.mark.parametrize("saved_names", [False, True])
@pytest.mark.parametrize("loaded_names", [False, True])
def test_training_continues_exactly_from_a_state_dict(
    cls: type[Any], implementation: dict[str, Any], saved_names: bool, loaded_names: bool
) -> None:
    for options in settings(cls) if saved_names and loaded_names else [{}]:
        params = weight_and_bias()
        optimizer = make(cls, named(params, saved_names), **implementation, **options)
        steps(optimizer, params, 5)
        copied = clones(params)
        loaded = make(cls, named(copied, loaded_names), **implementation, **options)
        state_dict = copy.deepcopy(optimizer.state_dict())
        untouched = copy.deepcopy(state_dict)
        loaded.load_state_dict(state_dict)
        assert_same(state_dict, untouched)
        steps(optimizer, params, 5)
        steps(loaded, copied, 5)
        assert all(torch.equal(p, q) for p, q in zip(params, copied, strict=True)), options
        assert_same(without_names(loaded.state_dict()), without_names(optimizer.state_dict()))
        if saved_names or loaded_names:
            assert loaded.state_dict()["param_groups"][0]["param_names"] == NAMES


@every_class
def test_repeated_groups_look_the_same_in_a_state_dict(cls: type[Any]) -> None:
    optimizer = make(cls, weight_and_bias())
    expected = optimizer.state_dict()["param_groups"][-1]
    optimizer.param_groups.extend(optimizer.param_groups)
    assert_same(optimizer.state_dict()["param_groups"][-1], expected)


@every_class
def test_a_state_dict_from_before_the_flags_existed_loads(cls: type[Any]) -> None:
    params = weight_and_bias()
    optimizer = make(cls, params)
    steps(optimizer, params, 3)
    state_dict = copy.deepcopy(optimizer.state_dict())
    for group in state_dict["param_groups"]:
        for flag in ("foreach", "maximize", "capturable"):
            del group[flag]
    optimizer.load_state_dict(state_dict)
    steps(optimizer, params, 1)
    group = optimizer.param_groups[0]
    assert (group["foreach"], group["maximize"], group["capturable"]) == (None, False, False)
    assert optimizer.state[params[0]]["step"].item() == 4


@every_class
def test_a_step_that_was_saved_as_a_number_loads_as_a_tensor(cls: type[Any]) -> None:
    params = weight_and_bias()
    optimizer = make(cls, params)
    steps(optimizer, params, 3)
    state_dict = copy.deepcopy(optimizer.state_dict())
    for state in state_dict["state"].values():
        state["step"] = state["step"].item()
    optimizer.load_state_dict(state_dict)
    steps(optimizer, params, 1)
    step = optimizer.state[params[0]]["step"]
    assert (step.shape, step.dtype, step.item()) == ((), torch.float32, 4)


@every_implementation
@pytest.mark.parametrize("names", [False, True])
def test_a_saved_state_dict_loads_with_weights_only(
    cls: type[Any], implementation: dict[str, Any], names: bool
) -> None:
    for options in settings(cls):
        params = weight_and_bias()
        optimizer = make(cls, named(params, names), **implementation, **options)
        steps(optimizer, params, 3)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        assert_same(torch.load(file, weights_only=True), optimizer.state_dict())


@every_class
def test_a_deep_copy_has_every_public_attribute_and_goes_its_own_way(cls: type[Any]) -> None:
    params = weight_and_bias()
    optimizer = make(cls, params)
    steps(optimizer, params, 2)
    before = copy.deepcopy(optimizer.state_dict())
    copied = copy.deepcopy(optimizer)

    def public(of: Optimizer) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    assert public(copied) == public(optimizer)
    for group in copied.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    copied.step()
    assert_same(optimizer.state_dict(), before)


@every_class
def test_a_pickled_optimizer_continues_exactly(cls: type[Any]) -> None:
    params = weight_and_bias()
    optimizer = make(cls, params)
    steps(optimizer, params, 3)
    loaded = pickle.loads(pickle.dumps(optimizer))
    assert type(loaded) is cls
    copied = loaded.param_groups[0]["params"]
    steps(optimizer, params, 3)
    steps(loaded, copied, 3)
    assert all(torch.equal(p, q) for p, q in zip(params, copied, strict=True))


def test_pickled_optimizers_load_in_another_process(tmp_path: Path) -> None:
    params = weight_and_bias()
    optimizers = [make(cls, params) for cls in (CLASSES | STAGED).values()]  # some were made in memory
    for optimizer in optimizers:
        steps(optimizer, params, 2)
    (tmp_path / "optimizers.pickle").write_bytes(pickle.dumps(optimizers))
    code = "import pickle\nfor o in pickle.load(open('optimizers.pickle', 'rb')): print(o); o.step()"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout.splitlines() == "\n".join(map(str, optimizers)).splitlines()


@every_class
def test_printing_shows_every_option_of_every_group(cls: type[Any]) -> None:
    for options in settings(cls):
        optimizer = make(cls, weight_and_bias(), **options)
        text = repr(optimizer)
        assert text.startswith(f"{cls.__name__} (\nParameter Group 0\n")
        for name, value in optimizer.param_groups[0].items():
            assert name == "params" or f"    {name}: {value}\n" in text


@every_class
def test_state_dict_hooks_run_before_and_after(cls: type[Any]) -> None:
    optimizer = make(cls, weight_and_bias())
    order: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda opt: order.append("pre"))

    def post(opt: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        order.append("post")
        return {**state_dict, "note": "seen"}

    optimizer.register_state_dict_post_hook(post)
    assert optimizer.state_dict()["note"] == "seen"
    assert order == ["pre", "post"]


@every_class
def test_load_state_dict_hooks_run_in_order_and_may_change_what_is_loaded(cls: type[Any]) -> None:
    optimizer = make(cls, weight_and_bias())
    seen: list[float] = []

    def with_lr(lr: float) -> Any:
        def hook(opt: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
            changed = copy.deepcopy(state_dict)
            changed["param_groups"][0]["lr"] = lr
            return changed

        return hook

    optimizer.register_load_state_dict_pre_hook(with_lr(0.002))
    optimizer.register_load_state_dict_pre_hook(with_lr(0.003), prepend=True)
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(opt.param_groups[0]["lr"]))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == [0.002]  # the prepended hook ran first


@every_class
def test_step_hooks_run_in_order_and_can_be_removed(cls: type[Any]) -> None:
    params = weight_and_bias()
    optimizer, other = make(cls, params), SGD(params)
    order: list[str] = []

    def note(name: str) -> Any:
        return lambda opt, args, kwargs: order.append(name)

    handles: list[Any] = [
        register_optimizer_step_pre_hook(note("global pre")),
        register_optimizer_step_post_hook(note("global post")),
    ]
    for of in (optimizer, other):
        handles += [of.register_step_pre_hook(note("pre")), of.register_step_post_hook(note("post"))]
    for of in (optimizer, other, optimizer):
        of.step()
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert order == ["global pre", "pre", "post", "global post"] * 3


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_state_bytes_are_those_of_the_buffers_the_rule_needs(cls: type[Any]) -> None:
    params = weight_and_bias()
    optimizer = make(cls, params)
    steps(optimizer, params, 1)
    signature = inspect.signature(sys.modules[cls.__module__].__dict__[function_name(cls.__name__)])
    buffers = sum(name in signature.parameters for name in ("exp_avgs", "exp_avg_sqs"))
    for p in params:
        sizes = {name: value.nbytes for name, value in optimizer.state[p].items()}
        assert sizes.pop("step") == 4
        assert list(sizes.values()) == [p.nbytes] * buffers


@every_class
def test_a_state_goes_on_from_where_it_was_however_small_its_parameters_types_are(cls: type[Any]) -> None:
    params = [Parameter(p.detach().bfloat16()) for p in weight_and_bias()]
    optimizer = make(cls, params)
    for seed in range(3):
        steps_of_noise(optimizer, params, seed)
    kept, copies = copy.deepcopy(optimizer.state_dict()), clones(params)
    again = make(cls, copies)
    again.load_state_dict(copy.deepcopy(kept))
    assert_same(again.state_dict()["state"], kept["state"])
    for one, own in ((optimizer, params), (again, copies)):
        steps_of_noise(one, own, 3)
    assert all(torch.equal(p, q) for p, q in zip(params, copies, strict=True))


def steps_of_noise(optimizer: Optimizer, params: list[Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
    optimizer.step()
