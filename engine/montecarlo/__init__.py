"""Scenario generators: from a return model, or from the returns of a panel or view.

Scenario s depends on the seed and on s alone: not on how many are drawn, nor on how
many workers draw them, nor on where they run.
"""

from engine.montecarlo._copula import copula
from engine.montecarlo._historical import bootstrap, filtered_historical
from engine.montecarlo._regimes import regime_switching
from engine.montecarlo._simulate import DISTRIBUTIONS, simulate
from engine.montecarlo._stream import (
    StreamedRisk,
    rebalanced_book,
    stream,
    stream_risk,
)

__all__ = [
    "DISTRIBUTIONS",
    "StreamedRisk",
    "bootstrap",
    "copula",
    "filtered_historical",
    "rebalanced_book",
    "regime_switching",
    "simulate",
    "stream",
    "stream_risk",
]
