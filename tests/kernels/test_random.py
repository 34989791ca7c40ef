"""The cipher, the uniforms, the normals and the chi-squares, against plain Python.

The reference below shares no code with the kernels: integers for the cipher, and
rational arithmetic rounded once per operation for the fused multiply-adds, so that
equality is of every bit.
"""

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from engine.errors import UsageError
from engine.kernels.random import fill_words
from engine.parallel import BLOCK_SIZE, STREAMS, BlockStream, blocks

MASK = 2**64 - 1
ROTATIONS = (16, 42, 12, 31, 16, 32, 24, 21)


def threefry(key, counter, rounds=13):
    """Threefry-2x64 as the paper states it: a key injection after every 4 rounds."""
    schedule = [*key, 0x1BD11BDAA9FC1A22 ^ key[0] ^ key[1]]
    x = [(c + k) & MASK for c, k in zip(counter, key, strict=True)]
    for r in range(rounds):
        x[0] = (x[0] + x[1]) & MASK
        turn = ROTATIONS[r % 8]
        x[1] = (((x[1] << turn) | (x[1] >> (64 - turn))) & MASK) ^ x[0]
        if r % 4 == 3:
            d = r // 4 + 1
            x[0] = (x[0] + schedule[d % 3]) & MASK
            x[1] = (x[1] + schedule[(d + 1) % 3] + d) & MASK
    return x[0], x[1]


def words(key, block, n):
    out = np.empty(n, np.uint64), np.empty(n, np.uint64)
    fill_words(np.uint64(key[0]), np.uint64(key[1]), np.uint64(block), *out)
    return list(zip(*(o.tolist() for o in out), strict=True))


def fma(a, b, c):
    """A * b + c rounded once: exact in rationals, then to nearest even."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    return float(exact) if exact else a * b + c


def horner(z, *coefficients):
    value = coefficients[0]
    for c in coefficients[1:]:
        value = fma(z, value, c)
    return value


def unit(word):
    return ((word >> 12) * 2 + 1) / 2**53


def log(x):
    """fdlibm's logarithm, reduced to [sqrt(1/2), sqrt(2))."""
    mantissa, exponent = math.frexp(x)  # mantissa in [1/2, 1)
    if mantissa < math.sqrt(0.5):
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = horner(
        z,
        1.479819860511658591e-01,
        1.531383769920937332e-01,
        1.818357216161805012e-01,
        2.222219843214978396e-01,
        2.857142874366239149e-01,
        3.999999999940941908e-01,
        6.666666666666735130e-01,
    )
    h = 0.5 * f * f
    return fma(float(exponent), math.log(2.0), f - fma(-s, fma(z, r, h), h))


def sine_cosine(t):
    x = t * (math.pi / 2)
    z = x * x
    s = horner(
        z,
        1.58969099521155010221e-10,
        -2.50507602534068634195e-08,
        2.75573137070700676789e-06,
        -1.98412698298579493134e-04,
        8.33333333332248946124e-03,
        -1.66666666666666324348e-01,
    )
    c = horner(
        z,
        -1.13596475577881948265e-11,
        2.08757232129817482790e-09,
        -2.75573143513906633035e-07,
        2.48015872894767294178e-05,
        -1.38888888888741095749e-03,
        4.16666666666666019037e-02,
        -0.5,
    )
    return fma(x * z, s, x), fma(z, c, 1.0)


def pair(key, counter):
    a, b = threefry(key, counter)
    r = math.sqrt(-2.0 * log(unit(a)))
    s, c = sine_cosine((b >> 12) / 2**52 - 0.5)
    x, y = (s, c) if b & 1 else (c, s)
    return r * (-x if b & 2 else x), r * (-y if b & 4 else y)


def chi_square(key, block, i, dof):
    """Marsaglia and Tsang (2000) on the addresses that the kernel documents."""
    d = 0.5 * dof - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for m in range(64):
        x, _ = pair(key, (128 * i + 2 * m, block))
        v = (1.0 + c * x) ** 3
        if v <= 0.0:
            continue
        u = unit(threefry(key, (128 * i + 2 * m + 1, block))[0])
        if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
            return 2.0 * d * v
    raise AssertionError("never accepted")


# ---------------------------------------------------------------- the cipher


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0xF167B032C3B480BD, 0xE91F9FEE4B7A6FB5)),
        (
            (MASK, MASK),
            (MASK, MASK),
            (0xCCDEC5C917A874B1, 0x4DF53ABCA26CEB01),
        ),
        (
            (0x243F6A8885A308D3, 0x13198A2E03707344),
            (0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0xC3AAC71561042993, 0x3FE7AE8801AFF316),
        ),
    ],
)
def test_published_known_answers(counter, key, expected):
    """Random123 1.14, tests/kat_vectors, threefry2x64 with 13 rounds."""
    assert threefry(key, counter) == expected


@pytest.mark.parametrize(
    ("key", "block"),
    [((0, 0), 0), ((MASK, MASK), MASK), ((0xA4093822299F31D0, 7), 12345), ((1, 4), 1)],
)
def test_kernel_equals_the_plain_cipher(key, block):
    assert words(key, block, 40) == [threefry(key, (i, block)) for i in range(40)]


def test_first_kernel_word_is_the_published_answer():
    assert words((0, 0), 0, 1) == [(0xF167B032C3B480BD, 0xE91F9FEE4B7A6FB5)]


def test_addresses_do_not_collide():
    seen = set()
    for key in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        for block in range(4):
            seen.update(words(key, block, 2000))
    assert len(seen) == 4 * 4 * 2000


# ------------------------------------------------- bit-exact independent references


@pytest.mark.parametrize(
    ("seed", "stream", "block"),
    [(0, "normal", 0), (20250127, "normal", 3), (MASK, 999, 2**40), (7, "severity", 1)],
)
def test_normals_bit_for_bit(seed, stream, block):
    source = BlockStream(seed, stream)
    n = 101  # odd: the last element of the first half has no partner
    key = tuple(int(k) for k in source.key)
    pairs = [pair(key, (i, block)) for i in range(51)]
    expected = [x for x, _ in pairs] + [y for _, y in pairs[:50]]
    assert source.normals(block, n).tolist() == expected


def test_uniforms_bit_for_bit():
    source = BlockStream(42, "uniform")
    expected = [
        unit(w) for i in range(51) for w in threefry((42, STREAMS["uniform"]), (i, 9))
    ]
    assert source.uniforms(9, 101).tolist() == expected[:101]


@pytest.mark.parametrize("dof", [2.1, 5.0, 200.0])
def test_chi_squares_follow_the_documented_addresses(dof):
    source = BlockStream(11, "chi2")
    expected = [chi_square((11, STREAMS["chi2"]), 2, i, dof) for i in range(60)]
    np.testing.assert_allclose(source.chi_squares(2, 60, dof), expected, rtol=1e-14)


def test_polynomials_are_within_two_ulp_of_the_library():
    rng = np.random.default_rng(0)
    for x in [*rng.random(300).tolist(), 2.0**-53, 1 - 2.0**-53, math.sqrt(0.5), 0.5]:
        assert abs(log(x) - math.log(x)) <= 2 * math.ulp(math.log(x))
    for t in [*(rng.random(300) - 0.5).tolist(), -0.5, 0.0]:
        s, c = sine_cosine(t)
        assert abs(s - math.sin(math.pi / 2 * t)) <= 2 * math.ulp(s)
        assert abs(c - math.cos(math.pi / 2 * t)) <= 2 * math.ulp(c)


# ------------------------------------------------------------------ golden values

GOLDEN_NORMALS = {
    (0, 0): [
        "0x1.a5e4ffa095435p-3",
        "-0x1.1a3c5a23dae7bp+0",
        "-0x1.2dc3743ebaac5p-2",
        "0x1.fb565b512de37p+0",
        "-0x1.185e7725a6283p-2",
        "-0x1.04ab67d033bddp-2",
        "-0x1.db5f143574c27p-3",
        "0x1.3ca69817d667bp-5",
    ],
    (20250127, 7): [
        "0x1.c96dc84b9ee0fp-2",
        "-0x1.ea85ad2ce1314p-3",
        "-0x1.0bd2bf8b93677p+1",
        "0x1.9bec89a33fd0ep-1",
        "-0x1.3750f6e85762bp+0",
        "0x1.2414111aa3c27p+1",
        "0x1.31f6c0d1f5530p+0",
        "-0x1.0d097777db13ap-6",
    ],
    (18446744073709551615, 9223372036854775808): [
        "0x1.0327720b338bfp-1",
        "0x1.c1962440f9d5cp-3",
        "0x1.9d0bd0b02c1bap-1",
        "0x1.42e05a58af725p-2",
        "0x1.477663e177c4cp-3",
        "-0x1.3aeb7f1b9c36ep-1",
        "-0x1.44e251c0b77b8p+0",
        "-0x1.483f6061dc141p-2",
    ],
}
"""Frozen when the generator was declared final (engine.parallel): a later version may
be faster, never different. Equal to the plain-Python reference above."""


@pytest.mark.parametrize(("seed", "block"), sorted(GOLDEN_NORMALS))
def test_golden_normals(seed, block):
    got = [x.hex() for x in BlockStream(seed).normals(block, 8).tolist()]
    assert got == GOLDEN_NORMALS[seed, block]


def test_stream_numbers_are_frozen():
    assert STREAMS == {
        "normal": 0,
        "chi2": 1,
        "uniform": 2,
        "severity": 3,
        "bootstrap": 4,
    }
    assert BLOCK_SIZE == 1024


def test_same_numbers_in_another_process():
    code = (
        "from engine.parallel import BlockStream;"
        "print([x.hex() for x in BlockStream(5).normals(2, 4).tolist()],"
        "BlockStream(5, 'chi2').chi_squares(2, 2, 4.5).tolist())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = (
        f"{[x.hex() for x in BlockStream(5).normals(2, 4).tolist()]} "
        f"{BlockStream(5, 'chi2').chi_squares(2, 2, 4.5).tolist()}"
    )
    assert out == here


# --------------------------------------------------------------- the law of the draws

N = 200_000


def test_normal_moments_within_four_standard_errors():
    z = BlockStream(1).normals(0, N)
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        error = math.sqrt(variance / N)
        assert abs((z**power).mean() - mean) < 4 * error


def test_normals_pass_kolmogorov_smirnov_and_reach_the_tail():
    z = BlockStream(2).normals(5, N)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    expected = N * 2 * stats.norm.sf(3.5)
    assert abs((np.abs(z) > 3.5).sum() - expected) < 4 * math.sqrt(expected)
    assert np.unique(z).size == N


def test_the_two_normals_of_a_counter_are_independent():
    z = BlockStream(3).normals(0, N)
    x, y = z[: N // 2], z[N // 2 :]
    for f in (lambda v: v, np.square, np.abs):
        assert abs(np.corrcoef(f(x), f(y))[0, 1]) < 4 / math.sqrt(N / 2)
    angle = np.arctan2(y, x) / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > 1e-3
    # Eight sectors: the quadrant and exchange bits are fair.
    counts = np.bincount((angle * 8).astype(int) % 8, minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-3
    # Radius and angle are independent: the radius law is the same in every sector.
    half = x * x + y * y
    assert stats.ks_2samp(half[angle < 0.25], half[angle > 0.75]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (((4, "normal"), 0), ((4, "normal"), 1)),
        (((4, "normal"), 0), ((4, "severity"), 0)),
        (((4, "normal"), 0), ((5, "normal"), 0)),
        (((4, 64), 0), ((4, 65), 0)),
    ],
)
def test_blocks_streams_and_seeds_are_independent(first, second):
    x = BlockStream(*first[0]).normals(first[1], N)
    y = BlockStream(*second[0]).normals(second[1], N)
    for lag in (0, 1, 2):
        for f in (lambda v: v, np.square):
            r = np.corrcoef(f(x[lag:]), f(y[: N - lag]))[0, 1]
            assert abs(r) < 4 / math.sqrt(N)


def test_uniforms_are_open_symmetric_and_uniform():
    u = BlockStream(6, "uniform").uniforms(0, N)
    assert 0.0 < u.min() and u.max() < 1.0
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert unit(0) == 2.0**-53 and unit(MASK) == 1.0 - 2.0**-53
    assert unit(0) + unit(MASK) == 1.0
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("dof", [2.1, 3.0, 5.0, 30.0, 200.0])
def test_chi_square_law(dof):
    x = BlockStream(7, "chi2").chi_squares(0, 60_000, dof)
    assert stats.kstest(x, "chi2", args=(dof,)).pvalue > 1e-3
    assert abs(x.mean() - dof) < 4 * math.sqrt(2 * dof / x.size)
    fourth = 12 * dof * (dof + 4)  # E (x - dof)^4
    error = math.sqrt((fourth - 4 * dof**2) / x.size)
    assert abs(((x - dof) ** 2).mean() - 2 * dof) < 4 * error


def test_chi_squares_agree_between_degrees_only_in_address():
    """An element's rejections never shift another: the prefix is stable."""
    source = BlockStream(8, "chi2")
    whole = source.chi_squares(0, 500, 2.1)
    np.testing.assert_array_equal(source.chi_squares(0, 120, 2.1), whole[:120])


@pytest.mark.parametrize("n", [1, 2, 3, 10, 999])
def test_uniforms_of_a_shorter_block_are_a_prefix(n):
    source = BlockStream(9, "uniform")
    np.testing.assert_array_equal(source.uniforms(3, n), source.uniforms(3, 1000)[:n])


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_tiny_sizes(n):
    z = BlockStream(9).normals(0, n)
    assert z.shape == (n,) and np.isfinite(z).all()
    assert BlockStream(9, "uniform").uniforms(0, n).shape == (n,)
    assert BlockStream(9, "chi2").chi_squares(0, n, 4.0).shape == (n,)


# --------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "seed must lie in"),
        (2**64, "seed must lie in"),
        (1.0, "seed must be an integer"),
        ("7", "seed must be an integer"),
        (True, "seed must be an integer"),
        (None, "seed must be an integer"),
    ],
)
def test_bad_seeds_are_refused_by_name(seed, message):
    with pytest.raises(UsageError, match=message) as caught:
        BlockStream(seed)
    assert str(seed) in str(caught.value)


@pytest.mark.parametrize("stream", ["normals", "", 0, 63, -1, 2**64, 64.5, True, None])
def test_bad_streams_are_refused(stream):
    with pytest.raises(UsageError, match="stream"):
        BlockStream(1, stream)


@pytest.mark.parametrize("dof", [2.0, 1.0, 0.0, -3.0, float("nan"), float("inf")])
def test_bad_degrees_of_freedom_are_refused(dof):
    with pytest.raises(UsageError, match="degrees of freedom"):
        BlockStream(1, "chi2").chi_squares(0, 3, dof)


def test_numpy_integers_are_seeds():
    a = BlockStream(np.int64(12)).normals(0, 5)
    np.testing.assert_array_equal(a, BlockStream(12).normals(0, 5))


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1025, 5000])
def test_blocks_cover_every_row_once(n):
    parts = blocks(n)
    assert [b for b, _, _ in parts] == list(range(-(-n // BLOCK_SIZE)))
    rows = [r for _, start, stop in parts for r in range(start, stop)]
    assert rows == list(range(n))
    assert all(stop - start <= BLOCK_SIZE for _, start, stop in parts)
