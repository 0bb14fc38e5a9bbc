"""Everything a person may name as a contender is found, and everything else is refused in one clear line."""

from __future__ import annotations

import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evoopt.compare.contender import (
    CONSTANT,
    OWN,
    ClassSubject,
    RuleSubject,
    class_contender,
    with_unique_names,
)
from evoopt.compare.optimizer_classes import ClassMember, find_class, make_class_optimizer
from evoopt.compare.sources import BASELINES, TORCH_CLASSES, contender
from evoopt.compare.space import Setting
from evoopt.errors import EvooptError
from evoopt.export import render
from evoopt.optim import PRESETS, STAGED_PRESETS, preset
from evoopt.runs.run import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.training.plan import TrainingPlan
from evoopt.training.sequential import evolved_optimizer, train_sequential
from tests.rules import random_rule


@pytest.mark.parametrize("name", [*PRESETS, *STAGED_PRESETS, *TORCH_CLASSES, *BASELINES])
def test_every_shipped_name_is_a_contender_with_a_declared_space(name: str) -> None:
    found = contender(name)
    assert found.name == name
    assert found.note == ""
    assert found.space.lr > 0
    found.member(Setting(CONSTANT, (("lr", 1e-3),)), 100)


@pytest.mark.parametrize("kind", ["rule", "genome"])
def test_json_files_are_contenders_with_the_default_space_and_a_note(kind: str, tmp_path: Path) -> None:
    rule = random_rule(3)
    data = rule.to_json() if kind == "rule" else OptimizerGenome.from_rule(rule).to_json()
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    found = contender(path)
    assert isinstance(found.subject, RuleSubject)
    assert found.name == "mine"
    assert "declares no tuning space; it gets the default one (lr, weight_decay" in found.note
    assert found.subject.rule.lr == pytest.approx(rule.lr)


def test_a_name_that_is_no_text_becomes_one(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"rule \xc3\xbc\xff.json")
    path.write_text(json.dumps(preset("lion").to_json()))
    assert contender(path).name == "rule ü\\xff"


def test_an_exported_file_is_a_contender_that_makes_the_rules_steps(tmp_path: Path) -> None:
    rule = preset("marfinetz2025")
    path = tmp_path / "mine.py"
    path.write_text(render(rule, "Mine"))
    found = contender(path)
    assert found.name == "Mine"
    assert found.schedules_for(200) == ("constant", "warmup_cosine", OWN)
    task = get_task("digits")
    data, plan = load_task_data(task, DataOptions()), TrainingPlan(30, 1, 32)
    for schedule in found.schedules_for(200):
        setting = Setting(schedule, (("lr", 2e-3), ("weight_decay", 0.1), ("beta1", 0.8), ("beta2", 0.95)))
        own = contender("marfinetz2025").member(setting, 30)
        other = found.member(setting, 30)
        expected = train_sequential(task, data, [own], plan, keep_losses=True, dtype=torch.float64)[0]
        actual = train_sequential(
            task,
            data,
            [other],
            plan,
            keep_losses=True,
            dtype=torch.float64,
            make_optimizer=make_class_optimizer,
        )[0]
        assert actual.losses == pytest.approx(expected.losses, rel=1e-6), schedule


@pytest.mark.parametrize("source", ["torch.optim:RAdam", "torch.optim:SGD"])
def test_classes_of_modules_are_contenders(source: str) -> None:
    found = contender(source)
    assert isinstance(found.subject, ClassSubject)
    assert "default one (lr, " in found.note
    member = found.member(Setting("warmup_cosine", (("lr", 0.1), ("weight_decay", 0.01))), 50)
    assert (member.warmup_steps, member.cosine) == (5, True)  # type: ignore[union-attr]


def test_modules_of_the_current_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evoopt_test_local.py").write_text("import torch\nclass Mine(torch.optim.SGD): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    assert contender("evoopt_test_local:Mine").name == "Mine"


def test_a_class_with_betas_takes_tuned_ones_as_a_pair() -> None:
    member = contender("nadam").member(Setting(CONSTANT, (("lr", 0.1), ("beta1", 0.7))), 50)
    assert dict(member.arguments) == {"lr": 0.1, "betas": (0.7, 0.999)}  # type: ignore[union-attr]


class Declared(torch.optim.Adam):
    tuning_space = {"lr": (1e-4, 1e-2), "weight_decay": (1e-3, 0.1)}  # noqa: RUF012


class Misdeclared(torch.optim.Adam):
    tuning_space = {"weight_decai": (1e-3, 0.1)}  # noqa: RUF012


def test_a_class_may_declare_its_space() -> None:
    found = class_contender("mine", Declared)
    assert found.note == ""
    assert found.space.lr == pytest.approx(1e-3)
    assert dict(found.space.ranges) == {"weight_decay": (1e-3, 0.1)}
    with pytest.raises(EvooptError, match="Did you mean 'weight_decay'"):
        class_contender("mine", Misdeclared)


def test_a_schedule_on_a_class_is_that_on_a_rule() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    model = torch.nn.ParameterList([parameter])
    spec = ClassMember("torch.optim:SGD", (("lr", 1.0),), warmup_steps=4, cosine=True)
    optimizer = make_class_optimizer(model, spec, 10)
    moves = []
    for _ in range(10):
        before = parameter.item()
        parameter.grad = torch.ones(1)
        optimizer.step()
        moves.append(before - parameter.item())
    from evoopt.optim.schedule import schedule_factor

    assert moves == pytest.approx([schedule_factor(s, 10, 4, True) for s in range(10)], abs=1e-6)


class Shifted(torch.optim.SGD):
    """Trains one unit beside the weights that it is scored at, as Schedule-Free trains at others."""

    def __init__(self, params: Any, lr: float = 0.1, warmup_steps: int = 0) -> None:
        super().__init__(params, lr)
        self.modes: list[str] = []

    def train(self) -> None:
        self._shift("train", 1.0)

    def eval(self) -> None:
        self._shift("eval", -1.0)

    @torch.no_grad()
    def _shift(self, mode: str, by: float) -> None:
        self.modes.append(mode)
        for p in self.param_groups[0]["params"]:
            p += by


def test_a_class_with_modes_trains_in_one_and_is_scored_in_the_other() -> None:
    found = class_contender("shifted", Shifted)
    assert found.schedules_for(40) == (CONSTANT, OWN)
    own = found.member(Setting(OWN, (("lr", 0.0),)), 40)
    assert dict(own.arguments) == {"lr": 0.0, "warmup_steps": 4}  # type: ignore[union-attr]
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = make_class_optimizer(model, own, 40)  # type: ignore[arg-type]
    torch.testing.assert_close(model.weight, before + 1)
    with optimizer.averaged():
        torch.testing.assert_close(model.weight, before)
    torch.testing.assert_close(model.weight, before + 1)
    assert optimizer.optimizer.modes == ["train", "eval", "train"]  # type: ignore[attr-defined]


def test_schedule_free_adamw_learns_and_its_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("schedulefree", reason="needs schedulefree")
    found = contender("schedulefree_adamw")
    assert list(found.space.ranges) == ["weight_decay", "beta1", "beta2"]
    assert found.schedules_for(100) == (CONSTANT, OWN)
    task = get_task("digits")
    data, plan = load_task_data(task, DataOptions()), TrainingPlan(60, 1, 32)
    member = found.member(Setting(OWN, (("lr", 0.02), ("beta1", 0.9))), 60)
    result = train_sequential(task, data, [member], plan, make_optimizer=make_class_optimizer)[0]
    assert result.metric > 0.9
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EvooptError, match=r"^'schedulefree_adamw' needs the package schedulefree: pip ins"):
        contender("schedulefree_adamw")


@pytest.mark.parametrize("readout", ["ema", "mean"])
def test_an_exported_class_is_scored_at_the_average_that_its_rule_reads(readout: str, tmp_path: Path) -> None:
    rule = replace(preset("adamw"), readout=readout, ema_decay=0.9)
    path = tmp_path / "mine.py"
    path.write_text(render(rule, "Mine"))
    task = get_task("digits")
    data, plan = load_task_data(task, DataOptions()), TrainingPlan(30, 1, 32)
    member = contender(path).member(Setting("warmup_cosine", (("lr", 3e-3),)), 30)
    own = RuleSubject(rule).member(Setting("warmup_cosine", (("lr", 3e-3),)), 30)
    expected = train_sequential(task, data, [own], plan, dtype=torch.float64)[0]
    actual = train_sequential(
        task, data, [member], plan, dtype=torch.float64, make_optimizer=make_class_optimizer
    )[0]
    assert actual.eval_loss == pytest.approx(expected.eval_loss, rel=1e-9)


SCHEDULED = Setting("warmup_cosine", (("lr", 3e-3),))


def losses(member: Any, **options: Any) -> tuple[float, ...]:
    task, plan = get_task("digits"), TrainingPlan(8, 1, 32)
    data = load_task_data(task, DataOptions())
    return train_sequential(task, data, [member], plan, keep_losses=True, **options)[0].losses


@pytest.mark.parametrize("shape_output", [False, True])
def test_an_exported_class_moves_the_same_matrices_as_its_rule(shape_output: bool, tmp_path: Path) -> None:
    rule = replace(preset("muon"), shape_output=shape_output)
    path = tmp_path / "mine.py"
    path.write_text(render(rule, "Mine"))
    expected = losses(RuleSubject(rule).member(SCHEDULED, 8))
    assert losses(contender(path).member(SCHEDULED, 8), make_optimizer=make_class_optimizer) == pytest.approx(
        expected, rel=1e-4
    )


def test_muon_of_torch_is_tuned_as_the_preset_and_makes_its_steps_up_to_bfloat16() -> None:
    found = contender("torch_muon")
    assert found.space.lr == contender("muon").space.lr
    renamed = {"momentum": "beta1"}
    ranges = {renamed.get(name, name): bounds for name, bounds in found.space.ranges.items()}
    assert ranges == contender("muon").space.ranges
    net = torch.nn.Sequential
    models = [
        net(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))
        for _ in range(2)
    ]
    models[1].load_state_dict(models[0].state_dict())
    before = copy.deepcopy(models[0])
    values = {"lr": 0.01, "weight_decay": 0.1, "others_lr": 0.5}
    torchs = found.member(Setting(CONSTANT, tuple({**values, "momentum": 0.9}.items())), 8)
    own = contender("muon").member(Setting(CONSTANT, tuple({**values, "beta1": 0.9}.items())), 8)
    optimizers = [make_class_optimizer(models[0], torchs, 8), evolved_optimizer(models[1], own, 8)]  # type: ignore[arg-type]
    for optimizer, model in zip(optimizers, models):
        generator = torch.Generator().manual_seed(1)
        for _ in range(4):
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
    for start, a, b in zip(before.parameters(), *(model.parameters() for model in models)):
        far = 0.03 if a.shape in ((8, 6), (8, 8)) else 1e-5
        assert (a - b).norm().item() < far * (a - start).norm().item()


def test_a_model_without_hidden_matrices_leaves_all_to_adamw() -> None:
    model = torch.nn.Linear(3, 2)
    member = contender("torch_muon").member(SCHEDULED, 20)
    optimizer = make_class_optimizer(model, member, 20)  # type: ignore[arg-type]
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all("exp_avg_sq" in optimizer.optimizer.state[p] for p in model.parameters())
    assert all((p < start).all() for p, start in zip(model.parameters(), before, strict=True))


def test_what_stages_have_is_tuned_and_any_schedule_replaces_one_in_fractions() -> None:
    assert {"weight_decay", "beta1", "others_lr"} <= set(contender("muon").space.ranges)
    assert "slow_beta" in contender("ademamix").space.ranges
    assert "ema_decay" in contender("adamw_ema").space.ranges
    subject = RuleSubject(replace(preset("muon"), warmup_fraction=0.1, decay_shape="linear"))
    assert subject.own_schedule(100)
    own = subject.member(Setting(OWN, (("lr", 0.1),)), 100)
    assert (own.decay_shape, own.lr) == ("linear", 0.1)
    assert not subject.member(Setting(CONSTANT, (("lr", 0.1),)), 100).has_fractions
    assert subject.member(Setting("warmup_cosine", (("lr", 0.1),)), 100).cosine


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", OptimizerConfig()).close()
    with pytest.raises(EvooptError, match="is not finished"):
        contender(tmp_path / "run")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("addam", "Did you mean 'adam'"),
        ("torch.optim:Adan", "defines no torch.optim.Optimizer named 'Adan'"),
        ("no_such_module:Class", "cannot import 'no_such_module'"),
        ("missing.py", "there is no file"),
        ("missing.json", "cannot read missing.json"),
        (".", "is not a run folder"),
        ("runs/frist", "runs/frist is neither a preset, nor a run folder, nor a file of"),
    ],
)
def test_unknown_contenders_are_refused(source: str, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        contender(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch", "must define one optimizer class, found none"),
        ("raise ValueError('oh')", "raised ValueError: oh"),
        ("import sys; sys.exit(3)", "raised SystemExit: 3"),
        ("this is no python", "raised SyntaxError"),
    ],
)
def test_faulty_python_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(EvooptError, match=message):
        find_class(str(path))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_no_json_file_causes_anything_but_a_clear_error(data: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_text(json.dumps(data))
        with pytest.raises(EvooptError):
            contender(path)


def test_a_name_borne_twice_is_numbered() -> None:
    assert [c.name for c in with_unique_names([contender("adam")] * 3)] == ["adam", "adam #2", "adam #3"]
