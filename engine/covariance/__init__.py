"""Covariance estimators: (T, N) in, (N, N) out; arrays or DataFrames."""

from engine.covariance._asynchronous import asynchronous
from engine.covariance._factor import FactorCovariance
from engine.covariance._nearest import floor_eigenvalues, nearest_correlation
from engine.covariance._sample import correlation_to_covariance, ewma, sample, split
from engine.covariance._shrinkage import ledoit_wolf

__all__ = [
    "FactorCovariance",
    "asynchronous",
    "correlation_to_covariance",
    "ewma",
    "floor_eigenvalues",
    "ledoit_wolf",
    "nearest_correlation",
    "sample",
    "split",
]
