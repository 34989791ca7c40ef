"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._structural import PRESETS, CheapModelShock
from engine.shocks.moves import Shock, ShockMoves, stress_vector

__all__ = ["PRESETS", "CheapModelShock", "Shock", "ShockMoves", "stress_vector"]
