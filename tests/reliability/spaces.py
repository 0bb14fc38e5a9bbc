"""Every shipped space, small: searched, stopped inside a generation, resumed; how much work that repeats.

``python -m tests.reliability.spaces`` prints a table; names of spaces after it, only theirs.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import evoopt
from evoopt.config import load_space
from evoopt.config.spaces import spaces_folder
from evoopt.errors import EvooptError
from tests.reliability.commands import outcome
from tests.reliability.test_inside_generations import Work

_FEW = {"population": 4, "generations": 2}
_TRAINED = {"steps": 4, "train_size": 200, "chunk_size": 2}
SMALLER: dict[str, dict[str, dict[str, Any]]] = {
    "optimizer": {
        "search": {**_FEW, "finalists": 2, "final_replicates": 1, "compare": False, "funnel": []},
        "evaluation": {**_TRAINED, "baseline_trials": 12, "batch_size": 32},
    },
    "gadam": {"gadam": {**_FEW, "validation_size": 64}, "training": _TRAINED},
    "genetic": {
        "genetic": {**_FEW, "population": 6},
        "scoring": {"examples": 64, "train_size": 1000, "chunk_size": 2},
    },
    "hpo": {"recombination": {**_FEW, "every": 2}, "training": _TRAINED},
    "pbt": {"recombination": _FEW, "training": _TRAINED},
}
STAND_INS = {"hpo-rpv": "rpv_stand_in", "hpo-p3b1": "p3b1_stand_in"}


def try_space(name: str, folder: Path) -> str:
    """A row of the table."""
    config = load_space(name)
    config = config.override(SMALLER[config.individual]).override({"execution": {"executor": "serial"}})
    if name in STAND_INS:
        config = config.override({"training": {"task": STAND_INS[name]}})
    started = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        work = Work(patch)
        evoopt.search(config, out=folder / "whole").close()
        total, expected, seconds = work.done, outcome(folder / "whole"), time.perf_counter() - started
        work.done, work.stop = 0, max(1, 3 * total // 5)
        with pytest.raises(KeyboardInterrupt):
            evoopt.search(config, out=folder / "run")
        work.stop = -1
        evoopt.resume(folder / "run").close()
    same = "yes" if outcome(folder / "run") == expected else "NO"
    again = max(0, work.done - total)
    return f"| `{name}` | {config.individual} | {seconds:.0f} s | {total:,} | {same} | {again / total:.1%} |"


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or sorted(path.stem for path in spaces_folder().glob("*.toml"))
    print("| space | type | searched in | steps or scorings | same bytes | repeated |")
    print("|---|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(try_space(name, Path(folder)), flush=True)
            except EvooptError as error:
                print(f"| `{name}` | {error} | | | | |", flush=True)


if __name__ == "__main__":
    main()
