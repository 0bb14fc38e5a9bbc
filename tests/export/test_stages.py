"""What classes of rules with stages do beside the steps: groups, averages, and what they refuse."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from evoopt.export import from_rule
from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.integrations import parameter_groups
from evoopt.optim import (
    LAMB,
    STAGED_PRESETS,
    AdamWEMA,
    AdamWFactored,
    AdEMAMix,
    EvolvedOptimizer,
    Muon,
    UpdateRule,
    generated,
    matrix_groups,
    preset,
)
from tests.export.subjects import STAGED, make, regression, weight_and_bias
from tests.optim.test_published import draw
from tests.optim.test_staged_optimizer import Net

CLASSES = {name: getattr(generated, PRESET_CLASSES[name]) for name in STAGED_PRESETS} | STAGED
every_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def trained(cls: type[Any], params: list[Parameter], steps: int = 5, **options: Any) -> Any:
    optimizer = make(cls, params, **options)
    for _ in range(steps):
        optimizer.step(regression(params))
    return optimizer


@every_class
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_class_keeps_what_the_interpreter_keeps(cls: type[Any], dtype: torch.dtype) -> None:
    rule = UpdateRule.from_json(_rule_in(cls))
    found = []
    for kind in (lambda p: make(cls, p), lambda p: EvolvedOptimizer(p, rule, total_steps=100)):
        params = [*weight_and_bias(dtype), Parameter(torch.ones(2, 3, 2, 2, dtype=dtype))]
        optimizer = kind(params)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        state = optimizer.state_dict()["state"]
        found.append({(k, name): (x.shape, x.dtype) for k, s in state.items() for name, x in s.items()})
    assert found[0] == found[1]


def _rule_in(cls: type[Any]) -> Any:
    return json.loads(str(cls.__doc__).split("Rule as JSON::")[1])


of_muon = pytest.mark.parametrize("kind", [Muon, lambda groups: EvolvedOptimizer(groups, preset("muon"))])


@of_muon
def test_complex_matrices_are_refused_but_not_where_a_group_says_that_they_are_none(kind: Any) -> None:
    matrix = Parameter(torch.ones(2, 2, dtype=torch.complex64))
    refused = r"^(Muon|this rule) has stages for matrices, which are not defined for complex ones$"
    with pytest.raises(ValueError, match=refused):
        kind([matrix])
    vector = Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = kind([{"params": [matrix], "matrix": False}, {"params": [vector]}])
    with pytest.raises(ValueError, match=refused):
        optimizer.add_param_group({"params": [Parameter(torch.ones_like(matrix))]})
    with pytest.raises(
        ValueError, match=r"^a parameter of shape \(3,\) is no matrix: leave matrix=True out$"
    ):
        optimizer.add_param_group({"params": [Parameter(torch.ones(3))], "matrix": True})
    assert len(optimizer.param_groups) == 2


@pytest.mark.parametrize(
    "make_groups", [parameter_groups, lambda model: matrix_groups(model, preset("muon"))]
)
def test_groups_made_from_a_model_leave_adam_what_is_no_hidden_matrix(make_groups: Any) -> None:
    model = Net()
    optimizer = Muon(make_groups(model))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    adam = {name for name, p in model.named_parameters() if "exp_avg_sq" in optimizer.state[p]}
    assert adam == {name for name, _ in model.named_parameters()} - {"convolution.weight", "hidden.weight"}


@of_muon
def test_embeddings_stay_what_they_are_where_a_loaded_state_does_not_say(kind: Any) -> None:
    params = [Parameter(torch.ones(3, 2)) for _ in range(2)]
    optimizer = kind([{"params": [params[0]], "matrix": True}, {"params": [params[1]], "matrix": False}])
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        del group["matrix"]
    optimizer.load_state_dict(state)
    assert [group["matrix"] for group in optimizer.param_groups] == [True, False]


def test_others_have_betas_and_a_rate_of_their_own() -> None:
    params, expected = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    groups = [{"params": params, "matrix": False}]
    muon = Muon(groups, lr=0.01, others_lr=0.5, others_betas=(0.8, 0.7), others_eps=1e-6, weight_decay=0.0)
    adam = torch.optim.Adam(expected, lr=0.005, betas=(0.8, 0.7), eps=1e-6)
    for _ in range(5):
        muon.step(regression(params))
        adam.step(regression(expected))
    torch.testing.assert_close(params, expected, rtol=1e-12, atol=1e-12)


averaging = pytest.mark.parametrize(
    "kind", [AdamWEMA, lambda params: EvolvedOptimizer(params, preset("adamw_ema"))]
)


@averaging
def test_averages_go_in_and_out_of_the_parameters_and_into_a_copy(kind: Any) -> None:
    params, copies = weight_and_bias(), weight_and_bias(seed=1)
    optimizer = trained(kind, params)
    last = copy.deepcopy(params)
    optimizer.copy_averaged_to(copies)
    with optimizer.averaged():
        assert not any(torch.equal(p, q) for p, q in zip(params, last))
        torch.testing.assert_close(params, copies, rtol=0, atol=0)
        with pytest.raises(RuntimeError, match="does not nest"), optimizer.averaged():
            pass
    torch.testing.assert_close(params, last, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="leave averaged"), optimizer.averaged():
        optimizer.step()
    torch.testing.assert_close(params, last, rtol=0, atol=0)
    optimizer.step()
    with pytest.raises(ValueError, match="a model like this one"):
        optimizer.copy_averaged_to(copies[1:])


@averaging
def test_statistics_are_those_of_the_averages_inside_and_of_the_last_weights_afterwards(kind: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer, batches = kind(model.parameters()), [(torch.randn(8, 3), None) for _ in range(5)]
    for x, _ in batches:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    last, copied = copy.deepcopy(model.state_dict()), copy.deepcopy(model)
    optimizer.copy_averaged_to(copied.parameters())
    torch.optim.swa_utils.update_bn(batches, copied)
    model.eval()
    with optimizer.averaged(model, batches):
        torch.testing.assert_close(model.state_dict(), copied.state_dict(), rtol=0, atol=0)
        assert not torch.equal(model[1].running_mean, last["1.running_mean"])
        assert not model[1].training
    torch.testing.assert_close(model.state_dict(), last, rtol=0, atol=0)
    with pytest.raises(TypeError), optimizer.averaged(model, [None]):
        pass
    torch.testing.assert_close(model.state_dict(), last, rtol=0, atol=0)


@averaging
def test_batches_that_fail_leave_the_model_as_it_was(kind: Any) -> None:
    def batches() -> Iterator[torch.Tensor]:
        yield torch.randn(8, 3)
        raise OSError("the disk is gone")

    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    optimizer = kind(model.parameters())
    model(torch.randn(8, 3)).square().mean().backward()
    optimizer.step()
    last = copy.deepcopy(model.state_dict())
    with pytest.raises(OSError, match="gone"), optimizer.averaged(model, batches()):
        pass
    torch.testing.assert_close(model.state_dict(), last, rtol=0, atol=0)
    assert (model.training, model[1].momentum) == (False, 0.1)


@averaging
def test_models_of_several_inputs_get_them_and_those_without_statistics_stay_as_they_are(kind: Any) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

        def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
            return self.net(x[0] + x[1])  # type: ignore[no-any-return]

    x, model = torch.randn(2, 8, 3), Pair().eval()
    with kind(model.parameters()).averaged(model, [((x[0], x[1]), None)]):
        torch.testing.assert_close(model.net[1].running_mean, model.net[0](x.sum(0)).mean(0))
    plain = nn.Sequential(nn.Linear(3, 4), nn.Dropout()).train()
    plain[1].eval()
    with kind(plain.parameters()).averaged(plain, [x[0]]):
        assert not plain[1].training
    assert not plain[1].training


def test_before_the_first_step_averages_are_the_weights() -> None:
    params, copies = weight_and_bias(), weight_and_bias(seed=1)
    optimizer = AdamWEMA(params)
    optimizer.copy_averaged_to(copies)
    with optimizer.averaged():
        torch.testing.assert_close(params, copies, rtol=0, atol=0)


@averaging
def test_the_state_of_adamw_has_no_averages(kind: Any) -> None:
    params = weight_and_bias()
    state = trained(generated.AdamW, params).state_dict()
    with pytest.raises(ValueError, match="cannot load the state of another optimizer: it has no average"):
        kind(params).load_state_dict(state)


def test_a_mean_of_the_last_weights_asks_for_the_length_of_the_training() -> None:
    cls = from_rule(replace(preset("adam"), readout="mean"), "Mean")
    with pytest.raises(ValueError, match=r"^Mean ends with a mean of the last weights: pass total_steps"):
        cls(weight_and_bias())
    assert "schedule" not in cls(weight_and_bias(), total_steps=3).defaults


def test_a_schedule_in_fractions_has_every_implementation() -> None:
    rule = replace(preset("adam"), warmup_fraction=0.2, decay_shape="sqrt", decay_start=0.5, decay_floor=0.1)
    cls = from_rule(rule, "Fractions")
    with pytest.raises(ValueError, match=r"^Fractions schedules its learning rate: pass total_steps"):
        cls(weight_and_bias())
    for foreach in (False, True):
        optimizer = trained(cls, weight_and_bias(), 0, total_steps=20, foreach=foreach)
        for step in range(22):
            optimizer.step(regression(optimizer.param_groups[0]["params"]))
            assert float(optimizer.param_groups[0]["scheduled_lr"]) == rule.lr * rule.factor(step, 20)


class _Shard:
    @staticmethod
    def is_replicate() -> bool:
        return False


class _Sharded(Parameter):
    placements = (_Shard(),)


def test_sharded_tensors_are_refused_only_where_they_are_needed_whole() -> None:
    matrix, vector = _Sharded(torch.ones(2, 2)), _Sharded(torch.ones(3))
    with pytest.raises(ValueError, match=r"^Muon needs matrices whole: it cannot move what fully_shard or"):
        Muon([matrix])
    Muon([{"params": [matrix], "matrix": False}, {"params": [vector]}])
    with pytest.raises(ValueError, match=r"^LAMB needs tensors whole"):
        LAMB([vector])
    AdEMAMix([matrix, vector])
    AdamWFactored([vector])


@pytest.mark.parametrize(
    ("cls", "absent"),
    [
        (LAMB, ("_is_matrix", "averaged", "total_steps", "_newton_schulz")),
        (Muon, ("averaged", "total_steps", 'eps = group["eps"]', "_schedule_factor")),
        (AdEMAMix, ("def _check", "def add_param_group", "placements")),
    ],
)
def test_only_what_a_rule_uses_is_written(cls: type[Any], absent: tuple[str, ...]) -> None:
    source = Path(str(sys.modules[cls.__module__].__file__)).read_text(encoding="utf-8")
    code = source.partition('    """\n')[2]
    assert [text for text in absent if text in code] == []


@pytest.mark.parametrize("foreach", [False, True])
def test_eigenvectors_are_taken_in_full_precision_whatever_the_parameters_and_autocast(foreach: bool) -> None:
    def step(dtype: torch.dtype, autocast: bool) -> tuple[Tensor, torch.optim.Optimizer]:
        p = nn.Parameter(draw(6, 4).to(dtype))
        optimizer = generated.SOAP([p], foreach=foreach)
        for k in range(3):
            p.grad = draw(6, 4, seed=k).to(dtype)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                optimizer.step()
        return p.detach(), optimizer

    plain, cast = (step(torch.float32, autocast)[0] for autocast in (False, True))
    assert torch.equal(plain, cast)
    p, low = step(torch.bfloat16, autocast=False)
    copy = generated.SOAP([nn.Parameter(p.clone())], foreach=foreach)
    copy.load_state_dict(low.state_dict())
    for optimizer in (low, copy):
        (state,) = optimizer.state.values()
        assert state["gram"].dtype == state["rotated_sq"].dtype == torch.float32
        assert state["exp_avg"].dtype == torch.bfloat16
