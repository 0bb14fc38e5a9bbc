"""The lines in the README that train a torchvision model with an exported file."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from evoopt.export import write_export

EXAMPLE = """\
import torch, torchvision
from my_optimizer import MyOptimizer

model = torchvision.models.resnet18(num_classes=10)
data = torchvision.datasets.FakeData(32, (3, 32, 32), 10, torchvision.transforms.ToTensor())
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
optimizer = MyOptimizer(model.parameters())  # a rule with a cosine schedule: total_steps=len(loader)
for images, labels in loader:
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
CHECK = """
assert all(optimizer.state[p]["step"] == 4 for p in model.parameters())
assert all(torch.isfinite(p).all() for p in model.parameters())
"""


def test_the_example_trains_a_torchvision_model_with_an_exported_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export("cautious_adamw", tmp_path / "my_optimizer.py", "MyOptimizer")
    (tmp_path / "train.py").write_text(EXAMPLE + CHECK)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path(str(tmp_path / "train.py"))
    del sys.modules["my_optimizer"]


def test_the_readme_shows_no_other_example() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert [block for block in blocks if "my_optimizer" in block] in ([], [EXAMPLE])
