"""Overfitting probability by a slow reference; purged splits by their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests import combinatorial_paths, combinatorial_purged_splits, pbo
from engine.errors import DataError, ModelError, UsageError


def slow_pbo(x, blocks):
    """The paper's steps, split by split."""
    size = x.shape[0] // blocks
    parts = np.split(x[x.shape[0] - size * blocks :], blocks)
    logits = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0))
        out = outside.mean(axis=0) / outside.std(axis=0)
        rank = (out < out[best]).sum() + 1
        w = rank / (x.shape[1] + 1)
        logits.append(math.log(w / (1 - w)))
    return np.array(logits)


@pytest.mark.parametrize("blocks", [4, 8])
def test_logits_equal_the_slow_reference(blocks):
    x = np.random.default_rng(1).normal(size=(203, 7)) + 0.02
    got = pbo(x, n_blocks=blocks)
    expected = slow_pbo(x, blocks)
    np.testing.assert_allclose(got.logits, expected, rtol=1e-12)
    assert got.probability == np.mean(expected <= 0)
    assert got.n_splits == math.comb(blocks, blocks // 2)


def test_one_good_rule_is_not_overfitting_and_noise_is():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(1600, 40))
    good = noise.copy()
    good[:, 3] += 0.3
    assert pbo(good).probability == 0.0
    assert pbo(good).loss_probability == 0.0
    # Demeaned noise: what won one half must have lost the other.
    worthless = pbo(noise - noise.mean(axis=0))
    assert worthless.probability > 0.5
    assert worthless.slope < -0.5


def test_independent_noise_is_a_coin():
    values = [
        pbo(np.random.default_rng(k).normal(size=(320, 20)), n_blocks=8).probability
        for k in range(60)
    ]
    # Splits of one sample are dependent: the spread across samples gives the error.
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert abs(np.mean(values) - 0.5) < 4 * error


@pytest.mark.parametrize(
    ("x", "options", "error"),
    [
        (np.zeros((100, 1)), {}, DataError),
        (np.zeros((20, 5)), {}, DataError),
        (np.zeros((100, 5)), {"n_blocks": 5}, UsageError),
        (np.zeros((1000, 5)), {"n_blocks": 30}, UsageError),
        (np.full((100, 5), np.nan), {}, DataError),
    ],
)
def test_bad_trials(x, options, error):
    with pytest.raises(error):
        pbo(x, **options)


@given(
    n=st.integers(12, 60),
    groups=st.integers(3, 6),
    tested=st.integers(1, 2),
    purge=st.integers(0, 2),
    embargo=st.integers(0, 2),
)
def test_splits_by_definition(n, groups, tested, purge, embargo):
    seen = np.zeros(n, dtype=int)
    try:
        splits = list(
            combinatorial_purged_splits(
                n, n_groups=groups, n_test_groups=tested, purge=purge, embargo=embargo
            )
        )
    except ModelError:
        return
    assert len(splits) == math.comb(groups, tested)
    for split in splits:
        seen[split.test] += 1
        for row in split.train:
            assert row not in split.test
            # Nothing within `purge` before a tested row, nor within purge + embargo
            # after one.
            gap = split.test - row
            assert not ((gap > 0) & (gap <= purge)).any()
            assert not ((gap < 0) & (-gap <= purge + embargo)).any()
    # Purging never shortens what is tested.
    assert (seen == math.comb(groups - 1, tested - 1)).all()


def test_paths_cover_every_row_once_and_agree_with_a_peer():
    selection = pytest.importorskip("skfolio.model_selection")
    n = 61
    x = np.arange(n, dtype=float)

    def evaluate(train, test):
        return x[test] + 1000.0 * train.size

    paths = combinatorial_paths(
        evaluate, n, n_groups=6, n_test_groups=2, purge=1, embargo=2
    )
    assert paths.shape == (5, n)
    np.testing.assert_array_equal(paths % 1000.0, np.tile(x, (5, 1)))
    # The peer purges both sides by one number and embargoes after it, on groups of
    # equal size.
    even = 60
    ours = list(combinatorial_purged_splits(even, n_groups=6, n_test_groups=2, purge=3))
    peer = selection.CombinatorialPurgedCV(
        n_folds=6, n_test_folds=2, purged_size=3, embargo_size=0
    )
    theirs = list(peer.split(np.zeros((even, 1))))
    assert peer.n_test_paths == 5
    for mine, (train, tests) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine.train, train)
        np.testing.assert_array_equal(mine.test, np.concatenate(tests))


def test_a_rule_that_returns_too_little_is_named():
    with pytest.raises(ModelError, match="one finite return for each row"):
        combinatorial_paths(lambda train, test: np.zeros(3), 60)
    with pytest.raises(ModelError, match="nothing to fit on"):
        list(combinatorial_purged_splits(12, purge=12))
    with pytest.raises(UsageError, match="groups do not fit"):
        list(combinatorial_purged_splits(12, n_groups=3, n_test_groups=3))
