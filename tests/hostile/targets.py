"""What reads input from outside, each with inputs that mean harm."""

from __future__ import annotations

import ast
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from hypothesis import strategies as st

from evoopt.config import list_spaces, parse_config
from evoopt.config.spaces import load_space
from evoopt.errors import EvooptError
from evoopt.export import render
from evoopt.export.naming import function_name
from evoopt.export.source import Provenance, load_rule
from evoopt.individuals import INDIVIDUALS, individual_type
from evoopt.optim import preset
from evoopt.optim.rule import UpdateRule
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.tasks import DataOptions, get_task
from evoopt.tasks.datasets import _IMAGE_SETS
from evoopt.tasks.files import read_images
from evoopt.training.weights_file import load_stack, read_tensors, save_stack
from tests.hostile.strategies import JSON, ODD_TEXT, changed, changed_bytes


@dataclass(frozen=True)
class Target:
    """A reader of input.

    Attributes:
        inputs: Hostile ones.
        read: Reads one, in a folder of its own; may raise `EvooptError`, nothing else.
        times: Inputs in a thorough run.
    """

    inputs: st.SearchStrategy[Any]
    read: Callable[[Any, Path], object]
    times: int


def read_rule(data: Any, folder: Path) -> None:
    rule = UpdateRule.from_json(data)
    assert UpdateRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert rule.canonical().key == rule.key


def read_genome(data: Any, folder: Path) -> None:
    genome = OptimizerGenome.from_json(data)
    assert OptimizerGenome.from_json(json.loads(json.dumps(genome.to_json()))) == genome
    assert genome.key == genome.rule().key


def read_other_genome(kind: str) -> Callable[[Any, Path], None]:
    def read(data: Any, folder: Path) -> None:
        genome = individual_type(kind).read_genome(data)
        assert isinstance(genome.key, str)

    return read


def read_space(data: Any, folder: Path) -> None:
    if not isinstance(data, dict):
        return
    space = HyperparameterSpace.parse(data)
    assert HyperparameterSpace.parse(space.tables()) == space
    genome = space.draw(np.random.default_rng(0))
    assert isinstance(genome.key, str)


def read_config(data: Any, folder: Path) -> None:
    if not isinstance(data, dict):
        return
    individual = data.get("individual", "optimizer")
    if isinstance(individual, str) and individual in INDIVIDUALS:
        config = individual_type(individual).config.validated(data, "space.toml")
        assert parse_config(config.to_toml(), "written") == config


def read_space_file(data: bytes, folder: Path) -> None:
    path = folder / "space.toml"
    path.write_bytes(data)
    config = load_space(str(path))
    assert parse_config(config.to_toml(), "written") == config


def read_rule_file(data: bytes, folder: Path) -> None:
    path = folder / "rule.json"
    path.write_bytes(data)
    rule, provenance = load_rule(path)
    ast.parse(render(rule, "Hostile", provenance))


def read_archive(data: bytes, folder: Path) -> None:
    (folder / "mnist.npz").write_bytes(data)
    arrays = read_images(_IMAGE_SETS["mnist"][0], DataOptions(data_dir=folder, download=False))
    assert all(array.dtype != object for array in arrays.values())


def read_weights(data: bytes, folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(data)
    try:
        members, tensors = load_stack(path, {"w": torch.Size([3, 2])})
    except EvooptError:
        read_tensors(path, "evoopt.population")
    else:
        assert tensors["w"].shape == (members, 3, 2)


def read_task(name: str, folder: Path) -> None:
    assert get_task(name).name


def export_name(name: str, folder: Path) -> None:
    source = render(preset("adam"), name)
    (cls,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # the name is the only thing in it that is not ours
    assert namespace[name].__name__ == cls.name == name
    assert function_name(name) in namespace


def export_origin(texts: list[str], folder: Path) -> None:
    origin, run, data, comparison = texts
    source = render(preset("adam"), "Hostile", Provenance(origin, run, data, comparison=comparison))
    assert _without_docstrings(source) == _benign_export()


@cache
def _benign_export() -> str:
    return _without_docstrings(render(preset("adam"), "Hostile"))


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body[0] = ast.Pass()
    return ast.dump(tree)


class Bomb:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("hacked"),)


def archives() -> st.SearchStrategy[bytes]:
    shapes = st.sampled_from([(2, 28, 28), (2, 28, 28, 1), (2,), (), (0, 28, 28), (2, 3)])
    kinds = st.sampled_from(["u1", "i8", "f4", "U3", "O", "M8[s]", "?", "c8", "V2"])
    array = st.builds(_array, shapes, kinds)
    names = st.sampled_from(["x_train", "y_train", "x_test", "y_test", "../x", "x_train.npy"])
    made = st.dictionaries(names, array, max_size=5).map(_archive)
    return st.one_of(
        made, changed_bytes(_valid_archive()), made.flatmap(changed_bytes), st.binary(max_size=99)
    )


def _array(shape: tuple[int, ...], kind: str) -> np.ndarray:
    if kind == "O":
        return np.full(shape, Bomb(), dtype=object)
    return np.zeros(shape, kind)


def _archive(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=True)
    return stream.getvalue()


def _valid_archive() -> bytes:
    images, labels = np.zeros((2, 28, 28), np.uint8), np.array([0, 1])
    return _archive({"x_train": images, "y_train": labels, "x_test": images, "y_test": labels})


def weights_files(folder: Path) -> st.SearchStrategy[bytes]:
    path = folder / "valid.safetensors"
    save_stack(path, {"w": torch.zeros(2, 3, 2)}, 2)
    valid = path.read_bytes()
    lengths = st.integers(0, 2**64 - 1).map(lambda n: n.to_bytes(8, "little") + valid[8:])
    return st.one_of(changed_bytes(valid), lengths, st.binary(max_size=200))


def targets(folder: Path) -> dict[str, Target]:
    """All of them, by name.

    Args:
        folder: For valid files, which are made first.
    """
    rule, genome = preset("marfinetz2025"), OptimizerGenome.from_rule(preset("adamw"))
    spaces = list_spaces()
    tables = spaces["hpo-lenet"].model_dump(mode="json")["space"]
    hyper = HyperparameterSpace.parse(tables).default()
    configs = [config.model_dump(mode="json", exclude_none=True) for config in spaces.values()]
    texts = [tomli_w.dumps(config).encode() for config in configs]
    stored = json.dumps(rule.to_json()).encode()
    deep = st.integers(1, 100_000).map(lambda n: b"[" * n)
    pickles = st.just(pickle.dumps(Bomb()))
    return {
        "rule": Target(st.one_of(changed(rule.to_json()), JSON), read_rule, 20_000),
        "genome": Target(st.one_of(changed(genome.to_json()), JSON), read_genome, 20_000),
        "hyperparameters": Target(
            st.one_of(changed(hyper.to_json()), JSON), read_other_genome("recombination"), 8_000
        ),
        "unit model": Target(
            st.one_of(changed(individual_type("gadam").read_genome(_unit()).to_json()), JSON),
            read_other_genome("gadam"),
            3_000,
        ),
        "network": Target(
            st.one_of(changed({"version": 1, "fitness": 0.5}), JSON), read_other_genome("genetic"), 3_000
        ),
        "space tables": Target(changed(tables), read_space, 12_000),
        "space": Target(st.sampled_from(configs).flatmap(changed), read_config, 12_000),
        "space file": Target(
            st.one_of(st.sampled_from(texts).flatmap(changed_bytes), st.binary(max_size=99), deep),
            read_space_file,
            8_000,
        ),
        "rule file": Target(
            st.one_of(changed_bytes(stored), st.binary(max_size=99), deep, pickles), read_rule_file, 4_000
        ),
        "archive": Target(st.one_of(archives(), pickles), read_archive, 4_000),
        "weights": Target(st.one_of(weights_files(folder), pickles), read_weights, 4_000),
        "task": Target(ODD_TEXT, read_task, 2_000),
        "exported name": Target(
            st.one_of(ODD_TEXT, st.from_regex(r"\w{1,8}", fullmatch=True)), export_name, 1_000
        ),
        "exported origin": Target(st.lists(ODD_TEXT, min_size=4, max_size=4), export_origin, 2_000),
    }


def _unit() -> dict[str, Any]:
    return {"p_inherit": 0.5, "mutation_rate": 0.1, "loss": 1.0, "adopted": True}
