"""Covariance estimators: (T, N) in, (N, N) out; arrays or DataFrames."""

from engine.covariance._asynchronous import asynchronous
from engine.covariance._combined import combination_weights, combined, evidence_weights
from engine.covariance._compare import compare
from engine.covariance._comparison import Comparison
from engine.covariance._ewma import ewma
from engine.covariance._ewma_path import ewma_path
from engine.covariance._factor import FactorCovariance
from engine.covariance._factor_algebra import FactorCholesky, FactorPrecision
from engine.covariance._factor_model import FactorModel, factor, factor_model
from engine.covariance._factor_number import number_of_factors
from engine.covariance._gerber import gerber
from engine.covariance._nearest import floor_eigenvalues, nearest_correlation
from engine.covariance._oas import oas
from engine.covariance._pairwise import pairwise
from engine.covariance._regimes import (
    blend,
    blended,
    ewma_split,
    regime_adjusted,
    regime_multiplier,
)
from engine.covariance._rolling import iter_rolling, rolling
from engine.covariance._rolling_quadratic import rolling_quadratic
from engine.covariance._rolling_types import Drift, RollingCovariance, RollingResults
from engine.covariance._sample import (
    correlation,
    correlation_to_covariance,
    sample,
    split,
)
from engine.covariance._scores import SCORES
from engine.covariance._shrinkage import ledoit_wolf
from engine.covariance._spectral import denoised, nonlinear_shrinkage, rie
from engine.covariance._theme import ThemeCorrelation, ThemeStress, theme_correlation

__all__ = [
    "SCORES",
    "Comparison",
    "Drift",
    "FactorCholesky",
    "FactorCovariance",
    "FactorModel",
    "FactorPrecision",
    "RollingCovariance",
    "RollingResults",
    "ThemeCorrelation",
    "ThemeStress",
    "asynchronous",
    "blend",
    "blended",
    "combination_weights",
    "combined",
    "compare",
    "correlation",
    "correlation_to_covariance",
    "denoised",
    "evidence_weights",
    "ewma",
    "ewma_path",
    "ewma_split",
    "factor",
    "factor_model",
    "floor_eigenvalues",
    "gerber",
    "iter_rolling",
    "ledoit_wolf",
    "nearest_correlation",
    "nonlinear_shrinkage",
    "number_of_factors",
    "oas",
    "pairwise",
    "regime_adjusted",
    "regime_multiplier",
    "rie",
    "rolling",
    "rolling_quadratic",
    "sample",
    "split",
    "theme_correlation",
]
