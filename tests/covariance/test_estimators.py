"""Estimators beyond the sample: independent references, peers, and known truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from sklearn.covariance import OAS

from engine.covariance import (
    _ewma,
    denoised,
    ewma,
    gerber,
    ledoit_wolf,
    nonlinear_shrinkage,
    oas,
    pairwise,
    rie,
    sample,
    split,
)
from engine.covariance._spectral import marchenko_pastur_edge
from engine.errors import DataError, ModelError, UsageError


def returns(T=120, N=8, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(T, 1)) * 0.008
    return common + rng.standard_t(5, size=(T, N)) * 0.012


def analytical(X):
    return nonlinear_shrinkage(X, method="analytical")


def score_driven(X):
    return ewma(X, update="student_t")


SPECTRAL = {
    "quadratic_inverse": nonlinear_shrinkage,
    "analytical": analytical,
    "rie": rie,
    "denoised": denoised,
    "targeted": lambda X: denoised(X, method="targeted", alpha=0.3),
}
ALL = SPECTRAL | {"oas": oas, "gerber": gerber, "ewma t": score_driven,
                  "pairwise": pairwise}  # fmt: skip


@pytest.fixture(params=sorted(ALL))
def estimator(request):
    return ALL[request.param]


# Slow, obvious references -------------------------------------------------------


def spectrum(X):
    Y = X - X.mean(axis=0)
    n = len(X) - 1
    values, vectors = np.linalg.eigh(Y.T @ Y / n)
    return values, vectors, n


def quadratic_inverse_by_loops(X):
    """Ledoit and Wolf 2022, section 4, one eigenvalue at a time."""
    lam, V, n = spectrum(X)
    p = lam.size
    c = p / n
    h = min(c**2, 1 / c**2) ** 0.35 / p**0.35
    positive = [1.0 / x for x in lam[max(0, p - n) :]]
    m = len(positive)
    delta = [0.0] * (p - m)
    for a in positive:
        theta = conjugate = 0.0
        for b in positive:
            bottom = (b - a) ** 2 + h**2 * b**2
            theta += b * (b - a) / bottom / m
            conjugate += b * b * h / bottom / m
        square = theta**2 + conjugate**2
        if p <= n:
            inverse = (1 - c) ** 2 * a + 2 * c * (1 - c) * a * theta + c**2 * a * square
        else:
            inverse = a * square
        delta.append(1.0 / inverse)
    if p > n:
        null = 1.0 / ((c - 1) * np.mean(positive))
        delta[: p - n] = [null] * (p - n)
    delta = np.array(delta)
    delta *= lam[max(0, p - n) :].sum() / delta.sum()
    return (V * delta) @ V.T


def epanechnikov_hilbert(x):
    """Principal value of the kernel's Hilbert transform, by quadrature."""

    def kernel(t):
        return 3 / (4 * np.sqrt(5)) * max(0.0, 1 - t * t / 5)

    edge = np.sqrt(5.0)
    if abs(x) < edge:
        value = quad(kernel, -edge, edge, weight="cauchy", wvar=x)[0]
    else:
        value = quad(lambda t: kernel(t) / (t - x), -edge, edge)[0]
    return value / np.pi


def analytical_by_quadrature(X):
    """Ledoit and Wolf 2020, section 4, the Hilbert transform integrated numerically."""
    lam, V, n = spectrum(X)
    p = lam.size
    h = n ** (-1 / 3)
    out = []
    for x in lam:
        f = np.mean([max(0, 1 - ((x - y) / (h * y)) ** 2 / 5) / y for y in lam])
        f *= 3 / (4 * np.sqrt(5) * h)
        H = np.mean([epanechnikov_hilbert((x - y) / (h * y)) / (h * y) for y in lam])
        c = p / n
        out.append(x / ((np.pi * c * x * f) ** 2 + (1 - c - np.pi * c * x * H) ** 2))
    return (V * np.array(out)) @ V.T


def rie_by_loops(X):
    S = sample(X)
    sigma = np.sqrt(np.diag(S))
    lam, V = np.linalg.eigh(S / np.outer(sigma, sigma))
    p, q = lam.size, lam.size / (len(X) - 1)
    xi = []
    for k in range(p):
        z = lam[k] - 1j / np.sqrt(p)
        s = sum(1 / (z - lam[j]) for j in range(p) if j != k) / p
        xi.append(lam[k] / abs(1 - q + q * z * s) ** 2)
    xi = np.array(xi) * p / np.sum(xi)
    return ((V * xi) @ V.T) * np.outer(sigma, sigma)


def gerber_by_counting(X, threshold=0.5):
    T, N = X.shape
    s = X.std(axis=0)
    modified, original = np.eye(N), np.eye(N)
    for i in range(N):
        for j in range(N):
            same = opposite = neutral = 0
            for t in range(T):
                a = (X[t, i] >= threshold * s[i]) * 1 - (X[t, i] <= -threshold * s[i])
                b = (X[t, j] >= threshold * s[j]) * 1 - (X[t, j] <= -threshold * s[j])
                same += a * b > 0
                opposite += a * b < 0
                neutral += a == 0 and b == 0
            modified[i, j] = (same - opposite) / (T - neutral)
            original[i, j] = (same - opposite) / max(1, same + opposite)
    return modified * np.outer(s, s), original * np.outer(s, s)


def score_driven_by_solving(X, decay=0.94, dof=5.0):
    N = X.shape[1]
    start = max(2 * N, 60)
    scale = X[:start].T @ X[:start] / start * (dof - 2) / dof
    for r in X[start:]:
        w = (dof + N) / (dof + r @ np.linalg.solve(scale, r))
        scale = decay * scale + (1 - decay) * w * np.outer(r, r)
    return scale * dof / (dof - 2)


@pytest.mark.parametrize(("T", "N"), [(120, 8), (40, 39), (30, 50), (60, 59)])
def test_quadratic_inverse_equals_the_loops(T, N):
    X = returns(T, N)
    np.testing.assert_allclose(
        nonlinear_shrinkage(X), quadratic_inverse_by_loops(X), rtol=1e-8, atol=1e-14
    )


@pytest.mark.parametrize(("T", "N"), [(120, 8), (40, 12), (61, 60)])
def test_analytical_equals_the_integrated_transform(T, N):
    X = returns(T, N)
    np.testing.assert_allclose(
        analytical(X), analytical_by_quadrature(X), rtol=1e-6, atol=1e-11
    )


def test_analytical_of_more_assets_than_dates_levels_the_null_space():
    X = returns(100, 150)
    lam, _, n = spectrum(X)
    h, p = n ** (-1 / 3), lam.size
    # The Hilbert transform at zero, integrated instead of in closed form (C.3).
    H0 = np.mean([epanechnikov_hilbert(-1 / h) / (h * y) for y in lam[p - n :]])
    level = 1 / (np.pi * (p - n) / n * H0)
    found = np.linalg.eigvalsh(analytical(X))
    assert np.isclose(found, level, rtol=1e-6).sum() == p - n


def test_rie_equals_the_loops_and_keeps_the_trace():
    X = returns(90, 20)
    found = rie(X)
    np.testing.assert_allclose(found, rie_by_loops(X), rtol=1e-9, atol=1e-16)
    sigma = np.sqrt(np.diag(sample(X)))
    assert np.trace(found / np.outer(sigma, sigma)) == pytest.approx(20)


def test_gerber_equals_the_counts_and_its_peers():
    from riskfolio.src.GerberStatistic import (
        gerber_cov_stat0,
        gerber_cov_stat1,
        gerber_cov_stat2,
    )
    from skfolio.moments import GerberCovariance

    X = returns(150, 6)
    modified, original = gerber_by_counting(X)
    np.testing.assert_allclose(gerber(X), modified, rtol=1e-13)
    raw = gerber(X, form="original", repair="nearest")
    if np.linalg.eigvalsh(original)[0] > 0:
        np.testing.assert_allclose(raw, original, rtol=1e-13)
    np.testing.assert_allclose(gerber(X), gerber_cov_stat1(X, 0.5), rtol=1e-12)
    np.testing.assert_allclose(original, gerber_cov_stat0(X, 0.5), rtol=1e-12)
    cosine = gerber(X, form="cosine")
    np.testing.assert_allclose(cosine, gerber_cov_stat2(X, 0.5), rtol=1e-12)
    peer = GerberCovariance(psd_variant=True, nearest=False).fit(X).covariance_
    r, mine = split(peer)[1], split(gerber(X))[1]
    np.testing.assert_allclose(mine, r, rtol=1e-9)


def test_an_indefinite_original_form_is_an_error_or_repaired_on_request():
    for seed in range(60):
        X = returns(14, 9, seed)
        R = split(gerber_by_counting(X)[1])[1]
        if np.linalg.eigvalsh(R)[0] < -1e-3:
            break
    else:
        raise AssertionError("no indefinite example found")
    with pytest.raises(ModelError, match="not positive semi-definite"):
        gerber(X, form="original")
    repaired = gerber(X, form="original", repair="nearest")
    assert np.linalg.eigvalsh(repaired)[0] > -1e-12
    np.testing.assert_allclose(np.diag(repaired), X.var(axis=0), rtol=1e-12)
    assert np.linalg.eigvalsh(gerber(X))[0] > -1e-12


@pytest.mark.parametrize("assume_centered", [True, False])
def test_oas_conventions(assume_centered):
    X = returns(40, 5)
    peer = OAS(assume_centered=assume_centered).fit(X)
    ours, rho = oas(
        X,
        convention="scikit-learn",
        assume_centered=assume_centered,
        return_shrinkage=True,
    )
    np.testing.assert_allclose(ours, peer.covariance_, rtol=1e-12)
    assert rho == pytest.approx(peer.shrinkage_)
    # Chen et al. 2010, eq. 23, by the letter.
    Y = X if assume_centered else X - X.mean(axis=0)
    n, p = X.shape
    S = Y.T @ Y / n
    t2, t1 = np.trace(S @ S), np.trace(S) ** 2
    want = min(1, ((1 - 2 / p) * t2 + t1) / ((n + 1 - 2 / p) * (t2 - t1 / p)))
    _, rho = oas(X, assume_centered=assume_centered, return_shrinkage=True)
    assert rho == pytest.approx(want, rel=1e-13)
    assert abs(want - peer.shrinkage_) > 1e-4


def test_the_score_driven_update_equals_solving_every_day():
    X = returns(400, 7)
    np.testing.assert_allclose(score_driven(X), score_driven_by_solving(X), rtol=1e-10)
    wide = returns(300, 40)
    np.testing.assert_allclose(
        ewma(wide, update="student_t", decay=0.9, dof=4.0),
        score_driven_by_solving(wide, 0.9, 4.0),
        rtol=1e-9,
        atol=1e-16,
    )


def test_the_running_inverse_does_not_drift(monkeypatch):
    """Shocks of a thousandfold and twelve years: as exact as an inversion a day."""
    X = returns(3000, 12, 9)
    X[::97] *= 1e3
    found = score_driven(X)
    monkeypatch.setattr(_ewma, "_REFRESH", 1)
    np.testing.assert_allclose(found, score_driven(X), rtol=1e-10, atol=1e-18)


def test_one_shock_day_cannot_dominate_the_score_driven_update():
    X = returns(400, 5)
    shocked = X.copy()
    shocked[-1] *= 30.0
    plain = np.trace(ewma(shocked)) / np.trace(ewma(X))
    robust = np.trace(score_driven(shocked)) / np.trace(score_driven(X))
    assert plain > 5 and robust < 2
    further = shocked.copy()
    further[-1] *= 1e6  # the weight falls with the square: the step is bounded
    bounded = np.trace(score_driven(further)) / np.trace(score_driven(shocked))
    assert bounded == pytest.approx(1.0, abs=0.05)


def test_the_score_driven_update_is_unbiased_under_its_own_law():
    rng = np.random.default_rng(4)
    dof, T = 6.0, 40_000
    L = np.array([[1.0, 0.0], [0.6, 0.8]])
    mixing = np.sqrt(dof / rng.chisquare(dof, size=(T, 1)))
    X = (rng.standard_normal((T, 2)) * mixing) @ L.T * 0.01
    truth = L @ L.T * 1e-4 * dof / (dof - 2)
    found = ewma(X, update="student_t", dof=dof, decay=0.9995)
    np.testing.assert_allclose(found, truth, rtol=0.08)


def test_plain_ewma_leaves_out_only_what_cannot_be_seen():
    X = returns(3000, 4)
    weights = 0.94 ** np.arange(2999, -1, -1.0)
    full = (X * (weights / weights.sum())[:, None]).T @ X
    np.testing.assert_allclose(ewma(X), full, rtol=1e-12)
    X[0] = 1e30  # weight 1e-81 times 1e60: nothing
    weights = weights / weights.sum()
    np.testing.assert_allclose(ewma(X), (X * weights[:, None]).T @ X, rtol=1e-12)
    X[1500] = 1e30  # weight 1e-41 times 1e60: everything
    full = (X * weights[:, None]).T @ X
    np.testing.assert_allclose(ewma(X), full, rtol=1e-12)


# Denoising ----------------------------------------------------------------------


def test_denoising_levels_the_eigenvalues_below_the_edge():
    from riskfolio.src.AuxFunctions import denoisedCorr

    X = returns(200, 15, 3)
    found = denoised(X)
    sigma, R = split(sample(X))
    values, vectors = np.linalg.eigh(R)
    edge = marchenko_pastur_edge(values, 15 / 199)
    kept = int((values > edge).sum())
    assert 1 <= kept <= 3
    down = np.argsort(values)[::-1]
    peer = denoisedCorr(np.diag(values[down]), vectors[:, down], kept)
    np.testing.assert_allclose(found, peer * np.outer(sigma, sigma), rtol=1e-9)
    np.testing.assert_allclose(np.diag(found), sigma**2, rtol=1e-12)


def test_the_edge_of_pure_noise_is_marchenko_and_pasturs():
    rng = np.random.default_rng(0)
    T, N = 4000, 400
    values = np.linalg.eigvalsh(np.corrcoef(rng.standard_normal((T, N)).T))
    edge = marchenko_pastur_edge(values, N / T)
    assert edge == pytest.approx((1 + np.sqrt(N / T)) ** 2, rel=1e-3)
    assert values[-1] == pytest.approx(edge, rel=0.03)
    # A strong factor takes variance from the bulk, and the edge falls with it.
    rng = np.random.default_rng(1)
    X = rng.standard_normal((T, N)) + rng.standard_normal((T, 1))
    values = np.linalg.eigvalsh(np.corrcoef(X.T))
    lower = marchenko_pastur_edge(values, N / T)
    assert lower == pytest.approx(0.5 * (1 + np.sqrt(N / T)) ** 2, rel=0.02)


def test_targeted_denoising_and_detoning():
    X = returns(200, 10, 5)
    R = split(sample(X))[1]
    half = split(denoised(X, method="targeted", alpha=0.5))[1]
    none = split(denoised(X, method="targeted", alpha=0.0))[1]
    whole = denoised(X, method="targeted", alpha=1.0)
    np.testing.assert_allclose(whole, sample(X), rtol=1e-10)
    np.testing.assert_allclose(half, (none + R) / 2, atol=1e-10)
    toneless = split(denoised(X, detone=1))[1]
    assert np.linalg.eigvalsh(toneless)[0] == pytest.approx(0.0, abs=1e-10)
    off = ~np.eye(10, dtype=bool)
    assert toneless[off].mean() < split(denoised(X))[1][off].mean() - 0.1


# Truth known --------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9, 2.0])
def test_nonlinear_shrinkage_beats_sample_and_linear_on_a_wide_spectrum(ratio):
    rng = np.random.default_rng(int(10 * ratio))
    N = 60
    T = int(N / ratio) + 1
    truth = np.diag(np.repeat([1.0, 3.0, 10.0], N // 3))
    Q, _ = np.linalg.qr(rng.standard_normal((N, N)))
    truth = Q @ truth @ Q.T
    L = np.linalg.cholesky(truth)
    losses = {"sample": [], "linear": [], "qis": [], "analytical": []}
    for _ in range(25):
        X = rng.standard_normal((T, N)) @ L.T
        for name, S in (
            ("sample", sample(X)),
            ("linear", ledoit_wolf(X, "identity")),
            ("qis", nonlinear_shrinkage(X)),
            ("analytical", analytical(X)),
        ):
            losses[name].append(np.linalg.norm(S - truth) ** 2)
    mean = {k: np.mean(v) for k, v in losses.items()}
    assert max(mean["qis"], mean["analytical"], mean["linear"]) < mean["sample"]
    if ratio < 1:  # thirty dates are too few for the kernel
        gain = np.array(losses["linear"]) - np.array(losses["analytical"])
        assert gain.mean() > 2 * gain.std(ddof=1) / 5  # two standard errors


def test_rie_beats_the_sample_where_dates_are_few():
    rng = np.random.default_rng(8)
    N, T = 60, 90
    Q, _ = np.linalg.qr(rng.standard_normal((N, N)))
    truth = split((Q * np.repeat([1.0, 3.0, 10.0], N // 3)) @ Q.T)[1]
    L = np.linalg.cholesky(truth)
    gain = []
    for _ in range(25):
        X = rng.standard_normal((T, N)) @ L.T
        errors = [np.linalg.norm(f(X) - truth) ** 2 for f in (sample, rie)]
        gain.append(errors[0] - errors[1])
    assert np.mean(gain) > 2 * np.std(gain, ddof=1) / 5


# Missing values -----------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.4])
def test_pairwise_is_pandas(share):
    X = pd.DataFrame(returns(200, 12) + 5.0, columns=[f"A{i}" for i in range(12)])
    X = X.mask(np.random.default_rng(1).random(X.shape) < share)
    found = pairwise(X, repair=None)
    pd.testing.assert_frame_equal(found, X.cov(), rtol=1e-9, atol=1e-14)
    pd.testing.assert_frame_equal(
        pairwise(X, min_overlap=20, repair=None), X.cov(min_periods=20), rtol=1e-9
    )


def test_pairwise_without_gaps_is_the_sample():
    X = returns(50, 4)
    np.testing.assert_allclose(pairwise(X), sample(X), rtol=1e-13)


def test_an_indefinite_pairwise_matrix_is_repaired_refused_or_raw_as_asked():
    rng = np.random.default_rng(2)
    X = pd.DataFrame(rng.standard_normal((30, 10)), columns=list("ABCDEFGHIJ"))
    X = X.mask(rng.random(X.shape) < 0.6)
    raw = pairwise(X, repair=None).to_numpy()
    assert np.linalg.eigvalsh(raw)[0] < -1e-3
    repaired = pairwise(X).to_numpy()
    assert np.linalg.eigvalsh(repaired)[0] > -1e-12
    np.testing.assert_allclose(np.diag(repaired), np.diag(raw), rtol=1e-12)
    with pytest.raises(ModelError, match="not positive semi-definite"):
        pairwise(X, repair="raise")


def test_a_pair_that_never_meets_is_named():
    X = pd.DataFrame(returns(40, 3), columns=["OLD", "NEW", "ALL"])
    X.loc[:19, "NEW"] = np.nan
    X.loc[19:, "OLD"] = np.nan
    with pytest.raises(ModelError, match=r"too few dates.*OLD and NEW.*received 0"):
        pairwise(X)
    X["NEW"] = np.nan
    with pytest.raises(DataError, match=r"fewer than two values.*NEW"):
        pairwise(X)
    X["NEW"] = np.inf
    with pytest.raises(DataError, match=r"infinite.*NEW"):
        pairwise(X)


# What holds for all --------------------------------------------------------------


@given(
    st.integers(0, 10_000),
    st.sampled_from([(150, 5), (90, 30)]),
    st.sampled_from(sorted(ALL)),
    st.floats(-40, 40),
)
def test_semi_definite_and_equivariant(seed, shape, name, power):
    estimate = ALL[name]
    X = returns(*shape, seed)
    S = estimate(X)
    assert np.isfinite(S).all()
    np.testing.assert_array_equal(S, S.T)
    assert np.linalg.eigvalsh(S)[0] > -1e-12 * np.trace(S)
    order = np.random.default_rng(seed).permutation(shape[1])
    np.testing.assert_allclose(
        estimate(X[:, order]), S[np.ix_(order, order)], rtol=1e-6, atol=1e-9 * S.max()
    )
    size = 10.0**power
    np.testing.assert_allclose(
        estimate(X * size) / size / size, S, rtol=1e-6, atol=1e-9 * S.max()
    )


def test_a_table_in_a_table_out_and_any_layout(estimator):
    X = returns(90, 4)
    frame = pd.DataFrame(X, columns=["A", "B", "C", "D"])
    out = estimator(frame)
    assert list(out.columns) == list(out.index) == ["A", "B", "C", "D"]
    expected = estimator(X)
    np.testing.assert_array_equal(out.to_numpy(), expected)
    locked = np.asfortranarray(X)
    locked.setflags(write=False)
    np.testing.assert_allclose(estimator(locked), expected, rtol=1e-12)
    np.testing.assert_allclose(
        estimator(X.astype(np.float32)), expected, rtol=2e-3, atol=1e-9
    )
    np.testing.assert_array_equal(X, returns(90, 4))


def test_one_asset_is_its_variance(estimator):
    X = returns(90, 1)
    found = estimator(X)
    assert found.shape == (1, 1) and 0.2 < found[0, 0] / X.var() < 5


def test_what_is_wrong_is_named(estimator):
    X = pd.DataFrame(returns(90, 3), columns=["A", "BAD", "C"])
    if estimator is not pairwise:
        with pytest.raises(DataError, match=r"missing or infinite.*BAD"):
            estimator(X.assign(BAD=np.nan))
    with pytest.raises(DataError, match=r"infinite.*BAD"):
        estimator(X.assign(BAD=np.inf))
    with pytest.raises(DataError, match=r"not numeric.*BAD"):
        estimator(X.assign(BAD="text"))
    with pytest.raises(ModelError, match=r"overflows.*BAD"):
        estimator(X.assign(BAD=X["BAD"] * 1e300))
    with pytest.raises(ModelError, match=r"underflows.*BAD"):
        estimator(X.assign(BAD=X["BAD"] * 1e-300))
    with pytest.raises((DataError, ModelError)):
        estimator(X.iloc[:1])


@pytest.mark.parametrize("name", sorted({**SPECTRAL, "gerber": 0, "ewma t": 0}))
def test_a_column_that_never_moves_is_named(name):
    X = pd.DataFrame(returns(90, 3), columns=["A", "STILL", "C"])
    X["STILL"] = 0.0
    with pytest.raises(ModelError, match="STILL"):
        ALL[name](X)


@pytest.mark.parametrize("name", ["quadratic_inverse", "analytical", "ewma t"])
def test_a_repeated_column_is_named(name):
    X = pd.DataFrame(returns(90, 3), columns=["A", "B", "C"]).assign(TWIN=lambda d: d.B)
    with pytest.raises(ModelError, match=r"TWIN.*same moves"):
        ALL[name](X)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda X: nonlinear_shrinkage(X, method="cubic"), "method"),
        (lambda X: nonlinear_shrinkage(X[:10]), "too few"),
        (lambda X: denoised(X, method="soft"), "denoising"),
        (lambda X: denoised(X, alpha=1.5), "alpha"),
        (lambda X: denoised(X, detone=4), "detone"),
        (lambda X: denoised(X, detone=True), "detone"),
        (lambda X: gerber(X, threshold=1.5), "threshold"),
        (lambda X: gerber(X, form="plain"), "form"),
        (lambda X: gerber(X, ddof=3), "ddof"),
        (lambda X: gerber(X, repair="clip"), "repair"),
        (lambda X: oas(X, convention="matlab"), "convention"),
        (lambda X: pairwise(X, min_overlap=1), "min_overlap"),
        (lambda X: pairwise(X, repair="clip"), "repair"),
        (lambda X: ewma(X, update="huber"), "update"),
        (lambda X: ewma(X, update="student_t", dof=2.0), "dof"),
        (lambda X: ewma(X, update="student_t", assume_centered=False), "mean"),
        (lambda X: ewma(X[:60], update="student_t"), "too few"),
        (lambda X: ledoit_wolf(X, ddof=2), "ddof"),
    ],
)
def test_options_that_do_not_fit_are_refused(call, match):
    with pytest.raises((UsageError, ModelError), match=match):
        call(returns(90, 4))
