"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._kl_ball import KLWorstCase, kl_worst_probabilities
from engine.shocks._reverse import ReverseParameters, reverse, reverse_parameters
from engine.shocks._stressed_models import (
    CorrelationStress,
    LiquidityStress,
    correlation_stress,
    liquidity_stress,
    volatility_stress,
)
from engine.shocks._structural import CheapModelShock
from engine.shocks._worst_case import PlausibleShock, worst_case
from engine.shocks.chain import PRESETS, present_value_ratio
from engine.shocks.moves import Shock, ShockMoves, stress_vector

__all__ = [
    "PRESETS",
    "CheapModelShock",
    "CorrelationStress",
    "KLWorstCase",
    "LiquidityStress",
    "PlausibleShock",
    "ReverseParameters",
    "Shock",
    "ShockMoves",
    "correlation_stress",
    "kl_worst_probabilities",
    "liquidity_stress",
    "present_value_ratio",
    "reverse",
    "reverse_parameters",
    "stress_vector",
    "volatility_stress",
    "worst_case",
]
