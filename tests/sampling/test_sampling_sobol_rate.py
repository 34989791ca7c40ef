"""Randomised Sobol points converge faster than independent ones."""

import numpy as np
import pytest
from sampling_cases import S3, W3, a_model, closed_form

from engine import sampling

SIZES = 2 ** np.arange(8, 14)
SEEDS = 12
LOG_N = np.log(SIZES) - np.log(SIZES).mean()
# An RMS error over SEEDS normal errors has a log whose variance is 1/(2 SEEDS).
SLOPE_ERROR = float(np.sqrt(0.5 / SEEDS / (LOG_N @ LOG_N)))


def smooth(kind):
    """``(model, functional, truth)``: a lognormal mean, or the ES of a linear book."""
    if kind == "shortfall":
        es = closed_form(np.inf)[1]
        return a_model(), sampling.expected_shortfall(), es
    S = 900 * S3
    truth = -float(W3 @ np.expm1(0.5 * np.diag(S)))
    return a_model(S, return_kind="log"), sampling.mean_loss(), truth


def rate(kind, method):
    """Slope of log RMS error over log n, seeds independent between sizes."""
    model, functional, truth = smooth(kind)
    errors = [
        [
            sampling.estimate(
                model, W3, functional, method=method, n=int(n), seed=SEEDS * k + s
            ).value
            - truth
            for s in range(SEEDS)
        ]
        for k, n in enumerate(SIZES)
    ]
    rms = np.sqrt(np.mean(np.square(errors), axis=1))
    return float(LOG_N @ np.log(rms) / (LOG_N @ LOG_N))


@pytest.mark.parametrize("kind", ["mean", "shortfall"])
def test_sobol_error_falls_faster_than_the_root_of_n(kind):
    # Measured slopes are -1.09 and -1.16: eight errors steeper than the root's.
    assert rate(kind, "sobol") < -0.5 - 4 * SLOPE_ERROR


@pytest.mark.parametrize("kind", ["mean", "shortfall"])
def test_plain_error_falls_with_the_root_of_n(kind):
    assert abs(rate(kind, "plain") + 0.5) < 4 * SLOPE_ERROR
