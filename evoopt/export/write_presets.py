"""The presets as classes: ``python -m evoopt.export.write_presets`` writes `evoopt.optim.generated` anew."""

from __future__ import annotations

from pathlib import Path

from evoopt.export.naming import function_name
from evoopt.export.render import render
from evoopt.export.source import load_rule

PRESET_CLASSES: dict[str, str] = {
    **{name.lower(): name for name in ("Adam", "AdamW", "Lion", "Marfinetz2025", "RMSprop", "SGD")},
    **{name.lower(): name for name in ("AdEMAMix", "LAMB", "LaProp", "Muon", "NorMuon", "Polaris", "SOAP")},
    "adafactor_moments": "AdamWFactored",
    "adamw_ema": "AdamWEMA",
    "cautious_adamw": "CautiousAdamW",
    "mars_adamw": "MARSAdamW",
    "muon_sgd": "MuonSGD",
}
"""Class name of each preset."""

FOLDER = Path(__file__).parents[1] / "optim" / "generated"


def preset_files() -> dict[str, str]:
    """Text of every file in `evoopt.optim.generated`, by file name."""
    files = {}
    for preset, class_name in PRESET_CLASSES.items():
        rule, provenance = load_rule(preset)
        files[f"{function_name(class_name)}.py"] = render(rule, class_name, provenance)
    modules = {class_name: function_name(class_name) for class_name in PRESET_CLASSES.values()}
    files["__init__.py"] = "\n".join(
        [
            '"""The presets as classes, written by ``python -m evoopt.export.write_presets``."""',
            "",
            *(
                f"from evoopt.optim.generated.{modules[name]} import {name}"
                for name in sorted(modules, key=modules.__getitem__)
            ),
            "",
            "__all__ = [",
            # As ruff sorts __all__: constants in capitals first.
            *(f'    "{name}",' for name in sorted(modules, key=lambda name: (not name.isupper(), name))),
            "]",
            "",
        ]
    )
    return files


def write_presets() -> None:
    """Write every file of `evoopt.optim.generated`."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in preset_files().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_presets()
