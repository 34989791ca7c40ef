"""Counter-based uniforms, normals and chi-squares: Threefry-2x64 with 13 rounds.

Salmon, Moraes, Dror, Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3":
13 rounds are the least that pass BigCrush, with a margin reported there; each round
is one addition, one rotation and one exclusive-or, so that the loop vectorises. The
counter is ``(i, block)``, the key ``(seed, stream)``: distinct addresses can never
give the same cipher input.

Two 64-bit words become two normals by Box-Muller (1958). Logarithm, sine and cosine
are polynomials (coefficients of fdlibm, error under 1 ulp on the reduced ranges)
because the library calls do not vectorise. No fast-math flag, and every fused
multiply-add is written out: each operation is a correctly rounded IEEE one in a stated
order, so the numbers are the same on every machine, which is what lets
`engine.parallel` call them final.
"""

# An intrinsic receives the typing context itself, which pyright takes for a missing
# argument.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

_U = np.uint64
_ATTEMPTS = 512  # chi-squares tried at once: scratch that stays in the first cache
_PARITY = _U(0x1BD11BDAA9FC1A22)  # key-schedule constant of Threefry


@intrinsic
def _as_double(typingctx, bits):
    """Reinterpret 64 bits as a double."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), codegen


@intrinsic
def _as_bits(typingctx, number):
    """Reinterpret a double as 64 bits."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), codegen


@intrinsic
def _fma(typingctx, a, b, c):
    """A * b + c, rounded once: defined by IEEE 754, so the same on every machine."""

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


@njit(inline="always", error_model="numpy")
def _rotate(x, r):
    return (x << _U(r)) | (x >> _U(64 - r))


@njit(inline="always", error_model="numpy")
def _threefry(k0, k1, c0, c1):
    """Threefry-2x64-13: (key, counter) -> two words. Rotations of the paper."""
    k2 = _PARITY ^ k0 ^ k1
    x0 = c0 + k0
    x1 = c1 + k1
    x0 += x1
    x1 = _rotate(x1, 16) ^ x0
    x0 += x1
    x1 = _rotate(x1, 42) ^ x0
    x0 += x1
    x1 = _rotate(x1, 12) ^ x0
    x0 += x1
    x1 = _rotate(x1, 31) ^ x0
    x0 += k1
    x1 += k2 + _U(1)
    x0 += x1
    x1 = _rotate(x1, 16) ^ x0
    x0 += x1
    x1 = _rotate(x1, 32) ^ x0
    x0 += x1
    x1 = _rotate(x1, 24) ^ x0
    x0 += x1
    x1 = _rotate(x1, 21) ^ x0
    x0 += k2
    x1 += k0 + _U(2)
    x0 += x1
    x1 = _rotate(x1, 16) ^ x0
    x0 += x1
    x1 = _rotate(x1, 42) ^ x0
    x0 += x1
    x1 = _rotate(x1, 12) ^ x0
    x0 += x1
    x1 = _rotate(x1, 31) ^ x0
    x0 += k0
    x1 += k1 + _U(3)
    x0 += x1
    x1 = _rotate(x1, 16) ^ x0
    return x0, x1


@njit(inline="always", error_model="numpy")
def _unit(bits):
    """52 random bits -> the open interval (0, 1), symmetric about one half."""
    return _as_double((bits >> _U(12)) | _U(0x3FF0000000000000)) - (
        1.0 - 1.1102230246251565e-16
    )


@njit(inline="always", error_model="numpy")
def _log(x):
    """Natural logarithm of a normal number, reduced to [sqrt(1/2), sqrt(2))."""
    bits = _as_bits(x)
    exponent = np.int64(bits - _U(0x3FE6A09E667F3BCD)) >> np.int64(52)
    f = _as_double(bits - (_U(exponent) << _U(52))) - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = _fma(z, 1.479819860511658591e-01, 1.531383769920937332e-01)
    r = _fma(z, r, 1.818357216161805012e-01)
    r = _fma(z, r, 2.222219843214978396e-01)
    r = _fma(z, r, 2.857142874366239149e-01)
    r = _fma(z, r, 3.999999999940941908e-01)
    r = _fma(z, r, 6.666666666666735130e-01)
    h = 0.5 * f * f
    return _fma(
        np.float64(exponent), 0.6931471805599453, f - _fma(-s, _fma(z, r, h), h)
    )


@njit(inline="always", error_model="numpy")
def _sine_cosine(t):
    """Sine and cosine of pi/2 * t for t in [-1/2, 1/2)."""
    x = t * 1.5707963267948966
    z = x * x
    a = _fma(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08)
    a = _fma(z, a, 2.75573137070700676789e-06)
    a = _fma(z, a, -1.98412698298579493134e-04)
    a = _fma(z, a, 8.33333333332248946124e-03)
    a = _fma(z, a, -1.66666666666666324348e-01)
    b = _fma(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09)
    b = _fma(z, b, -2.75573143513906633035e-07)
    b = _fma(z, b, 2.48015872894767294178e-05)
    b = _fma(z, b, -1.38888888888741095749e-03)
    b = _fma(z, b, 4.16666666666666019037e-02)
    b = _fma(z, b, -0.5)
    return _fma(x * z, a, x), _fma(z, b, 1.0)


@njit(nogil=True, cache=True, error_model="numpy")
def fill_words(k0, k1, block, out0, out1):
    """Raw cipher output of counters (0..n-1, block). (n,) uint64 twice."""
    for i in range(out0.size):
        a, b = _threefry(k0, k1, _U(i), block)
        out0[i] = a
        out1[i] = b


@njit(nogil=True, cache=True, error_model="numpy")
def fill_uniforms(k0, k1, block, out):
    """Fill out (n,) with uniforms in (0, 1): words 2i and 2i+1 from counter i."""
    n = out.size
    half = n // 2
    for i in range(half):
        a, b = _threefry(k0, k1, _U(i), block)
        out[2 * i] = _unit(a)
        out[2 * i + 1] = _unit(b)
    if n & 1:
        a, b = _threefry(k0, k1, _U(half), block)
        out[n - 1] = _unit(a)


@njit(inline="always", error_model="numpy")
def _pair(k0, k1, i, block):
    """Two independent standard normals from counter (i, block)."""
    a, b = _threefry(k0, k1, i, block)
    r = np.sqrt(-2.0 * _log(_unit(a)))
    # The top 52 bits place the angle within a quadrant, the low two choose it.
    t = _as_double((b >> _U(12)) | _U(0x3FF0000000000000)) - 1.5
    s, c = _sine_cosine(t)
    odd = (b & _U(1)) == _U(1)
    x = s if odd else c
    y = c if odd else s
    # Exchanging the two reflects the plane: independent signs restore the circle.
    x = -x if (b & _U(2)) == _U(2) else x
    y = -y if (b & _U(4)) == _U(4) else y
    return r * x, r * y


@njit(nogil=True, cache=True, error_model="numpy")
def fill_normals(k0, k1, block, out):
    """Fill out (n,): element i and element i + ceil(n/2) come from counter i.

    The two halves are written apart because a strided store halves the speed.
    """
    n = out.size
    half = (n + 1) // 2
    whole = n // 2
    first, second = out[:half], out[half:]  # as slices the compiler sees no overlap
    for i in range(whole):
        x, y = _pair(k0, k1, _U(i), block)
        first[i] = x
        second[i] = y
    if n & 1:
        x, y = _pair(k0, k1, _U(whole), block)
        out[whole] = x


@njit(inline="always", error_model="numpy")
def _candidate(k0, k1, counter, block, d, c):
    """Candidate of one attempt, and whether it is rejected."""
    x, _ = _pair(k0, k1, counter, block)
    a, _ = _threefry(k0, k1, counter + _U(1), block)
    v = 1.0 + c * x
    v = v * v * v
    value = d * v
    fails = not _log(_unit(a)) < 0.5 * x * x + d - value + d * _log(v)
    return value, v <= 0.0 or fails


@njit(nogil=True, cache=True, error_model="numpy")
def fill_chi_squares(k0, k1, block, dof, out):
    """Fill out (n,) with chi-squares, dof > 2 (Marsaglia and Tsang 2000).

    Attempt m of element i uses counters 128 i + 2 m and 128 i + 2 m + 1, so that the
    number of rejections of one element never shifts another. Acceptance exceeds 95%
    per attempt; 64 failures in a row (below 1e-80) keep the last candidate. The first
    attempts run without a branch, which vectorises; a second pass mends the few.
    """
    d = 0.5 * dof - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    rejected = np.empty(_ATTEMPTS, np.bool_)
    for start in range(0, out.size, _ATTEMPTS):
        part = out[start : start + _ATTEMPTS]
        for i in range(part.size):
            counter = _U(128) * (_U(start) + _U(i))
            part[i], rejected[i] = _candidate(k0, k1, counter, block, d, c)
        for i in range(part.size):
            value = part[i] if part[i] > 0.0 else d
            again = rejected[i]
            counter = _U(128) * (_U(start) + _U(i))
            m = 1
            while again and m < 64:
                fresh, again = _candidate(k0, k1, counter + _U(2 * m), block, d, c)
                value = fresh if fresh > 0.0 else value
                m += 1
            part[i] = 2.0 * value
