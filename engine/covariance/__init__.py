"""Covariance estimators: (T, N) in, (N, N) out; arrays or DataFrames."""

from engine.covariance._asynchronous import asynchronous
from engine.covariance._combined import combination_weights, combined, evidence_weights
from engine.covariance._compare import compare
from engine.covariance._comparison import Comparison
from engine.covariance._factor import FactorCovariance
from engine.covariance._factor_model import FactorModel, factor, factor_model
from engine.covariance._factor_number import number_of_factors
from engine.covariance._nearest import floor_eigenvalues, nearest_correlation
from engine.covariance._regimes import (
    blend,
    blended,
    ewma_split,
    regime_adjusted,
    regime_multiplier,
)
from engine.covariance._sample import correlation_to_covariance, ewma, sample, split
from engine.covariance._scores import SCORES
from engine.covariance._shrinkage import ledoit_wolf
from engine.covariance._theme import ThemeCorrelation, ThemeStress, theme_correlation

__all__ = [
    "SCORES",
    "Comparison",
    "FactorCovariance",
    "FactorModel",
    "ThemeCorrelation",
    "ThemeStress",
    "asynchronous",
    "blend",
    "blended",
    "combination_weights",
    "combined",
    "compare",
    "correlation_to_covariance",
    "evidence_weights",
    "ewma",
    "ewma_split",
    "factor",
    "factor_model",
    "floor_eigenvalues",
    "ledoit_wolf",
    "nearest_correlation",
    "number_of_factors",
    "regime_adjusted",
    "regime_multiplier",
    "sample",
    "split",
    "theme_correlation",
]
