"""Stacked weights in a safetensors file, written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from evoopt.errors import EvooptError

_KIND = "evoopt.population"


def save_stack(path: Path, tensors: Mapping[str, Tensor], members: int) -> None:
    """Write tensors ``[members, ...]`` by name."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(dict(tensors), part, metadata={"kind": _KIND, "version": "1", "members": str(members)})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_stack(path: Path, expected: Mapping[str, torch.Size]) -> tuple[int, dict[str, Tensor]]:
    """Read a file written by `save_stack`.

    Args:
        path: The file.
        expected: Shape of each tensor without the member dimension.

    Returns:
        Number of members and tensors by name.

    Raises:
        EvooptError: Not such a file, or its names or shapes are not the expected ones.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise EvooptError(f"cannot read {path} as safetensors: {error}") from None
    members = metadata.get("members", "")
    if metadata.get("kind") != _KIND or metadata.get("version") != "1" or not members.isdecimal():
        raise EvooptError(f"{path} is not a population of models written by this version of evoopt")
    shapes = {name: torch.Size([int(members), *shape]) for name, shape in expected.items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise EvooptError(f"{path} holds models of another architecture")
    return int(members), tensors
