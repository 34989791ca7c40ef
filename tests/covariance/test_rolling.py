"""Rolling and decayed covariance: against a loop, pandas, and exact bounds on drift."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolling_cases import W, copy, frame, loop, relative, returns

from engine.covariance import (
    _rolling_input,
    ewma_path,
    iter_rolling,
    rolling,
    sample,
)
from engine.covariance._rolling_windows import plan
from engine.errors import DataError, ModelError, UsageError
from engine.kernels import rolling as kernels
from engine.parallel import thread_limits

# ------------------------------------------------------------------ against references


@pytest.mark.parametrize("options", [{}, {"ddof": 0}, {"assume_centered": True}])
@pytest.mark.parametrize("step", [1, 2, 7, 8, 40])
def test_equals_a_loop_over_windows(options, step):
    X = returns()
    got = rolling(X, W, step=step, **options)
    assert relative(got.matrices, loop(X, step=step, **options)) < 1e-13
    np.testing.assert_array_equal(got.rows, np.arange(W - 1, len(X), step))
    last = X[got.rows[-1] - W + 1 : got.rows[-1] + 1]
    np.testing.assert_allclose(got[-1], sample(last, **options), rtol=1e-10, atol=1e-17)


def test_equals_numpy_and_pandas():
    X = returns()
    got = rolling(X, W)
    for k in (0, 1, 60, len(got) - 1):
        np.testing.assert_allclose(got[k], np.cov(X[k : k + W].T), rtol=1e-9)
    labelled = frame(X)
    expected = labelled.rolling(W).cov().dropna()
    ours = rolling(labelled, W).to_frame()
    pd.testing.assert_frame_equal(
        ours, expected, rtol=1e-8, check_names=False, check_freq=False
    )


@pytest.mark.parametrize("step", [1, 3, 10])
@pytest.mark.parametrize("ddof", [0, 1])
def test_missing_observations_are_those_of_pandas(step, ddof):
    X = returns(200, 6, 1)
    rng = np.random.default_rng(2)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[:90, 4] = np.nan  # not listed yet
    X[120:, 2] = np.nan  # no longer
    expected = frame(X).rolling(W, min_periods=12).cov(ddof=ddof).to_numpy()
    expected = expected.reshape(200, 6, 6)[W - 1 :: step]
    got = rolling(X, W, min_periods=12, ddof=ddof, step=step)
    np.testing.assert_array_equal(np.isnan(got.matrices), np.isnan(expected))
    assert np.isnan(expected).any() and not np.isnan(expected).all()
    np.testing.assert_allclose(got.matrices, expected, rtol=1e-7, atol=1e-14)
    np.testing.assert_array_equal(got.matrices, np.swapaxes(got.matrices, 1, 2))


def test_each_pair_has_its_own_joint_means():
    X = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 1.0], [0.0, 4.0]])
    got = rolling(X, 4, min_periods=2)[0]
    both = X[[0, 2, 3]]
    np.testing.assert_allclose(got[0, 1], np.cov(both.T)[0, 1], rtol=1e-14)
    np.testing.assert_allclose(got[0, 0], X[:, 0].var(ddof=1), rtol=1e-14)
    np.testing.assert_allclose(got[1, 1], both[:, 1].var(ddof=1), rtol=1e-14)
    centred = rolling(X, 4, min_periods=2, assume_centered=True)[0]
    np.testing.assert_allclose(centred[0, 1], (both[:, 0] @ both[:, 1]) / 3)


def test_complete_says_which_windows_have_every_observation():
    X = returns()
    X[70, 2] = np.nan
    got = rolling(X, W, min_periods=W - 1)
    touched = (got.rows >= 70) & (got.rows < 70 + W)
    np.testing.assert_array_equal(got.complete, ~touched)
    np.testing.assert_allclose(
        got.matrices[got.complete], loop(np.nan_to_num(X))[~touched], rtol=1e-9
    )
    assert "30 with missing observations" in repr(got)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("slide", lambda n: (np.zeros((n, n)),)),
        ("slide_lower", lambda n: (np.zeros((n, n)),)),
    ],
)
def test_kernels_equal_their_python(name, build):
    steps = returns(12, 4).reshape(6, 2, 4)
    compiled, plain = build(4), build(4)
    kernel = getattr(kernels, name)
    kernel(*compiled, steps, 1, 5)
    kernel.py_func(*plain, steps, 1, 5)
    np.testing.assert_array_equal(compiled[0], plain[0])
    a, b = steps[1:5, 0], steps[1:5, 1]
    exact = a.T @ a - b.T @ b
    exact = np.tril(exact) if name == "slide_lower" else exact
    np.testing.assert_allclose(compiled[0], exact, rtol=1e-12, atol=1e-18)


# ------------------------------------------------------------------------------- drift


def dirty(seed):
    """Bad ticks, a dead spell, a change of scale, and a level far from zero."""
    X = returns(400, 6, seed)
    X[100, 0] = 1e6
    X[150, 1], X[151, 1] = -1e6, 1e6
    X[200:300, 2] = 0.0
    X[220:, 3] *= 1e-7
    X[:, 4] += 1e3
    return X


def test_a_bad_tick_leaves_no_trace_beyond_the_bound():
    X = dirty(3)
    exact = loop(X)
    got = rolling(X, W)
    assert relative(got.matrices, exact) < got.drift.bound == 1e-10
    assert got.drift.largest < 1e-10
    # In one run without restarts the digits are lost, and the drift measured says so.
    _, windows = plan(X, W)
    single = replace(windows, starts=np.array([0]))
    out = np.empty_like(got.matrices)
    drift = single.fill((0, len(got)), out)
    assert relative(out, exact) > 1e-3
    assert drift > 1e-3


def test_a_series_that_stops_moving_has_exactly_no_variance():
    X = dirty(4)
    for got in (rolling(X, W).matrices, rolling(X, W, triangle="lower", callback=copy)):
        flat = np.array(got)[200:271]  # windows that lie in rows 200 to 299
        np.testing.assert_array_equal(flat[:, 2, 2], 0.0)
        np.testing.assert_array_equal(flat[:, 2, :2], 0.0)
    X[::7, 0] = np.nan
    X[200:300:3, 2] = np.nan
    got = rolling(X, W, min_periods=5).matrices
    np.testing.assert_array_equal(got[200:271, 2], 0.0)
    X[:, 5] = 1e3 / 3
    assert not rolling(X, W, min_periods=5).matrices[:, 5].any()


@given(
    seed=st.integers(0, 10_000),
    T=st.integers(20, 90),
    N=st.integers(1, 5),
    window=st.integers(5, 18),
    missing=st.sampled_from([0.0, 0.0, 0.2]),
    spread=st.sampled_from([0.0, 3.0, 7.0]),
    recompute=st.sampled_from([1, 7, 1000]),
)
def test_drift_stays_within_its_bound(seed, T, N, window, missing, spread, recompute):
    """Whatever the scales: each row is drawn with a size of its own."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((T, N)) * 10.0 ** rng.uniform(-spread, spread, (T, 1))
    X[rng.random(X.shape) < missing] = np.nan
    bound = 1e-9
    got = rolling(
        X, window, min_periods=3, recompute=recompute, drift_bound=bound
    ).matrices
    for k in range(T - window + 1):
        rows = X[k : k + window]
        own = np.nanstd(rows, axis=0) if missing == 0 else None
        for i in range(N):
            for j in range(i + 1):
                both = ~np.isnan(rows[:, i]) & ~np.isnan(rows[:, j])
                if both.sum() < 3:
                    assert np.isnan(got[k, i, j])
                    continue
                z = rows[both][:, [i, j]].astype(np.longdouble)
                z -= z.mean(axis=0)
                exact = float(z[:, 0] @ z[:, 1] / (both.sum() - 1))
                if own is None:  # in units of what the columns do in the window
                    size = np.sqrt(spread_of(rows[:, i]) * spread_of(rows[:, j]))
                else:
                    size = own[i] * own[j]
                # The last term is the rounding of the reference's own inputs.
                assert abs(got[k, i, j] - exact) <= 2 * bound * size + 1e-300


def spread_of(column):
    present = column[~np.isnan(column)]
    return float(((present - present.mean()) ** 2).sum())


def test_recompute_sets_the_length_of_a_run():
    X = returns(230)
    np.testing.assert_array_equal(
        rolling(X, W, recompute=50).drift.rows,
        W - 1 + np.array([49, 99, 149, 199, 200])[:4],
    )
    every = rolling(X, W, recompute=1)
    assert every.drift.rows.size == 0 and every.drift.largest == 0.0
    assert relative(every.matrices, loop(X)) < 1e-14


# ----------------------------------------------------- one answer, however it is asked


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("step", [1, 3])
def test_full_callback_and_iterator_agree_for_any_number_of_threads(missing, step):
    X = returns(300, 7, 5)
    X[150, 3] = 1e6
    options = {"recompute": 40, "step": step}
    if missing:
        X[::11, 2] = np.nan
        options["min_periods"] = 10
    full = rolling(X, W, **options)
    for jobs in (1, 2, 3):
        np.testing.assert_array_equal(
            rolling(X, W, n_jobs=jobs, **options).matrices, full.matrices
        )
        taken = rolling(X, W, n_jobs=jobs, callback=copy, **options)
        np.testing.assert_array_equal(np.array(taken.values), full.matrices)
        np.testing.assert_array_equal(taken.drift.values, full.drift.values)
    seen = [(row, C.copy()) for row, C in iter_rolling(X, W, **options)]
    np.testing.assert_array_equal([row for row, _ in seen], full.rows)
    np.testing.assert_array_equal([C for _, C in seen], full.matrices)


def test_threads_of_blas_do_not_change_the_numbers():
    X = returns(600, 60, 6)
    with thread_limits(2):
        two = rolling(X, 100).matrices
    with thread_limits(1):
        one = rolling(X, 100).matrices
    np.testing.assert_array_equal(one, two)


def test_the_lower_half_alone_is_the_lower_half():
    X = returns()
    full = rolling(X, W).matrices
    lower = rolling(X, W, callback=copy, triangle="lower")
    np.testing.assert_array_equal(np.tril(np.array(lower.values)), np.tril(full))
    factors = rolling(
        X, W, callback=lambda row, C: np.linalg.cholesky(C), triangle="lower"
    )
    np.testing.assert_allclose(factors[7], np.linalg.cholesky(full[7]), rtol=1e-12)


def test_the_matrix_of_a_callback_is_a_reused_read_only_buffer():
    X = returns()
    kept = rolling(X, W, callback=lambda row, C: C).values
    assert np.shares_memory(kept[0], kept[5])
    with pytest.raises(ValueError, match="read-only"):
        rolling(X, W, callback=lambda row, C: C.fill(0.0))
    rows = rolling(X, W, callback=lambda row, C: row, step=2)
    np.testing.assert_array_equal(rows.values, rows.rows)


def test_an_error_of_the_callback_comes_out():
    def refuse(row, C):
        raise ZeroDivisionError(row)

    for jobs in (1, 2):
        with pytest.raises(ZeroDivisionError):
            rolling(returns(), W, callback=refuse, n_jobs=jobs)


# ------------------------------------------------------------------------- the results


def test_labels_by_date():
    X = frame(returns())
    got = rolling(X, W)
    C = got.at("2024-03-01")
    expected = X.loc[:"2024-03-01"].iloc[-W:].cov()
    pd.testing.assert_frame_equal(C, expected, rtol=1e-9)
    assert got.dates[0] == X.index[W - 1] and list(got.assets) == list(X.columns)
    with pytest.raises(DataError, match=r"no window ends.*2024-01-02.*expected one of"):
        got.at("2024-01-02")
    with pytest.raises(DataError, match="no window ends"):
        got.at("not a date")
    plain = rolling(X.to_numpy(), W)
    np.testing.assert_array_equal(plain.at(40), plain[40 - W + 1])
    assert plain.to_frame().index[0] == (W - 1, 0)
    summed = rolling(X, W, callback=lambda row, C: C.sum())
    assert list(summed.dates) == list(got.dates) and len(summed) == len(got)
    assert "150" not in repr(got) and "Drift" in repr(got)


def test_results_are_frozen_and_pickle():
    got = rolling(frame(returns(60, 3)), W)
    again = pickle.loads(pickle.dumps(got))
    np.testing.assert_array_equal(again.matrices, got.matrices)
    assert again.drift.bound == got.drift.bound
    for value in (got, again):
        assert not value.matrices.flags.writeable
        with pytest.raises(AttributeError):
            value.rows = None
    assert got.matrices.base is None  # no second copy of a large output


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        ({(40, 2): np.nan}, {}, DataError, r"missing.*A2.*2024-02-26.*min_periods"),
        ({(40, 2): np.inf}, {}, DataError, r"infinite.*A2.*2024-02-26"),
        ({(40, 2): -np.inf}, {"min_periods": 5}, DataError, r"infinite.*A2"),
        ({(40, 2): 1e300}, {}, ModelError, r"overflows.*A2.*1e\+300.*Rescale"),
        ({}, {"window": 151}, ModelError, r"fewer observations.*150.*151"),
        ({}, {"window": 1}, UsageError, r"window.*1.*at least 2"),
        ({}, {"window": 0, "ddof": 0}, UsageError, "at least 1"),
        ({}, {"window": 30.0}, UsageError, "whole number"),
        ({}, {"window": True}, UsageError, "whole number"),
        ({}, {"step": 0}, UsageError, "step"),
        ({}, {"min_periods": 31}, UsageError, "2 to 30"),
        ({}, {"min_periods": 1}, UsageError, "2 to 30"),
        ({}, {"ddof": 2}, UsageError, "ddof"),
        ({}, {"recompute": 0}, UsageError, "recompute"),
        ({}, {"drift_bound": 0.0}, UsageError, "drift_bound"),
        ({}, {"drift_bound": np.nan}, UsageError, "drift_bound"),
        ({}, {"triangle": "upper", "callback": copy}, UsageError, "triangle"),
        ({}, {"triangle": "lower"}, UsageError, "callback"),
        ({}, {"n_jobs": 0}, UsageError, "n_jobs"),
    ],
)
def test_refused(change, options, error, match):
    X = frame(returns())
    for (t, i), value in change.items():
        X.iloc[t, i] = value
    with pytest.raises(error, match=match):
        rolling(X, **{"window": W, **options})


def test_other_tables_that_cannot_be_right():
    X = frame(returns())
    with pytest.raises(DataError, match=r"not numeric.*A1"):
        rolling(X.assign(A1="text"), W)
    with pytest.raises(DataError, match="not numeric"):
        rolling([["a", "b"], ["c", "d"]], 2)
    for bad in (np.zeros(5), np.zeros((5, 0)), np.zeros((0, 5)), np.zeros((2, 3, 4))):
        with pytest.raises(DataError, match="table of dates by assets"):
            rolling(bad, 2)
    with pytest.raises(DataError, match=r"do not increase.*2024-02-08"):
        rolling(X.iloc[[*range(30), 28, *range(31, 60)]], W)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-140, 1e140, 1e300])
@pytest.mark.parametrize("centred", [False, True])
def test_extreme_scales_are_right_or_refused(scale, centred):
    X = returns() * scale
    try:
        got = rolling(X, W, assume_centered=centred).matrices
    except ModelError as error:
        assert scale in (1e-300, 1e-160, 1e300) and "at asset column" in str(error)
        return
    assert scale in (1e-140, 1e140)
    exact = rolling(returns(), W, assume_centered=centred).matrices
    np.testing.assert_allclose(got / scale / scale, exact, rtol=1e-9)


def test_layouts_and_types_do_not_matter():
    X = returns()
    expected = rolling(X, W).matrices
    frozen = X.copy()
    frozen.setflags(write=False)
    for same in (np.asfortranarray(X), frozen, X.tolist(), X[::-1][::-1]):
        np.testing.assert_array_equal(rolling(same, W).matrices, expected)
    whole = np.arange(40).reshape(20, 2) ** 2 % 17
    np.testing.assert_allclose(rolling(whole, 5)[3], np.cov(whole[3:8].T), rtol=1e-12)
    narrow = rolling(X.astype(np.float32), W).matrices
    np.testing.assert_allclose(narrow, expected, rtol=1e-4, atol=1e-8)


def test_smallest_shapes():
    one = returns(50, 1)
    np.testing.assert_allclose(
        rolling(one, 10).matrices[:, 0, 0],
        pd.Series(one[:, 0]).rolling(10).var().dropna(),
        rtol=1e-9,
    )
    X = returns(9, 3)
    assert not rolling(X, 1, ddof=0).matrices.any()
    np.testing.assert_allclose(
        rolling(X, 1, assume_centered=True)[4], np.outer(X[4], X[4])
    )
    np.testing.assert_allclose(rolling(X, 2)[3], np.cov(X[3:5].T), rtol=1e-12)
    np.testing.assert_allclose(rolling(X, 9).matrices, [np.cov(X.T)], rtol=1e-12)
    assert not rolling(np.full((20, 2), 0.1), 5).matrices.any()
    assert np.isnan(rolling(np.full((20, 2), np.nan), 5, min_periods=2).matrices).all()


def test_an_output_beyond_memory_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(_rolling_input, "available_memory", lambda: 40_000)
    X = returns()
    with pytest.raises(UsageError, match=r"121 matrices of 5 x 5.*GB.*callback="):
        rolling(X, W)
    with pytest.raises(UsageError, match="callback="):
        ewma_path(X)
    assert len(rolling(X, W, callback=lambda row, C: None)) == 121
    monkeypatch.setattr(_rolling_input, "available_memory", lambda: None)
    assert len(rolling(X, W)) == 121


def test_the_memory_of_this_machine_is_read():
    free = _rolling_input.available_memory()
    assert free is None or 1e6 < free < 1e15


@given(seed=st.integers(0, 10_000), N=st.integers(1, 6), window=st.integers(3, 25))
def test_complete_windows_are_positive_semi_definite(seed, N, window):
    X = returns(60, N, seed)
    for C in rolling(X, window):
        assert np.linalg.eigvalsh(C)[0] >= -1e-12 * np.trace(C)


# ------------------------------------------------------------------------ real prices


def test_real_prices_of_venues_with_their_own_holidays(real_data):
    prices = pd.read_parquet(real_data / "prices_asia_local.parquet").iloc[-700:]
    R = np.log(prices).diff().iloc[1:]
    got = rolling(R, 250, min_periods=60)
    expected = R.rolling(250, min_periods=60).cov().to_numpy()
    N = R.shape[1]
    expected = expected.reshape(-1, N, N)[249:]
    np.testing.assert_array_equal(np.isnan(got.matrices), np.isnan(expected))
    gap = np.abs(got.matrices - expected)
    assert np.nanmax(gap) < 1e-9 * np.nanmax(expected)
    assert got.drift.largest < got.drift.bound
