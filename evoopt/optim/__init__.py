"""How does a rule move weights? Primitive terms, the update rule, its optimizer class and presets.

They are imported when first used, so that whoever reads a rule needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoopt.optim.evolved import EvolvedOptimizer
    from evoopt.optim.generated import (
        LAMB,
        SGD,
        SOAP,
        Adam,
        AdamW,
        AdamWEMA,
        AdamWFactored,
        AdEMAMix,
        CautiousAdamW,
        LaProp,
        Lion,
        Marfinetz2025,
        MARSAdamW,
        Muon,
        MuonSGD,
        NorMuon,
        Polaris,
        RMSprop,
    )
    from evoopt.optim.groups import matrix_groups
    from evoopt.optim.presets import PRESETS, STAGED_PRESETS, preset
    from evoopt.optim.rule import UpdateRule
    from evoopt.optim.stages import STAGES, Stage
    from evoopt.optim.term import Term
    from evoopt.optim.terms import MORE_TERMS, TERMS

__all__ = [
    "LAMB",
    "MORE_TERMS",
    "PRESETS",
    "SGD",
    "SOAP",
    "STAGED_PRESETS",
    "STAGES",
    "TERMS",
    "AdEMAMix",
    "Adam",
    "AdamW",
    "AdamWEMA",
    "AdamWFactored",
    "CautiousAdamW",
    "EvolvedOptimizer",
    "LaProp",
    "Lion",
    "MARSAdamW",
    "Marfinetz2025",
    "Muon",
    "MuonSGD",
    "NorMuon",
    "Polaris",
    "RMSprop",
    "Stage",
    "Term",
    "UpdateRule",
    "matrix_groups",
    "preset",
]


_MODULES = {
    **dict.fromkeys(("PRESETS", "STAGED_PRESETS", "preset"), "presets"),
    **dict.fromkeys(("STAGES", "Stage"), "stages"),
    **dict.fromkeys(("MORE_TERMS", "TERMS"), "terms"),
    "EvolvedOptimizer": "evolved",
    "Term": "term",
    "UpdateRule": "rule",
    "matrix_groups": "groups",
}
"""Where each is; what is not here is a generated class."""


def __getattr__(name: str) -> Any:
    # The documentation showed them here before they moved up; nothing in the package asks for them here.
    if name in ("from_genome", "from_rule", "from_run"):
        return getattr(importlib.import_module("evoopt.export.classes"), name)
    if name in __all__:
        return getattr(importlib.import_module(f"evoopt.optim.{_MODULES.get(name, 'generated')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
