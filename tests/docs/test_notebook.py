"""The tour runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.running import ROOT

NOTEBOOK = ROOT / "examples" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_searches_looks_exports_compares_and_plots(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "gain on fresh seeds:" in printed
    assert "lines, imports: ['import functools', 'import math'" in printed
    assert "right 9" in printed or "right 100.0%" in printed, "the exported class trains"
    assert "tour: " in printed, "a verdict"
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
