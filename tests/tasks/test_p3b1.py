from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.tasks import TASKS, DataOptions, load_task_data
from evoopt.tasks.p3b1 import load_p3b1
from tests.tasks.synthetic import write_p3b1


@pytest.mark.parametrize("folder", ["", "P3B1_data"])
def test_examples_of_all_classifications_are_together_with_labels_in_their_own_column(
    folder: str, no_data: Path, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    write_p3b1(tmp_path / folder, rows=24)
    data = load_p3b1(DataOptions(tmp_path, None, 0.0, unseal_test=True))
    train, test = data.train, data.test.open()
    assert (len(train), len(test)) == (24 + 48 + 72, 3 * 12)
    assert (train.y >= 0).sum(dim=0).tolist() == [24, 48, 72]
    assert (train.y >= 0).sum(dim=1).unique().tolist() == [1]
    assert train.y.amax(dim=0).tolist() == [12, 1, 3]
    features = np.loadtxt(tmp_path / folder / "task1_0_train_feature.csv", delimiter=",")
    torch.testing.assert_close(train.x[train.y[:, 1] >= 0], torch.from_numpy(features).float())


def test_validation_takes_its_share_of_every_class_of_every_classification(
    no_data: Path, tmp_path: Path
) -> None:
    write_p3b1(tmp_path, rows=52)
    data = load_p3b1(DataOptions(tmp_path, validation_fraction=0.25))
    for head, of_each in enumerate((1, 13, 9)):
        found = data.validation.y[:, head]
        counts = found[found >= 0].bincount()
        assert ((counts - of_each).abs() <= 1).all()


def test_a_step_on_a_batch_without_some_classification_is_finite(synthetic_data: Path) -> None:
    task = TASKS["p3b1"]
    data = load_task_data(task, DataOptions(synthetic_data))
    only = data.train.y[:, 2] >= 0
    outputs = torch.randn(int(only.sum()), 19, requires_grad=True)
    task.loss(outputs, data.train.y[only]).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert not outputs.grad[:, :15].any()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("task0_0_train_label.csv", "1\n2\n", r"has shape \(2, 1\) and its features \(24, 400\)"),
        ("task1_0_test_feature.csv", "1,2,3\n" * 12, r"its features \(12, 3\); expected"),
        ("task1_0_train_label.csv", "2\n" * 48, "holds labels that are not among the classes 0 to 1"),
        ("task2_0_train_label.csv", "0.5\n" * 72, "not among the classes 0 to 3"),
        ("task0_0_test_label.csv", "site\n" * 12, r"cannot read .*task0_0_test_label\.csv"),
    ],
)
def test_damaged_files_are_named(
    file: str, content: str, message: str, no_data: Path, tmp_path: Path
) -> None:
    write_p3b1(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(EvooptError, match=message):
        load_p3b1(DataOptions(tmp_path))
