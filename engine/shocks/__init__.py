"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._library import Episode, Library, library
from engine.shocks._replay import Replay, replay
from engine.shocks._structural import CheapModelShock
from engine.shocks.chain import PRESETS, present_value_ratio
from engine.shocks.moves import Shock, ShockMoves, stress_vector

__all__ = [
    "PRESETS",
    "CheapModelShock",
    "Episode",
    "Library",
    "Replay",
    "Shock",
    "ShockMoves",
    "library",
    "present_value_ratio",
    "replay",
    "stress_vector",
]
