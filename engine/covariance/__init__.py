"""Covariance estimators: (T, N) in, (N, N) out; arrays or DataFrames."""

from engine.covariance._asynchronous import asynchronous
from engine.covariance._ewma_path import ewma_path
from engine.covariance._factor import FactorCovariance
from engine.covariance._factor_algebra import FactorCholesky, FactorPrecision
from engine.covariance._nearest import floor_eigenvalues, nearest_correlation
from engine.covariance._rolling import iter_rolling, rolling
from engine.covariance._rolling_quadratic import rolling_quadratic
from engine.covariance._rolling_types import Drift, RollingCovariance, RollingResults
from engine.covariance._sample import correlation_to_covariance, ewma, sample, split
from engine.covariance._shrinkage import ledoit_wolf

__all__ = [
    "Drift",
    "FactorCholesky",
    "FactorCovariance",
    "FactorPrecision",
    "RollingCovariance",
    "RollingResults",
    "asynchronous",
    "correlation_to_covariance",
    "ewma",
    "ewma_path",
    "floor_eigenvalues",
    "iter_rolling",
    "ledoit_wolf",
    "nearest_correlation",
    "rolling",
    "rolling_quadratic",
    "sample",
    "split",
]
