"""How does a rule move weights? Primitive terms, the update rule, its optimizer class and presets.

They are imported when first used, so that whoever reads a rule needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.first_use import at_first_use

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
    **dict.fromkeys(__all__, "evoopt.optim.generated"),
    **dict.fromkeys(("PRESETS", "STAGED_PRESETS", "preset"), "evoopt.optim.presets"),
    **dict.fromkeys(("STAGES", "Stage"), "evoopt.optim.stages"),
    **dict.fromkeys(("MORE_TERMS", "TERMS"), "evoopt.optim.terms"),
    "EvolvedOptimizer": "evoopt.optim.evolved",
    "Term": "evoopt.optim.term",
    "UpdateRule": "evoopt.optim.rule",
    "matrix_groups": "evoopt.optim.groups",
    # The documentation showed these here before they moved up; nothing in the package asks for them here.
    **dict.fromkeys(("from_genome", "from_rule", "from_run"), "evoopt.export.classes"),
}

__getattr__ = at_first_use(__name__, _MODULES)
