"""Simulation: addressed draws, the stated law, exact centring."""

import os

import numpy as np
import pytest
from model_cases import a_model
from scipy import stats

from engine.covariance import FactorCovariance
from engine.errors import ModelError, UsageError
from engine.montecarlo import simulate
from engine.parallel import BLOCK_SIZE


def factor_form(N, K=3, seed=0):
    rng = np.random.default_rng(seed)
    B = 0.01 * rng.standard_normal((N, K))
    A = rng.standard_normal((K, K))
    return FactorCovariance(B, A @ A.T / K, 1e-4 * rng.uniform(0.5, 2, N))


def logs(scenarios):
    return np.log1p(scenarios.returns[:, :-1])


# ------------------------------------------------------------------- bit identity

CASES = {
    "gaussian": dict(distribution="gaussian"),
    "student_t": dict(distribution="student_t"),
    "paths": dict(distribution="student_t", paths=True, horizon=3),
    "one_session": dict(distribution="student_t", horizon=1),
}


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("form", ["dense", "factor"])
def test_any_number_of_workers_gives_the_same_bits(case, form):
    cov = factor_form(7)
    cov = cov.dense() if form == "dense" else cov
    for kind in ("given", "zero_excess"):
        model = a_model(cov, tail_dof=5.0, mean_kind=kind)
        options = CASES[case] | {"seed": 3}
        one = simulate(model, 2500, **options)
        for jobs in (2, 3):
            many = simulate(model, 2500, n_jobs=jobs, **options)
            np.testing.assert_array_equal(one.returns, many.returns)
            if one.paths is not None:
                np.testing.assert_array_equal(one.paths, many.paths)


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("form", ["dense", "factor"])
@pytest.mark.parametrize("N", [1, 7, 60])
def test_a_scenario_does_not_depend_on_how_many_are_drawn(case, form, N):
    """BLAS picks its kernel by the number of rows: a last bit moved here once."""
    cov = factor_form(N)
    model = a_model(cov.dense() if form == "dense" else cov, tail_dof=5.0)
    whole = simulate(model, 2 * BLOCK_SIZE, seed=9, **CASES[case]).returns
    for n in (1, 2, 3, 8, 17, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1):
        part = simulate(model, n, seed=9, **CASES[case]).returns
        np.testing.assert_array_equal(part, whole[:n])


def test_seeds_differ_and_repeat():
    model = a_model(factor_form(3))
    a, b, c = (simulate(model, 100, seed=s).returns for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.isin(a[:, :-1], c[:, :-1]).any()


def test_global_random_state_is_neither_read_nor_moved():
    model = a_model(factor_form(3))
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a = simulate(model, 50).returns
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(simulate(model, 50).returns, a)


def test_golden_scenarios():
    """Frozen at this commit; compared to 1e-10, as BLAS differs between machines."""
    S = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
    model = a_model(S, tail_dof=5.0, mean=[0.0, 0.0], cash_rate=0.0)
    got = simulate(model, 3, horizon=5, seed=20250127).returns
    np.testing.assert_allclose(
        got,
        [
            [-0.0861660111685486, 0.023319610348942588, 0.0],
            [-0.06805762683228433, 0.10801764237084166, 0.0],
            [-0.0517502595851721, 0.031119554212014178, 0.0],
        ],
        rtol=1e-10,
        atol=1e-15,
    )


# --------------------------------------------------------------------------- the law


@pytest.mark.parametrize("form", ["dense", "factor", "singular"])
@pytest.mark.parametrize("dof", [np.inf, 6.0])
@pytest.mark.parametrize("horizon", [1, 10])
def test_moments_are_the_models_within_four_standard_errors(form, dof, horizon):
    cov = factor_form(4)
    S = cov.dense()
    if form == "singular":  # a duplicate asset: no Cholesky factor
        S = np.block([[S, S[:, :1]], [S[:1], S[:1, :1]]])
    model = a_model(cov if form == "factor" else S, tail_dof=dof)
    n = 60_000
    x = logs(simulate(model, n, horizon=horizon, seed=1))
    target = S * horizon
    sd = np.sqrt(np.diag(target))
    np.testing.assert_array_less(
        np.abs(x.mean(axis=0) - model.mean * horizon), 4 * sd / np.sqrt(n)
    )
    # Elliptical with kurtosis 3 k: E x_i^2 x_j^2 = k (s_ii s_jj + 2 s_ij^2), and for
    # the sum of h independent t, k - 1 falls to 2 / (dof - 4) / h.
    k = 1.0 if np.isinf(dof) else 1.0 + 2.0 / (dof - 4) / horizon
    variance = k * (np.outer(sd, sd) ** 2 + 2 * target**2) - target**2
    error = np.sqrt(variance / n)
    # The variance estimate of t(6) has no finite fourth moment: allow six.
    width = 4 if np.isinf(dof) else 6
    assert (np.abs(np.cov(x, rowvar=False) - target) < width * error).all()


def test_covariance_is_the_covariance_not_the_scale_matrix():
    model = a_model(np.array([[4e-4]]), tail_dof=3.5, mean=[0.0])
    x = logs(simulate(model, 100_000, horizon=1, seed=2))[:, 0]
    scaled = x / 0.02 * np.sqrt(3.5 / 1.5)
    assert stats.kstest(scaled, "t", args=(3.5,)).pvalue > 1e-3


def test_one_mixing_variable_for_all_assets():
    """Multivariate t, not independent margins: zero correlation, joint extremes."""
    model = a_model(np.eye(2) * 1e-4, tail_dof=4.0, mean=[0.0, 0.0])
    x = np.abs(logs(simulate(model, 50_000, horizon=1, seed=3)))
    cut = np.quantile(x, 0.98, axis=0)
    together = (x > cut).all(axis=1).mean()
    assert together > 4 * 0.02**2
    gaussian = a_model(np.eye(2) * 1e-4, mean=[0.0, 0.0])
    y = np.abs(logs(simulate(gaussian, 50_000, horizon=1, seed=3)))
    joint = (y > np.quantile(y, 0.98, axis=0)).all(axis=1).mean()
    assert abs(joint - 4e-4) < 4 * np.sqrt(4e-4 / 50_000)


@pytest.mark.parametrize("horizon", [1, 4, 21])
def test_the_horizon_is_a_sum_of_independent_t(horizon):
    """Drawn in one step; compared with sums drawn one by one by NumPy."""
    dof, n = 5.0, 60_000
    model = a_model(np.array([[1e-4]]), tail_dof=dof, mean=[2e-4])
    x = logs(simulate(model, n, horizon=horizon, seed=4))[:, 0]
    rng = np.random.default_rng(4)
    steps = rng.standard_t(dof, size=(n, horizon)) * np.sqrt((dof - 2) / dof) * 0.01
    y = (steps + 2e-4).sum(axis=1)
    assert stats.ks_2samp(x, y).pvalue > 1e-3
    for q in (0.001, 0.01, 0.99, 0.999):
        a, b = np.quantile(x, q), np.quantile(y, q)
        density = ((y > b - 0.002) & (y < b + 0.002)).mean() / 0.004
        assert abs(a - b) < 4 * np.sqrt(2 * q * (1 - q) / n) / density


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_kurtosis_of_the_sum_falls_as_one_over_the_horizon(horizon):
    """Excess kurtosis of h independent t(nu): 6 / (nu - 4) / h."""
    dof, n = 12.0, 150_000
    model = a_model(np.eye(2) * 1e-4, tail_dof=dof, mean=[0.0, 0.0])
    x = logs(simulate(model, n, horizon=horizon, seed=5))
    parts = x.reshape(50, -1, 2)  # batches give the standard error
    kurtosis = stats.kurtosis(parts, axis=1)
    error = kurtosis.std(axis=0, ddof=1) / np.sqrt(50)
    expected = 6.0 / (dof - 4) / horizon
    assert (np.abs(stats.kurtosis(x) - expected) < 4 * error).all()


@pytest.mark.parametrize("dof", [np.inf, 5.0])
def test_paths_end_in_the_law_of_the_horizon(dof):
    cov = factor_form(3)
    model = a_model(cov, tail_dof=dof)
    n, H = 20_000, 5
    walked = simulate(model, n, horizon=H, seed=6, paths=True)
    jumped = simulate(model, n, horizon=H, seed=7)
    assert walked.paths.shape == (n, H, 4)
    np.testing.assert_array_equal(walked.paths[:, -1], walked.returns)
    for i in range(3):
        x, y = walked.returns[:, i], jumped.returns[:, i]
        assert stats.ks_2samp(x, y).pvalue > 1e-3
    # Increments are uncorrelated in time and each carries the model's covariance.
    steps = np.diff(np.log1p(walked.paths[..., :-1]), axis=1, prepend=0.0)
    last, first = steps[:, -1], steps[:, 0]
    np.testing.assert_allclose(
        np.cov(last, rowvar=False), cov.dense(), atol=8 * 3e-4 / np.sqrt(n)
    )
    r = [np.corrcoef(first[:, i], last[:, i])[0, 1] for i in range(3)]
    assert np.abs(r).max() < 5 / np.sqrt(n)


def test_factor_form_has_the_law_of_its_dense_matrix():
    cov = factor_form(20, 4)
    n = 40_000
    w = np.random.default_rng(0).dirichlet(np.ones(20))
    a = logs(simulate(a_model(cov, tail_dof=5.0), n, seed=8)) @ w
    b = logs(simulate(a_model(cov.dense(), tail_dof=5.0), n, seed=8)) @ w
    assert not np.array_equal(a, b)
    assert stats.ks_2samp(a, b).pvalue > 1e-3


def test_no_factors_and_no_variance():
    empty = FactorCovariance(np.empty((2, 0)), np.empty((0, 0)), [1e-4, 4e-4])
    x = logs(simulate(a_model(empty), 20_000, horizon=1, seed=1))
    np.testing.assert_allclose(x.std(axis=0), [0.01, 0.02], rtol=4 / np.sqrt(40_000))
    still = simulate(a_model(np.zeros((2, 2)), mean=[0.0, 1e-3]), 10, horizon=2)
    np.testing.assert_allclose(logs(still), np.tile([0.0, 2e-3], (10, 1)), atol=1e-15)


def test_monte_carlo_error_falls_as_the_root_of_the_sample():
    model = a_model(np.array([[1e-4]]), mean=[0.0])
    x = logs(simulate(model, 64 * 4096, horizon=1, seed=9))[:, 0]
    errors = [
        np.sqrt(np.mean(x.reshape(-1, m).mean(axis=1) ** 2)) for m in (64, 256, 1024)
    ]
    slope = np.polyfit(np.log([64, 256, 1024]), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.08)


# --------------------------------------------------------------------------- centring


@pytest.mark.parametrize("dof", [np.inf, 4.0])
@pytest.mark.parametrize("rate", [0.0, 0.05, -0.01])
def test_zero_excess_is_centred_at_cash_exactly(dof, rate):
    model = a_model(
        factor_form(5), tail_dof=dof, mean_kind="zero_excess", cash_rate=rate
    )
    for n in (1, 100, 3000):
        s = simulate(model, n, horizon=21, seed=1)
        cash = (1 + rate) ** (21 / 252) - 1
        np.testing.assert_allclose(s.p @ s.returns, cash, atol=1e-12)
        np.testing.assert_allclose(s.returns[:, -1], cash, atol=1e-15)
    walked = simulate(model, 500, horizon=4, seed=1, paths=True)
    each = (1 + rate) ** (np.arange(1, 5) / 252) - 1
    np.testing.assert_allclose(
        walked.paths.mean(axis=0), np.tile(each[:, None], 6), atol=1e-12
    )


def test_centring_moves_the_mean_and_nothing_else():
    cov = factor_form(3)
    given = simulate(a_model(cov), 1000, seed=2)
    centred = simulate(a_model(cov, mean_kind="zero_excess"), 1000, seed=2)
    ratio = (1 + centred.returns) / (1 + given.returns)
    np.testing.assert_allclose(ratio, ratio[:1] * np.ones((1000, 1)), rtol=1e-13)


def test_other_means_are_not_centred():
    model = a_model(factor_form(2), mean=[0.01, -0.01], mean_kind="sample")
    mean = logs(simulate(model, 20_000, horizon=3, seed=1)).mean(axis=0)
    np.testing.assert_allclose(mean, [0.03, -0.03], atol=1e-3)


# ----------------------------------------------------------------------- what comes out


def test_labels_and_stamps_travel():
    model = a_model(
        factor_form(2),
        tail_dof=5.0,
        notes=("SAMPLE MEAN",),
        synthetic=True,
        hindsight_parameters=True,
    )
    s = simulate(model, 10, horizon=3, seed=4)
    assert s.assets == ("A0", "A1", "CASH:USD")
    assert s.universe.tickers == s.assets
    assert (s.horizon, s.seed, s.base_currency) == (3, 4, "USD")
    assert s.synthetic and s.hindsight_parameters and s.notes == ("SAMPLE MEAN",)
    assert "dof 5.00 per period" in s.distribution
    assert s.model is model and s.legs == ("base",)
    np.testing.assert_array_equal(s.p, 0.1)
    assert (s.returns > -1).all()


def test_the_default_distribution_is_the_models_tail():
    S = np.eye(1) * 1e-4
    heavy = simulate(a_model(S, tail_dof=5.0), 5).distribution
    assert heavy.startswith("student_t")
    assert simulate(a_model(S), 5).distribution == "gaussian"
    both = simulate(a_model(S, tail_dof=5.0), 5, distribution="gaussian")
    assert both.distribution == "gaussian"


def test_simple_return_models():
    model = a_model(np.eye(2) * 1e-4, return_kind="simple", mean=[0.0, 0.0])
    s = simulate(model, 20_000, horizon=1, seed=1)
    assert stats.kstest(s.returns[:, 0] / 0.01, "norm").pvalue > 1e-3


# ------------------------------------------------------------------------------ errors


def test_student_t_of_a_gaussian_model_is_refused():
    with pytest.raises(ModelError, match="Gaussian tail"):
        simulate(a_model(np.eye(1) * 1e-4), 10, distribution="student_t")


def test_a_simple_return_below_minus_one_is_refused():
    model = a_model(np.eye(1), return_kind="simple", mean=[0.0])
    with pytest.raises(ModelError, match="loses all or more"):
        simulate(model, 1000, seed=1)


def test_more_than_fits_in_memory_is_refused_before_drawing():
    with pytest.raises(ModelError, match=r"fit in memory.*GiB needed"):
        simulate(a_model(np.eye(2) * 1e-4), 10**12)
    with pytest.raises(ModelError, match="leave out paths"):
        simulate(a_model(np.eye(2) * 1e-4), 10**6, horizon=10**6, paths=True)


def test_memory_unknown_is_no_obstacle(monkeypatch):
    def unknown(name):
        raise OSError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert len(simulate(a_model(np.eye(2) * 1e-4), 5)) == 5


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((0,), {}),
        ((-5,), {}),
        ((10,), {"horizon": 0}),
        ((10,), {"distribution": "cauchy"}),
        ((10,), {"seed": -1}),
        ((10,), {"seed": 1.5}),
        ((10,), {"n_jobs": 0}),
        ((1e4,), {}),
        ((10,), {"horizon": 2.5}),
    ],
)
def test_bad_arguments(arguments, options):
    with pytest.raises(UsageError):
        simulate(a_model(np.eye(1) * 1e-4), *arguments, **options)
