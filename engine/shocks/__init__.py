"""Shocks: what a dated or hypothetical event does to each asset."""

from engine.shocks._coherent import CoherentStress, mix
from engine.shocks._conditional import (
    ConditionalLaw,
    ConditionalShock,
    conditional,
    conditional_law,
)
from engine.shocks._kinds_lazy import resolved
from engine.shocks._kl_ball import KLWorstCase, kl_worst_probabilities
from engine.shocks._library import Episode, Library, library
from engine.shocks._parameters import Parameter, parameters
from engine.shocks._pooling import EntropyPool, Pooled, entropy_pool
from engine.shocks._replay import Replay, replay
from engine.shocks._reverse import ReverseParameters, reverse, reverse_parameters
from engine.shocks._stressed_models import (
    CorrelationStress,
    LiquidityStress,
    correlation_stress,
    liquidity_stress,
    volatility_stress,
)
from engine.shocks._structural import CheapModelShock
from engine.shocks._theme_stress import ThemeModelStress, theme_stress
from engine.shocks._view_text import View, Views
from engine.shocks._worst_case import PlausibleShock, worst_case
from engine.shocks.chain import PERSISTENT_PRESETS, PRESETS, present_value_ratio
from engine.shocks.files import (
    ScenarioFile,
    from_toml,
    read_scenarios,
    read_shock,
    read_shocks,
    register_kind,
    to_toml,
)
from engine.shocks.moves import Reweighting, Shock, ShockMoves, moves_of, stress_vector
from engine.shocks.rebound import HORIZONS

__all__ = [
    "HORIZONS",
    "PERSISTENT_PRESETS",
    "PRESETS",
    "CheapModelShock",
    "CoherentStress",
    "ConditionalLaw",
    "ConditionalShock",
    "CorrelationStress",
    "EntropyPool",
    "Episode",
    "KLWorstCase",
    "Library",
    "LiquidityStress",
    "Parameter",
    "PlausibleShock",
    "Pooled",
    "Replay",
    "ReverseParameters",
    "Reweighting",
    "ScenarioFile",
    "Shock",
    "ShockMoves",
    "ThemeModelStress",
    "View",
    "Views",
    "conditional",
    "conditional_law",
    "correlation_stress",
    "entropy_pool",
    "from_toml",
    "kl_worst_probabilities",
    "library",
    "liquidity_stress",
    "mix",
    "moves_of",
    "parameters",
    "present_value_ratio",
    "read_scenarios",
    "read_shock",
    "read_shocks",
    "register_kind",
    "replay",
    "resolved",
    "reverse",
    "reverse_parameters",
    "stress_vector",
    "theme_stress",
    "to_toml",
    "volatility_stress",
    "worst_case",
]
