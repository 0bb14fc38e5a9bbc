"""Skips what this machine cannot run, with the reason."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest
import torch

# A shell that starts tests in the background has them ignore Ctrl-C, and their child processes with them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on the machine, and speed is for benchmarks to show.
hypothesis.settings.register_profile("evoopt", deadline=None)
hypothesis.settings.load_profile("evoopt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = os.environ.get("EVOOPT_DATA", "")
    no_data = pytest.mark.skip(reason="needs real data sets: set EVOOPT_DATA to a folder that holds them")
    no_cuda = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "data" in item.keywords and not (folder and Path(folder).is_dir()):
            item.add_marker(no_data)
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_cuda)
