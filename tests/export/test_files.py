"""Exported files: what may be exported under which name, and that the file stands on its own."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evoopt import optim
from evoopt.errors import EvooptError
from evoopt.export import FORMATS, Provenance, from_genome, from_rule, load_rule, render, write_export
from evoopt.export.docstring import formulas
from evoopt.export.write_presets import FOLDER, PRESET_CLASSES, preset_files
from evoopt.optim import MORE_TERMS, PRESETS, STAGED_PRESETS, TERMS, UpdateRule, generated
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from tests.export.subjects import RULES, STAGED_RULES
from tests.rules import random_rule, random_staged_rule

ALL_RULES = {**PRESETS, **RULES, **{f"seed{seed}": random_rule(seed) for seed in range(100, 120)}}
WITH_STAGES = {
    **STAGED_PRESETS,
    **STAGED_RULES,
    **{f"stages{seed}": random_staged_rule(seed) for seed in range(100, 110)},
}


def run(*command: str, cwd: Path) -> None:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr


def tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported file per rule, each with a full provenance."""
    folder = tmp_path_factory.mktemp("exported")
    for name, rule in (ALL_RULES | WITH_STAGES).items():
        provenance = Provenance(
            f"file {name}.json",
            run="quick-20250101-120000",
            data="digits",
            budget="100 genomes of 50 steps each",
            genome=None if rule.stages else OptimizerGenome.from_rule(rule).to_json(),
            comparison="validation accuracy 0.91 against 0.90, paired over 5 seeds",
        )
        (folder / f"{name}.py").write_text(
            render(rule, f"Exported{name.title().replace('_', '')}", provenance), encoding="utf-8"
        )
    return folder


def test_the_rules_of_these_tests_use_every_term_and_flag() -> None:
    rules = [rule.canonical() for rule in ALL_RULES.values()]
    assert {name for rule in rules for name, _ in rule.terms} == {term.name for term in TERMS}
    for uses in (
        "use_m",
        "use_v",
        "bias_correction",
        "cosine",
        "clip_value",
        "warmup_steps",
        "nesterov_beta",
    ):
        assert {bool(getattr(rule, uses)) for rule in rules} == {True, False}, uses


def test_exported_files_import_only_torch_and_the_standard_library(exported: Path) -> None:
    for file in exported.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert {module.split(".")[0] for module in modules} <= {
            "torch",
            "functools",
            "math",
            "typing",
            "collections",
            "contextlib",
            "warnings",
        }


def test_exported_files_train_in_a_process_that_cannot_import_evoopt(tmp_path: Path) -> None:
    write_export("marfinetz2025", tmp_path / "my_optimizer.py", "MyOpt")
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("evoopt", "jinja2"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import torch
from my_optimizer import MyOpt
p = torch.nn.Parameter(torch.ones(3))
opt = MyOpt([p], total_steps=5)
p.square().sum().backward()
opt.step()
assert (p < 1).all(), p
assert not any(name.split(".")[0] == "evoopt" for name in sys.modules)
"""
    run(sys.executable, "-c", code, cwd=tmp_path)


def test_exported_files_are_clean_for_ruff(exported: Path) -> None:
    ruff = tool("ruff")
    rules = "E,F,I,UP,B,SIM,RUF,D1,PT,NPY,C4,PIE,W,N,RET,PERF"
    run(ruff, "check", "--isolated", "--select", rules, "--ignore", "D105,D107", ".", cwd=exported)
    run(ruff, "check", "--isolated", ".", cwd=exported)
    run(ruff, "format", "--isolated", "--check", ".", cwd=exported)


@pytest.mark.slow
def test_exported_files_are_clean_for_strict_mypy(exported: Path) -> None:
    run(tool("mypy"), "--strict", "--config-file=", "--cache-dir=.mypy", ".", cwd=exported)


def test_committed_presets_are_what_the_exporter_writes() -> None:
    files = preset_files()
    assert {path.name for path in FOLDER.glob("*.py")} == files.keys()
    for name, text in files.items():
        committed = (FOLDER / name).read_text(encoding="utf-8")
        assert committed == text, f"run: python -m evoopt.export.write_presets ({name} differs)"
    assert PRESET_CLASSES.keys() == PRESETS.keys() | STAGED_PRESETS.keys()
    assert set(PRESET_CLASSES.values()) <= set(optim.__all__)


def test_a_file_is_never_replaced_without_force(tmp_path: Path) -> None:
    out = tmp_path / "my_optimizer.py"
    assert write_export("lion", out, "MyOpt") == out
    before = out.read_text(encoding="utf-8")
    assert "class MyOpt(Optimizer):" in before
    with pytest.raises(EvooptError, match=r"my_optimizer.py exists already; add --force"):
        write_export("adam", out, "MyOpt")
    assert out.read_text(encoding="utf-8") == before
    write_export("adam", out, "MyOpt", force=True)
    assert out.read_text(encoding="utf-8") != before
    device = tmp_path / "device.py"
    device.symlink_to("/dev/null")
    with pytest.raises(EvooptError, match="exists already"):
        write_export("lion", device, "MyOpt")
    out.write_bytes(b"")  # what a killed export leaves stands in nobody's way
    assert write_export("lion", out, "MyOpt").read_text(encoding="utf-8") == before


def test_what_cannot_be_written_or_found_gives_one_line(tmp_path: Path) -> None:
    cases: list[tuple[str, Path, str]] = [
        ("lion", tmp_path / "missing" / "out.py", "cannot write"),
        ("lion", tmp_path, "is a folder"),
        ("lyon", tmp_path / "a.py", "unknown preset 'lyon'. Did you mean 'lion'"),
        (str(tmp_path / "none.json"), tmp_path / "a.py", "neither a preset, nor a run folder, nor a JSON"),
        (str(tmp_path), tmp_path / "a.py", "is not a run folder"),
    ]
    for source, out, message in cases:
        with pytest.raises(EvooptError, match=message) as error:
            write_export(source, out, "MyOpt")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "a.py").exists()


BAD_JSON = {
    "not JSON": "{",
    "not UTF-8": b"\xff\xfe",
    "not a rule": "[1, 2]",
    "another kind": '{"kind": "unit_model"}',
    "another version": '{"kind": "update_rule", "version": 99, "terms": []}',
    "a bad value": '{"kind": "update_rule", "version": 1, "terms": [["grad", 1.0]], "lr": -1}',
    "a bad genome": '{"kind": "optimizer_genome", "version": 1, "terms": ["grad"], "weights": "x"}',
    "deeply nested": "[" * 100_000,
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_a_bad_json_file_gives_one_line_with_its_name(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "rule.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EvooptError, match=r"rule\.json") as error:
        load_rule(path)
    assert "\n" not in str(error.value)


def test_a_json_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    rule = random_rule(3)
    (tmp_path / "rule.json").write_text(json.dumps(rule.to_json()), encoding="utf-8-sig")
    assert load_rule(tmp_path / "rule.json")[0] == rule


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch.py", "would hide the module 'torch': name the file {}/my_torch.py, for one"),
        ("random.py", "would hide the module 'random': name the file {}/my_random.py, for one"),
        ("numpy.py", "would hide the module 'numpy': name the file {}/my_numpy.py, for one"),
        ("class.py", "could not be imported: name the file {}/my_class.py, for one"),
        ("my-opt.py", "could not be imported: name the file {}/my_opt.py, for one"),
        ("my.opt.py", "could not be imported: name the file {}/my_opt.py, for one"),
        ("2nd.py", "could not be imported: name the file {}/my_2nd.py, for one"),
        ("my_opt", "could not be imported: name the file {}/my_opt.py, for one"),
        ("my_opt.txt", "could not be imported: name the file {}/my_opt.py, for one"),
    ],
)
def test_a_file_that_could_not_be_imported_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(EvooptError) as error:
        write_export("lion", tmp_path / name, "MyOpt", force=True)
    assert str(error.value) == f"{tmp_path / name} {message.format(tmp_path)}"
    assert not list(tmp_path.iterdir())


def test_rule_and_genome_files_export_as_the_same_class(tmp_path: Path) -> None:
    genome = OptimizerGenome.from_rule(random_rule(3))
    (tmp_path / "genome.json").write_text(json.dumps(genome.to_json()))
    (tmp_path / "rule.json").write_text(json.dumps(genome.rule().to_json()))
    (from_file, its_origin), (from_rule_file, _) = (
        load_rule(tmp_path / name) for name in ("genome.json", "rule.json")
    )
    assert from_file == from_rule_file == genome.rule()
    assert its_origin.genome == genome.to_json()
    assert set(FORMATS) == {"run", "preset", "genome", "rule"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("My-Opt", "not a Python identifier"),
        ("", "not a Python identifier"),
        ("1st", "not a Python identifier"),
        ("My Opt", "not a Python identifier"),
        ("class", "a Python keyword"),
        ("None", "a Python keyword"),
        ("Optimizer", "hide"),
        ("Tensor", "hide"),
        ("torch", "hide"),
        ("ValueError", "hide"),
        ("Sequence", "hide"),
        ("Iterator", "hide"),
        ("_Private", "private"),
        ("\ufb01t", "would spell class name '\ufb01t' otherwise"),
    ],
)
def test_names_that_no_class_can_bear_are_refused(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=reason):
        write_export("lion", tmp_path / "out.py", name)
    assert not (tmp_path / "out.py").exists()


@pytest.mark.parametrize(
    "name", ["MyOpt", "myopt", "Torch", "Math", "If", "List", "Lambda", "match", "Ünïcode", "A"]
)
def test_any_other_name_makes_a_class_that_works(name: str) -> None:
    cls = from_rule(random_rule(1), name)
    assert cls.__name__ == name
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    cls([parameter], total_steps=3).step()
    assert not torch.equal(parameter, torch.ones(2))


def test_a_rule_without_terms_is_refused() -> None:
    for terms in ((), (("grad", 1.0), ("grad", -1.0))):
        with pytest.raises(EvooptError, match="nothing to export"):
            render(UpdateRule(terms), "MyOpt")


def _skeleton(provenance: Provenance | None) -> str:
    """Lion's file as a syntax tree without the docstring of its class."""
    module = ast.parse(render(PRESETS["lion"], "MyOpt", provenance))
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            assert isinstance(node.body[0], ast.Expr)
            node.body = node.body[1:]
    return ast.dump(module)


@pytest.fixture(scope="module")
def plain_skeleton() -> str:
    return _skeleton(None)


@settings(max_examples=40)
@given(
    text=st.text(max_size=200),
    extra=st.sampled_from(['"""', "\\", "\\x", "\\N{", '\\"""', "'''", "\x00", "\r\n", "{{ x }}"]),
)
def test_no_origin_can_break_out_of_the_docstring(plain_skeleton: str, text: str, extra: str) -> None:
    hostile = text + extra
    provenance = Provenance(
        hostile, run=hostile, data=hostile, budget=hostile, genome={hostile: hostile}, comparison=hostile
    )
    assert _skeleton(provenance) == plain_skeleton


def test_the_docstring_tells_formula_origin_and_comparison() -> None:
    rule, genome = PRESETS["marfinetz2025"], OptimizerGenome.from_rule(PRESETS["marfinetz2025"])
    provenance = Provenance(
        "run runs/quick",
        run="quick-1",
        data="digits",
        budget="2,000 steps",
        genome=genome.to_json(),
        comparison="0.91 against 0.90",
    )
    text = str(from_rule(rule, "MyOpt", provenance).__doc__)
    flat = " ".join(text.split())
    assert rule.canonical().formula() in flat
    for line in formulas(rule.canonical()):
        assert line in text
    for entry in (
        "Exported from: run runs/quick",
        "Run: quick-1",
        "Data: digits",
        "Budget: 2,000 steps",
        "Compared with tuned Adam: 0.91 against 0.90",
        f"Hash of the rule: {rule.key}",
    ):
        assert entry in flat
    assert json.loads(flat.split("Genome as JSON:: ")[1]) == genome.to_json()


def test_the_docstring_of_a_preset_holds_the_rule_itself() -> None:
    text: Any = generated.Marfinetz2025.__doc__
    rule = UpdateRule.from_json(json.loads(text.split("Rule as JSON::")[1]))
    assert rule == PRESETS["marfinetz2025"].canonical()
    assert "Compared" not in text


@pytest.mark.parametrize("name", STAGED_PRESETS)
def test_the_docstring_of_a_preset_tells_its_stages_and_its_paper(name: str) -> None:
    text = str(getattr(generated, PRESET_CLASSES[name]).__doc__)
    flat = "".join(text.split())
    rule = UpdateRule.from_json(json.loads(text.split("Rule as JSON::")[1]))
    assert rule == STAGED_PRESETS[name].canonical()
    for line in formulas(rule):
        assert "".join(line.split()) in flat
    for stage in rule.active:
        for part in stage.formula.split("; "):
            assert "".join(part.split()).removeprefix("decay=") in flat, stage.name
    assert "Exported from: preset" in text
    assert re.search(r"arXiv \d{4}\.\d{4,5}|found by evoopt, docs/discovery.md", " ".join(text.split()))
    assert ("update_bn" in text) == (rule.readout != "last")
    assert ("matrix_groups" in text) == rule.tells_matrices_apart


def test_classes_made_in_memory_are_one_per_rule_and_name() -> None:
    assert from_genome("lion", "MyOpt") is from_genome("lion", "MyOpt")
    assert from_genome("lion", "MyOpt") is not from_genome("lion", "Other")
    assert from_genome("lion", "MyOpt") is not from_genome("adam", "MyOpt")


def test_classes_are_found_where_they_were_before() -> None:
    assert (optim.from_rule, optim.from_genome) == (from_rule, from_genome)
    with pytest.raises(AttributeError, match="no attribute 'from_rul'"):
        optim.from_rul  # noqa: B018


def test_constants_from_numpy_are_written_as_plain_numbers() -> None:
    value = np.float64(0.25)
    rule = UpdateRule((("adam", value),), lr=value, eps=value, weight_decay=value, clip_value=value)
    assert "np." not in render(rule, "MyOpt")


def test_every_term_has_source_and_formula() -> None:
    for term in (*TERMS, *MORE_TERMS):
        rule = UpdateRule(((term.name, 0.5),), slow_beta=0.99)
        assert f"{term.name}_weight" in render(rule, "MyOpt")
