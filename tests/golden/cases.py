"""Small runs of every individual type, and what is kept of their results.

A case is a file in ``spaces/``. Floating-point numbers depend on torch,
compiler and processor, so there is one file in ``kept/`` for each fingerprint of those, and `EVERYWHERE` for
what rounding cannot change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import evoopt

HERE = Path(__file__).parent
EVERYWHERE = HERE / "kept" / "everywhere.json"
COMMAND = "python -m tests.golden --write"

CASES = tuple(sorted(path.stem for path in (HERE / "spaces").glob("*.toml")))
FAST = ("optimizer", "optimizer-gain", "gadam", "genetic", "pbt", "hpo-steps")
"""One of each individual type and mode, a few seconds each; they are also run on every executor."""
EXACT = ("optimizer-noise",)
"""Cases without training, whose bytes are the same on every machine."""

Record = dict[str, Any]


FILES = ("result.json", "model.safetensors", "comparison.json")
MEASURED = re.compile(rb'"step_us": [0-9.e+-]+')  # wall time, the only thing in them that varies


@dataclass(frozen=True)
class Outcome:
    """What a case left behind: those of `FILES` that it writes, by name."""

    files: dict[str, bytes]

    def record(self) -> Record:
        """Digests to compare, and an excerpt that says where a difference is."""
        body = json.loads(self.files["result.json"])
        return {
            "sha256": {name: _digest(data) for name, data in self.files.items()},
            "best": [generation.get("best") for generation in body["generations"]],
            "winner": {name: value for name, value in body["winner"].items() if _is_short(value)},
            "evaluations": body["evaluations"],
            "verdict": json.loads(self.files.get("comparison.json", b"{}")).get("verdict"),
        }

    def structure(self) -> Record:
        """Names and numbers of things, whatever their values."""
        body = json.loads(self.files["result.json"])
        generations = body["generations"]
        return {
            "result": sorted(body),
            "winner": sorted(body["winner"]),
            "generations": len(generations),
            "generation": sorted({name for generation in generations for name in generation}),
            "files": sorted(self.files),
        }


def run(case: str, parent: Path, executor: str = "serial") -> Outcome:
    """Run a case in a new folder below ``parent``, with one thread in this process too."""
    folder = parent / "run"  # a comparison calls its candidate by this name
    execution = {"executor": executor, "workers": 2}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.chdir(HERE):  # where the spaces' own task lies
            space = str(HERE / "spaces" / f"{case}.toml")
            evoopt.search(space, out=folder, overrides={"execution": execution}).close()
    finally:
        torch.set_num_threads(threads)
    found = (folder / name for name in FILES)
    return Outcome(
        {file.name: MEASURED.sub(b'"step_us": 0', file.read_bytes()) for file in found if file.exists()}
    )


def fingerprint() -> dict[str, str]:
    """Everything outside this repository that rounding depends on."""
    return {
        "machine": platform.machine(),
        "cpu": _cpu()[0],
        "flags": _cpu()[1],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "compiler": _compiler(),
        "libc": " ".join(platform.libc_ver()),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def kept_file() -> Path:
    """Where the records of this fingerprint are, or would be."""
    found = fingerprint()
    digest = _digest(json.dumps(found, sort_keys=True).encode())[:8]
    name = re.sub(r"[^a-z0-9.]+", "-", f"{found['cpu']} torch {found['torch']} {digest}".lower())
    return HERE / "kept" / f"{name}.json"


def kept(path: Path) -> dict[str, Any]:
    """A file of records; empty if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(outcomes: dict[str, Outcome]) -> list[Path]:
    """Write the records of this fingerprint and what holds everywhere; other files and cases stay."""
    everywhere = kept(EVERYWHERE)
    own = {"fingerprint": fingerprint(), "cases": kept(kept_file()).get("cases", {})}
    for case, outcome in outcomes.items():
        everywhere.setdefault("structure", {})[case] = outcome.structure()
        target = everywhere if case in EXACT else own
        target.setdefault("cases", {})[case] = outcome.record()
    EVERYWHERE.parent.mkdir(exist_ok=True)
    for path, body in ((EVERYWHERE, everywhere), (kept_file(), own)):
        path.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return [EVERYWHERE, kept_file()]


def _cpu() -> tuple[str, str]:
    try:
        lines = sorted(set(Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()))
    except OSError:
        return platform.processor() or "unknown", ""
    values = {name: [line for line in lines if line.startswith(name)] for name in ("model name", "flags")}
    name = next((line.partition(":")[2].strip() for line in values["model name"]), "unknown")
    return name, _digest("\n".join(values["flags"]).encode())[:16]


def _compiler() -> str:
    """First line of the version of the compiler that builds the native kernels; empty: they are not built."""
    path = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))), None)
    if path is None:
        return ""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_short(value: Any) -> bool:
    return len(json.dumps(value)) <= 200
