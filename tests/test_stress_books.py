"""Many books under many shocks: the same numbers as one book, one shock at a time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine._stress_books as module
from engine import DataError, UsageError, simulate, stress_books
from engine.risk import tail
from engine.shocks import KLWorstCase, worst_case
from engine.shocks.moves import stress_vector
from tests.model_cases import a_model

C = 1e-4 * (0.3 + 0.7 * np.eye(5))
MODEL = a_model(C, mean=-np.diagonal(C) / 2, mean_kind="zero_excess", cash_rate=0.0)
SCENARIOS = simulate(MODEL, 700, horizon=5, seed=3)
SHOCKS = [
    worst_case(MODEL, np.eye(6)[i], radius=2.0 + i, systematic=False, name=f"s{i}")
    for i in range(3)
]
BOOKS = np.random.default_rng(0).dirichlet(np.ones(6), 11)


def one_by_one(books, scenarios, level=0.95):
    out = np.empty((3, len(books), len(SHOCKS)))
    for k, shock in enumerate(SHOCKS):
        shocked = scenarios.base().apply(shock)
        for b, w in enumerate(books):
            losses = shocked.losses(w)
            both = tail(losses, level=level, p=shocked.p)
            out[:, b, k] = shocked.p @ losses, *both
    return out


@pytest.mark.parametrize("weighted", [False, True])
def test_each_book_and_shock_as_if_alone(weighted, monkeypatch):
    scenarios = SCENARIOS
    if weighted:
        p = np.random.default_rng(1).dirichlet(np.ones(len(scenarios)))
        scenarios = scenarios.reweight(p)
    want = one_by_one(BOOKS, scenarios)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 700 * 4)  # several blocks
    for n_jobs in (1, 2):
        got = stress_books(BOOKS, scenarios, SHOCKS, n_jobs=n_jobs)
        np.testing.assert_allclose(got.mean, want[0], rtol=1e-10)
        np.testing.assert_allclose(got.value_at_risk, want[1], rtol=1e-10)
        np.testing.assert_allclose(got.expected_shortfall, want[2], rtol=1e-10)


def test_mean_is_the_stress_loss_of_the_house():
    got = stress_books(BOOKS, SCENARIOS, SHOCKS)
    for k, shock in enumerate(SHOCKS):
        moves = shock.moves(SCENARIOS.universe, MODEL)
        np.testing.assert_allclose(
            got.mean[:, k], -BOOKS @ stress_vector(SCENARIOS, moves), rtol=1e-9
        )


def test_a_frame_is_matched_by_name():
    frame = pd.DataFrame(BOOKS, columns=list(SCENARIOS.assets))
    got = stress_books(frame[frame.columns[::-1]], SCENARIOS, SHOCKS)
    np.testing.assert_array_equal(got.mean, stress_books(BOOKS, SCENARIOS, SHOCKS).mean)
    assert len(got.to_frame()) == 33


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.floats(0.1, 10.0))
def test_losses_scale_with_the_book(scale):
    one = stress_books(BOOKS, SCENARIOS, SHOCKS)
    many = stress_books(scale * BOOKS, SCENARIOS, SHOCKS)
    np.testing.assert_allclose(
        many.expected_shortfall, scale * one.expected_shortfall, rtol=1e-9
    )


def test_bad_input():
    with pytest.raises(DataError, match="match"):
        stress_books(BOOKS[:, :3], SCENARIOS, SHOCKS)
    with pytest.raises(DataError, match="A2"):
        bad = BOOKS.copy()
        bad[4, 2] = np.nan
        stress_books(bad, SCENARIOS, SHOCKS)
    with pytest.raises(DataError, match="XX"):
        stress_books(pd.DataFrame({"XX": [1.0]}), SCENARIOS, SHOCKS)
    with pytest.raises(UsageError, match="at least one"):
        stress_books(BOOKS, SCENARIOS, [])
    with pytest.raises(UsageError, match="one name"):
        stress_books(BOOKS, SCENARIOS, [SHOCKS[0], SHOCKS[0]])
    with pytest.raises(UsageError, match="reweights"):
        stress_books(BOOKS, SCENARIOS, [KLWorstCase(BOOKS[0], 0.1)])
    with pytest.raises(UsageError, match="level"):
        stress_books(BOOKS, SCENARIOS, SHOCKS, level=95)
