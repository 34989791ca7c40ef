"""The tail by selection equals the tail by sorting: ties, atoms, orders, weights."""

import numpy as np
import pytest

from engine.errors import DataError
from engine.risk import expected_shortfall, tail, tail_weights, value_at_risk

S = 50_000


def laws():
    rng = np.random.default_rng(3)
    yield "normal", rng.standard_normal(S)
    yield "heavy", rng.standard_t(2, S)
    yield "ties", rng.integers(-5, 6, S).astype(float)
    yield "constant", np.full(S, -2.5)
    yield "ascending", np.arange(S, dtype=float)
    yield "descending", -np.arange(S, dtype=float)
    # What a strided sample sees (multiples of 12) is nothing like the rest.
    fooled = rng.standard_normal(S)
    fooled[::12] = 100.0
    yield "fooled", fooled
    yield "atom at the level", np.where(np.arange(S) % 10 == 0, 7.0, rng.random(S))


def weightings():
    rng = np.random.default_rng(4)
    yield "equal", None
    yield "dirichlet", rng.dirichlet(np.ones(S))
    sparse = rng.random(S) * (rng.random(S) < 0.3)
    yield "many zeros", sparse / sparse.sum()
    one = np.full(S, 0.5 / (S - 1))
    one[S // 3] = 0.5
    yield "one heavy", one


def by_sorting(losses, level, p):
    """Ascending running sum, as the definition reads."""
    p = np.full(S, 1 / S) if p is None else p
    order = np.argsort(losses, kind="stable")
    k = int(np.argmax(np.cumsum(p[order]) >= level - max(1e-12, S * 2.3e-16)))
    var = losses[order][k]
    beyond = losses > var
    mass = p[beyond].sum()
    return var, (p[beyond] @ losses[beyond] + (1 - level - mass) * var) / (1 - level)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9, 0.95, 0.99, 0.9999, 0.999999])
@pytest.mark.parametrize("law", list(laws()), ids=lambda x: x[0])
@pytest.mark.parametrize("weighting", list(weightings()), ids=lambda x: x[0])
def test_selection_is_the_sorted_answer(law, weighting, level):
    losses, p = law[1], weighting[1]
    var, es = by_sorting(losses, level, p)
    got = tail(losses, level=level, p=p)
    assert got.value_at_risk == var == value_at_risk(losses, level=level, p=p)
    # 1 - level is known to one rounding of the level: that over 1 - level.
    assert got.expected_shortfall == pytest.approx(es, rel=1e-9, abs=1e-9)
    assert got.expected_shortfall == expected_shortfall(losses, level=level, p=p)


def test_agrees_with_the_tail_weights():
    rng = np.random.default_rng(5)
    losses, p = rng.standard_t(4, S), rng.dirichlet(np.ones(S))
    q = tail_weights(losses, level=0.975, p=p)
    assert tail(losses, level=0.975, p=p).expected_shortfall == pytest.approx(
        q @ losses, rel=1e-12
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_bad_loss_in_a_large_sample_is_found(bad, weighted):
    losses = np.random.default_rng(6).standard_normal(S)
    losses[12_345] = bad
    p = np.full(S, 1 / S) if weighted else None
    with pytest.raises(DataError, match=r"not finite.*12345"):
        tail(losses, p=p)


@pytest.mark.parametrize("bad", [np.nan, -1e-9, np.inf])
def test_a_bad_probability_in_a_large_sample_is_found(bad):
    p = np.full(S, 1 / S)
    p[777] = bad
    with pytest.raises(DataError, match="negative or not finite"):
        tail(np.arange(S), p=p)
    with pytest.raises(DataError, match="sum to one"):
        tail(np.arange(S), p=np.full(S, 2 / S))


def test_the_input_is_left_alone_and_may_be_read_only_or_strided():
    losses = np.random.default_rng(7).standard_normal(2 * S)
    before = losses.copy()
    got = tail(losses[::2])
    assert got == tail(losses[::2].copy())
    losses.setflags(write=False)
    tail(losses, p=np.full(2 * S, 0.5 / S))
    np.testing.assert_array_equal(losses, before)
