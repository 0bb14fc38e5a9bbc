"""Tensors in a safetensors file, written completely or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from evoopt.errors import EvooptError

_POPULATION = "evoopt.population"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, **facts: Any) -> None:
    """Write tensors by name.

    Args:
        path: The file.
        tensors: On the CPU, of any layout. Some may share memory, such as a weight with two names.
        kind: What the file is, for `read_tensors`.
        facts: Further metadata, as JSON has it.

    Raises:
        EvooptError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # One entry, because safetensors writes several in an order that differs from process to process.
        about = json.dumps({"kind": kind, "version": 1, **facts}, sort_keys=True)
        own = {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
        save_file(own, part, metadata={"evoopt": about})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise EvooptError(f"cannot write {path}: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote: tensors and metadata.

    Raises:
        EvooptError: Unreadable, or a file of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("evoopt", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, ValueError, SafetensorError) as error:
        raise EvooptError(f"cannot read {path} as safetensors: {error}") from None
    if not isinstance(metadata, dict) or (metadata.get("kind"), metadata.get("version")) != (kind, 1):
        raise EvooptError(f"{path} is not a file of kind {kind!r} written by this version of evoopt")
    return tensors, metadata


def save_stack(path: Path, tensors: Mapping[str, Tensor], members: int) -> None:
    """Write tensors ``[members, ...]`` by name."""
    write_tensors(path, tensors, _POPULATION, members=members)


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
    tensors, metadata = read_tensors(path, _POPULATION)
    members = metadata.get("members")
    if not isinstance(members, int) or members < 0:
        raise EvooptError(f"{path} does not say how many models it holds")
    shapes = {name: torch.Size([members, *shape]) for name, shape in expected.items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise EvooptError(f"{path} holds models of another architecture")
    return members, tensors
