"""Nothing depends on the wall clock, which may go backwards, stand still or jump by years."""

from __future__ import annotations

import ast
from pathlib import Path

import evoopt

WALL_CLOCKS = {"time", "time_ns", "now", "utcnow", "today"}


def wall_clocks(source: str) -> set[str]:
    """Calls of the wall clock, by their module or class or by names imported from these."""
    tree = ast.parse(source)
    taken = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime")
        for alias in node.names
    }
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asked = {
        ast.unparse(call)
        for call in calls
        if isinstance(call, ast.Attribute)
        and call.attr in WALL_CLOCKS
        and ast.unparse(call.value).split(".")[-1] in ("time", "datetime", "date")
    }
    named = {call.id for call in calls if isinstance(call, ast.Name)}
    return asked | (named & taken & WALL_CLOCKS)


def test_nothing_asks_what_time_it_is() -> None:
    assert wall_clocks("import time\ntime.time()") == {"time.time"}
    assert wall_clocks("from time import time\ntime()") == {"time"}
    assert wall_clocks("import datetime\ndatetime.datetime.now()") == {"datetime.datetime.now"}
    assert not wall_clocks("import time\ntime.perf_counter(), time.monotonic()")
    package = Path(evoopt.__file__).parent
    files = list(package.rglob("*.py"))
    assert len(files) > 100
    assert {str(file): found for file in files if (found := wall_clocks(file.read_text()))} == {}
