"""Covariance estimators: (T, N) in, (N, N) out; arrays or DataFrames."""

from engine.covariance._asynchronous import asynchronous
from engine.covariance._ewma import ewma
from engine.covariance._factor import FactorCovariance
from engine.covariance._gerber import gerber
from engine.covariance._nearest import floor_eigenvalues, nearest_correlation
from engine.covariance._oas import oas
from engine.covariance._pairwise import pairwise
from engine.covariance._sample import correlation_to_covariance, sample, split
from engine.covariance._shrinkage import ledoit_wolf
from engine.covariance._spectral import denoised, nonlinear_shrinkage, rie

__all__ = [
    "FactorCovariance",
    "asynchronous",
    "correlation_to_covariance",
    "denoised",
    "ewma",
    "floor_eigenvalues",
    "gerber",
    "ledoit_wolf",
    "nearest_correlation",
    "nonlinear_shrinkage",
    "oas",
    "pairwise",
    "rie",
    "sample",
    "split",
]
