"""The paths a method saves are saved: measured over seeds or against plain draws."""

import numpy as np
import pytest
from sampling_cases import S3, SIGMA, W3, a_model
from scipy import stats

from engine import sampling


def over_seeds(model, functional, method, n, repetitions=200):
    """Values by seed: their variance is measured, not what the method states."""
    return [
        sampling.estimate(model, W3, functional, method=method, n=n, seed=s).value
        for s in range(repetitions)
    ]


def test_linear_gaussian_tail_saves_what_the_closed_form_says():
    x = SIGMA * stats.norm.isf(1e-4)
    theta = stats.norm.isf(1e-4)
    second = np.exp(theta**2) * stats.norm.sf(2 * theta)
    exact = 1e-4 * (1 - 1e-4) / (second - 1e-8)
    assert exact == pytest.approx(2386, abs=2)
    f = sampling.tail_probability(x)
    values = over_seeds(a_model(), f, "importance", 1024)
    ratio = 1e-4 * (1 - 1e-4) / 1024 / np.var(values, ddof=1)
    # The variance of 200 seeds has a relative error of sqrt(2/199) = 10%.
    assert ratio == pytest.approx(exact, rel=0.35)
    assert np.mean(values) == pytest.approx(1e-4, abs=float(4 * np.std(values) / 14))
    stated = sampling.estimate(a_model(), W3, f, method="importance", n=65_536)
    assert stated.variance_ratio == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    "method", ["importance", "importance_stratified", "stratified"]
)
def test_t5_quadratic_tail_is_estimated_with_far_fewer_paths(method):
    # A book with a strong quadratic part, against plain draws made here by hand.
    S = 25 * S3
    model = a_model(S, tail_dof=5.0, return_kind="log")
    w = np.array([0.9, -0.7, 0.8])
    rng = np.random.default_rng(5)
    n = 2_000_000
    y = rng.standard_normal((n, 3)) @ np.linalg.cholesky(S).T
    y *= np.sqrt(3.0 / rng.chisquare(5.0, n))[:, None]
    losses = -np.expm1(y) @ w
    x = float(np.quantile(losses, 0.999))
    p = (losses > x).mean()
    e = sampling.estimate(
        model, w, sampling.tail_probability(x), method=method, n=16_384
    )
    assert abs(e.value - p) < 4 * np.hypot(e.standard_error, np.sqrt(p / n))
    if method == "importance":
        assert e.variance_ratio > 50
    shortfall = sampling.estimate(
        model, w, sampling.expected_shortfall(0.99), method=method, n=16_384
    )
    worst = np.sort(losses)[-n // 100 :]
    spread = np.sqrt((worst.var() + (worst.mean() - worst[0]) ** 2) / worst.size)
    assert abs(shortfall.value - worst.mean()) < 4 * np.hypot(
        shortfall.standard_error, spread
    )


def test_delta_gamma_tail_of_one_asset_has_a_closed_form_and_saves_paths():
    # -(d x + g x^2/2) > l outside the two roots; x is a scaled t with 5 degrees.
    s, d, g = 0.02, 1.0, -8.0
    model = a_model(np.array([[s * s]]), tail_dof=5.0)
    book = sampling.DeltaGamma(np.array([d]), np.array([[g]]))
    loss = 0.6
    low, high = np.sort(np.roots([-g / 2, -d, -loss]).real)
    scale = s * np.sqrt(3 / 5)
    truth = stats.t.cdf(low / scale, 5) + stats.t.sf(high / scale, 5)
    e = sampling.estimate(model, book, sampling.tail_probability(loss), n=65_536)
    assert abs(e.value - truth) < 4.5 * e.standard_error
    assert e.variance_ratio > 50


def test_smooth_functionals_gain_from_sobol_and_antithetic_pairs():
    model = a_model(return_kind="log", mean=-0.5 * np.diag(S3))
    truth = 0.0  # E[e^x] = 1 for every asset
    for method, least in (("antithetic", 100), ("sobol", 500), ("control", 100)):
        e = sampling.estimate(model, W3, sampling.mean_loss(), method=method)
        assert abs(e.value - truth) < 4.5 * e.standard_error
        assert e.variance_ratio > least
