"""Lightning takes exported classes as they are, from `configure_optimizers` and from LightningCLI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.export import write_export
from evoopt.optim import Marfinetz2025
from tests.export.subjects import make
from tests.integrations.problem import BATCHES, SOME, loader, loss_of, make_model, plain_loop, weights

pytestmark = pytest.mark.slow
some_classes = pytest.mark.parametrize("cls", SOME.values(), ids=SOME)

QUIET = {
    "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("lightning", reason="needs lightning")


def module_class() -> Any:
    """A module that leaves its optimizer open."""
    import lightning

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model()

        def training_step(self, batch: Any) -> Tensor:
            return loss_of(self.model, batch)

        def train_dataloader(self) -> Any:
            return loader()

    return Module


def fit(cls: type[Any], ckpt_path: Path | None = None, **options: Any) -> list[Tensor]:
    """Weights after a training in which Lightning says how many steps there will be."""
    import lightning

    class Module(module_class()):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            return make(cls, self.parameters(), total_steps=self.trainer.estimated_stepping_batches)

    module = Module()
    lightning.Trainer(**(QUIET | options)).fit(module, ckpt_path=ckpt_path)
    return weights(module.model)


@pytest.mark.parametrize("accumulate", [1, 3])
@some_classes
def test_a_training_equals_that_of_a_plain_loop(cls: type[Any], accumulate: int) -> None:
    model = make_model()
    optimizer = make(cls, model.parameters(), total_steps=BATCHES // accumulate)
    expected = plain_loop(model, optimizer, accumulate)
    torch.testing.assert_close(fit(cls, accumulate_grad_batches=accumulate), expected)


@some_classes
def test_a_training_goes_on_exactly_from_a_checkpoint(cls: type[Any], tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import LambdaCallback

    def save(trainer: Any, _: Any) -> None:
        trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    whole = fit(cls, max_epochs=2, callbacks=[LambdaCallback(on_train_epoch_end=save)])
    resumed = fit(cls, tmp_path / "0.ckpt", max_epochs=2)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


@some_classes
def test_bfloat16_with_clipped_gradients_moves_float32_weights(cls: type[Any]) -> None:
    after = fit(cls, precision="bf16-mixed", gradient_clip_val=0.1)
    assert {p.dtype for p in after} == {torch.float32}
    before = weights(make_model())
    assert all(bool(torch.isfinite(p).all() and (p != old).any()) for p, old in zip(after, before))


COMMAND_LINE = [
    "--optimizer=lightning_optimizer.MyOptimizer", "--optimizer.total_steps=12",
    "--optimizer.betas=[0.8,0.95]", "--optimizer.lr=0.01",
]  # fmt: skip
FILE = """
optimizer:
  class_path: lightning_optimizer.MyOptimizer
  init_args: {total_steps: 12, betas: [0.8, 0.95], lr: 0.01}
"""


@pytest.mark.parametrize("given", ["command line", "file"])
def test_the_cli_makes_a_class_and_sets_its_options(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jsonargparse", reason="needs jsonargparse")
    from lightning.pytorch.cli import LightningCLI

    write_export("marfinetz2025", tmp_path / "lightning_optimizer.py", "MyOptimizer")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightning_optimizer", raising=False)
    (tmp_path / "config.yaml").write_text(FILE)
    line = COMMAND_LINE if given == "command line" else [f"--config={tmp_path / 'config.yaml'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", "fit", *line])
    cli = LightningCLI(module_class(), save_config_callback=None, trainer_defaults=QUIET)
    assert type(cli.trainer.optimizers[0]).__module__ == "lightning_optimizer"
    model = make_model()
    optimizer = Marfinetz2025(model.parameters(), total_steps=12, betas=(0.8, 0.95), lr=0.01)
    torch.testing.assert_close(weights(cli.model.model), plain_loop(model, optimizer))
