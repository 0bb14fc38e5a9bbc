"""An exported optimizer in an ordinary training: warmup and cosine inside, a checkpoint in the middle.

It trains in two halves. The second starts from the saved state of the first, as after a crash, and ends where
an uninterrupted training ends.

    python examples/export_and_use.py
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from evoopt.export import write_export

EPOCHS, BATCH = 4, 32


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8x8 pixels."""
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)


def import_file(path: Path) -> Any:
    """Import a file by its path; in a project of your own, it lies beside your code."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: range, x: Tensor, y: Tensor) -> None:
    """Train for some epochs, whose order of examples follows from their numbers."""
    for epoch in epochs:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for index in order.split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()


def make_model() -> nn.Module:
    """The same initial weights each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def main() -> float:
    """Export, train, save, go on; returns the accuracy on 397 images that were not trained on."""
    folder = Path(tempfile.mkdtemp(prefix="evoopt-"))
    write_export("marfinetz2025", folder / "evolved.py", "Evolved")
    optimizer_class = import_file(folder / "evolved.py").Evolved
    x, y = digits()
    x_train, y_train, steps = x[:1400], y[:1400], EPOCHS * len(x[:1400].split(BATCH))

    model = make_model()
    optimizer = optimizer_class(model.parameters(), total_steps=steps)
    train(model, optimizer, range(EPOCHS // 2), x_train, y_train)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "half.pt")

    saved = torch.load(folder / "half.pt", weights_only=True)
    resumed = make_model()
    resumed.load_state_dict(saved["model"])
    optimizer = optimizer_class(resumed.parameters(), total_steps=steps)
    optimizer.load_state_dict(saved["optimizer"])
    train(resumed, optimizer, range(EPOCHS // 2, EPOCHS), x_train, y_train)

    whole = make_model()
    train(whole, optimizer_class(whole.parameters(), total_steps=steps), range(EPOCHS), x_train, y_train)
    same = all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
    with torch.no_grad():
        accuracy = float((resumed(x[1400:]).argmax(dim=1) == y[1400:]).float().mean())
    print(f"accuracy {accuracy:.1%} after {steps} steps; the same weights as without the break: {same}")
    return accuracy


if __name__ == "__main__":
    main()
