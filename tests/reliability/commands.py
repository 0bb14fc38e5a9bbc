"""Small runs through the command line, in processes that may be harmed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SPACES: Mapping[str, str] = {
    "quick": """
        individual = "optimizer"
        [search]
        population = 6
        generations = 4
        finalists = 2
        final_replicates = 1
        compare = false
        [evaluation]
        steps = 30
        replicates = 1
        chunk_size = 2
        engine = "sequential"
    """,
    "gadam": """
        individual = "gadam"
        [gadam]
        population = 4
        generations = 3
        [training]
        steps = 20
        chunk_size = 2
        engine = "sequential"
    """,
    "genetic": """
        individual = "genetic"
        [genetic]
        population = 8
        generations = 4
        [scoring]
        task = "genetic_digits"
        examples = 100
        chunk_size = 3
    """,
    "hpo": """
        individual = "hpo"
        [recombination]
        population = 5
        generations = 3
        fom = "steps"
        target = 0.5
        every = 10
        [training]
        steps = 40
        chunk_size = 2
        engine = "batched"
        [space.lr]
        min = 1e-4
        max = 1e-1
        default = 1e-3
        scale = "log"
    """,
    "pbt": """
        individual = "pbt"
        [recombination]
        population = 4
        generations = 3
        [training]
        steps = 20
        chunk_size = 2
        [space.lr]
        min = 1e-4
        max = 1e-1
        default = 1e-3
        scale = "log"
    """,
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def write_space(folder: Path, name: str) -> Path:
    """Write a space file; its name is part of the result."""
    path = folder / f"{name}.toml"
    path.write_text(SPACES[name])
    return path


def start(*arguments: str | Path, executor: str = "serial") -> subprocess.Popen[str]:
    """Start an evoopt command."""
    command = [sys.executable, "-m", "evoopt", *map(str, arguments), "--executor", executor, "--quiet"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def finish(*arguments: str | Path, executor: str = "serial") -> tuple[int, str]:
    """Run an evoopt command to its end; returns its exit code and what it said on standard error."""
    process = start(*arguments, executor=executor)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def outcome(folder: Path) -> dict[str, bytes]:
    """The files of a finished run that must not depend on its fate."""
    names = [name for name in ("result.json", "model.safetensors") if (folder / name).exists()]
    return {name: (folder / name).read_bytes() for name in names}
