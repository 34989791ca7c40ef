"""A linear book of three assets whose VaR and ES are known."""

from typing import Any

import model_cases
import numpy as np
from scipy import stats

from engine.model import ReturnModel

S3 = 1e-4 * (0.5 * np.eye(3) + 0.5)
W3 = np.array([0.5, 0.3, 0.2])
SIGMA = float(np.sqrt(W3 @ S3 @ W3))
LEVEL = 0.95


def a_model(covariance: Any = S3, **changes: Any) -> ReturnModel:
    """A Gaussian model of simple returns with mean zero, unless changed."""
    plain = dict(mean=np.zeros(covariance.shape[0]), return_kind="simple")
    return model_cases.a_model(covariance, **(plain | changes))


def closed_form(dof: float, level: float = LEVEL) -> tuple[float, float]:
    """VaR and ES of the book, independent of the library."""
    if np.isinf(dof):
        q = float(stats.norm.ppf(level))
        return SIGMA * q, SIGMA * float(stats.norm.pdf(q)) / (1 - level)
    scale, q = SIGMA * np.sqrt((dof - 2) / dof), float(stats.t.ppf(level, dof))
    es = float(stats.t.pdf(q, dof)) / (1 - level) * (dof + q * q) / (dof - 1)
    return scale * q, scale * es
