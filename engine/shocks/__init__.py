"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._pooling import EntropyPool, Pooled, entropy_pool
from engine.shocks._structural import CheapModelShock
from engine.shocks._view_text import View, Views
from engine.shocks.chain import PRESETS, present_value_ratio
from engine.shocks.moves import (
    Reweighting,
    Shock,
    ShockMoves,
    moves_of,
    stress_vector,
)

__all__ = [
    "PRESETS",
    "CheapModelShock",
    "EntropyPool",
    "Pooled",
    "Reweighting",
    "Shock",
    "ShockMoves",
    "View",
    "Views",
    "entropy_pool",
    "moves_of",
    "present_value_ratio",
    "stress_vector",
]
