"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._parameters import Parameter, parameters
from engine.shocks._structural import CheapModelShock
from engine.shocks.chain import PERSISTENT_PRESETS, PRESETS, present_value_ratio
from engine.shocks.files import read_shock, read_shocks, register_kind
from engine.shocks.moves import Shock, ShockMoves, stress_vector
from engine.shocks.rebound import HORIZONS

__all__ = [
    "HORIZONS",
    "PERSISTENT_PRESETS",
    "PRESETS",
    "CheapModelShock",
    "Parameter",
    "Shock",
    "ShockMoves",
    "parameters",
    "present_value_ratio",
    "read_shock",
    "read_shocks",
    "register_kind",
    "stress_vector",
]
