"""The presets as classes, written by ``python -m evoopt.export.write_presets``."""

from evoopt.optim.generated.adam import Adam
from evoopt.optim.generated.adamw import AdamW
from evoopt.optim.generated.adamwema import AdamWEMA
from evoopt.optim.generated.adamwfactored import AdamWFactored
from evoopt.optim.generated.ademamix import AdEMAMix
from evoopt.optim.generated.cautiousadamw import CautiousAdamW
from evoopt.optim.generated.lamb import LAMB
from evoopt.optim.generated.laprop import LaProp
from evoopt.optim.generated.lion import Lion
from evoopt.optim.generated.marfinetz2025 import Marfinetz2025
from evoopt.optim.generated.marsadamw import MARSAdamW
from evoopt.optim.generated.muon import Muon
from evoopt.optim.generated.muonsgd import MuonSGD
from evoopt.optim.generated.normuon import NorMuon
from evoopt.optim.generated.polaris import Polaris
from evoopt.optim.generated.rmsprop import RMSprop
from evoopt.optim.generated.sgd import SGD
from evoopt.optim.generated.soap import SOAP

__all__ = [
    "LAMB",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "Adam",
    "AdamW",
    "AdamWEMA",
    "AdamWFactored",
    "CautiousAdamW",
    "LaProp",
    "Lion",
    "MARSAdamW",
    "Marfinetz2025",
    "Muon",
    "MuonSGD",
    "NorMuon",
    "Polaris",
    "RMSprop",
]
