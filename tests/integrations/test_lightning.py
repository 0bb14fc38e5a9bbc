"""Lightning takes exported classes as they are, from `configure_optimizers` and from LightningCLI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evoopt.export import write_export
from evoopt.optim import Marfinetz2025
from tests.export.subjects import make
from tests.integrations.problem import BATCHES, SOME, loader, loss_of, make_model, plain_loop, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
some_classes = pytest.mark.parametrize("cls", SOME.values(), ids=SOME)

L = pytest.importorskip("lightning", reason="needs lightning")


class Module(L.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, cls: type[Any] | None = None) -> None:
        super().__init__()
        self.model, self.cls = make_model(), cls

    def training_step(self, batch: Any) -> torch.Tensor:
        return loss_of(self.model, batch)

    def train_dataloader(self) -> Any:
        return loader()

    def configure_optimizers(self) -> Any:
        assert self.cls
        return make(self.cls, self.parameters(), total_steps=self.trainer.estimated_stepping_batches)


def trainer(folder: Path, **options: Any) -> Any:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, "enable_checkpointing": False, **options},
    )


@pytest.mark.parametrize("accumulate", [1, 3])
@some_classes
def test_a_training_equals_that_of_a_plain_loop(cls: type[Any], accumulate: int, tmp_path: Path) -> None:
    module = Module(cls)
    trainer(tmp_path, accumulate_grad_batches=accumulate).fit(module)
    model = make_model()
    optimizer = make(cls, model.parameters(), total_steps=BATCHES // accumulate)
    expected = plain_loop(model, optimizer, accumulate=accumulate)
    torch.testing.assert_close(weights(module.model), expected)


@some_classes
def test_a_training_goes_on_exactly_from_a_checkpoint(cls: type[Any], tmp_path: Path) -> None:
    class Stops(L.Callback):  # type: ignore[misc, name-defined]
        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    whole = Module(cls)
    trainer(tmp_path, max_epochs=2, callbacks=[Stops()]).fit(whole)
    resumed = Module(cls)
    trainer(tmp_path, max_epochs=2).fit(resumed, ckpt_path=tmp_path / "0.ckpt")
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=0, atol=0)


@some_classes
def test_bfloat16_with_clipped_gradients_moves_float32_weights(cls: type[Any], tmp_path: Path) -> None:
    module = Module(cls)
    before = weights(module.model)
    trainer(tmp_path, precision="bf16-mixed", gradient_clip_val=0.1).fit(module)
    after = weights(module.model)
    assert {p.dtype for p in after} == {torch.float32}
    assert all(bool(torch.isfinite(p).all() and (p != old).any()) for p, old in zip(after, before))


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a file ``lightning_optimizer.py``, with which modules are imported."""
    pytest.importorskip("jsonargparse", reason="needs jsonargparse")
    write_export("marfinetz2025", tmp_path / "lightning_optimizer.py", "MyOptimizer")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightning_optimizer", raising=False)
    return tmp_path


COMMAND_LINE = [
    "--optimizer=lightning_optimizer.MyOptimizer", "--optimizer.total_steps=12",
    "--optimizer.betas=[0.8,0.95]", "--optimizer.lr=0.01",
]  # fmt: skip
FILE = """
optimizer:
  class_path: lightning_optimizer.MyOptimizer
  init_args: {total_steps: 12, betas: [0.8, 0.95], lr: 0.01}
"""


@pytest.mark.parametrize("way", ["command line", "file"])
def test_the_cli_makes_a_class_and_sets_its_options(way: str, exported: Path) -> None:
    from lightning.pytorch.cli import LightningCLI

    class FromCLI(Module):
        configure_optimizers = L.LightningModule.configure_optimizers

    (exported / "config.yaml").write_text(FILE)
    given = COMMAND_LINE if way == "command line" else [f"--config={exported / 'config.yaml'}"]
    cli = LightningCLI(
        FromCLI,
        args=["fit", *given],
        save_config_callback=None,
        trainer_defaults={
            "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False,
        },
    )  # fmt: skip
    optimizer = cli.trainer.optimizers[0]
    assert type(optimizer).__module__ == "lightning_optimizer"
    model: nn.Module = make_model()
    options = {"total_steps": 12, "betas": (0.8, 0.95), "lr": 0.01}
    expected = plain_loop(model, Marfinetz2025(model.parameters(), **options))
    torch.testing.assert_close(weights(cli.model.model), expected)
