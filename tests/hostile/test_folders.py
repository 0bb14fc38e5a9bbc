"""A run folder from somewhere else cannot reach out of itself, and nothing on disk is unpickled."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest
import torch

import evoopt
from evoopt.errors import EvooptError
from evoopt.evolution.stages import Stage
from evoopt.report import write_report
from evoopt.runs import Run
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.restore import restore_backup
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_optimizer_search import CONFIGS, go


@pytest.mark.parametrize(
    "name",
    [
        "run.owner", "run.lock", ".result.json.part", "run.sqlite", "weights", "weights/1.safetensors",
        "other/notes.txt",
    ],
)  # fmt: skip
def test_a_link_out_of_a_run_folder_is_never_written_through(name: str, tmp_path: Path) -> None:
    precious = tmp_path / "home" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    folder = tmp_path / "run"
    with Run.create(folder, CONFIGS["noise"]):
        pass
    link = folder / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(precious.parent if name == "weights" else precious)
    with pytest.raises(EvooptError, match="symbolic link"):
        Run(folder, writable=True)
    assert precious.read_text() == "mine"


def run_with_link(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A finished run that holds a link of a name, and the file that it leads to, which reads ``mine``."""
    folder, precious = tmp_path / "run", tmp_path / "precious.txt"
    precious.write_text("mine")
    with Run.create(folder, CONFIGS["noise"]) as run:
        go(run, StubExecutor())
    (folder / name).symlink_to(precious)
    return folder, precious


def test_a_restoration_does_not_write_through_links_either(tmp_path: Path) -> None:
    folder, precious = run_with_link(tmp_path, ".run.sqlite.part")
    with pytest.raises(EvooptError, match="symbolic link"):
        restore_backup(folder)
    assert precious.read_text() == "mine"


def test_what_is_written_beside_a_run_goes_through_no_link_in_wait(tmp_path: Path) -> None:
    folder, precious = run_with_link(tmp_path, f".report.html.{threading.get_native_id()}.part")
    assert not write_report(folder).is_symlink()
    assert precious.read_text() == "mine"


def test_a_checkpoint_never_names_a_file_outside_its_folder(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["noise"]) as run:
        checkpoints = Checkpoints(run)
        checkpoints.save_stage(Stage(), ({}, {"weights": torch.zeros(3)}))
        assert checkpoints.load_stage() is not None
        state = run.store.checkpoint()
        assert state is not None
        (run.folder / "weights" / state["file"]).rename(tmp_path / "elsewhere.safetensors")
        run.store.save_generation(None, {**state, "file": "../../elsewhere.safetensors"}, [])
        with pytest.raises(EvooptError, match=r"weights are lost: .*elsewhere.* is not what was written"):
            checkpoints.load_stage()


def test_only_messages_between_own_processes_are_unpickled() -> None:
    package = Path(evoopt.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if owner in ("pickle", "dill", "joblib", "cloudpickle") and node.func.attr.startswith("load"):
                    found.add(path.relative_to(package).as_posix())
                if (owner, node.func.attr) == ("torch", "load"):
                    assert any(
                        k.arg == "weights_only" and ast.literal_eval(k.value) for k in node.keywords
                    ), path
                if (owner, node.func.attr) == ("np", "load"):
                    assert any(
                        k.arg == "allow_pickle" and not ast.literal_eval(k.value) for k in node.keywords
                    ), path
    messages = {"worker.py", "worker_process.py", "dask_plugin.py", "dask.py"}
    assert found == {f"execution/{name}" for name in messages}
