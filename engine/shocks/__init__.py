"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._structural import CheapModelShock
from engine.shocks.chain import PRESETS, present_value_ratio
from engine.shocks.moves import Shock, ShockMoves, stress_vector

__all__ = [
    "PRESETS",
    "CheapModelShock",
    "Shock",
    "ShockMoves",
    "present_value_ratio",
    "stress_vector",
]
