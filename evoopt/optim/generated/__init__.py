"""The presets as classes, written by ``python -m evoopt.export.write_presets``."""

from evoopt.optim.generated.adam import Adam
from evoopt.optim.generated.adamw import AdamW
from evoopt.optim.generated.lion import Lion
from evoopt.optim.generated.marfinetz2025 import Marfinetz2025
from evoopt.optim.generated.rmsprop import RMSprop
from evoopt.optim.generated.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Lion",
    "Marfinetz2025",
    "RMSprop",
]
