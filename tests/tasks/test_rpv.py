from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions
from evoopt.tasks.rpv import binary_accuracy, binary_loss, load_rpv
from tests.tasks.synthetic import needs_h5py, write_rpv


@needs_h5py
def test_events_are_read_with_three_channels_of_which_two_are_scaled(no_data: Path, tmp_path: Path) -> None:
    write_rpv(tmp_path)
    data = load_rpv(DataOptions(tmp_path, unseal_test=True))
    assert (len(data.train), len(data.validation), len(data.test)) == (48, 12, 20)
    for part in (data.train, data.validation, data.test.open()):
        events = part.x[:, 0, 0, 0]
        assert torch.equal(part.y, events.long() % 2)
        assert part.x.shape[1:] == (3, 64, 64)
        assert torch.equal(part.x, part.x[:, :, :1, :1].expand_as(part.x))
        largest = data.train.x[:, 0].max()
        torch.testing.assert_close(part.x[:, 1, 0, 0], events / largest)
        torch.testing.assert_close(part.x[:, 1:2], part.x[:, 2:])
    assert data.validation.y.bincount().tolist() == [6, 6]


@needs_h5py
def test_subset_is_read_across_chunks(no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rpv(tmp_path)
    options = DataOptions(tmp_path, train_size=20)
    whole = load_rpv(options)
    monkeypatch.setattr("evoopt.tasks.rpv._CHUNK", 7)
    chunked = load_rpv(options)
    assert torch.equal(whole.train.x, chunked.train.x)
    assert torch.equal(whole.validation.x, chunked.validation.x)
    assert len(chunked.train) == 16


@needs_h5py
def test_file_without_tracks_is_refused(no_data: Path, tmp_path: Path) -> None:
    import h5py

    write_rpv(tmp_path)
    with h5py.File(tmp_path / "test.h5", "a") as file:
        del file["all_events"]["histtrack"]
    with pytest.raises(EvooptError, match="need a group all_events with y and hist, histEM, histtrack"):
        load_rpv(DataOptions(tmp_path))


@needs_h5py
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("y", [2] * 20, "labels other than 0 and 1"),
        ("y", [0, 1] * 15, r"hist has shape \(20, 64, 64\); expected \(30, 64, 64\)"),
        ("histEM", [[1.0]] * 20, r"histEM has shape \(20, 1\)"),
    ],
)
def test_other_contents_are_refused(
    name: str, value: list[object], message: str, no_data: Path, tmp_path: Path
) -> None:
    import h5py

    write_rpv(tmp_path)
    with h5py.File(tmp_path / "test.h5", "a") as file:
        del file["all_events"][name]
        file["all_events"][name] = value
    with pytest.raises(EvooptError, match=message):
        load_rpv(DataOptions(tmp_path))


@needs_h5py
def test_file_of_another_kind_is_refused(no_data: Path, tmp_path: Path) -> None:
    for name in ("train.h5", "test.h5"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(EvooptError, match="its files need a group"):
        load_rpv(DataOptions(tmp_path))


def test_without_h5py_the_error_names_it(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train.h5", "test.h5"):
        (tmp_path / name).write_text("")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EvooptError, match="pip install h5py"):
        load_rpv(DataOptions(tmp_path))


def test_loss_and_accuracy_are_those_of_a_sigmoid() -> None:
    logits, targets = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 0, 0])
    expected = F.binary_cross_entropy(torch.sigmoid(logits[:, 0]), targets.float())
    torch.testing.assert_close(binary_loss(logits, targets), expected)
    assert binary_accuracy(logits, targets).item() == pytest.approx(2 / 3)
