"""Exported classes pass the tests of `torch_harness`."""

from __future__ import annotations

import io
import unittest

import pytest


def test_exported_classes_do_what_torchs_own_harness_asks_of_optimizers() -> None:
    pytest.importorskip("expecttest", reason="torch.testing._internal needs expecttest")
    for name in ("common_optimizers", "common_device_type", "common_utils"):
        pytest.importorskip(f"torch.testing._internal.{name}", reason="torch's private harness")
    from tests.export import torch_harness

    suite = unittest.defaultTestLoader.loadTestsFromModule(torch_harness)
    told = io.StringIO()
    result = unittest.TextTestRunner(told).run(suite)
    assert result.testsRun >= 4 * len(torch_harness.optim_db)
    assert result.wasSuccessful(), told.getvalue()
