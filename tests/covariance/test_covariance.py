"""Sample, weighted and shrunk covariances against slow, obvious references."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from engine.covariance import (
    FactorCovariance,
    correlation_to_covariance,
    ewma,
    ledoit_wolf,
    sample,
    split,
)
from engine.errors import DataError, ModelError, UsageError

TARGETS = ["identity", "constant_correlation", "single_index"]
ESTIMATORS = {
    "sample": sample,
    "ewma": ewma,
    "identity": lambda X: ledoit_wolf(X, "identity"),
    "constant_correlation": lambda X: ledoit_wolf(X, "constant_correlation"),
    "single_index": lambda X: ledoit_wolf(X, "single_index"),
}


def returns(T=60, N=5, seed=0, scale=0.02):
    """A factor and fat tails, so that fourth moments matter."""
    rng = np.random.default_rng(seed)
    market = rng.standard_t(4, size=(T, 1))
    return scale * (market * rng.uniform(0.3, 1.5, N) + rng.standard_t(5, size=(T, N)))


@pytest.fixture(params=sorted(ESTIMATORS))
def estimator(request):
    return ESTIMATORS[request.param]


# ------------------------------------------------------------------- references


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (7, 3), (60, 5), (10, 40)])
def test_sample_is_numpy_cov(ddof, shape):
    X = returns(*shape)
    expected = np.atleast_2d(np.cov(X, rowvar=False, ddof=ddof))
    np.testing.assert_allclose(sample(X, ddof=ddof), expected, rtol=1e-12, atol=1e-18)


def test_sample_about_zero_divides_by_T():
    X = returns() + 0.05
    np.testing.assert_allclose(sample(X, assume_centered=True), X.T @ X / 60)
    one = X[:1]
    np.testing.assert_allclose(sample(one, assume_centered=True), one.T @ one)


@pytest.mark.parametrize("decay", [0.5, 0.94, 0.999])
def test_ewma_is_the_normalised_recursion(decay):
    """RiskMetrics 1996: S_t = l S_{t-1} + (1 - l) r r', over its total weight."""
    X = returns(40, 4)
    S, weight = np.zeros((4, 4)), 0.0
    for r in X:
        S = decay * S + (1 - decay) * np.outer(r, r)
        weight = decay * weight + (1 - decay)
    np.testing.assert_allclose(ewma(X, decay=decay), S / weight, rtol=1e-12)


def test_ewma_forgets_at_the_stated_rate():
    X = np.zeros((75, 1))
    X[-1] = 1.0
    assert ewma(X)[0, 0] == pytest.approx(0.06 / (1 - 0.94**75))
    # 74 days hold 99% of the weight (methods section 5).
    assert 1 - 0.94**74 == pytest.approx(0.99, abs=3e-4)
    X = np.zeros((500, 1))
    X[-11] = 1.0
    newest = np.zeros((500, 1))
    newest[-1] = 1.0
    ratio = ewma(X, half_life=10) / ewma(newest, half_life=10)
    assert ratio[0, 0] == pytest.approx(0.5)


def test_ewma_about_the_weighted_mean():
    X = returns(30, 3) + 0.1
    l = 0.9 ** np.arange(29, -1, -1)  # noqa: E741
    expected = np.cov(X, rowvar=False, aweights=l, ddof=0)
    got = ewma(X, decay=0.9, assume_centered=False)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_ewma_near_one_is_the_sample_covariance():
    X = returns(50, 3)
    got = ewma(X, decay=1 - 1e-12)
    np.testing.assert_allclose(got, sample(X, assume_centered=True), rtol=1e-9)


@pytest.mark.parametrize("shape", [(30, 2), (60, 5), (252, 20), (20, 60)])
@pytest.mark.parametrize("centred", [False, True])
def test_identity_target_is_scikit_learn(shape, centred):
    X = returns(*shape, seed=3)
    expected, rho = sklearn_ledoit_wolf(X, assume_centered=centred)
    got, mine = ledoit_wolf(X, assume_centered=centred, return_shrinkage=True)
    assert mine == pytest.approx(rho, rel=1e-12)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-18)


def constant_correlation_by_hand(X):
    """Ledoit and Wolf 2004b, appendices A and B, sum by sum."""
    Y = X - X.mean(axis=0)
    T, N = Y.shape
    S = np.array([[np.mean(Y[:, i] * Y[:, j]) for j in range(N)] for i in range(N)])
    r = [S[i, j] / np.sqrt(S[i, i] * S[j, j]) for i in range(N) for j in range(i)]
    rbar = 2.0 / (N * (N - 1)) * sum(r)
    F = np.array(
        [
            [S[i, i] if i == j else rbar * np.sqrt(S[i, i] * S[j, j]) for j in range(N)]
            for i in range(N)
        ]
    )
    pi = rho = gamma = 0.0
    for i in range(N):
        for j in range(N):
            deviation = Y[:, i] * Y[:, j] - S[i, j]
            pi_ij = np.mean(deviation**2)
            pi += pi_ij
            gamma += (F[i, j] - S[i, j]) ** 2
            if i == j:
                rho += pi_ij
                continue
            theta_ii = np.mean((Y[:, i] ** 2 - S[i, i]) * deviation)
            theta_jj = np.mean((Y[:, j] ** 2 - S[j, j]) * deviation)
            ratio = np.sqrt(S[j, j] / S[i, i])
            rho += rbar / 2 * (ratio * theta_ii + theta_jj / ratio)
    return S, F, max(0.0, min((pi - rho) / gamma / T, 1.0))


def single_index_by_hand(X):
    """Ledoit and Wolf 2003, section 3, with the mean of the columns as the index."""
    Y = X - X.mean(axis=0)
    T, N = Y.shape
    x0 = Y.mean(axis=1)
    s00 = np.mean(x0**2)
    s0 = [np.mean(Y[:, i] * x0) for i in range(N)]
    S = np.array([[np.mean(Y[:, i] * Y[:, j]) for j in range(N)] for i in range(N)])
    F = np.array(
        [
            [S[i, i] if i == j else s0[i] * s0[j] / s00 for j in range(N)]
            for i in range(N)
        ]
    )
    pi = rho = gamma = 0.0
    for i in range(N):
        for j in range(N):
            xi, xj = Y[:, i], Y[:, j]
            pi_ij = np.mean((xi * xj - S[i, j]) ** 2)
            pi += pi_ij
            gamma += (F[i, j] - S[i, j]) ** 2
            if i == j:
                rho += pi_ij
                continue
            r_t = (s0[j] * s00 * xi + s0[i] * s00 * xj - s0[i] * s0[j] * x0) / s00**2
            rho += np.mean(r_t * x0 * xi * xj) - F[i, j] * S[i, j]
    return S, F, max(0.0, min((pi - rho) / gamma / T, 1.0))


@pytest.mark.parametrize("shape", [(25, 3), (60, 5), (120, 12), (15, 20)])
@pytest.mark.parametrize(
    ("target", "reference"),
    [
        ("constant_correlation", constant_correlation_by_hand),
        ("single_index", single_index_by_hand),
    ],
)
def test_structured_targets_against_the_papers_sums(shape, target, reference):
    X = returns(*shape, seed=7)
    S, F, rho = reference(X)
    got, mine = ledoit_wolf(X, target, return_shrinkage=True)
    assert mine == pytest.approx(rho, rel=1e-9)
    assert 0.0 < mine <= 1.0
    np.testing.assert_allclose(got, rho * F + (1 - rho) * S, rtol=1e-9)


@pytest.mark.parametrize("target", TARGETS)
def test_given_intensity_runs_from_sample_to_target(target):
    X = returns()
    S = ledoit_wolf(X, target, shrinkage=0.0)
    np.testing.assert_allclose(S, sample(X, ddof=0), rtol=1e-12)
    F = ledoit_wolf(X, target, shrinkage=1.0)
    middle, rho = ledoit_wolf(X, target, shrinkage=0.25, return_shrinkage=True)
    assert rho == 0.25
    np.testing.assert_allclose(middle, 0.25 * F + 0.75 * S, rtol=1e-12)
    if target == "identity":
        np.testing.assert_allclose(F, np.eye(5) * np.trace(S) / 5, rtol=1e-12)
    else:
        np.testing.assert_allclose(np.diag(F), np.diag(S), rtol=1e-12)
    if target == "constant_correlation":
        R = split(F)[1][~np.eye(5, dtype=bool)]
        np.testing.assert_allclose(R, R[0], rtol=1e-12)


def test_two_assets_have_one_correlation():
    """Target and sample coincide: the intensity is one, not the ratio of two zeros."""
    for seed in range(20):
        X = returns(30, 2, seed)
        S, rho = ledoit_wolf(X, "constant_correlation", return_shrinkage=True)
        assert rho == 1.0
        np.testing.assert_allclose(S, sample(X, ddof=0), rtol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_shrinkage_vanishes_as_the_sample_grows(target):
    """The intensity is O(1/T): ten times the data, about a tenth of it."""
    few = ledoit_wolf(returns(400, 6, 1), target, return_shrinkage=True)[1]
    many = ledoit_wolf(returns(40_000, 6, 1), target, return_shrinkage=True)[1]
    assert many < few / 10


def test_shrinkage_beats_the_sample_when_dates_are_few():
    rng = np.random.default_rng(5)
    L = np.linalg.cholesky(0.3 + 0.7 * np.eye(30))
    truth = L @ L.T
    loss = {t: 0.0 for t in ("sample", *TARGETS)}
    for _ in range(20):
        X = rng.standard_normal((40, 30)) @ L.T
        for t in loss:
            loss[t] += np.linalg.norm(ESTIMATORS[t](X) - truth) ** 2
    # The truth has one common correlation: the target that says so gains most.
    assert loss["constant_correlation"] < loss["single_index"] < loss["identity"]
    assert loss["constant_correlation"] < 0.5 * loss["sample"]
    assert loss["identity"] < loss["sample"]


# ------------------------------------------------------------------ labels and types


def test_frame_in_frame_out(estimator):
    X = returns(40, 3)
    frame = pd.DataFrame(X, columns=["NVDA", "ASML", "2330.TW"])
    result = estimator(frame)
    assert isinstance(result, pd.DataFrame)
    assert list(result.index) == list(result.columns) == list(frame.columns)
    np.testing.assert_array_equal(result.to_numpy(), estimator(X))
    assert isinstance(estimator(X), np.ndarray)


def test_layout_and_type_do_not_matter(estimator):
    X = returns(40, 3)
    expected = estimator(X)
    X.setflags(write=False)
    np.testing.assert_allclose(estimator(X), expected, rtol=1e-13)
    np.testing.assert_allclose(estimator(np.asfortranarray(X)), expected, rtol=1e-13)
    np.testing.assert_allclose(estimator(X[::-1][::-1]), expected, rtol=1e-13)
    np.testing.assert_allclose(estimator(X.tolist()), expected, rtol=1e-13)
    single = estimator(X.astype(np.float32))
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-8)
    nullable = pd.DataFrame(X).convert_dtypes()
    np.testing.assert_allclose(estimator(nullable), expected, rtol=1e-13)
    whole = np.random.default_rng(1).integers(-9, 10, size=(30, 3))
    np.testing.assert_array_equal(estimator(whole), estimator(whole.astype(float)))


def test_the_input_is_left_alone(estimator):
    X = returns(30, 4)
    before = X.copy()
    estimator(X)
    np.testing.assert_array_equal(X, before)


def test_result_is_exactly_symmetric_and_semidefinite(estimator):
    for X in (returns(30, 4), returns(5, 12), returns(2, 3)):
        S = estimator(X)
        np.testing.assert_array_equal(S, S.T)
        assert np.linalg.eigvalsh(S)[0] >= -1e-14 * np.abs(S).max()


# --------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_hole_is_named_by_column_and_row(estimator, value):
    X = returns(10, 3)
    X[6, 1] = value
    with pytest.raises(DataError, match=r"missing or infinite.*column 1.*row 6"):
        estimator(X)
    dates = pd.date_range("2025-01-20", periods=10, name="date")
    frame = pd.DataFrame(X, index=dates, columns=["NVDA", "VRT", "KO"])
    with pytest.raises(DataError, match=r"asset VRT, date 2025-01-26"):
        estimator(frame)
    with pytest.raises(DataError, match="VRT"):
        estimator(frame.convert_dtypes())


def test_text_is_named(estimator):
    frame = pd.DataFrame(returns(10, 2), columns=["NVDA", "KO"])
    frame["note"] = "n/a"
    with pytest.raises(DataError, match=r"not numeric.*note"):
        estimator(frame)
    frame["note"] = pd.Timestamp("2025-01-27")
    with pytest.raises(DataError, match=r"not numeric.*note"):
        estimator(frame)
    with pytest.raises(DataError, match="not numeric"):
        estimator([["1.0", "2.0"], ["3.0", "4.0"]])
    with pytest.raises(DataError, match="not numeric"):
        estimator(returns(10, 2) + 1j)
    with pytest.raises(DataError, match="not numeric"):
        estimator([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize(
    "X", [1.0, [], [1.0, 2.0], np.empty((5, 0)), np.zeros((2, 2, 2))]
)
def test_not_a_table(estimator, X):
    with pytest.raises(DataError, match="table of dates by assets"):
        estimator(X)
    with pytest.raises(DataError):
        estimator(pd.Series([1.0, 2.0]))


def test_one_date():
    X = returns(1, 3)
    for few in (sample, *(ESTIMATORS[t] for t in TARGETS)):
        with pytest.raises(ModelError, match=r"too few observations.*received 1"):
            few(X)
    np.testing.assert_allclose(ewma(X), X.T @ X)
    np.testing.assert_array_equal(sample(X, ddof=0), np.zeros((3, 3)))
    for empty in ESTIMATORS.values():
        with pytest.raises(ModelError, match="too few"):
            empty(np.empty((0, 3)))


def test_one_asset(estimator):
    X = returns(30, 1)
    S = estimator(X)
    assert S.shape == (1, 1) and S[0, 0] > 0
    for target in TARGETS:
        S, rho = ledoit_wolf(X, target, return_shrinkage=True)
        assert rho == 0.0
        assert S[0, 0] == pytest.approx(X.var())


def test_a_series_that_never_moves():
    X = returns(30, 3)
    X[:, 1] = 0.01
    np.testing.assert_allclose(sample(X)[1], 0.0, atol=1e-18)
    X[:, 1] = 0.0
    assert (sample(X)[1] == 0).all() and (ewma(X)[1] == 0).all()
    assert ledoit_wolf(X)[1, 1] > 0  # the identity target lends it variance
    assert ledoit_wolf(X, "single_index")[1, 1] == 0
    frame = pd.DataFrame(X, columns=["A", "STILL", "C"])
    with pytest.raises(ModelError, match=r"variance is zero.*STILL"):
        ledoit_wolf(frame, "constant_correlation")
    with pytest.raises(ModelError, match=r"variance is zero.*column 1"):
        split(sample(X))
    with pytest.raises(ModelError, match="average of the columns never moves"):
        ledoit_wolf(np.column_stack([X[:, 0], -X[:, 0]]), "single_index")


def test_all_zero_returns():
    X = np.zeros((10, 3))
    np.testing.assert_array_equal(sample(X), 0.0)
    np.testing.assert_array_equal(ledoit_wolf(X), 0.0)


def test_duplicate_series_give_equal_rows(estimator):
    X = returns(40, 3)
    S = estimator(np.column_stack([X, X[:, 0]]))
    np.testing.assert_allclose(S[0, 1:3], S[3, 1:3], rtol=1e-12)
    assert S[0, 0] == pytest.approx(S[3, 3], rel=1e-12)
    assert np.linalg.eigvalsh(S)[0] >= -1e-14


@pytest.mark.parametrize("power", [-140, -100, -60, 0, 60, 100, 148])
def test_scale_never_changes_the_answer(estimator, power):
    """Fourth powers of 1e-100 vanish and of 1e100 overflow; the estimate must not."""
    X = returns(40, 4)
    scaled = estimator(X * 10.0**power)
    expected = estimator(X)
    np.testing.assert_allclose(scaled / 10.0**power / 10.0**power, expected, rtol=1e-9)


def test_beyond_the_range_of_doubles(estimator):
    X = pd.DataFrame(returns(20, 2), columns=["A", "HUGE"])
    X.loc[3, "HUGE"] = 1e151
    with pytest.raises(ModelError, match=r"overflows.*HUGE"):
        estimator(X)
    tiny = pd.DataFrame(returns(20, 2), columns=["A", "TINY"])
    tiny["TINY"] *= 1e-300  # its variance, about 1e-604, is no double
    with pytest.raises(ModelError, match=r"underflows.*TINY"):
        estimator(tiny)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda X: sample(X, ddof=2), "ddof"),
        (lambda X: sample(X, ddof="1"), "ddof"),
        (lambda X: ewma(X, decay=0.0), "decay"),
        (lambda X: ewma(X, decay=1.0), "decay"),
        (lambda X: ewma(X, decay=np.nan), "decay"),
        (lambda X: ewma(X, half_life=0), "half_life"),
        (lambda X: ewma(X, half_life=-1), "half_life"),
        (lambda X: ewma(X, decay=0.9, half_life=9), "not both"),
        (lambda X: ledoit_wolf(X, "oas"), "unknown shrinkage target"),
        (lambda X: ledoit_wolf(X, shrinkage=1.1), "shrinkage"),
        (lambda X: ledoit_wolf(X, shrinkage=-0.1), "shrinkage"),
        (lambda X: ledoit_wolf(X, shrinkage=np.nan), "shrinkage"),
        (lambda X: ledoit_wolf(X[:, :1], shrinkage=7.0), "shrinkage"),
    ],
)
def test_bad_options(call, match):
    with pytest.raises(UsageError, match=match):
        call(returns(10, 2))


# ------------------------------------------------------------- split and factor form


def test_split_and_join():
    S = sample(returns())
    sigma, R = split(S)
    np.testing.assert_array_equal(np.diag(R), 1.0)
    np.testing.assert_allclose(sigma**2, np.diag(S))
    np.testing.assert_allclose(correlation_to_covariance(R, sigma), S, rtol=1e-13)


def test_factor_form_is_its_dense_matrix():
    rng = np.random.default_rng(2)
    B, A = rng.standard_normal((9, 3)), rng.standard_normal((3, 3))
    d = rng.random(9)
    cov = FactorCovariance(B, A @ A.T, d)
    dense = B @ A @ A.T @ B.T + np.diag(d)
    np.testing.assert_allclose(cov.dense(), dense, rtol=1e-13)
    np.testing.assert_allclose(cov.variances(), np.diag(dense), rtol=1e-13)
    for x in (rng.standard_normal(9), rng.standard_normal((9, 4))):
        np.testing.assert_allclose(cov @ x, dense @ x, rtol=1e-12)
    assert cov.shape == (9, 9)
    copy = pickle.loads(pickle.dumps(cov))
    np.testing.assert_array_equal(copy.loadings, B)
    for array in (copy.loadings, copy.factor_covariance, copy.specific_variance):
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        cov.loadings[0, 0] = 1.0


@pytest.mark.parametrize(
    ("F", "d", "match"),
    [
        ([[1.0, 0.5], [0.4, 1.0]], [1, 1, 1], "not symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], [1, 1, 1], "not positive semi-definite"),
        (np.eye(2), [1, -1e-9, 1], r"negative.*row 1"),
        (np.eye(3), [1, 1, 1], "wrong shape"),
        (np.eye(2), [1, 1], "wrong shape"),
        (np.eye(2), [1, np.nan, 1], "non-finite"),
    ],
)
def test_bad_factor_form(F, d, match):
    with pytest.raises(DataError, match=match):
        FactorCovariance(np.ones((3, 2)), F, d)


def test_no_factors_is_a_diagonal():
    cov = FactorCovariance(np.empty((3, 0)), np.empty((0, 0)), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(cov.dense(), np.diag([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(cov @ np.ones(3), [1.0, 2.0, 3.0])


# ------------------------------------------------------------------------ real data


def test_sample_covariance_of_real_prices(real_data):
    prices = pd.read_csv(real_data / "prices_core.csv.gz", index_col=0)
    R = np.log(prices.dropna(axis=1)).diff().iloc[1:]
    S = sample(R)
    expected = R.cov()
    np.testing.assert_allclose(S, expected, rtol=1e-10, atol=1e-12)
    assert list(S.columns) == list(expected.columns)
    vol = np.sqrt(np.diag(S) * 252)
    assert 0.0 < vol.min() and vol.max() < 2.0
    for target in TARGETS:
        shrunk, rho = ledoit_wolf(R.iloc[-252:], target, return_shrinkage=True)
        assert 0.0 < rho < 0.6
        assert np.linalg.eigvalsh(shrunk.to_numpy())[0] > 0
